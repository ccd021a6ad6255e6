"""What random features cost: operations, memory, disk."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.random_features.plan import (
    DTYPES,
    HALVINGS,
    WORK_GIB,
    count_features,
    jobs,
)
from exact_cntk.study.work import Work

# A product of float64 numbers takes as long as two of float32; torch draws and multiplies at this part of the speed of
# one large product (measured with 32 and 128 channels on 8×8 and 16×16).
FLOAT64, EFFICIENCY = 2, 0.4
FILE_BYTES = 6_000  # of a result file, for each of its results


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """All jobs of the section, each with its mean part; with the backend "cuda" a GPU computes the networks."""
    number = len(jobs(params))
    if not number:
        return []
    products = sum(_operations(params)) / (EFFICIENCY * number)
    return [Work(jobs=number, products=products, torch=True, gpu=params["kernels"]["backend"] == "cuda")]


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak memory of the largest job, bytes; 0 where the section's key is null.

    Kernels of all kinds in both precisions, what solving one holds, the memory that networks are computed in, and the
    largest network's weights twice.
    """
    section = params["random_features"]
    if section is None:
        return 0
    n, m = section["train_images"], section["test_images"]
    kernels = 8 * len(params["kernels"]["kinds"]) * len(DTYPES) * n * (n + m)
    solving = 8 * (5 * n**2 + len(params["solve"]["ridges"]) * 10 * (n + m))
    weights = 2 * 8 * section["depths"][-1] * (9 * section["width"] ** 2)
    return kernels + solving + weights + int(WORK_GIB["cpu"] * 2**30)


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of the section's result files."""
    section = params["random_features"]
    if section is None:
        return 0
    a_job = len(section["depths"]) * len(params["kernels"]["kinds"]) * len(DTYPES) * (HALVINGS + 1)
    return len(jobs(params)) * a_job * FILE_BYTES


def _operations(params: Mapping[str, Any]) -> Iterator[float]:
    """Floating-point operations of the jobs, as many of float32."""
    section, shape = params["random_features"], image_shape(params["prepare"])
    families = {one["name"]: Family.from_parts(one) for one in params["kernels"]["families"]}
    work = WORK_GIB["cuda" if params["kernels"]["backend"] == "cuda" else "cpu"]
    n, m, sweep = section["train_images"], section["test_images"], section["sweep"]
    for name in section["families"]:
        for depth in section["depths"]:
            network = (families[name], shape, depth, section["width"], work)
            a_draw = _empirical(*network, rows=n, columns=n) / 2 + _empirical(*network, rows=m, columns=n)
            yield section["draws"] * (1 + FLOAT64) * a_draw
        for width in sweep["widths"] if sweep is not None else ():
            network = (families[name], shape, sweep["depth"], width, work)
            a_draw = _empirical(*network, rows=sweep["images"], columns=sweep["images"]) / 2
            yield len(params["kernels"]["kinds"]) * sweep["draws"] * a_draw


def _empirical(
    family: Family,
    shape: tuple[int, int, int],
    depth: int,
    width: int,
    work_gib: float,
    *,
    rows: int,
    columns: int,
) -> float:
    """Operations of one network's kernel of some images with others, which the symmetric one takes half of.

    A pair of blocks takes columns forwards and backwards, the gradients of rows and columns, each like one convolution
    a layer, and the products of gradients. Blocks are about those of `exact_cntk.finite._signals.plan_blocks`.
    """
    pixels, channels = math.prod(shape[:2]), shape[2]
    an_image = 4 * pixels * (4 * channels + (4 * depth + 5) * width)
    block = max(1, int(work_gib * 2**30 / 2 / an_image))
    convolutions = 2 * pixels * sum(family.weights(shape, depth, width)[:-1])
    across, down = math.ceil(columns / block), math.ceil(rows / block)
    passes = 2 * (rows + down * columns) + rows * across + columns * down
    return convolutions * passes + 2 * count_features(shape, family, "ntk", depth, width) * rows * columns
