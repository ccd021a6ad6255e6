# The grid of architectures. Its blocks are computed by `kernel_block`, as those of the study's own kernels.
ARCHITECTURES = PARAMS["architectures"]
# By family, which names a pass's file of results.
GRID = {one.name: one for one in architecture_passes(PARAMS)}
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
            fits=fits("solve_architectures"),
            blocks=inputs_of("solve_architectures", architecture_block_files),
            data=ancient(DATA),
            sources=sources(ARCHITECTURES_SOURCES),
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
            options=options("solve_architectures"),
            made_from=made_from("solve_architectures"),
            timings=lambda wildcards: f"{RESULTS}/benchmarks/kernel_block/{GRID[wildcards.architecture_pass].kernel_id}",
        message:
            "solve_architectures: {wildcards.architecture_pass}"
        shell:
            # `--resources gpu=0` hides any GPU, which large problems would take.
            "if [ {resources.gpu} = 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
            "exact-cntk --made-from {params.made_from} architectures --data {input.data} {params.options}"
            " --timings {params.timings}"
            " --max-memory-gib {resources.max_memory_gib} --out {output} {input.blocks} > {log} 2>&1"
