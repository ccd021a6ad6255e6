"""The grid of architectures: its passes, what everything is called, and what it costs. Cheap to import."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exact_cntk._cost import ITEM_BYTES
from exact_cntk._spec import Output
from exact_cntk.study.params import KernelPass, kernel_passes

FORMAT_VERSION = 1  # of architectures/<pass>.json
_READOUT_NAMES = {"flatten": "vanilla", "lap": "LAP", "gap": "GAP"}


def architecture_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of the recursion that the grid takes: each gives all depths, kinds and trained layers.

    Parameters
    ----------
    params : mapping
        Checked parameters of a study.

    Returns
    -------
    tuple of KernelPass
        A filter size × readout (× window of lap) × flips each; none where `architectures` is null.
    """
    grid = params["architectures"]
    if grid is None:
        return ()
    return tuple(
        KernelPass(
            family=_family(filter_size, readout, window, flips),
            readout=readout,
            trained=",".join(grid["trained"]),
            filter_size=filter_size,
            depths=tuple(grid["depths"]),
            pooling_window=window,
            flips=flips,
            pool_images=grid["train_images"],
        )
        for filter_size, (readout, window), flips in itertools.product(
            grid["filter_sizes"], list(_readouts(grid)), grid["flips"]
        )
    )


def all_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of the study's own kernels, and those of the grid."""
    return kernel_passes(params) + architecture_passes(params)


def architecture_outputs(depths: Iterable[int], trained_layers: Iterable[str]) -> list[Output]:
    """List the kernels of a pass that are architectures.

    The tangent kernel of hidden layers alone is 0 at depth 2, where no layer is hidden.
    """
    kinds = [("ntk", trained) for trained in trained_layers] + [("nngp", None)]
    return [
        Output(kind, depth, trained) for depth in depths for kind, trained in kinds if (depth, trained) != (2, "hidden")
    ]


def count_architectures(params: Mapping[str, Any]) -> int:
    """Count the architectures of the grid."""
    passes = architecture_passes(params)
    return sum(len(architecture_outputs(one.depths, one.trained.split(","))) for one in passes)


def name_readout(readout: str, pooling_window: int | None, flips: bool) -> str:
    """For people: "vanilla", "LAP 3×3", "GAP, flips"."""
    window = f" {pooling_window}×{pooling_window}" if readout == "lap" else ""
    return _READOUT_NAMES[readout] + window + (", flips" if flips else "")


def name_kind(kind: str, trained: str | None) -> str:
    """For people: "NTK" (all layers trained), "NTK, hidden" (only those) or "CNN-GP"."""
    return "CNN-GP" if kind == "nngp" else "NTK" + (", hidden" if trained == "hidden" else "")


def _readouts(grid: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    for readout in grid["readouts"]:
        for window in grid["pooling_windows"] if readout == "lap" else [None]:
            yield readout, window


def _family(filter_size: int, readout: str, window: int | None, flips: bool) -> str:
    """Name of a pass in file names, for example "arch-f3-lap5-flips"; no family of `kernels` has the prefix."""
    return f"arch-f{filter_size}-{readout}{window or ''}{'-flips' if flips else ''}"


def expected_seconds(params: Mapping[str, Any], calibration_seconds: float) -> float:
    """Seconds of solving all architectures on this machine's CPU, beyond the blocks of their kernels.

    By the cubic law from a small problem: too many for large ones, as linear algebra gains with the number of images.
    """
    grid = params["architectures"]
    if grid is None:
        return 0.0
    from exact_cntk.study.solve_cost import solve_seconds

    if calibration_seconds == 0:
        return 0.0

    sizes = [(n, grid["small_repeats"]) for n in grid["small_train_images"]] + [(grid["train_images"], 1)]
    subsets = [{"train_images": n, "repeats": repeats} for n, repeats in sizes]
    return count_architectures(params) * solve_seconds(subsets, len(params["solve"]["ridges"]))


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak of solving an architecture, in bytes; that of its blocks is `exact_cntk.study.params.pass_memory`."""
    grid, prepare = params["architectures"], params["prepare"]
    if grid is None:
        return 0
    from exact_cntk._ridge_path import required_bytes

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
