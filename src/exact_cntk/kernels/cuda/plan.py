"""Which kernel computes a shape, and how it is specialised: pure functions, no device needed."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from exact_cntk.kernels.cuda.remote import PassShape

OPTIONS = ("-std=c++17",)
"""Options of the compiler in addition to the architecture and ``-ftz=true``, which whoever compiles must add."""

SHARED_DEFAULT = 227 * 1024
RESCALE_PERIOD = 12
RESCALE = 2.0**-58
"""The tuned kernels' units grow by 9π a layer, and on every 12th one they shrink by 2^-58 (see relu.cuh)."""

# log2 of how far constant images may drift from 1 over all layers, besides the growth between two rescalings; float32
# has room for this on both sides.
_DRIFT_LIMIT = 24.0
_LANE_ENTRIES = 32  # of one field, in registers


@dataclass(frozen=True)
class Variant:
    """One specialisation of one kernel."""

    source: str  # file in ``kernels/``
    macros: tuple[tuple[str, str], ...]  # what the source leaves open
    threads: int  # of a block
    blocks_per_sm: int  # that a multiprocessor has at once
    shared_bytes: int  # dynamic shared memory of a block
    tile: tuple[int, int] = (1, 1)  # rows and columns of the pairs that a block takes at a time
    workspace_scalars: int = 0  # elements of global memory that each block of the grid needs
    gains: tuple[float, ...] | None = None  # of each layer, in place of 1/q², as float32; None if the kernel takes any
    entry: str = "cntk_pairs"  # name of the kernel


def _macros(shape: PassShape, **others: int) -> tuple[tuple[str, str], ...]:
    values: dict[str, int | str] = {
        "HEIGHT": shape.height,
        "WIDTH": shape.width,
        "RADIUS": shape.radius,
        "FIELDS": shape.fields,
        "POOLING": int(shape.pooling),
        "THETA_FROM_SIGMA": int(shape.theta_from_sigma),
        "SCALAR": "float" if shape.dtype == np.float32 else "double",
        **others,
    }
    return tuple((name, str(value)) for name, value in values.items())


def choose_variant(shape: PassShape, shared_limit: int = SHARED_DEFAULT) -> Variant:
    """Choose the fastest kernel that can compute a pass with so many bytes of shared memory for a block.

    It is a tuned kernel for 3×3 filters in float32 where whole planes fit the registers of a warp and float32 the range
    of their units, otherwise the general one; also for local pooling.
    """
    if shape.pooling_radius >= 0:
        return _general(shape, shared_limit)
    rectangle = _lane_rectangle(shape.height, shape.width)
    if shape.dtype == np.float32 and shape.radius == 1 and rectangle is not None and _holds_range(shape):
        variant = (_torus if shape.pooling else _flatten)(shape, *rectangle)
        if variant.shared_bytes <= shared_limit:
            return variant
    return _general(shape, shared_limit)


