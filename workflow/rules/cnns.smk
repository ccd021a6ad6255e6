# Finite CNNs, trained beside the exact kernels: one job a family, depth, rate, seed and split, one file a family and
# depth. Runs and checkpoints lie outside of the folder that DVC deletes, for they may have cost hours of a GPU.
from exact_cntk.blocks import kernel_name
from exact_cntk.study.names import run_name
from exact_cntk.study.sections.cnns.cost import expected_memory, trains_long
from exact_cntk.study.sections.cnns.plan import runs

CNNS = PARAMS["cnns"]
CNN_RUNS = runs(PARAMS)
CNN_FAMILIES = {family["name"]: family for family in CNNS["families"]} if CNNS else {}
SECTION_FILES["cnns"] = [
    f"{RESULTS}/cnns/{name}.{suffix}"
    for name in dict.fromkeys(kernel_name(run.family, run.depth) for run in CNN_RUNS)
    for suffix in ("json", "csv")
]


wildcard_constraints:
    cnn="|".join(map(re.escape, CNN_FAMILIES)) or "none",
    rate=r"[\d.e+-]+",
    seed=r"\d+",
    split="validation|test",


rule train_cnn:
    """Train one network: on the pool without its validation images, to choose the rate by, or on the whole pool."""
    input:
        fits=fits("train_cnn", only_for=outcome_of_run),
        data=ancient(DATA),
        sources=sources(TRAIN_SOURCES),
    output:
        f"{RESULTS}/training/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.json",
    log:
        f"{RESULTS}/logs/train_cnn/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_cnn/{{cnn}}-depth-{{depth}}/rate-{{rate}}-seed-{{seed}}-{{split}}.tsv"
    conda:
        "../../environment.yml"
    # One core for each small network: the last digits depend on the number of threads.
    threads: (BESIDE_GPU if cnn_gpu(None) else MANY) if trains_long(PARAMS) else 1
    resources:
        gpu=cnn_gpu,
        mem_mb=expected_memory(PARAMS) // 2**20,
        runtime=1440,
    params:
        options=options("train_cnn"),
        made_from=made_from("train_cnn"),
        checkpoint=f"{RESULTS}/checkpoints/training/{{cnn}}-depth-{{depth}}-rate-{{rate}}-seed-{{seed}}-{{split}}.npz",
    message:
        "train_cnn: {wildcards.cnn}, depth {wildcards.depth}, rate {wildcards.rate}, seed {wildcards.seed}, {wildcards.split}"
    shell:
        # `--resources gpu=0` hides any GPU. More threads than cores of OpenMP's own choice would disturb other jobs.
        "if [ {resources.gpu} = 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; export OMP_NUM_THREADS={threads}; "
        "exact-cntk --made-from {params.made_from} train --data {input.data} {params.options}"
        " --threads {threads} --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"


rule gather_cnn:
    """Choose the rate of one architecture on its validation runs, and put outcomes and learning curves together."""
    input:
        fits=fits("gather_cnn"),
        runs=inputs_of("gather_cnn", runs_of_cnn),
        sources=sources(GATHER_SOURCES),
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
    params:
        made_from=made_from("gather_cnn"),
    message:
        "gather_cnn: {output.outcome}"
    shell:
        "exact-cntk --made-from {params.made_from} gather-runs --out {output.outcome} --curves {output.curves} {input.runs} > {log} 2>&1"


rule cnns:
    """All result files of the section."""
    input:
        section_files("cnns"),
