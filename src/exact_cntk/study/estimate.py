"""What a study costs before it starts: pairs, element-layers, hours, memory and disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exact_cntk._support.machine import available_memory, cores, cpu_model, format_gib, free_disk
from exact_cntk.data import describe
from exact_cntk.errors import UserError
from exact_cntk.kernels.backends import Backend, describe_backend
from exact_cntk.kernels.cost import ITEM_BYTES, NOMINAL_RATES
from exact_cntk.regression.solvers.choice import Problem, Solver, choose_solver
from exact_cntk.study.params import load_params
from exact_cntk.study.passes import (
    KernelPass,
    image_shape,
    kernel_blocks,
    kernel_depths,
    kernel_passes,
    pass_block_sizes,
    pass_memory,
)
from exact_cntk.study.rates import Rates, h200_solve_seconds, measure_speed
from exact_cntk.study.sections._collect import SectionCost, all_passes, section_costs
from exact_cntk.study.work import SIDE_BY_SIDE, Fits, Work

DAY, YEAR = 86_400, 365 * 86_400
COLUMNS = (
    *("kernels", "depths", "pairs", "element-layers", "blocks", "largest"),
    *("here", "a block", "one H200", "a block", "memory", "disk"),
)
SECTION_COLUMNS = ("beside them", "here", "memory", "disk")


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
        See `exact_cntk.networks.Family.element_layers`.
    blocks : int
        Files, over all passes.
    largest : tuple of int
        Rows and columns of the largest block.
    share : float
        Part of the element-layers that falls to the block with the most of them.
    seconds_here : float or None
        For the kernel on this machine, all cores, from the calibration; None without.
    seconds_h200 : float
        Expected on one H200, not measured.
    memory : int
        Peak of one block job, bytes: the images, and `exact_cntk.kernels.cost.block_memory`.
    disk : int
        Blocks and merged kernels, bytes.
    """

    family: str
    depths: tuple[int, ...]
    pairs: int
    element_layers: int
    blocks: int
    largest: tuple[int, int]
    share: float
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
    solver : Solver or str
        Of the largest training set on this machine; or why there is none.
    solve_seconds : float or None
        All solves on this machine's CPU, from the calibration.
    solve_h200 : float
        Those of them that a GPU takes, on one H200; expected, not measured.
    speeds : dict of str to float
        Measured element-layers/s by family; empty without calibration.
    misfits : tuple of str
        Families whose automatic blocks are cut for another backend than the one here, and would be others for it.
    sections : tuple of SectionCost
        What the study computes beside its kernels.
    """

    params: dict[str, Any]
    backend: Backend
    costs: tuple[Cost, ...]
    solver: Solver | str
    solve_seconds: float | None
    solve_h200: float
    speeds: dict[str, float]
    misfits: tuple[str, ...]
    sections: tuple[SectionCost, ...]

    def table(self) -> str:
        """For people: the study, a row a family, and what stands behind the numbers."""
        prepare, block_images = self.params["prepare"], self.params["kernels"]["block_images"]
        shape = "x".join(map(str, image_shape(prepare)))
        head = (
            f"{self.params['study']}: {prepare['train_images']} training and {prepare['test_images']} test images of "
            f"{shape}, " + ("automatic blocks" if block_images == "auto" else f"blocks of {block_images}")
        )
        rates = {readout: f"{NOMINAL_RATES['cuda', readout]:.0e}".replace("+", "") for readout in ("gap", "flatten")}
        everything: list[Cost | SectionCost] = [*self.costs, *self.sections]
        disk = sum(cost.disk for cost in everything)
        memory = max(*(cost.memory for cost in everything), 0 if isinstance(self.solver, str) else self.solver.memory)
        return "\n".join(
            [
                head,
                "",
                *_aligned([COLUMNS, *(_row(cost) for cost in self.costs)]),
                "",
                *self._sections(),
                f"here: {self._calibration()}",
                f"one H200: expected, not measured, from {rates['gap']} (gap) and {rates['flatten']} (flatten) "
                "element-layers/s",
                f"solve: {self._solve()}",
                *self._total(),
                f"this machine: {format_gib(memory)} of {format_gib(available_memory())} available memory, "
                f"{format_gib(disk)} of {format_gib(free_disk(Path.cwd()))} free disk",
                *self._advice(),
            ]
        )

    def _sections(self) -> list[str]:
        """A row a section, and an empty line below; nothing without sections."""
        if not self.sections:
            return []
        rows = [
            (
                one.key,
                "-" if one.seconds is None else format_time(one.seconds),
                format_gib(one.memory),
                format_gib(one.disk),
            )
            for one in self.sections
        ]
        return [*_aligned([SECTION_COLUMNS, *rows]), ""]

    def _total(self) -> list[str]:
        """All times on this machine together, where they were measured."""
        if self.solve_seconds is None:
            return []
        kernels = sum(cost.seconds_here or 0 for cost in self.costs)
        seconds = kernels + self.solve_seconds + sum(one.seconds or 0 for one in self.sections)
        return [f"in all: about {format_time(seconds)} here"]

    def _solve(self) -> str:
        """Method, memory and time of all solves."""
        if isinstance(self.solver, str):
            how = self.solver
        else:
            scratch = f" and {format_gib(self.solver.scratch)} of disk" if self.solver.scratch else ""
            how = f"{self.solver.method}, {format_gib(self.solver.memory)} of memory{scratch}"
        here = "" if self.solve_seconds is None else f", about {format_time(self.solve_seconds)} in all on this CPU"
        gpu = f", expected {format_time(self.solve_h200)} on one H200" if self.solve_h200 else ""
        return how + here + gpu

    def _advice(self) -> list[str]:
        """What to name in the parameters where automatic blocks are cut for another backend than the one here."""
        if not self.misfits:
            return []
        families, here = " and ".join(self.misfits), self.backend.name
        return [f"blocks of {families} are not cut for {here}: name it in the parameters for that, `backend: {here}`"]

    def _calibration(self) -> str:
        device = self.backend.device or f"{cpu_model()}, {cores()} cores"
        machine = f"{device}, backend {self.backend.name} ({self.backend.instruction_set})"
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
        How long to measure the kernels on this machine, all families together, and four times any other pace; 0 leaves
        the time here out.

    Raises
    ------
    InputError
        A parameter is wrong.
    UserError
        The backend is not available here.
    """
    checked = load_params(params) if isinstance(params, Path) else dict(params)
    backend = describe_backend(checked["kernels"]["backend"])
    by_family: dict[str, list[KernelPass]] = {}
    for one in all_passes(checked):
        by_family.setdefault(_row_name(one), []).append(one)
    speeds = {}
    if calibration_seconds > 0:
        share = calibration_seconds / len(by_family)
        speeds = {family: _speed(checked, passes, backend.name, share) for family, passes in by_family.items()}
    n_classes = len(describe(checked["prepare"]).class_names)
    subsets, n_ridges = checked["solve"]["subsets"], len(checked["solve"]["ridges"])
    largest = Problem(max(one["train_images"] for one in subsets), n_classes, n_ridges)
    try:
        solver: Solver | str = choose_solver(largest, max_memory_gib=checked["solve"]["max_memory_gib"])
    except UserError as error:  # only solving needs it, after everything else
        solver = str(error)
    n_kernels = sum(one.outputs for one in kernel_passes(checked))
    rates = Rates(calibration_seconds / 4) if calibration_seconds > 0 else None
    return Estimate(
        params=checked,
        backend=backend,
        costs=tuple(_cost(checked, passes, speeds.get(family)) for family, passes in by_family.items()),
        solver=solver,
        solve_seconds=None if rates is None else rates.seconds([_solve_work(checked)]),
        solve_h200=n_kernels * h200_solve_seconds(subsets, n_ridges),
        speeds=speeds,
        misfits=tuple(
            family for family, passes in by_family.items() if any(_misfit(checked, one, backend.name) for one in passes)
        ),
        sections=section_costs(checked, None if rates is None else rates.seconds),
    )


