# Finite CNNs, trained beside the exact kernels: one job a family, depth, rate, seed and split, one file a family and
# depth. Runs and checkpoints lie outside of the folder that DVC deletes, for they may have cost hours of a GPU.
from exact_cntk.blocks import kernel_name
from exact_cntk.study.cnns import run_name, runs, trains_long

CNNS = PARAMS["cnns"]
CNN_RUNS = runs(PARAMS)
CNN_FAMILIES = {family["name"]: family for family in CNNS["families"]} if CNNS else {}


wildcard_constraints:
    cnn="|".join(map(re.escape, CNN_FAMILIES)) or "none",
    rate=r"[\d.e+-]+",
    seed=r"\d+",
    split="validation|test",


def each_cnn(pattern):
    """List `pattern` with the name of every architecture."""
    names = list(dict.fromkeys(kernel_name(run.family, run.depth) for run in CNN_RUNS))
    return [f"{RESULTS}/{pattern.format(name)}" for name in names]


def cnns_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return each_cnn("cnns/{}.json") + each_cnn("cnns/{}.csv")


def runs_of_cnn(wildcards):
    """List the runs of an architecture."""
    folder = f"{RESULTS}/training/{wildcards.cnn}-depth-{wildcards.depth}"
    return [
        f"{folder}/{run_name(run.rate, run.seed, run.split)}.json"
        for run in CNN_RUNS
        if (run.family, run.depth) == (wildcards.cnn, int(wildcards.depth))
    ]


def cnn_options(wildcards):
    """Write an architecture and its protocol as the command line takes them."""
    family = CNN_FAMILIES[wildcards.cnn]
    options = {key: family[key] for key in ("readout", "trained", "filter_size")}
    options |= {key: CNNS[key] for key in ("width", "output_scale", "batch_images", "max_epochs", "averaged_epochs")}
    if wildcards.split == "validation":
        options["validation_images"] = CNNS["validation_images"]
    return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in options.items())


def cnn_gpu(_wildcards):
    """Give a GPU to runs that would take a CPU long, where there is one."""
    from exact_cntk._machine import gpu_present

    return int(gpu_present() and trains_long(PARAMS))


rule train_cnn:
    """Train one network: on the pool without its validation images, to choose the rate by, or on the whole pool."""
    input:
        digest=ancient(digest_file),
        data=ancient(DATA),
        sources=sources(
            *(f"finite/{name}.py" for name in ["networks", "training", "protocol", "_descent"]),
            "study/cnns.py",
        ),
    output:
        f"{RESULTS}/training/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.json",
    log:
        f"{RESULTS}/logs/train_cnn/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_cnn/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.tsv"
    conda:
        "../../environment.yml"
    # One core for each small network: the last digits depend on the number of threads.
    threads: MANY if CNNS and trains_long(PARAMS) else 1
    resources:
        gpu=cnn_gpu,
        mem_mb=4000,
        runtime=1440,
    params:
        digest=data_digest,
        study=PARAMS["study"],
        options=cnn_options,
        depth=lambda wildcards: int(wildcards.depth),
        tf32=lambda _wildcards: "--tf32" if CNNS["tf32"] else "",
        checkpoint=f"{RESULTS}/checkpoints/training/{{cnn}}-depth-{{depth}}-rate-{{rate}}-seed-{{seed}}-{{split}}.npz",
    message:
        "train_cnn: {wildcards.cnn}, depth {params.depth}, rate {wildcards.rate}, seed {wildcards.seed}, {wildcards.split}"
    shell:
        # `--resources gpu=0` hides any GPU. More threads than cores of OpenMP's own choice would disturb other jobs.
        "if [ {resources.gpu} = 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; export OMP_NUM_THREADS={threads}; "
        "exact-cntk train --data {input.data} --study {params.study} --family {wildcards.cnn} --depth {params.depth}"
        " --rate {wildcards.rate} --seed {wildcards.seed} --split {wildcards.split} {params.options} {params.tf32}"
        " --threads {threads} --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"


rule gather_cnn:
    """Choose the rate of one architecture on its validation runs, and put outcomes and learning curves together."""
    input:
        runs=runs_of_cnn,
        sources=sources("study/cnns_gather.py"),
    output:
        outcome=f"{RESULTS}/cnns/{{cnn}}-depth-{{depth}}.json",
        curves=f"{RESULTS}/cnns/{{cnn}}-depth-{{depth}}.csv",
    log:
        f"{RESULTS}/logs/gather_cnn/{{cnn}}-depth-{{depth}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_cnn/{{cnn}}-depth-{{depth}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    message:
        "gather_cnn: {output.outcome}"
    shell:
        "exact-cntk gather-runs --out {output.outcome} --curves {output.curves} {input.runs} > {log} 2>&1"


rule cnns:
    """All result files of the section."""
    input:
        cnns_files(),
