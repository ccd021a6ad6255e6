"""What the grid of architectures costs beyond the blocks of its kernels."""

from collections.abc import Mapping
from typing import Any

from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.study.sections.architectures.plan import architecture_outputs, architecture_passes


def count_architectures(params: Mapping[str, Any]) -> int:
    """Count the architectures of the grid."""
    passes = architecture_passes(params)
    return sum(len(architecture_outputs(one.depths, one.network.trained)) for one in passes)


def expected_seconds(params: Mapping[str, Any], calibration_seconds: float) -> float:
    """Seconds of solving all architectures on this machine's CPU, beyond the blocks of their kernels.

    By the cubic law from a small problem: too many for large ones, as linear algebra gains with the number of images.
    """
    grid = params["architectures"]
    if grid is None:
        return 0.0
    from exact_cntk.study.rates import solve_seconds

    if calibration_seconds == 0:
        return 0.0

    sizes = [(n, grid["small_repeats"]) for n in grid["small_train_images"]] + [(grid["train_images"], 1)]
    subsets = [{"train_images": n, "repeats": repeats} for n, repeats in sizes]
    return count_architectures(params) * solve_seconds(subsets, len(params["solve"]["ridges"]))


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak of solving an architecture, in bytes; that of its blocks is `exact_cntk.study.passes.pass_memory`."""
    grid, prepare = params["architectures"], params["prepare"]
    if grid is None:
        return 0
    from exact_cntk.regression.ridge_path import required_bytes

    n = grid["train_images"]
    return ITEM_BYTES * n * (n + prepare["test_images"]) + required_bytes(n, "eigh")


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of the files of results; the blocks of their kernels are counted with those of the study."""
    grid = params["architectures"]
    if grid is None:
        return 0
    fits = grid["small_repeats"] * len(grid["small_train_images"]) + 1
    hexadecimal = 2 * 2 * params["prepare"]["test_images"] // 8  # digits of both protocols
    return count_architectures(params) * fits * (hexadecimal + 400)