def expected_seconds(
    params: Mapping[str, Any], pairs: Mapping[str, int], backend: str, *, calibration_seconds: float
) -> float:
    """Seconds that some pairs of images take: a GPU at the nominal rate of an H200, a CPU as measured now.

    A GPU is not measured because whoever starts CUDA in a process holds the GPU's memory until its end.

    Parameters
    ----------
    params : mapping
        Checked parameters.
    pairs : mapping of str to int
        Pairs of images by `kernel_id` of their pass.
    backend : {"cpu", "cuda", "reference"}
    calibration_seconds : float
        How long to measure, all passes together.

    Raises
    ------
    UserError
        The backend is not available here.
    """
    shape = image_shape(params["prepare"])
    passes = [one for one in all_passes(params) if pairs.get(one.kernel_id)]
    seconds = 0.0
    for one in passes:
        if backend == "cuda":
            speed = NOMINAL_RATES["cuda", one.network.readout]
        else:
            speed = measure_speed(shape, one, params["kernels"]["dtype"], backend, calibration_seconds / len(passes))
        seconds += one.layers(pairs[one.kernel_id], shape) / speed
    return seconds


def _solve_work(params: Mapping[str, Any]) -> Work:
    """The regressions with one kernel, of all its kinds; a job each."""
    solve, kinds = params["solve"], len(params["kernels"]["kinds"])
    fits = tuple(Fits(one["train_images"], len(solve["ridges"]), one["repeats"] * kinds) for one in solve["subsets"])
    largest = max(one["train_images"] for one in solve["subsets"])
    return Work(jobs=len(kernel_depths(params)), fits=fits, all_cores=largest > SIDE_BY_SIDE)


