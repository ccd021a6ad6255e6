# Random features: kernels of random finite networks, and the exact kernels of the same images.
rule random_features_draw:
    """Regression on the features of one random network of each depth, along the ridge path, in both precisions."""
    input:
        fits=fits("random_features_draw"),
        data=ancient(DATA),
        sources=sources(step_sources("random_features_draw")),
    output:
        f"{RESULTS}/random_features/{{random_features_draw}}.json",
    log:
        f"{RESULTS}/logs/random_features_draw/{{random_features_draw}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/random_features_draw/{{random_features_draw}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=int(ASKED_FOR in ("auto", "cuda")),
        mem_mb=section_memory_mb("random_features"),
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("random_features_draw"),
        parameters=job_parameters("random_features_draw"),
        made_from=made_from("random_features_draw"),
    message:
        "random_features_draw: {wildcards.random_features_draw}"
    shell:
        RUN_JOB


rule random_features_exact:
    """Regression with a family's exact kernels on the images of the draws, in the same way."""
    input:
        fits=fits("random_features_exact"),
        data=ancient(DATA),
        kernels=inputs_of("random_features_exact", job_inputs("random_features_exact")),
        sources=sources(step_sources("random_features_exact")),
    output:
        f"{RESULTS}/random_features/{{random_features_exact}}.json",
    log:
        f"{RESULTS}/logs/random_features_exact/{{random_features_exact}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/random_features_exact/{{random_features_exact}}.tsv"
    conda:
        "../../environment.yml"
    threads: section_threads("random_features")
    resources:
        gpu=0,
        mem_mb=section_memory_mb("random_features"),
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("random_features_exact"),
        parameters=job_parameters("random_features_exact"),
        made_from=made_from("random_features_exact"),
    message:
        "random_features_exact: {wildcards.random_features_exact}"
    shell:
        RUN_JOB


rule random_features_sweep:
    """Deviation of empirical kernels from the exact one against width, with the fitted slope."""
    input:
        fits=fits("random_features_sweep"),
        data=ancient(DATA),
        sources=sources(step_sources("random_features_sweep")),
    output:
        f"{RESULTS}/random_features/{{random_features_sweep}}.json",
    log:
        f"{RESULTS}/logs/random_features_sweep/{{random_features_sweep}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/random_features_sweep/{{random_features_sweep}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=int(ASKED_FOR in ("auto", "cuda")),
        mem_mb=section_memory_mb("random_features"),
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("random_features_sweep"),
        parameters=job_parameters("random_features_sweep"),
        made_from=made_from("random_features_sweep"),
    message:
        "random_features_sweep: {wildcards.random_features_sweep}"
    shell:
        RUN_JOB
