"""Images with the statistics that matter to the kernels, so that timing needs no data set."""

import numpy as np


def cifar_like(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images with most of their power at low frequencies, standardised like the study's.

    Neighbouring pixels of photographs are alike, so that ρ comes near 1, where the kernels' closed forms are hardest;
    white noise would never go there.

    Returns
    -------
    ndarray of shape (n, height, width, channels), float32, mean 0 and variance 1 over all images
    """
    random = np.random.default_rng(seed)
    images = np.zeros((n, height, width, channels))
    for step in (1, 2, 4, 8):  # each octave doubles the amplitude: a 1/f spectrum
        coarse = random.standard_normal((n, -(-height // step), -(-width // step), channels))
        images += step * coarse.repeat(step, axis=1).repeat(step, axis=2)[:, :height, :width]
    images -= images.mean()
    return (images / images.std()).astype(np.float32)
