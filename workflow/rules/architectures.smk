# The grid of architectures. Its blocks are computed by `kernel_block`, as those of the study's own kernels.
ARCHITECTURES = PARAMS["architectures"]
# By family, which names a pass's file of results.
GRID = {one.family: one for one in architecture_passes(PARAMS)}
SECTION_FILES["architectures"] = [f"{RESULTS}/architectures/{family}.json" for family in GRID]


wildcard_constraints:
    architecture_pass="|".join(GRID) or "none",


rule architectures:
    """All result files of the section."""
    input:
        section_files("architectures"),


if ARCHITECTURES is not None:

    rule solve_architectures:
        """Accuracies of all architectures of a pass, from few training images and from all of them."""
        input:
            blocks=architecture_block_files,
            data=ancient(DATA),
            sources=sources(
                "_regression.py",
                "_ridge_path.py",
                "_solvers/*.py",
                "blocks/_block_set.py",
                "blocks/_cover.py",
                "study/architectures.py",
                "study/architecture_jobs.py",
            ),
        output:
            f"{RESULTS}/architectures/{{architecture_pass}}.json",
        log:
            f"{RESULTS}/logs/solve_architectures/{{architecture_pass}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/solve_architectures/{{architecture_pass}}.tsv"
        conda:
            "../../environment.yml"
        # One core for small problems, side by side: the last digits of a solver depend on the number of threads.
        threads: 1 if ARCHITECTURES["train_images"] <= 4000 else MANY
        resources:
            gpu=architectures_gpu,
            mem_mb=MEMORY_MB,
            max_memory_gib=MEMORY_GIB,
            runtime=240,
        params:
            train_images=ARCHITECTURES["train_images"],
            subsets=" ".join(
                f"--subset {n}x{ARCHITECTURES['small_repeats']}" for n in ARCHITECTURES["small_train_images"]
            ),
            ridges=comma(SOLVE["ridges"]),
            study=PARAMS["study"],
            timings=lambda wildcards: f"{RESULTS}/benchmarks/kernel_block/{GRID[wildcards.architecture_pass].kernel_id}",
        message:
            "solve_architectures: {wildcards.architecture_pass}"
        shell:
            # `--resources gpu=0` hides any GPU, which large problems would take.
            "if [ {resources.gpu} = 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
            "exact-cntk architectures --data {input.data} --train-images {params.train_images} {params.subsets}"
            " --ridges {params.ridges} --timings {params.timings} --study {params.study}"
            " --max-memory-gib {resources.max_memory_gib} --out {output} {input.blocks} > {log} 2>&1"
