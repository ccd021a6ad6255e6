"""The grid of architectures: its passes, names and jobs. Cheap to import."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exact_cntk.networks import Family, Output
from exact_cntk.study.checks import increasing, odd, within
from exact_cntk.study.passes import KernelPass, block_files, image_shape
from exact_cntk.study.sections._section import FileName, Job, Section

SECTION = Section(
    notebooks={"architecture_search": "many architectures ranked with few training images"},
    needs=("data", "kernels", "metrics"),
    tables=("architectures", "architecture_correlation", "architecture_search"),
    figures=("architecture_ranking", "architecture_cost", "architecture_search"),
    steps={
        "solve_architectures": (
            "regression/inputs.py",
            "regression/kernel_regression.py",
            "regression/result.py",
            "regression/ridge_path.py",
            "regression/solvers/*.py",
            "blocks/_block_set.py",
            "blocks/_cover.py",
            *(f"study/{name}.py" for name in ("documents", "fits", "subsets")),
            "study/sections/architectures/plan.py",
            "study/sections/architectures/jobs.py",
        )
    },
    shows=("study/stats/*.py",),
)

KEY = "architectures"  # also names the folder of measured seconds, by pass, in that of all measurements
FORMAT_VERSION = 1  # of architectures/<pass>.json
PREFIX = "arch"  # of the names of passes


def passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of the grid, of all depths, kinds and trained layers each; none without a grid.

    One pass per filter size, readout (and window of lap) and flips.
    """
    grid = params["architectures"]
    if grid is None:
        return ()
    return tuple(
        KernelPass(family.file_name(PREFIX), family, tuple(grid["depths"]), pool_images=grid["train_images"])
        for family in _families(grid)
    )


def architecture_outputs(depths: Iterable[int], trained_layers: Iterable[str]) -> list[Output]:
    """List the kernels of a pass that are architectures.

    The tangent kernel of hidden layers alone is 0 at depth 2, where no layer is hidden.
    """
    kinds = [("ntk", trained) for trained in trained_layers] + [("nngp", None)]
    return [
        Output(kind, depth, trained) for depth in depths for kind, trained in kinds if (depth, trained) != (2, "hidden")
    ]


def _families(grid: Mapping[str, Any]) -> Iterator[Family]:
    for filter_size, readout in itertools.product(grid["filter_sizes"], grid["readouts"]):
        windows = grid["pooling_windows"] if readout == "lap" else [None]
        for window, flips in itertools.product(windows, grid["flips"]):
            yield Family(readout, tuple(grid["trained"]), filter_size, window, flips)


def factors(params: Mapping[str, Any]) -> dict[str, int]:
    """The number of passes as a product, by key."""
    grid = params["architectures"]
    return {
        "architectures.filter_sizes": len(grid["filter_sizes"]),
        "architectures.readouts and pooling_windows": len(grid["readouts"]) + len(grid["pooling_windows"]),
        "architectures.flips": len(grid["flips"]),
    }


def contradictions(grid: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    yield from increasing("architectures.depths", grid["depths"])
    for i, size in enumerate(grid["filter_sizes"]):
        yield from odd(f"architectures.filter_sizes[{i}]", size, "filters")
    windows, largest = grid["pooling_windows"], 2 * max(image_shape(params["prepare"])[:2]) - 1
    for i, window in enumerate(windows):
        yield from odd(f"architectures.pooling_windows[{i}]", window, "windows")
        if window > largest:
            yield (
                f"architectures.pooling_windows[{i}]: {window} is more than {largest}, "
                f"which reaches every pixel from every other"
            )
    if ("lap" in grid["readouts"]) != bool(windows):
        yield f"architectures.pooling_windows: {windows}, but the readouts are {', '.join(grid['readouts'])}; " + (
            "lap needs at least one window" if not windows else "windows are lap's, so give []"
        )
    yield from within("architectures.train_images", grid["train_images"], params, "train_images")
    yield from increasing("architectures.small_train_images", grid["small_train_images"])
    full, images, repeats = grid["train_images"], max(grid["small_train_images"]), grid["small_repeats"]
    if images >= full:
        yield f"architectures.small_train_images: {images} is not less than architectures.train_images = {full}"
    elif images * repeats > full:
        yield (
            f"architectures.small_repeats: {repeats} sets of {images} images need {images * repeats}, "
            f"more than architectures.train_images = {full}"
        )
    if grid["depths"] == [2] and grid["trained"] == ["hidden"]:
        yield "architectures.trained: [hidden] with depths [2], where no layer is hidden; give a larger depth, or all"


def jobs(params: Mapping[str, Any]) -> dict[str, Job]:
    """One job for each pass of the grid, by its family's name."""
    grid = params["architectures"]
    if grid is None:
        return {}
    parameters = {
        "study": params["study"],
        "train_images": grid["train_images"],
        "subset": [f"{n}x{grid['small_repeats']}" for n in grid["small_train_images"]],
        "ridges": params["solve"]["ridges"],
    }
    return {
        grid_pass.name: Job(
            "solve_architectures", (f"architectures/{grid_pass.name}.json",), parameters, block_files(params, grid_pass)
        )
        for grid_pass in passes(params)
    }


def names(params: Mapping[str, Any]) -> Iterator[FileName]:
    """Name the families and folders of blocks of the grid."""
    for grid_pass in passes(params):
        yield FileName("family", grid_pass.name, "the grid of architectures", grid_pass.name)
        yield FileName("folder of blocks", grid_pass.kernel_id, "architectures.depths", list(grid_pass.depths))
