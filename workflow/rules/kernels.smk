# Kernel blocks, each with all depths of its pass, and one merged kernel for each family and depth, which refers to them.


rule kernel_block:
    """Compute one block of a kernel at all depths of its pass, with all cores, or on a GPU of its own."""
    input:
        fits=fits("kernel_block", look=look_at_block),
        data=ancient(DATA),
        sources=sources(BLOCK_SOURCES + sum(ALLOWED_BACKENDS.values(), [])),
    output:
        f"{RESULTS}/blocks/{{kernel_id}}/{{block}}.h5",
    log:
        f"{RESULTS}/logs/kernel_block/{{kernel_id}}/{{block}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/kernel_block/{{kernel_id}}/{{block}}.tsv"
    conda:
        "../../environment.yml"
    threads: MANY
    resources:
        gpu=int(ASKED_FOR in ("auto", "cuda")),
        mem_mb=kernel_memory_mb,
        runtime=kernel_minutes,
    params:
        options=options("kernel_block"),
        made_from=made_from("kernel_block"),
        rows=lambda wildcards: str(block_position(wildcards).rows),
        cols=lambda wildcards: str(block_position(wildcards).cols),
        backend=ASKED_FOR,
        timing=f"{RESULTS}/benchmarks/kernel_block/{{kernel_id}}/{{block}}.json",
    message:
        "kernel_block: {wildcards.kernel_id}, rows {params.rows}, columns {params.cols}"
    shell:
        # `--resources gpu=0` turns `auto` into `cpu`; not in params, for the backend is no reason to compute again.
        # Of several GPUs the command takes one that no other has taken.
        "backend={params.backend}; if [ $backend = auto ] && [ {resources.gpu} = 0 ]; then backend=cpu; fi; "
        "exact-cntk --made-from {params.made_from} block --data {input.data} {params.options}"
        " --rows {params.rows} --cols {params.cols} --backend $backend --threads {threads}"
        " --timing {params.timing} --out {output} > {log} 2>&1"


rule merge_kernel:
    """Say where one depth's numbers are, after checking that the blocks belong together and cover the kernel exactly."""
    input:
        fits=fits("merge_kernel", look=look_at_kernel),
        blocks=inputs_of("merge_kernel", blocks_of_pass),
        sources=sources(MERGE_SOURCES),
    output:
        f"{RESULTS}/kernels/{{family}}-depth-{{depth}}.h5",
    log:
        f"{RESULTS}/logs/merge_kernel/{{family}}-depth-{{depth}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_kernel/{{family}}-depth-{{depth}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=MEMORY_MB,
        max_memory_gib=MEMORY_GIB,
        runtime=60,
    params:
        depth=lambda wildcards: int(wildcards.depth),
        made_from=made_from("merge_kernel"),
    message:
        "merge_kernel: {wildcards.family}, depth {params.depth}"
    shell:
        "exact-cntk --made-from {params.made_from} merge --depth {params.depth} --max-memory-gib {resources.max_memory_gib} --out {output}"
        " {input.blocks} > {log} 2>&1"


rule blocks:
    """All blocks of the study, of merged kernels and of sections."""
    input:
        blocks_of(PASSES),


rule kernels:
    """All merged kernels of the study."""
    input:
        each_kernel("kernels/{kernel}.h5"),
