# Finite CNNs, trained beside the exact kernels: one job for each family, depth, rate, seed and split, one file for each
# family and depth. Runs and checkpoints lie outside of the folder that DVC deletes: they may have cost hours of a GPU.
from exact_cntk.study.sections.cnns.cost import trains_long


rule train_cnn:
    """Train one network: on the pool without its validation images, to choose the rate by, or on the whole pool."""
    input:
        fits=fits("train_cnn", only_for=lambda wildcards: made_of_result(f"training/{wildcards.train_cnn}.json")),
        data=ancient(DATA),
        sources=sources(step_sources("train_cnn")),
    output:
        f"{RESULTS}/training/{{train_cnn}}.json",
    log:
        f"{RESULTS}/logs/train_cnn/{{train_cnn}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_cnn/{{train_cnn}}.tsv"
    conda:
        "../../environment.yml"
    # One core for each small network: the last digits depend on the number of threads.
    threads: MANY if trains_long(PARAMS) else 1
    resources:
        gpu=int(trains_long(PARAMS)),
        mem_mb=section_memory_mb("cnns"),
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=1440,
    params:
        job=job_words("train_cnn"),
        parameters=job_parameters("train_cnn"),
        made_from=made_from("train_cnn"),
    message:
        "train_cnn: {wildcards.train_cnn}"
    shell:
        RUN_JOB


rule gather_cnn:
    """Choose the rate of one architecture on its validation runs, and put outcomes and learning curves together."""
    input:
        fits=fits("gather_cnn"),
        runs=inputs_of("gather_cnn", job_inputs("gather_cnn")),
        sources=sources(step_sources("gather_cnn")),
    output:
        outcome=f"{RESULTS}/cnns/{{gather_cnn}}.json",
        curves=f"{RESULTS}/cnns/{{gather_cnn}}.csv",
    log:
        f"{RESULTS}/logs/gather_cnn/{{gather_cnn}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_cnn/{{gather_cnn}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=10,
    params:
        job=job_words("gather_cnn"),
        parameters=job_parameters("gather_cnn"),
        made_from=made_from("gather_cnn"),
    message:
        "gather_cnn: {wildcards.gather_cnn}"
    shell:
        RUN_JOB
