"""What kernels cost: rates of element-layers (see `exact_cntk.networks.Family`), and memory."""

ITEM_BYTES = 8  # kernels in memory are float64
STORED_BYTES = {"float32": 4, "float64": 8}  # of an entry on disk
COPIES_OF_A_FILE = 2  # at the start of a block: empty, as HDF5 lays it out, and as it returns it
MERGED_COPIES = 2  # of one kernel of a block, where it is checked: itself, and masks of its entries
TABLE_BYTES = 2**30  # the most that the backend's norm tables take
TABLE_BYTES_PER_PIXEL = 32  # of an image, by layer; generous

# Element-layers/s by backend and readout that blocks are cut for, and that costs are expected from where nothing is
# measured. Constants: a grid of blocks must be the same on every machine.
# - cpu: 2e9 a core, between the figures of AVX2 and AVX-512 in benchmarks/results, on NOMINAL_CORES cores.
# - cuda: one H200, from counting the instructions of the compiled kernels; 1.05e12 is the bound for `gap`.
# - reference: the two cores of benchmarks/results on 8×8 and 32×32 images; it takes the full tensor for `flatten` too.
# `lap` is at more than half of `gap` on the CPU. On the GPU the general kernel takes it, at about 300 instructions an
# entry on sm_90, which bound it to 1.1e11; half of that is assumed.
NOMINAL_CORES = 4
NOMINAL_RATES = {
    ("cpu", "gap"): 2e9 * NOMINAL_CORES,
    ("cpu", "lap"): 2e9 * NOMINAL_CORES,
    ("cpu", "flatten"): 2e9 * NOMINAL_CORES,
    ("cuda", "gap"): 8e11,
    ("cuda", "lap"): 5e10,
    ("cuda", "flatten"): 5e11,
    ("reference", "gap"): 1e7,
    ("reference", "lap"): 1e6,
    ("reference", "flatten"): 1e4,
}
H200_FLOPS = 4e13  # float64 operations/s of large products, expected; the data sheet has 6.7e13 for tensor cores


def block_bytes(rows: int, cols: int, outputs: int, storage: str = "float64") -> int:
    """Bytes of a block's kernels on disk, of which its file has a few more; parameters are those of `block_memory`."""
    return STORED_BYTES[storage] * rows * cols * outputs


def block_memory(
    rows: int, cols: int, outputs: int, image_shape: tuple[int, ...], depth: int, storage: str = "float64"
) -> int:
    """Peak memory of computing one block, beyond the data set itself, in bytes; an upper estimate.

    Parameters
    ----------
    rows, cols : int
        Images on either side.
    outputs : int
        Kernels computed: kinds × depths.
    image_shape : tuple
        (P, Q, C).
    depth : int
        The deepest.
    storage : {"float64", "float32"}
        Of the kernels on disk.
    """
    pixels = image_shape[0] * image_shape[1]
    tables = min(TABLE_BYTES, (rows + cols) * pixels * (depth - 1) * TABLE_BYTES_PER_PIXEL)
    kernels = block_bytes(rows, cols, outputs) + COPIES_OF_A_FILE * block_bytes(rows, cols, outputs, storage)
    return kernels + tables