def _misfit(params: Mapping[str, Any], one: KernelPass, backend: str) -> bool:
    """Whether a pass's blocks are cut for another backend, because the parameters name none."""
    kernels = params["kernels"]
    named = dict(params) | {"kernels": kernels | {"backend": backend}}
    return kernels["backend"] == "auto" and pass_block_sizes(params, one) != pass_block_sizes(named, one)


def _cost(params: Mapping[str, Any], passes: Sequence[KernelPass], speed: float | None) -> Cost:
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    grids = [(one, kernel_blocks(params, one)) for one in passes]
    deepest = max(passes, key=lambda one: one.depths[-1])

    layers = [(one, one.layers(position.pairs, shape)) for one, positions in grids for position in positions]
    total = sum(count for _, count in layers)
    merged = (prepare["train_images"] + prepare["test_images"]) * prepare["train_images"]
    entries = sum(
        one.outputs * (sum(place.entries for place in positions) + (merged if one.pool_images is None else 0))
        for one, positions in grids
    )
    return Cost(
        family=_row_name(deepest),
        depths=tuple(dict.fromkeys(depth for one in passes for depth in one.depths)),
        pairs=sum(position.pairs for _, positions in grids for position in positions),
        element_layers=total,
        blocks=sum(len(positions) for _, positions in grids),
        largest=max((position.shape for _, positions in grids for position in positions), key=math.prod),
        share=max(count for _, count in layers) / total,
        seconds_here=total / speed if speed else None,
        seconds_h200=sum(count / NOMINAL_RATES["cuda", one.network.readout] for one, count in layers),
        memory=max(pass_memory(params, one) for one in passes),
        disk=ITEM_BYTES * entries,
    )


def _row_name(one: KernelPass) -> str:
    """A family, or the grid of architectures, whose passes share a row."""
    return one.name if one.pool_images is None else "architectures"


def _speed(params: Mapping[str, Any], passes: Sequence[KernelPass], backend: str, seconds: float) -> float:
    """Element-layers/s of passes one after the other; those of a family differ in depth alone: one stands for all."""
    shape, dtype = image_shape(params["prepare"]), params["kernels"]["dtype"]
    if passes[0].pool_images is None:
        passes = [max(passes, key=lambda one: one.depths[-1])]
    layers = [one.layers(1, shape) for one in passes]
    speeds = [measure_speed(shape, one, dtype, backend, seconds / len(passes)) for one in passes]
    return sum(layers) / sum(count / speed for count, speed in zip(layers, speeds, strict=True))


def _row(cost: Cost) -> tuple[str, ...]:
    here = cost.seconds_here
    return (
        cost.family,
        ",".join(map(str, cost.depths)),
        format_count(cost.pairs),
        f"{cost.element_layers:.3g}",
        str(cost.blocks),
        "x".join(map(str, cost.largest)),
        *("--" if here is None else map(format_time, (here, here * cost.share))),
        *map(format_time, (cost.seconds_h200, cost.seconds_h200 * cost.share)),
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
