# Kernel regression along the ridge path, on every subset of the training pool.
rule solve:
    """Accuracies, errors that choose a ridge, residuals and spectra of one kernel, with their provenance beside."""
    input:
        fits=fits("solve"),
        kernel=inputs_of("solve", solved_kernel),
        data=ancient(DATA),
        sources=sources(SOLVE_SOURCES),
    output:
        metrics=f"{RESULTS}/metrics/{{family}}-depth-{{depth}}.json",
        provenance=f"{RESULTS}/provenance/{{family}}-depth-{{depth}}.json",
    log:
        f"{RESULTS}/logs/solve/{{family}}-depth-{{depth}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/solve/{{family}}-depth-{{depth}}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_to_solve(largest_subset())
    resources:
        gpu=int(prefers_gpu(largest_subset())),
        mem_mb=solve_memory_mb(),
        max_memory_gib=MEMORY_GIB,
        runtime=solve_minutes(),
    params:
        options=options("solve"),
        made_from=made_from("solve"),
        checkpoints=f"{RESULTS}/checkpoints/{{family}}-depth-{{depth}}",
        timing=f"{RESULTS}/benchmarks/solve/{{family}}-depth-{{depth}}.json",
    message:
        "solve: {wildcards.family}, depth {wildcards.depth}"
    shell:
        f"{HIDE_GPU}"
        "exact-cntk --made-from {params.made_from} solve --kernel {input.kernel} --data {input.data} {params.options}"
        " --max-memory-gib {resources.max_memory_gib} --checkpoints {params.checkpoints}"
        " --out {output.metrics} --provenance {output.provenance} --timing {params.timing} > {log} 2>&1"


rule metrics:
    """The metrics of all kernels of the study."""
    input:
        each_kernel("metrics/{kernel}.json"),


for family in FAMILIES:

    rule:
        name:
            family["name"].replace("-", "_")
        input:
            each_kernel("metrics/{kernel}.json", [family["name"]]),
