"""What a study costs before it starts: pairs, element-layers, hours, memory and disk."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._backends import Backend, describe_backend
from exact_cntk._cntk import cntk
from exact_cntk._cost import ITEM_BYTES, block_memory, element_layers
from exact_cntk._machine import available_memory, cores, cpu_model, format_gib, free_disk
from exact_cntk._regression import EIGH_LIMIT, kernel_regression
from exact_cntk.study.params import KernelPass, kernel_blocks, kernel_passes, load_params
from exact_cntk.study.solve import memory_needed

CHANNELS = {"digits": 1, "cifar10": 3}
DIGITS_CLASSES = CIFAR10_CLASSES = 10
# From counting the instructions of a compiled design, not from a run: 0.75–0.85e12 on a GPU of 132 SMs at 1.98 GHz.
H200_ELEMENT_LAYERS = 0.8e12
SMALL_SOLVE = 800  # training images, when calibrating
LARGEST_RUN = 2000  # images a side, when calibrating
DAY, YEAR = 86_400, 365 * 86_400
COLUMNS = ("kernels", "depths", "pairs", "element-layers", "blocks", "here", "one H200", "memory", "disk")


@dataclass(frozen=True)
class Cost:
    """Cost of one family of kernels.

    Attributes
    ----------
    family : str
    depths : tuple of int
        Of all passes.
    pairs : int
        Pairs of images, over all passes; one pass serves all its depths and kinds.
    element_layers : int
        See `exact_cntk._cost.element_layers`.
    blocks : int
        Files, over all passes.
    seconds_here : float or None
        For the kernel on this machine, all cores, from the calibration; None without.
    seconds_h200 : float
        Expected on one H200, not measured.
    memory : int
        Peak of one block job, bytes: the images, and `exact_cntk._cost.block_memory`.
    disk : int
        Blocks and merged kernels, bytes.
    """

    family: str
    depths: tuple[int, ...]
    pairs: int
    element_layers: int
    blocks: int
    seconds_here: float | None
    seconds_h200: float
    memory: int
    disk: int


@dataclass(frozen=True)
class Estimate:
    """Cost of a study.

    Attributes
    ----------
    params : dict
    backend : Backend
    costs : tuple of Cost
        One a family.
    solve_memory : int
        Peak of the largest solve, bytes.
    solve_seconds : float or None
        All solves one after the other, from the calibration.
    speeds : dict of str to float
        Measured element-layers/s by family; empty without calibration.
    """

    params: dict[str, Any]
    backend: Backend
    costs: tuple[Cost, ...]
    solve_memory: int
    solve_seconds: float | None
    speeds: dict[str, float]

    def table(self) -> str:
        """For people: the study, a row a family, and what stands behind the numbers."""
        prepare, largest = self.params["prepare"], max(cost.memory for cost in self.costs)
        shape = "x".join(map(str, image_shape(prepare)))
        head = (
            f"{self.params['study']}: {prepare['train_images']} training and {prepare['test_images']} test images of "
            f"{shape}, blocks of {self.params['kernels']['block_images']}"
        )
        rows = [COLUMNS, *(_row(cost) for cost in self.costs)]
        disk = sum(cost.disk for cost in self.costs)
        solve = "" if self.solve_seconds is None else f", about {format_time(self.solve_seconds)} in all"
        return "\n".join(
            [
                head,
                "",
                *_aligned(rows),
                "",
                f"here: {self._calibration()}",
                f"one H200: expected, not measured, from {H200_ELEMENT_LAYERS / 1e12:.1f}e12 element-layers/s",
                f"solve: {format_gib(self.solve_memory)} of memory{solve}",
                f"this machine: {format_gib(max(largest, self.solve_memory))} of {format_gib(available_memory())} "
                f"available memory, {format_gib(disk)} of {format_gib(free_disk(Path.cwd()))} free disk",
            ]
        )

    def _calibration(self) -> str:
        machine = f"{cpu_model()}, {cores()} cores, backend {self.backend.name} ({self.backend.instruction_set})"
        if not self.speeds:
            return f"{machine}, not measured"
        measured = ", ".join(f"{family} {speed:.3g}" for family, speed in self.speeds.items())
        return f"{machine}, measured just now: {measured} element-layers/s"


def estimate_study(params: Path | Mapping[str, Any], *, calibration_seconds: float = 2.0) -> Estimate:
    """Estimate the cost of a study.

    Parameters
    ----------
    params : Path or mapping
        A parameter file, or its checked content.
    calibration_seconds : float
        How long to measure this machine, all families together; 0 leaves the time here out.

    Raises
    ------
    InputError
        A parameter is wrong.
    UserError
        The backend is not available here.
    """
    checked = load_params(params) if isinstance(params, Path) else dict(params)
    kernels, shape = checked["kernels"], image_shape(checked["prepare"])
    backend = describe_backend(kernels["backend"])
    by_family: dict[str, list[KernelPass]] = {}
    for one in kernel_passes(checked):
        by_family.setdefault(one.family, []).append(one)
    speeds = {}
    if calibration_seconds > 0:
        share = calibration_seconds / len(by_family)
        for family, passes in by_family.items():
            deepest = max(passes, key=lambda one: one.depths[-1])
            speeds[family] = measure_speed(shape, deepest, kernels["kinds"], kernels["dtype"], backend.name, share)
    n_classes = len(checked["prepare"]["classes"]) or DIGITS_CLASSES
    subsets, n_ridges = checked["solve"]["subsets"], len(checked["solve"]["ridges"])
    n_kernels = sum(len(one.depths) for passes in by_family.values() for one in passes) * len(kernels["kinds"])
    return Estimate(
        params=checked,
        backend=backend,
        costs=tuple(_cost(checked, passes, speeds.get(family)) for family, passes in by_family.items()),
        solve_memory=max(memory_needed(one["train_images"], n_classes, n_ridges) for one in subsets),
        solve_seconds=n_kernels * _solve_seconds(subsets, n_ridges) if calibration_seconds > 0 else None,
        speeds=speeds,
    )


def image_shape(prepare: Mapping[str, Any]) -> tuple[int, int, int]:
    """Shape (P, Q, C) of the study's images."""
    return prepare["resolution"], prepare["resolution"], CHANNELS[prepare["dataset"]]


