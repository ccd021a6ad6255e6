"""Regularised ZCA whitening of images, fitted on a training set."""

from collections.abc import Callable, Iterable

import numpy as np


class Whitening:
    """x ↦ U (Λ + ε λ̄ I)^(−1/2) Uᵀ (x − m), on images as vectors of P·Q·C numbers.

    m and U Λ Uᵀ are mean and covariance of the training images, λ̄ the mean of the eigenvalues Λ. Small ε equalises all
    directions, large ε only scales the images.

    Source: Lee et al. 2020, Finite Versus Infinite Neural Networks, arXiv 2007.15801, appendix F; Shankar et al. 2020,
    Neural Kernels Without Tangents, arXiv 2003.02237.

    Parameters
    ----------
    batches : callable
        Gives the training images again each time, as an iterable of arrays of shape (some, P, Q, C).
    regularisation : float
        ε, above 0.
    """

    def __init__(self, batches: Callable[[], Iterable[np.ndarray]], regularisation: float) -> None:
        count, total = 0, np.zeros(())
        for images in batches():
            total = total + images.sum(axis=0, dtype=np.float64)
            count += len(images)
        self._mean = (total / count).reshape(-1)
        covariance = np.zeros((self._mean.size,) * 2)
        for images in batches():
            centred = self._centred(images)
            covariance += centred.T @ centred
        values, vectors = np.linalg.eigh(covariance / count)
        values = np.maximum(values, 0.0)
        self._matrix = (vectors / np.sqrt(values + regularisation * values.mean())) @ vectors.T

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Whitened images, float64."""
        return (self._centred(images) @ self._matrix).reshape(images.shape)

    def _centred(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float64) - self._mean
