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
    backend : Backend or None
        Of kernels; None where there are none.
    costs : tuple of Cost
        One a family.
    solver : Solver, str or None
        Of the largest training set on this machine; or why there is none. None: nothing is solved.
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
    backend: Backend | None
    costs: tuple[Cost, ...]
    solver: Solver | str | None
    solve_seconds: float | None
    solve_h200: float
    speeds: dict[str, float]
    misfits: tuple[str, ...]
    sections: tuple[SectionCost, ...]

    def table(self) -> str:
        """For people: the study, one row per family, and what the numbers are based on."""
        everything: list[Cost | SectionCost] = [*self.costs, *self.sections]
        disk = sum(cost.disk for cost in everything)
        solving = self.solver.memory if isinstance(self.solver, Solver) else 0
        memory = max([solving, *(cost.memory for cost in everything)])
        return "\n".join(
            [
                self._head(),
                "",
                *self._kernels(),
                *self._sections(),
                *self._calibration(),
                *self._solve(),
                *self._total(),
                f"this machine: {format_gib(memory)} of {format_gib(available_memory())} available memory, "
                f"{format_gib(disk)} of {format_gib(free_disk(Path.cwd()))} free disk",
                *self._advice(),
            ]
        )

    def _head(self) -> str:
        """The study and its images."""
        prepare, kernels = self.params["prepare"], self.params["kernels"]
        if prepare is None:
            return f"{self.params['study']}: without images"
        shape = "x".join(map(str, image_shape(prepare)))
        head = f"{prepare['train_images']} training and {prepare['test_images']} test images of {shape}"
        blocks = {"auto": "automatic blocks"}.get(kernels and kernels["block_images"], "blocks of {block_images}")
        return f"{self.params['study']}: {head}" + (f", {blocks.format_map(kernels)}" if kernels else "")

    def _kernels(self) -> list[str]:
        """One row per family, and an empty line below; nothing without kernels."""
        if not self.costs:
            return []
        return [*_aligned([COLUMNS, *(_row(cost) for cost in self.costs)]), ""]

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

    def _solve(self) -> list[str]:
        """What an H200 is expected to do; method, memory and time of all solves. Nothing without them."""
        if self.solver is None:
            return []
        rates = {readout: f"{NOMINAL_RATES['cuda', readout]:.0e}".replace("+", "") for readout in ("gap", "flatten")}
        h200 = f"expected, not measured, from {rates['gap']} (gap) and {rates['flatten']} (flatten) element-layers/s"
        if isinstance(self.solver, str):
            how = self.solver
        else:
            scratch = f" and {format_gib(self.solver.scratch)} of disk" if self.solver.scratch else ""
            how = f"{self.solver.method}, {format_gib(self.solver.memory)} of memory{scratch}"
        here = "" if self.solve_seconds is None else f", about {format_time(self.solve_seconds)} in all on this CPU"
        gpu = f", expected {format_time(self.solve_h200)} on one H200" if self.solve_h200 else ""
        return [f"one H200: {h200}", f"solve: {how}{here}{gpu}"]

    def _advice(self) -> list[str]:
        """What to name in the parameters where automatic blocks are cut for another backend than the one here."""
        if self.backend is None or not self.misfits:
            return []
        families, here = " and ".join(self.misfits), self.backend.name
        return [f"blocks of {families} are not cut for {here}: name it in the parameters for that, `backend: {here}`"]

    def _calibration(self) -> list[str]:
        """The machine, and how fast it was measured to be; nothing without kernels."""
        if self.backend is None:
            return []
        device = self.backend.device or f"{cpu_model()}, {cores()} cores"
        machine = f"here: {device}, backend {self.backend.name} ({self.backend.instruction_set})"
        if not self.speeds:
            return [f"{machine}, not measured"]
        measured = ", ".join(f"{family} {speed:.3g}" for family, speed in self.speeds.items())
        return [f"{machine}, measured just now: {measured} element-layers/s"]


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
    backend = describe_backend(checked["kernels"]["backend"]) if checked["kernels"] else None
    by_family: dict[str, list[KernelPass]] = {}
    for kernel_pass in all_passes(checked):
        by_family.setdefault(_row_name(kernel_pass), []).append(kernel_pass)
    speeds, misfits = {}, []
    for family, passes in by_family.items():
        assert backend is not None  # kernels have one
        if calibration_seconds > 0:
            speeds[family] = _speed(checked, passes, backend.name, calibration_seconds / len(by_family))
        if any(_misfit(checked, kernel_pass, backend.name) for kernel_pass in passes):
            misfits.append(family)
    rates = Rates(calibration_seconds / 4) if calibration_seconds > 0 else None
    return Estimate(
        params=checked,
        backend=backend,
        costs=tuple(_cost(checked, passes, speeds.get(family)) for family, passes in by_family.items()),
        solver=_solver(checked),
        solve_seconds=None if rates is None else rates.seconds(_solve_work(checked)),
        solve_h200=_h200_seconds(checked),
        speeds=speeds,
        misfits=tuple(misfits),
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


def _solver(params: Mapping[str, Any]) -> Solver | str | None:
    """The solver of the largest training set, or why there is none; None where nothing is solved."""
    solve = params["solve"]
    if solve is None:
        return None
    largest = max(subset["train_images"] for subset in solve["subsets"])
    problem = Problem(largest, len(describe(params["prepare"]).class_names), len(solve["ridges"]))
    try:
        return choose_solver(problem, max_memory_gib=solve["max_memory_gib"])
    except UserError as error:  # only solving needs it, after everything else
        return str(error)


def _h200_seconds(params: Mapping[str, Any]) -> float:
    """Seconds of those solves that a GPU takes, on one H200."""
    if params["solve"] is None:
        return 0.0
    kernels = sum(kernel_pass.outputs for kernel_pass in kernel_passes(params))
    return kernels * h200_solve_seconds(params["solve"]["subsets"], len(params["solve"]["ridges"]))


def _solve_work(params: Mapping[str, Any]) -> list[Work]:
    """The regressions with each kernel, of all its kinds; one job per kernel."""
    if params["solve"] is None:
        return []
    solve, kinds = params["solve"], len(params["kernels"]["kinds"])
    fits = tuple(Fits(one["train_images"], len(solve["ridges"]), one["repeats"] * kinds) for one in solve["subsets"])
    largest = max(one["train_images"] for one in solve["subsets"])
    return [Work(jobs=len(kernel_depths(params)), fits=fits, all_cores=largest > SIDE_BY_SIDE)]


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
