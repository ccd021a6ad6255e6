# Kernel blocks, each with all depths of its pass, and one merged kernel for each family and depth.


rule kernel_block:
    """Compute one block of a kernel at all depths of its pass, with all cores, or on a GPU of its own."""
    input:
        digest=ancient(digest_file),
        data=ancient(DATA),
        sources=kernel_sources,
        cuda_sources=cuda_sources,
    output:
        f"{RESULTS}/blocks/{{kernel_id}}/{{block}}.h5",
    log:
        f"{RESULTS}/logs/kernel_block/{{kernel_id}}/{{block}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/kernel_block/{{kernel_id}}/{{block}}.tsv"
    conda:
        "../../environment.yml"
    threads: kernel_threads
    resources:
        gpu=1 if KERNELS["backend"] in ("auto", "cuda") else 0,
        mem_mb=kernel_memory_mb,
        runtime=240,
    params:
        digest=data_digest,
        family=lambda wildcards: PASSES[wildcards.kernel_id].family,
        readout=lambda wildcards: PASSES[wildcards.kernel_id].readout,
        trained=lambda wildcards: PASSES[wildcards.kernel_id].trained,
        filter_size=lambda wildcards: PASSES[wildcards.kernel_id].filter_size,
        depths=lambda wildcards: comma(PASSES[wildcards.kernel_id].depths),
        rows=lambda wildcards: str(block_position(wildcards).rows),
        cols=lambda wildcards: str(block_position(wildcards).cols),
        kinds=lambda wildcards: comma(PASSES[wildcards.kernel_id].kinds),
        pooling=lambda wildcards: pooling_options(PASSES[wildcards.kernel_id]),
        backend=KERNELS["backend"],
        dtype=KERNELS["dtype"],
        timing=f"{RESULTS}/benchmarks/kernel_block/{{kernel_id}}/{{block}}.json",
    message:
        "kernel_block: {wildcards.kernel_id}, rows {params.rows}, columns {params.cols}"
    shell:
        # `--resources gpu=0` turns `auto` into `cpu`; not in params, for the backend is no reason to compute again.
        # Of several GPUs the command takes one that no other has taken.
        "backend={params.backend}; if [ $backend = auto ] && [ {resources.gpu} = 0 ]; then backend=cpu; fi; "
        "exact-cntk block --data {input.data} --family {params.family} --readout {params.readout}"
        " --trained {params.trained} --filter-size {params.filter_size} --depths {params.depths} {params.pooling}"
        " --kinds {params.kinds} --rows {params.rows} --cols {params.cols}"
        " --backend $backend --dtype {params.dtype} --threads {threads}"
        " --timing {params.timing} --out {output} > {log} 2>&1"


rule merge_kernel:
    """Put the blocks of one depth together, after checking that they belong together and cover the kernel exactly."""
    input:
        blocks=blocks_of_pass,
        sources=sources("blocks/_cover.py", "blocks/_merge.py", "blocks/_merged.py"),
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
    message:
        "merge_kernel: {wildcards.family}, depth {params.depth}"
    shell:
        "exact-cntk merge --depth {params.depth} --max-memory-gib {resources.max_memory_gib} --out {output}"
        " {input.blocks} > {log} 2>&1"


rule kernels:
    """All merged kernels of the study."""
    input:
        each_kernel("kernels/{kernel}.h5"),
