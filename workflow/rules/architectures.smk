# The grid of architectures. Its blocks are computed by `kernel_block`, as those of the study's own kernels.
rule solve_architectures:
    """Accuracies of all architectures of a pass, from few training images and from all of them."""
    input:
        fits=fits("solve_architectures"),
        data=ancient(DATA),
        blocks=inputs_of("solve_architectures", job_inputs("solve_architectures")),
        sources=sources(step_sources("solve_architectures")),
    output:
        f"{RESULTS}/architectures/{{solve_architectures}}.json",
    log:
        f"{RESULTS}/logs/solve_architectures/{{solve_architectures}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/solve_architectures/{{solve_architectures}}.tsv"
    conda:
        "../../environment.yml"
    threads: section_threads("architectures")
    resources:
        gpu=int(prefers_gpu(PARAMS["architectures"]["train_images"])),
        mem_mb=MEMORY_MB,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("solve_architectures"),
        parameters=job_parameters("solve_architectures"),
        made_from=made_from("solve_architectures"),
    message:
        "solve_architectures: {wildcards.solve_architectures}"
    shell:
        RUN_JOB
