"""What a study costs before it starts: pairs, element-layers, hours, memory and disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exact_cntk._support.machine import available_memory, cores, cpu_model, format_gib, free_disk
from exact_cntk.errors import UserError
from exact_cntk.kernels.backends import Backend, describe_backend
from exact_cntk.kernels.cost import NOMINAL_RATES, block_bytes
from exact_cntk.regression.solvers.choice import Solver, choose_solver
from exact_cntk.study.params import load_params
from exact_cntk.study.passes import (
    KernelPass,
    image_shape,
    kernel_blocks,
    kernel_passes,
    pass_block_sizes,
    pass_memory,
    storage,
)
from exact_cntk.study.rates import Rates, h200_solve_seconds, measure_speed
from exact_cntk.study.sections._collect import SectionCost, all_passes, section_costs
from exact_cntk.study.solving import largest_problem, solve_work

DAY, YEAR = 86_400, 365 * 86_400
COLUMNS = (
    *("kernels", "depths", "pairs", "element-layers", "blocks", "largest"),
    *("here", "per block", "one H200", "per block", "memory", "disk"),
)
SECTION_COLUMNS = ("sections", "here", "memory", "disk")


@dataclass(frozen=True)
class Cost:
    """Cost of one family of kernels, over all its passes.

    `pairs` of images; `element_layers` as `exact_cntk.networks.Family.element_layers`; number of `blocks`, rows and
    columns of the `largest`, and the `share` of the element-layers in the block with the most; `seconds_here` on all
    cores of this machine, None without calibration; `seconds_h200` expected on one H200, not measured; `memory`, peak
    of one block job, and `disk`, all blocks, in bytes.
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

    `backend` of the kernels, None without kernels; `costs`, one per family; the `solver` of the largest training set on
    this machine, or why there is none, None if nothing is solved; `solve_seconds`, all solves on this machine's CPU,
    None without calibration; `solve_h200`, the solves that a GPU takes, expected on one H200; `speeds`, measured
    element-layers/s by family; `misfits`, families whose automatic blocks have sizes for another backend than this
    machine's; `sections`, those that have jobs.
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
        """The study, one row per family and per section, and the basis of the numbers, as text."""
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
        """One row per section, and an empty line below; nothing without sections."""
        if not self.sections:
            return []
        rows = [
            (
                section.key,
                "-" if section.seconds is None else format_time(section.seconds),
                format_gib(section.memory),
                format_gib(section.disk),
            )
            for section in self.sections
        ]
        return [*_aligned([SECTION_COLUMNS, *rows]), ""]

    def _total(self) -> list[str]:
        """Total time on this machine, if measured."""
        if self.solve_seconds is None:
            return []
        kernels = sum(cost.seconds_here or 0 for cost in self.costs)
        seconds = kernels + self.solve_seconds + sum(section.seconds or 0 for section in self.sections)
        return [f"total: about {format_time(seconds)} here"]

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
        """What to set in the parameters where automatic blocks have sizes for another backend than this machine's."""
        if self.backend is None or not self.misfits:
            return []
        families, here = " and ".join(self.misfits), self.backend.name
        return [f"blocks of {families} have sizes for another backend; set `backend: {here}` for those of {here}"]

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
        How long to measure the kernels on this machine, and four times any other rate; 0 leaves out times here.

    Raises
    ------
    InputError, UserError
        A parameter is wrong; the backend is not available here.
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
        solve_seconds=None if rates is None else rates.seconds(solve_work(checked)),
        solve_h200=_h200_seconds(checked),
        speeds=speeds,
        misfits=tuple(misfits),
        sections=section_costs(checked, None if rates is None else rates.seconds),
    )


def expected_seconds(
    params: Mapping[str, Any], pairs: Mapping[str, int], backend: str, *, calibration_seconds: float
) -> float:
    """Seconds for pairs of images by `kernel_id` of their pass: a GPU at the nominal rate of an H200, a CPU measured.

    A GPU is not measured, because a process that has started CUDA keeps GPU memory until it ends. `calibration_seconds`
    is how long to measure, all passes together.

    Raises
    ------
    UserError
        The backend is not available here.
    """
    shape = image_shape(params["prepare"])
    passes = [kernel_pass for kernel_pass in all_passes(params) if pairs.get(kernel_pass.kernel_id)]
    seconds = 0.0
    for kernel_pass in passes:
        if backend == "cuda":
            speed = NOMINAL_RATES["cuda", kernel_pass.network.readout]
        else:
            speed = measure_speed(
                shape, kernel_pass, params["kernels"]["dtype"], backend, calibration_seconds / len(passes)
            )
        seconds += kernel_pass.layers(pairs[kernel_pass.kernel_id], shape) / speed
    return seconds


