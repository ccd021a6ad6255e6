"""Rates of this machine, each measured once, and the seconds that work takes at these rates."""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from exact_cntk._support.machine import cores
from exact_cntk.kernels.cntk import by_rows
from exact_cntk.kernels.cost import H200_FLOPS
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.solvers.choice import CG_FITS, DEVICE_TILE, EIGH_LIMIT, EXPECTED_STEPS, prefers_gpu
from exact_cntk.regression.solvers.triangle import Triangle
from exact_cntk.study.passes import KernelPass
from exact_cntk.study.work import BACKWARD, Convolutions, Fits, Work

LARGEST_RUN = 2000  # images a side, when the pace of a kernel is measured
# Training images of timed fits. Below the first, where linear algebra is a small part, time is constant; between them
# it grows as a power of n, and beyond as the cube.
SMALL_FITS, SMALL_CHOLESKY = (100, 800), 2000
TIMED_RIDGES = (1e-3, 1e-2)
MULTIPLIED = 6000  # rows of the kernel that is timed for "cg", 160 MB
PRODUCT = 1000  # rows of the matrices that are multiplied
STEP_DEPTH, OUTPUTS = 6, 10  # of the network whose steps are timed
LARGEST_STEP = 5e10  # operations of a step that is timed
TORCH_SECONDS = 2.5  # to import torch
# Operations/s where nothing is measured: of one core without torch; and of one H100 or H200 in float32 and in
# TF32, expected, below the data sheet's 6.7e13 and 4.9e14.
CPU_CONVOLUTIONS, GPU_CONVOLUTIONS, GPU_PRODUCTS = 3e10, {False: 4e13, True: 2e14}, 2e13


class Rates:
    """Paces of this machine; each is measured when it is first asked for, for about so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._measured: dict[tuple, float] = {}

    def seconds(self, works: Iterable[Work]) -> float:
        """Seconds that jobs take on all cores of this machine; rough, and too many where training may end early."""
        works = list(works)
        shared = [(work.jobs, self.job_seconds(work)) for work in works if not (work.all_cores or work.gpu)]
        alone = sum(work.jobs * self.job_seconds(work) for work in works if work.all_cores or work.gpu)
        if not any(jobs for jobs, _ in shared):
            return alone
        longest = max(seconds for jobs, seconds in shared if jobs)
        return alone + max(longest, sum(map(math.prod, shared)) / min(cores(), sum(jobs for jobs, _ in shared)))

    def job_seconds(self, work: Work) -> float:
        """Seconds of one job, on its own cores."""
        threads = cores() if work.all_cores else 1
        seconds = work.seconds + self._once(("start",), time_start) + TORCH_SECONDS * work.torch
        seconds += sum(fits.times * self._fit(fits, threads) for fits in work.fits)
        if work.products:
            pace = GPU_PRODUCTS if work.gpu else self._once(("products", threads), self._products, threads)
            seconds += work.products / pace
        if work.convolutions is not None:
            seconds += work.convolutions.operations / self._convolutions(work.convolutions, threads, work.gpu)
        return seconds

    def _fit(self, fits: Fits, threads: int) -> float:
        """Seconds of one of these fits; too many for large ones, as linear algebra gains with their number."""
        n = fits.images
        if fits.iterated:
            pace = self._once(("multiply", threads), time_multiply, threads)
            return 2 * EXPECTED_STEPS * CG_FITS * n**2 * fits.iterated / pace
        if n > EIGH_LIMIT:
            timed = self._once(("cholesky", threads), time_fit, SMALL_CHOLESKY, "cholesky", threads)
            return timed * fits.ridges / len(TIMED_RIDGES) * (n / SMALL_CHOLESKY) ** 3
        few, many = (self._once(("eigh", size, threads), time_fit, size, "eigh", threads) for size in SMALL_FITS)
        if n >= SMALL_FITS[1]:
            return many * (n / SMALL_FITS[1]) ** 3
        power = math.log(max(1.0, many / few)) / math.log(SMALL_FITS[1] / SMALL_FITS[0])
        return few * max(1.0, n / SMALL_FITS[0]) ** power

    def _products(self, threads: int) -> float:
        """Operations/s of products of float32 matrices."""
        A = np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT), dtype=np.float32)
        with threadpool_limits(threads):
            A @ A  # loads and starts what multiplies
            start, done = time.perf_counter(), 0
            while done == 0 or time.perf_counter() - start < self._seconds:
                A @ A
                done += 1
            return done * 2 * PRODUCT**3 / (time.perf_counter() - start)

    def _convolutions(self, work: Convolutions, threads: int, gpu: bool) -> float:
        if gpu:
            return GPU_CONVOLUTIONS[work.tf32]
        if find_spec("torch") is None:
            return CPU_CONVOLUTIONS * threads
        form = work._replace(operations=0)
        return self._once((form, threads), time_steps, form, threads, self._seconds)

    def _once(self, name: tuple, measure: Callable[..., float], *arguments: Any) -> float:
        if name not in self._measured:
            self._measured[name] = measure(*arguments)
        return self._measured[name]


def time_start() -> float:
    """Seconds that a job takes to start, without torch."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import exact_cntk.study.solve"], check=True)
    return time.perf_counter() - start


