# Accuracy against the number of training images: kernels, networks and standard methods on the same training sets.
from exact_cntk.study.small_data import method_names

SMALL = PARAMS["small_data"]
SMALL_METHODS = method_names(PARAMS)
SMALL_NETWORKS = {f"network-{one['name']}": one for one in ((SMALL or {}).get("cnns") or {"families": []})["families"]}
SECTION_FILES["small_data"] = [
    f"{RESULTS}/small_data/{name}.json" for names in SMALL_METHODS.values() for name in names
]


wildcard_constraints:
    small_kernel="|".join(map(re.escape, SMALL_METHODS["kernel"])) or "none",
    small_baseline="|".join(SMALL_METHODS["baseline"]) or "none",
    small_network="|".join(map(re.escape, SMALL_NETWORKS)) or "none",


rule small_data:
    """All result files of the section."""
    input:
        section_files("small_data"),


if SMALL is not None:
    SMALL_SETS = (
        f"--train-images {comma(SMALL['train_images'])} --subsets {SMALL['subsets']} --seed {SMALL['seed']}"
        f" --study {PARAMS['study']}"
    )
    SMALL_SOURCES = ["study/small_data_jobs.py", "study/small_data_subsets.py", "study/solve.py"]

    rule small_data_kernel:
        """Regression with one kernel on all small training sets, without ridge and with that of leave-one-out."""
        input:
            kernel=f"{RESULTS}/kernels/{{small_kernel}}.h5",
            data=ancient(DATA),
            sources=sources("_regression.py", "_ridge_path.py", "study/small_data_kernels.py", *SMALL_SOURCES),
        output:
            f"{RESULTS}/small_data/{{small_kernel}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_kernel}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_kernel}}.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=MEMORY_MB,
            max_memory_gib=MEMORY_GIB,
            runtime=240,
        params:
            sets=SMALL_SETS,
            ridges=comma(SOLVE["ridges"]),
        message:
            "small_data_kernel: {wildcards.small_kernel}"
        shell:
            "exact-cntk small-data kernel --kernel {input.kernel} --data {input.data} {params.sets}"
            " --ridges {params.ridges} --max-memory-gib {resources.max_memory_gib} --out {output} > {log} 2>&1"

    rule small_data_baseline:
        """A standard method on all small training sets; its settings are chosen on the training images alone."""
        input:
            digest=ancient(digest_file),
            data=ancient(DATA),
            sources=sources("_regression.py", "_ridge_path.py", "study/small_data_baselines.py", *SMALL_SOURCES),
        output:
            f"{RESULTS}/small_data/{{small_baseline}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_baseline}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_baseline}}.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=4000,
            runtime=240,
        params:
            sets=SMALL_SETS,
            digest=data_digest,
            ridges=comma(SOLVE["ridges"]),
            bandwidths=comma(SMALL["bandwidths"]),
            inverse_penalties=comma(SMALL["inverse_penalties"]),
            trees=SMALL["trees"],
            checkpoint=f"{RESULTS}/checkpoints/small_data/{{small_baseline}}.json",
        message:
            "small_data_baseline: {wildcards.small_baseline}"
        shell:
            "exact-cntk small-data baseline --method {wildcards.small_baseline} --data {input.data} {params.sets}"
            " --ridges {params.ridges} --bandwidths {params.bandwidths}"
            " --inverse-penalties {params.inverse_penalties} --trees {params.trees}"
            " --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"

    rule small_data_cnn:
        """A finite CNN on the smaller of the training sets; its learning rate is chosen on the training images alone."""
        input:
            digest=ancient(digest_file),
            data=ancient(DATA),
            sources=sources(
                "finite/networks.py",
                "finite/_descent.py",
                "finite/training.py",
                "study/small_data_cnn.py",
                *SMALL_SOURCES,
            ),
        output:
            f"{RESULTS}/small_data/{{small_network}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_network}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_network}}.tsv"
        # Before the others, which are shorter.
        priority: 1
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=4000,
            runtime=480,
        params:
            sets=SMALL_SETS,
            digest=data_digest,
            network=network_options,
            checkpoint=f"{RESULTS}/checkpoints/small_data/{{small_network}}.json",
        message:
            "small_data_cnn: {wildcards.small_network}"
        shell:
            "exact-cntk small-data cnn --data {input.data} {params.sets} {params.network}"
            " --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"
