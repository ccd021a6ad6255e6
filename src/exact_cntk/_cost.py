"""The unit in which kernels cost: entries of covariance tensors, taken through layers."""


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
