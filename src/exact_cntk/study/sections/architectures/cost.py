"""What the grid of architectures costs, in addition to the blocks of its kernels."""

from collections.abc import Mapping
from typing import Any

from exact_cntk.data import describe
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.regression.ridge_path import required_bytes
from exact_cntk.regression.solvers.choice import Problem
from exact_cntk.study.fits import testing_bytes
from exact_cntk.study.sections.architectures.plan import architecture_outputs, passes
from exact_cntk.study.work import SIDE_BY_SIDE, Fits, Work


def count_architectures(params: Mapping[str, Any]) -> int:
    """Count the architectures of the grid."""
    grid_passes = passes(params)
    return sum(len(architecture_outputs(grid.depths, grid.network.trained)) for grid in grid_passes)


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """Solving all architectures, one job per pass."""
    grid, grid_passes = params["architectures"], passes(params)
    sizes = [(n, grid["small_repeats"]) for n in grid["small_train_images"]] + [(grid["train_images"], 1)]
    architectures, ridges = count_architectures(params) // len(grid_passes), len(params["solve"]["ridges"])
    fits = tuple(Fits(n, ridges, architectures * repeats) for n, repeats in sizes)
    return [Work(jobs=len(grid_passes), fits=fits, all_cores=grid["train_images"] > SIDE_BY_SIDE)]


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak memory of solving one architecture, bytes; for its blocks see `exact_cntk.study.passes.pass_memory`."""
    classes, ridges = len(describe(params["prepare"]).class_names), len(params["solve"]["ridges"])
    problem = Problem(params["architectures"]["train_images"], classes, ridges)
    return ITEM_BYTES * problem.n**2 + required_bytes(problem.n, "eigh") + testing_bytes(problem)


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of the result files; the blocks of their kernels are counted with those of the study."""
    grid = params["architectures"]
    fits = grid["small_repeats"] * len(grid["small_train_images"]) + 1
    hexadecimal = 2 * 2 * params["prepare"]["test_images"] // 8  # digits, both protocols
    return count_architectures(params) * fits * (hexadecimal + 400)