def time_fit(n: int, method: str, threads: int) -> float:
    """Seconds of one regression of n random images, by a method, along a path of `TIMED_RIDGES`."""
    features = np.random.default_rng(0).standard_normal((n, n))
    K, labels = features @ features.T, np.arange(n) % OUTPUTS
    start = time.perf_counter()
    with threadpool_limits(threads):
        kernel_regression(K, labels, ridges=TIMED_RIDGES, method=method)
    return time.perf_counter() - start


def time_multiply(threads: int) -> float:
    """Operations/s of a product of a kernel's triangle in memory, larger than most caches, with the blocks of "cg"."""
    with threadpool_limits(threads):
        triangle = Triangle(MULTIPLIED, DEVICE_TILE)
    for i, rows in enumerate(triangle.bounds):
        for j, columns in enumerate(triangle.bounds[: i + 1]):
            triangle.load(i, j, np.ones((columns.stop - columns.start, rows.stop - rows.start), order="F"))
    block = np.ones((MULTIPLIED, CG_FITS * OUTPUTS))
    triangle.multiply(block)  # loads and starts what multiplies
    start = time.perf_counter()
    triangle.multiply(block)
    return 2 * MULTIPLIED**2 * block.shape[1] / (time.perf_counter() - start)


def time_steps(form: Convolutions, threads: int, seconds: float) -> float:
    """Operations/s of training steps of this form; of a narrower network on fewer images where a step takes long."""
    from exact_cntk import finite
    from exact_cntk.finite._torch import torch

    width, images, limit = form.width, form.images, min(LARGEST_STEP, seconds * CPU_CONVOLUTIONS / 4)

    def step() -> int:
        return images * (1 + BACKWARD) * form.network.operations(form.shape, STEP_DEPTH, width, OUTPUTS)

    while step() > limit and images > 1:
        images = math.ceil(images / 2)
    while step() > limit and width > 1:
        width = math.ceil(width / 2)
    x, labels = np.random.default_rng(0).standard_normal((images, *form.shape)), np.zeros(images)
    model = finite.CNN(form.shape, depth=STEP_DEPTH, width=width, outputs=OUTPUTS, **form.network.arguments())

    def run(steps: int) -> float:
        start = time.perf_counter()
        # The last step's row is one pass that is no step.
        finite.train_full_batch(model, x, labels, rate=0.0, steps=steps, every=steps + 1, images_at_once=images)
        return time.perf_counter() - start

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        steps = max(1, min(1000, math.floor(seconds / max(run(1), 1e-6))))
        return (steps + 1) * step() / run(steps)
    finally:
        torch.set_num_threads(before)


def h200_solve_seconds(subsets: Sequence[Mapping[str, int]], n_ridges: int) -> float:
    """Seconds for one kernel of the training sets that a GPU takes: 4n³/3 operations per ridge, factor and inverse."""
    large = [subset for subset in subsets if prefers_gpu(subset["train_images"])]
    return sum(subset["repeats"] * n_ridges * 4 / 3 * subset["train_images"] ** 3 / H200_FLOPS for subset in large)


def measure_speed(
    shape: tuple[int, int, int], kernel_pass: KernelPass, dtype: str, backend: str, seconds: float
) -> float:
    """Element-layers/s of one pass on random images of this shape, on all cores.

    The first run only loads the core and shows how long a pair takes; the size of a run that takes about `seconds`
    follows from it, by way of smaller ones where a pair takes next to nothing.
    """
    spec = KernelSpec(kernel_pass.network, kernel_pass.depths, kernel_pass.kinds)

    def run(n: int) -> float:
        images = np.random.default_rng(n).standard_normal((2 * n, *shape)).astype(np.float32)
        start = time.perf_counter()
        by_rows(images[:n], images[n:], spec, backend=backend, dtype=dtype, threads=None, progress=False)
        return time.perf_counter() - start

    run(1)
    n, left = math.ceil(math.sqrt(2 * cores())), seconds
    while True:
        took = run(n)
        left -= took
        if left < seconds / 2 or n >= LARGEST_RUN:
            return kernel_pass.layers(n * n, shape) / took
        n = min(LARGEST_RUN, math.ceil(n * min(8, math.sqrt(max(1.2, left / took)))))