def _lane_rectangle(height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of a plane that one lane holds, or None if no whole number of lanes fits.

    Chosen for the fewest instructions an entry: about 26, the shuffles at the rectangle's sides and a share of what a
    layer costs however few its entries, all divided by the lanes in use.
    """

    def cost(rows: int, columns: int) -> float:
        lanes_across, lanes_down = width // columns, height // rows
        used = 32 // (lanes_across * lanes_down) * lanes_across * lanes_down / 32
        shuffles = 4 * (lanes_across > 1) / columns + 4 * (lanes_down > 1) / rows
        return (26 + shuffles + 60 / (rows * columns)) / used

    rectangles = [
        (rows, columns)
        for columns in (4, 2)
        for rows in range(1, height + 1)
        if width % columns == 0 and height % rows == 0 and rows * columns <= _LANE_ENTRIES
        if height * width <= 32 * rows * columns
    ]
    return min(rectangles, key=lambda rectangle: cost(*rectangle), default=None)


def _gains(layers: int) -> tuple[float, ...]:
    pi = float(np.float32(math.pi))
    return tuple(pi * RESCALE if h % RESCALE_PERIOD == RESCALE_PERIOD - 1 else pi for h in range(layers))


def _holds_range(shape: PassShape) -> bool:
    """Whether the diagonal of a constant image stays within float32's range in the units of the tuned kernels.

    A box filter multiplies such a diagonal by its largest eigenvalue, 1 + 2 cos(π/(n + 1)) along n pixels.
    """

    def largest(n: int) -> float:
        return 1 + 2 * math.cos(math.pi / (n + 1))

    growth = math.log2(math.pi * largest(shape.height) * largest(shape.width))
    return abs(growth + math.log2(RESCALE) / RESCALE_PERIOD) * shape.layers <= _DRIFT_LIMIT


def _planes_per_warp(shape: PassShape, rows: int, columns: int) -> int:
    return 32 // (shape.pixels // (rows * columns))


def _aligned(size: int) -> int:
    """`size` bytes, rounded up to vectors of 16."""
    return -(-size // 16) * 16


def _torus(shape: PassShape, rows: int, columns: int) -> Variant:
    warps, planes = 8, _planes_per_warp(shape, rows, columns)
    # A pair takes a whole block where that leaves few warps idle in the last round of a phase.
    rounds = shape.height * (shape.width // columns) / (warps * planes)
    team_warps = warps if rounds / math.ceil(rounds) >= 0.85 or shape.width > 32 else 1
    teams = warps // team_warps
    tile = _tile(teams)
    slots = team_warps * planes + 1
    position = _aligned(4 * (rows // 2 + 2 + columns // 2 + 2 + 2))
    table = (shape.height + rows - 1) * shape.width
    shared = (
        32 * warps * (16 + position + 32 + 4)
        + 4 * teams * (4 * table + 2 * slots)
        + 4 * (shape.layers + 1)
        + 8 * teams * slots * shape.emissions * shape.carried
    )
    blocks_per_sm = 1 if shape.fields == 2 else 2
    macros = _macros(
        shape,
        LANE_ROWS=rows,
        LANE_COLUMNS=columns,
        BLOCK_WARPS=warps,
        BLOCKS_PER_SM=blocks_per_sm,
        TEAM_WARPS=team_warps,
        TILE_ROWS=tile[0],
        TILE_COLUMNS=tile[1],
    )
    gains = _gains(shape.layers)
    return Variant("torus.cu", macros, 32 * warps, blocks_per_sm, shared, tile, gains=gains)


def _flatten(shape: PassShape, rows: int, columns: int) -> Variant:
    # One block fills the registers of a multiprocessor.
    warps, planes = 8 if shape.fields == 2 else 16, _planes_per_warp(shape, rows, columns)
    tile = _tile(warps * planes)
    pitch = shape.pixels + (shape.width if planes > 1 else 0)
    macros = _macros(
        shape,
        LANE_ROWS=rows,
        LANE_COLUMNS=columns,
        BLOCK_WARPS=warps,
        BLOCKS_PER_SM=1,
        TILE_ROWS=tile[0],
        TILE_COLUMNS=tile[1],
    )
    chunk = 4 if shape.pixels % 4 == 0 and pitch % 4 == 0 else 1
    copies = -(-sum(tile) * shape.pixels // (chunk * 32 * warps))
    shared = 32 * warps * _aligned(8 * copies) + 2 * 4 * sum(tile) * pitch
    return Variant("flatten.cu", macros, 32 * warps, 1, shared, tile, gains=_gains(shape.layers))


def _tile(pairs: int) -> tuple[int, int]:
    """The squarest tile of so many pairs."""
    rows = max(rows for rows in range(1, math.isqrt(pairs) + 1) if pairs % rows == 0)
    return rows, pairs // rows


def _general(shape: PassShape, shared_limit: int) -> Variant:
    warps = min(max(-(-shape.pixels // 32), 1), 8)
    parts = 2 if shape.pooling else 1
    planes = (shape.carried + 1) * shape.pixels
    sums = 8 * (parts * shape.emissions * shape.carried + (shape.carried + 1) * 32 * warps) + 4 * 2 * parts
    in_shared = sums + planes * (4 if shape.dtype == np.float32 else 8)
    fits = in_shared <= shared_limit
    macros = _macros(
        shape,
        BLOCK_WARPS=warps,
        BLOCKS_PER_SM=2,
        IN_SHARED=int(fits),
        REACH_ROWS=shape.reach[0],
        REACH_COLUMNS=shape.reach[1],
        POOLING_RADIUS=shape.pooling_radius,
    )
    return Variant(
        "general.cu", macros, 32 * warps, 2, in_shared if fits else sums, workspace_scalars=0 if fits else planes
    )


def program(variant: Variant, constants: Sequence[Sequence[float]] | np.ndarray) -> str:
    """Write the one string that the compiler takes: macros, then the source with what it includes.

    `constants`, of shape (layers, 3 + degree), are {gain, gain/π, arccos…} of each layer, for `variant.gains`; those of
    the first layer are immediates of the tuned kernels.
    """
    macros = list(variant.macros)
    if variant.gains is not None:
        gain, gain_over_pi, *arccos = (f"{float(value).hex()}f" for value in constants[0])
        macros += [("GAIN", gain), ("GAIN_OVER_PI", gain_over_pi)]
        macros += [(f"ARCCOS_{k}", value) for k, value in enumerate(arccos)]
        macros += [("RESCALE_PERIOD", str(RESCALE_PERIOD)), ("RESCALE", f"{RESCALE.hex()}f")]
    lines = [f"#define {name} {value}\n" for name, value in macros]
    # Comments alone are not ASCII; CuPy writes the source to a file in the encoding of the locale.
    return ("".join(lines) + _inlined(variant.source)).encode("ascii", "replace").decode("ascii")


@cache
def _inlined(name: str) -> str:
    """Return a file of ``kernels/`` with every header that it includes inserted at its first mention."""
    seen = set()

    def expand(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (files(__package__) / "kernels" / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
        return re.sub(r'#include "(.+)"\n', lambda match: expand(match[1]), text)

    return expand(name)