def measure_speed(
    shape: tuple[int, int, int], one: KernelPass, kinds: Sequence[str], dtype: str, backend: str, seconds: float
) -> float:
    """Element-layers/s of one pass on random images of this shape, on all cores.

    The first run only loads the core and shows how long a pair takes; the size of a run that takes about `seconds`
    follows from it, by way of smaller ones where a pair takes next to nothing.
    """

    options: dict[str, Any] = {"readout": one.readout, "trained": one.trained, "filter_size": one.filter_size}
    options |= {"depths": one.depths, "get": tuple(kinds), "backend": backend, "dtype": dtype}

    def run(n: int) -> float:
        images = np.random.default_rng(n).standard_normal((2 * n, *shape)).astype(np.float32)
        start = time.perf_counter()
        cntk(images[:n], images[n:], **options)
        return time.perf_counter() - start

    run(1)
    n, left = math.ceil(math.sqrt(2 * cores())), seconds
    while True:
        took = run(n)
        left -= took
        if left < seconds / 2 or n >= LARGEST_RUN:
            return element_layers(n * n, shape, one.readout, one.depths[-1]) / took
        n = min(LARGEST_RUN, math.ceil(n * min(8, math.sqrt(max(1.2, left / took)))))


def _cost(params: Mapping[str, Any], passes: Sequence[KernelPass], speed: float | None) -> Cost:
    prepare, kernels = params["prepare"], params["kernels"]
    shape, n_kinds = image_shape(prepare), len(kernels["kinds"])
    n_train, n_images = prepare["train_images"], prepare["train_images"] + prepare["test_images"]
    positions = kernel_blocks(params)
    pairs = sum(position.pairs for position in positions)
    entries, largest = sum(position.entries for position in positions), max(positions, key=lambda one: one.entries)
    depths = tuple(depth for one in passes for depth in one.depths)
    work = sum(element_layers(pairs, shape, one.readout, one.depths[-1]) for one in passes)
    memory = max(block_memory(*largest.shape, n_kinds * len(one.depths), shape, one.depths[-1]) for one in passes)
    return Cost(
        family=passes[0].family,
        depths=depths,
        pairs=pairs * len(passes),
        element_layers=work,
        blocks=len(positions) * len(passes),
        seconds_here=work / speed if speed else None,
        seconds_h200=work / H200_ELEMENT_LAYERS,
        memory=memory + 4 * n_images * math.prod(shape),
        disk=ITEM_BYTES * n_kinds * len(depths) * (entries + n_images * n_train),
    )


def _solve_seconds(subsets: Sequence[Mapping[str, int]], n_ridges: int) -> float:
    """Seconds for one kernel by the cubic law from small problems; too many for large ones, as BLAS gains with size."""
    ridges = (1e-3, 1e-2)
    seconds = 0.0
    for one in subsets:
        n = one["train_images"]
        method = "eigh" if n <= EIGH_LIMIT else "cholesky"
        factorisations = 1 if method == "eigh" else n_ridges / len(ridges)
        small = min(n, SMALL_SOLVE)
        seconds += one["repeats"] * factorisations * _time_solve(small, method, ridges) * (n / small) ** 3
    return seconds


def _time_solve(n: int, method: str, ridges: tuple[float, ...]) -> float:
    features = np.random.default_rng(0).standard_normal((n, n))
    K, y = features @ features.T, np.arange(n) % 10
    start = time.perf_counter()
    kernel_regression(K, y, ridges=ridges, method=method)
    return time.perf_counter() - start


def _row(cost: Cost) -> tuple[str, ...]:
    return (
        cost.family,
        ",".join(map(str, cost.depths)),
        format_count(cost.pairs),
        f"{cost.element_layers:.3g}",
        str(cost.blocks),
        "-" if cost.seconds_here is None else format_time(cost.seconds_here),
        format_time(cost.seconds_h200),
        format_gib(cost.memory),
        format_gib(cost.disk),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def format_count(number: float) -> str:
    """For people: 22.0 M, 1.75 G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def format_time(seconds: float) -> str:
    """For people: two digits, in the unit that suits."""
    if seconds < 1:
        return "< 1 s"
    units = ((2 * YEAR, YEAR, "years"), (2 * DAY, DAY, "days"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s"))
    size, unit = next((size, unit) for least, size, unit in units if seconds >= least)
    value = seconds / size
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"
