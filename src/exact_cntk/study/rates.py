"""What kernel regression costs, from small problems by the cubic law."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from exact_cntk.kernels.cost import H200_FLOPS
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.solvers.choice import EIGH_LIMIT, prefers_gpu

SMALL_SOLVE = {"eigh": 800, "cholesky": 2000}  # training images, when calibrating


def h200_solve_seconds(subsets: Sequence[Mapping[str, int]], n_ridges: int) -> float:
    """Seconds for one kernel of the training sets that a GPU takes: 4n³/3 operations a ridge, a factor and inverse."""
    large = [one for one in subsets if prefers_gpu(one["train_images"])]
    return sum(one["repeats"] * n_ridges * 4 / 3 * one["train_images"] ** 3 / H200_FLOPS for one in large)


def solve_seconds(subsets: Sequence[Mapping[str, int]], n_ridges: int) -> float:
    """Seconds for one kernel by the cubic law from small problems; too many for large ones, as BLAS gains with size."""
    ridges = (1e-3, 1e-2)
    seconds = 0.0
    for one in subsets:
        n = one["train_images"]
        method = "eigh" if n <= EIGH_LIMIT else "cholesky"
        factorisations = 1 if method == "eigh" else n_ridges / len(ridges)
        small = min(n, SMALL_SOLVE[method])
        seconds += one["repeats"] * factorisations * time_solve(small, method, ridges) * (n / small) ** 3
    return seconds


def time_solve(n: int, method: str, ridges: tuple[float, ...]) -> float:
    """Seconds of one regression of n random images, by a method, along a path of ridges."""
    features = np.random.default_rng(0).standard_normal((n, n))
    K, y = features @ features.T, np.arange(n) % 10
    start = time.perf_counter()
    kernel_regression(K, y, ridges=ridges, method=method)
    return time.perf_counter() - start