def _solver(params: Mapping[str, Any]) -> Solver | str | None:
    """The solver of the largest training set, or why there is none; None where nothing is solved."""
    solve = params["solve"]
    if solve is None:
        return None
    try:
        return choose_solver(largest_problem(params), max_memory_gib=solve["max_memory_gib"])
    except UserError as error:  # only solving needs it, after everything else
        return str(error)


def _h200_seconds(params: Mapping[str, Any]) -> float:
    """Seconds of those solves that a GPU takes, on one H200."""
    if params["solve"] is None:
        return 0.0
    kernels = sum(kernel_pass.outputs for kernel_pass in kernel_passes(params))
    return kernels * h200_solve_seconds(params["solve"]["subsets"], len(params["solve"]["ridges"]))


def _misfit(params: Mapping[str, Any], kernel_pass: KernelPass, backend: str) -> bool:
    """Whether a pass's blocks have sizes for another backend, because the parameters name none."""
    kernels = params["kernels"]
    named = dict(params) | {"kernels": kernels | {"backend": backend}}
    return kernels["backend"] == "auto" and pass_block_sizes(params, kernel_pass) != pass_block_sizes(
        named, kernel_pass
    )


def _cost(params: Mapping[str, Any], passes: Sequence[KernelPass], speed: float | None) -> Cost:
    shape = image_shape(params["prepare"])
    grids = [(kernel_pass, kernel_blocks(params, kernel_pass)) for kernel_pass in passes]
    deepest = max(passes, key=lambda kernel_pass: kernel_pass.depths[-1])

    layers = [
        (kernel_pass, kernel_pass.layers(position.pairs, shape))
        for kernel_pass, positions in grids
        for position in positions
    ]
    total = sum(count for _, count in layers)
    disk = sum(
        block_bytes(*position.shape, kernel_pass.outputs, storage(params))
        for kernel_pass, positions in grids
        for position in positions
    )
    return Cost(
        family=_row_name(deepest),
        depths=tuple(dict.fromkeys(depth for kernel_pass in passes for depth in kernel_pass.depths)),
        pairs=sum(position.pairs for _, positions in grids for position in positions),
        element_layers=total,
        blocks=sum(len(positions) for _, positions in grids),
        largest=max((position.shape for _, positions in grids for position in positions), key=math.prod),
        share=max(count for _, count in layers) / total,
        seconds_here=total / speed if speed else None,
        seconds_h200=sum(count / NOMINAL_RATES["cuda", kernel_pass.network.readout] for kernel_pass, count in layers),
        memory=max(pass_memory(params, kernel_pass) for kernel_pass in passes),
        disk=disk,
    )


def _row_name(kernel_pass: KernelPass) -> str:
    """The family, or "architectures" for the passes of the grid, which share a row."""
    return kernel_pass.name if kernel_pass.pool_images is None else "architectures"


def _speed(params: Mapping[str, Any], passes: Sequence[KernelPass], backend: str, seconds: float) -> float:
    """Element-layers/s of passes in sequence; of a family, whose passes differ only in depth, the deepest is timed."""
    shape, dtype = image_shape(params["prepare"]), params["kernels"]["dtype"]
    if passes[0].pool_images is None:
        passes = [max(passes, key=lambda kernel_pass: kernel_pass.depths[-1])]
    layers = [kernel_pass.layers(1, shape) for kernel_pass in passes]
    speeds = [measure_speed(shape, kernel_pass, dtype, backend, seconds / len(passes)) for kernel_pass in passes]
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
    """As text: 22.0 M, 1.75 G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def format_time(seconds: float) -> str:
    """As text: two digits, in a suitable unit."""
    if seconds < 1:
        return "< 1 s"
    units = ((2 * YEAR, YEAR, "years"), (2 * DAY, DAY, "days"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s"))
    size, unit = next((size, unit) for least, size, unit in units if seconds >= least)
    value = seconds / size
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"
