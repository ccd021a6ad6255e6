# Kernel blocks, each with all depths of its pass, and one merged kernel for each family and depth.

# The only files of which an edit makes the kernels stale; an edit of plots or later stages does not. Those of a backend
# concern what it has computed.
BLOCK_SOURCES = in_package(
    "_spec.py", "_cntk.py", "_flips.py", "blocks/_compute.py", "blocks/_file.py", "blocks/_writer.py"
)
CPU_SOURCES = in_package("_cpu.py", "_core/*")
BACKENDS = {
    "reference": in_package("_reference.py"),
    "cpu": CPU_SOURCES,
    "cuda": CPU_SOURCES + in_package("_cuda/*.py", "_cuda/kernels/*.cu", "_cuda/kernels/*.cuh"),
}
ALLOWED_BACKENDS = {
    name: BACKENDS[name] for name in (["cpu", "cuda"] if KERNELS["backend"] == "auto" else [KERNELS["backend"]])
}
MERGE_SOURCES = in_package("blocks/_cover.py", "blocks/_merge.py", "blocks/_merged.py")


def architecture(one):
    """What a pass computes, but for its depths."""
    return {
        "family": one.family,
        "readout": one.readout,
        "pooling_window": one.pooling_window,
        "trained": one.trained,
        "flips": one.flips,
        "filter_size": one.filter_size,
        "kinds": one.kinds,
        "dtype": KERNELS["dtype"],
    }


def make_block(wildcards):
    """All blocks of a pass state the same; where each lies is in its attributes."""
    one = PASSES[wildcards.kernel_id]
    return made("kernel_block", architecture(one) | {"depths": one.depths}, BLOCK_SOURCES, backends=ALLOWED_BACKENDS)


def make_kernel(wildcards):
    """A depth out of the blocks of its pass."""
    blocks = blocks_of_pass(wildcards)
    one = PASSES[Path(blocks[0]).parent.name]
    depth = {"depth": int(wildcards.depth)}
    return made("merge_kernel", architecture(one) | depth, MERGE_SOURCES, blocks[:1], ALLOWED_BACKENDS)


def kernels_of_block(wildcards):
    """List what is made from a block."""
    one = PASSES[wildcards.kernel_id]
    if one.pool_images is not None:
        return [f"{RESULTS}/architectures/{one.family}.json"]
    return [kernel_file(one.family, depth) for depth in one.depths]


MADE |= {"kernel_block": make_block, "merge_kernel": make_kernel}


rule kernel_block:
    """Compute one block of a kernel at all depths of its pass, with all cores, or on a GPU of its own."""
    input:
        fits=fits("kernel_block", only_for=kernels_of_block),
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
    threads: kernel_threads
    resources:
        gpu=1 if KERNELS["backend"] in ("auto", "cuda") else 0,
        mem_mb=kernel_memory_mb,
        runtime=240,
    params:
        options=options("kernel_block"),
        made_from=made_from("kernel_block"),
        rows=lambda wildcards: str(block_position(wildcards).rows),
        cols=lambda wildcards: str(block_position(wildcards).cols),
        backend=KERNELS["backend"],
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
    """Put the blocks of one depth together, after checking that they belong together and cover the kernel exactly."""
    input:
        fits=fits("merge_kernel"),
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


rule kernels:
    """All merged kernels of the study."""
    input:
        each_kernel("kernels/{kernel}.h5"),
