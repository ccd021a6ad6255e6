"""One launch of a kernel on a device, from images to sums."""

import math
from dataclasses import dataclass

import numpy as np
from emulated_device import EmulatedDevice
from kernel_inputs import Problem, constants, tables

from exact_cntk.kernels import reference
from exact_cntk.kernels.cuda import plan
from exact_cntk.kernels.cuda.remote import PassShape


@dataclass(frozen=True)
class Sums:
    """What a launch has left, in the units of the definition; NaN and −1 where it has written nothing.

    Attributes
    ----------
    sums : array of shape (parts, depths, 1 + fields, n, m), float64
    near : array of shape (parts, 2, n, m), int32
    """

    sums: np.ndarray
    near: np.ndarray


def variant_of(problem: Problem, shared_limit: int = 227 * 1024) -> plan.Variant:
    shape = PassShape(
        dtype=np.dtype(problem.dtype),
        height=problem.height,
        width=problem.width,
        channels=problem.channels,
        radius=problem.radius,
        layers=problem.layers,
        emissions=len(problem.depths),
        pooling=problem.pooling,
        reach=problem.reach,
        pooling_radius=-1 if problem.pooling_window is None else problem.pooling_window // 2,
        fields=problem.fields,
        theta_from_sigma=problem.theta_from_sigma,
        arccos_degree=0,
    )
    return plan.choose_variant(shape, shared_limit)


def gains_of(variant: plan.Variant, problem: Problem) -> np.ndarray:
    """The variant's own, or else the powers of two that keep the diagonal of a constant image near 1."""
    if variant.gains is not None:
        return np.array(variant.gains[: problem.layers])
    gains, diagonal = [], np.ones((1, problem.height, problem.width))
    for _ in range(problem.layers):
        diagonal = reference.box_image(diagonal, problem.filter_size)
        gains.append(2.0 ** -round(math.log2(diagonal.max())))
        diagonal *= gains[-1]
    return np.array(gains)


def all_tiles(variant: plan.Variant, rows: int, columns: int) -> np.ndarray:
    height, width = variant.tile
    return np.array([(r, c) for r in range(0, rows, height) for c in range(0, columns, width)], dtype=np.int32)


def run(
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    blocks: int = 2,
    device: EmulatedDevice | None = None,
    variant: plan.Variant | None = None,
    tiles: np.ndarray | None = None,
) -> Sums:
    """All pairs of x and y, images as `scaled` returns them; or those in `tiles` alone."""
    device = device or EmulatedDevice()
    variant = variant or variant_of(problem)
    gains = gains_of(variant, problem)
    layer_constants = constants(gains, problem.dtype)
    stream = device.stream()

    def upload(name: str, values: np.ndarray) -> np.ndarray:
        array = device.empty(values.shape, values.dtype, name=name)
        stream.upload(np.ascontiguousarray(values), array)
        return array

    tiles = all_tiles(variant, len(x), len(y)) if tiles is None else tiles
    parts = 2 if problem.pooling else 1
    sums = device.empty((parts, len(problem.depths), 1 + problem.fields, len(x), len(y)), np.float64, name="sums")
    near = device.empty((parts, 2, len(x), len(y)), np.int32, name="near")
    inputs = [
        upload(f"{side}_{kind}", values)
        for side, images in (("x", x), ("y", y))
        for kind, values in zip(("pixels", "norms"), tables(images, problem, gains), strict=True)
    ]
    workspace = None
    if variant.workspace_scalars:
        workspace = device.empty(blocks * variant.workspace_scalars, problem.dtype, name="workspace")
    arguments = [
        *inputs,
        upload("tiles", tiles),
        *(len(tiles), len(x), len(y), problem.channels, problem.layers),
        upload("emission", problem.emission),
        upload("constants", layer_constants),
        *(workspace, sums, near),
    ]
    kernel = device.compile(plan.program(variant, layer_constants), plan.OPTIONS, variant.entry, variant.shared_bytes)
    stream.launch(kernel, blocks, variant.threads, arguments)
    unscale = np.cumprod(1 / (gains * problem.filter_size**2))[problem.emission >= 0]
    return Sums(np.array(sums) * unscale[:, None, None, None], np.array(near))
