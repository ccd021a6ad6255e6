"""Kernels on disk for the tests of the solvers, and how a tile of a chosen size is enforced."""

import h5py
import numpy as np

from exact_cntk.regression.solvers import choice, tiled

RIDGES = (0.0, 1e-6, 1e-2, 1.0)


def make_kernel(n: int, seed: int = 0) -> np.ndarray:
    """Of full rank, exactly symmetric."""
    X = np.random.default_rng(seed).standard_normal((n, n + 20))
    K = X @ X.T / n
    return (K + K.T) / 2


def with_smallest(n: int, smallest: float) -> np.ndarray:
    """A kernel whose smallest eigenvalue is this, all others between 0.1 and 2."""
    V = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    values = np.linspace(0.1, 2, n)
    values[0] = smallest
    K = V * values @ V.T
    return (K + K.T) / 2


def store(path, K: np.ndarray) -> h5py.Dataset:
    """As a contiguous dataset, the file open for reading."""
    with h5py.File(path, "w") as file:
        file["K"] = K
    return h5py.File(path, "r")["K"]


def use_tiles(monkeypatch, tile: int) -> None:
    """Let "blocked" and "cuda" take tiles of this many rows, and torch the CPU for the latter."""
    for name in ("SMALLEST_TILE", "LARGEST_TILE", "DEVICE_TILE"):
        monkeypatch.setattr(choice, name, tile)
    monkeypatch.setattr(choice, "TILE_STEP", 1)
    monkeypatch.setattr(choice, "usable_device", lambda problem: ("torch's CPU", None))
    monkeypatch.setattr(tiled, "DEVICE", "cpu")
