"""What random features cost: operations, seconds, memory, disk."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from exact_cntk._support.machine import cores
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.random_features.plan import (
    DTYPES,
    HALVINGS,
    WORK_GIB,
    count_features,
    jobs,
)

# Costs. A product of float64 numbers takes as long as two of float32; torch takes this long to be imported, and draws
# and multiplies at this part of the speed of one large product (measured with 32 and 128 channels on 8×8 and 16×16).
FLOAT64 = 2

TORCH_SECONDS = 2.5

EFFICIENCY = 0.4

GPU_FLOPS = 2e13  # of one H200 in float32 without TF32, expected

FILE_BYTES = 6_000  # of a result file, for each of its results

PRODUCT = 1000  # rows of the matrices that are multiplied to measure this machine


def expected_seconds(params: Mapping[str, Any], calibration_seconds: float) -> float:
    """Seconds of all jobs of the section on this machine, all cores at work; 0 where its key is null.

    Parameters
    ----------
    params : mapping
        Checked parameters of a study. With the backend "cuda" the networks are expected to run on one H200.
    calibration_seconds : float
        How long to measure products of matrices, if there is anything to compute.
    """
    names = jobs(params)
    if not names:
        return 0.0
    speed = GPU_FLOPS if params["kernels"]["backend"] == "cuda" else _measure(calibration_seconds)
    return len(names) * TORCH_SECONDS / cores() + sum(_operations(params)) / (EFFICIENCY * speed)


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


def _measure(seconds: float) -> float:
    """Operations/s of products of float32 matrices."""
    A = np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT), dtype=np.float32)
    A @ A  # loads and starts what multiplies
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < seconds:
        A @ A
        done += 1
    return done * 2 * PRODUCT**3 / (time.perf_counter() - start)
