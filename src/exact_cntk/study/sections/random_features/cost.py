"""What random features cost: operations, memory, disk."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk._support.cut import cut
from exact_cntk.networks import Family
from exact_cntk.study.fits import TEST_ROWS
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.random_features.plan import DTYPES, HALVINGS, WORK_GIB, count_features, jobs
from exact_cntk.study.work import Work

# A float64 product takes as long as two float32 products; torch reaches this fraction of the speed of one large product
# (measured with 32 and 128 channels on 8×8 and 16×16).
FLOAT64, EFFICIENCY = 2, 0.4
FILE_BYTES = 6_000  # of a result file, per result


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """All jobs, each with the mean amount of work; with the backend "cuda" a GPU computes the networks."""
    number = len(jobs(params))
    products = sum(_operations(params)) / (EFFICIENCY * number)
    return [Work(jobs=number, products=products, torch=True, gpu=params["kernels"]["backend"] == "cuda")]


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak memory of the largest job, bytes.

    Kernels of all kinds in both precisions, what solving one of them takes, the memory that networks are computed in,
    and the largest network's weights twice.
    """
    section = params["random_features"]
    n, m = section["train_images"], section["test_images"]
    kernels = 8 * len(params["kernels"]["kinds"]) * n * (len(DTYPES) * n + min(m, TEST_ROWS))
    solving = 8 * (5 * n**2 + len(params["solve"]["ridges"]) * 10 * (n + m))
    weights = 2 * 8 * section["depths"][-1] * (9 * section["width"] ** 2)
    return kernels + solving + weights + int(WORK_GIB["cpu"] * 2**30)


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of the section's result files."""
    depths, kinds = params["random_features"]["depths"], params["kernels"]["kinds"]
    return len(jobs(params)) * len(depths) * len(kinds) * len(DTYPES) * (HALVINGS + 1) * FILE_BYTES


def _operations(params: Mapping[str, Any]) -> Iterator[float]:
    """Floating-point operations of the jobs, in units of float32 operations."""
    section, shape = params["random_features"], image_shape(params["prepare"])
    families = {family["name"]: Family.from_parts(family) for family in params["kernels"]["families"]}
    work = WORK_GIB["cuda" if params["kernels"]["backend"] == "cuda" else "cpu"]
    n, m, sweep = section["train_images"], section["test_images"], section["sweep"]
    for name in section["families"]:
        for depth in section["depths"]:
            network = (families[name], shape, depth, section["width"], work)
            tests = sum(_empirical(*network, part.stop - part.start, n) for part in cut(m, TEST_ROWS))
            yield section["draws"] * (1 + FLOAT64) * (_empirical(*network, n, n) / 2 + tests)
        for width in sweep["widths"] if sweep is not None else ():
            network = (families[name], shape, sweep["depth"], width, work)
            operations = _empirical(*network, sweep["images"], sweep["images"]) / 2
            yield len(params["kernels"]["kinds"]) * sweep["draws"] * operations


def _empirical(
    family: Family, shape: tuple[int, int, int], depth: int, width: int, work_gib: float, rows: int, columns: int
) -> float:
    """Operations of one network's kernel between rows and columns of images; a symmetric one takes half of them.

    A pair of blocks takes a forward and a backward pass of the columns, the gradients of rows and columns, each like
    one convolution per layer, and the products of gradients. Blocks are as in `exact_cntk.finite._signals.plan_blocks`.
    """
    pixels, channels = math.prod(shape[:2]), shape[2]
    image_bytes = 4 * pixels * (4 * channels + (4 * depth + 5) * width)
    block = max(1, int(work_gib * 2**30 / 2 / image_bytes))
    convolutions = 2 * pixels * sum(family.weights(shape, depth, width)[:-1])
    across, down = math.ceil(columns / block), math.ceil(rows / block)
    passes = 2 * (rows + down * columns) + rows * across + columns * down
    return convolutions * passes + 2 * count_features(shape, family, "ntk", depth, width) * rows * columns
