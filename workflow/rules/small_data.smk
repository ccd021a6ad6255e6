# Accuracy against the number of training images: kernels, networks and standard methods on the same training sets.
rule small_data_kernel:
    """Regression with one kernel on all small training sets, without ridge and with that of leave-one-out."""
    input:
        fits=fits("small_data_kernel"),
        data=ancient(DATA),
        kernel=inputs_of("small_data_kernel", job_inputs("small_data_kernel")),
        sources=sources(step_sources("small_data_kernel")),
    output:
        f"{RESULTS}/small_data/{{small_data_kernel}}.json",
    log:
        f"{RESULTS}/logs/small_data_kernel/{{small_data_kernel}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/small_data_kernel/{{small_data_kernel}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=MEMORY_MB,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("small_data_kernel"),
        parameters=job_parameters("small_data_kernel"),
        made_from=made_from("small_data_kernel"),
    message:
        "small_data_kernel: {wildcards.small_data_kernel}"
    shell:
        RUN_JOB


rule small_data_baseline:
    """A standard method on all small training sets; its settings are chosen on the training images alone."""
    input:
        fits=fits("small_data_baseline"),
        data=ancient(DATA),
        sources=sources(step_sources("small_data_baseline")),
    output:
        f"{RESULTS}/small_data/{{small_data_baseline}}.json",
    log:
        f"{RESULTS}/logs/small_data_baseline/{{small_data_baseline}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/small_data_baseline/{{small_data_baseline}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=240,
    params:
        job=job_words("small_data_baseline"),
        parameters=job_parameters("small_data_baseline"),
        made_from=made_from("small_data_baseline"),
    message:
        "small_data_baseline: {wildcards.small_data_baseline}"
    shell:
        RUN_JOB


rule small_data_cnn:
    """A finite CNN on the smaller of the training sets; its learning rate is chosen on the training images alone."""
    input:
        fits=fits("small_data_cnn"),
        data=ancient(DATA),
        sources=sources(step_sources("small_data_cnn")),
    output:
        f"{RESULTS}/small_data/{{small_data_cnn}}.json",
    log:
        f"{RESULTS}/logs/small_data_cnn/{{small_data_cnn}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/small_data_cnn/{{small_data_cnn}}.tsv"
    # Before the others, which are shorter.
    priority: 1
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=480,
    params:
        job=job_words("small_data_cnn"),
        parameters=job_parameters("small_data_cnn"),
        made_from=made_from("small_data_cnn"),
    message:
        "small_data_cnn: {wildcards.small_data_cnn}"
    shell:
        RUN_JOB
