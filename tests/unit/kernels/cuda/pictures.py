"""Images for the tests of the `cuda` backend, with and without a GPU."""

import numpy as np
from kernel_inputs import smooth_images


def photographs(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images with a photograph's spectrum, float32, of variance 1."""
    images = smooth_images(n, height, width, channels, seed)
    return (images / images.std()).astype(np.float32)


def awkward_images(height: int, width: int) -> np.ndarray:
    """Black, constant, twice the same, a near-duplicate, turned over, half black, and a single pixel; nine in all."""
    x = photographs(9, height, width)
    x[1], x[2], x[3], x[6, :, width // 2 :] = 0, 3, 2 * x[0], 0
    x[4] = x[0] * (1 + 1e-4 * np.random.default_rng(0).standard_normal(x[0].shape))
    x[5] = x[0].transpose(1, 0, 2) if height == width else x[0, ::-1]
    x[7] = 0
    x[7, 2, 3] = -1
    return x
