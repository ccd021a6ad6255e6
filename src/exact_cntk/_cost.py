"""What kernels cost: entries of covariance tensors taken through layers, and memory."""

ITEM_BYTES = 8  # kernels are float64
COPIES_OF_A_BLOCK = 2  # the kernels, and the file as it is put together in memory
TABLE_BYTES = 2**30  # the most that the backend's norm tables take
TABLE_BYTES_A_PIXEL = 32  # of an image, by layer; generous


def element_layers(pairs: int, image_shape: tuple[int, ...], readout: str, depth: int) -> int:
    """Entries of all pairs' covariance tensors × ReLU layers (depth − 1) of one pass to `depth`.

    A pair of P×Q images has (P·Q)² entries, of which the readout `flatten` needs P·Q.

    Parameters
    ----------
    pairs : int
        Pairs of images; of a symmetric matrix n(n + 1)/2.
    image_shape : tuple
        (P, Q) or (P, Q, C).
    readout : {"flatten", "gap"}
    depth : int
        The deepest of the pass; the others come out of it for free.
    """
    pixels = image_shape[0] * image_shape[1]
    return pairs * (pixels if readout == "flatten" else pixels**2) * (depth - 1)


def block_memory(rows: int, cols: int, outputs: int, image_shape: tuple[int, ...], depth: int) -> int:
    """Peak memory of computing one block, beyond the data set itself, in bytes; rather too much than too little.

    Parameters
    ----------
    rows, cols : int
        Images on either side.
    outputs : int
        Kernels that come out: kinds × depths.
    image_shape : tuple
        (P, Q, C).
    depth : int
        The deepest.
    """
    pixels = image_shape[0] * image_shape[1]
    tables = min(TABLE_BYTES, (rows + cols) * pixels * (depth - 1) * TABLE_BYTES_A_PIXEL)
    return COPIES_OF_A_BLOCK * ITEM_BYTES * rows * cols * outputs + tables
