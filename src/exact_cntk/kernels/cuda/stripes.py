"""How a call's pairs are cut up: chunks of images that fit on the device, stripes of pairs, tiles of a kernel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np

# Of GPU work: long enough that launches cost nothing, short enough that progress moves, that Ctrl-C is obeyed within a
# second with several stripes in flight, and that a GPU which also draws a desktop still does.
STRIPE_SECONDS = 0.2
# A stripe's sums, which are on the host as well.
STRIPE_BYTES = 64 << 20
# Element-layers/s that a multiprocessor surely does; the first stripe is sized by it, the next ones by what was
# measured, at most so many times the size.
CAUTIOUS_RATE = 2e8
GROWTH = 8
# Tiles are taken in squares of this many images a side, whose tables, some 12 MB, stay in the L2 cache of a GPU while
# its multiprocessors are at it.
SQUARE_IMAGES = 64


@dataclass(frozen=True)
class Stripe:
    """A rectangle of pairs, one launch of a kernel: first image and number of images, of either side."""

    row: int
    rows: int
    column: int
    columns: int
    final: tuple[int, int] | None = None  # rows [start, stop) of the results, complete after this and earlier stripes

    @property
    def pairs(self) -> int:
        """Pairs of the rectangle, those above the diagonal included."""
        return self.rows * self.columns


def stripe_pairs(pairs_per_second: float, *, fewest: int, most: int) -> int:
    """Pairs in a stripe: so many that it takes STRIPE_SECONDS, but enough to occupy the device, if memory allows."""
    return min(max(int(pairs_per_second * STRIPE_SECONDS), fewest), most)


def stripe_capacity(free_bytes: int, bytes_per_pair: int, slots: int) -> int:
    """Pairs whose sums a slot has room for: STRIPE_BYTES, and all slots together an eighth of the device's memory."""
    return max(1, min(STRIPE_BYTES, free_bytes // (8 * slots)) // bytes_per_pair)


def chunk_sizes(budget: int, image_bytes: int, n: int, m: int | None) -> tuple[int, int] | None:
    """Images of either side whose tables are on the device together; None if not even one and one fit.

    Where `m` is None, columns are the rows: both chunks are equal then, and need memory twice unless one holds all.
    """
    fit = budget // image_bytes
    if m is None:
        size = n if n <= fit else fit // 2
        return (size, size) if size else None
    if n + m <= fit:
        return n, m
    # The smaller side whole, if that leaves the other one a good share.
    rows = min(n, max(fit // 2, fit - m))
    columns = min(m, fit - rows)
    return (rows, columns) if rows and columns else None


def cut(
    rows: tuple[int, int],
    columns: tuple[int, int],
    *,
    symmetric: bool,
    completes: bool,
    tile: tuple[int, int],
    target: Callable[[], int],
) -> Iterator[Stripe]:
    """Cut a rectangle of pairs, or what of it lies below the diagonal, into stripes.

    They come in bands of rows; in the symmetric case in bands of columns [a, b) down to the last row, since by their
    mirror image rows [a, b) are complete then. Bands are about as wide as stripes are long.

    Parameters
    ----------
    rows, columns : (int, int)
        Start and stop.
    symmetric : bool
        Pairs (i, j) with j ≤ i only.
    completes : bool
        Whether this is the last rectangle of its rows; in the symmetric case, of its columns.
    tile : (int, int)
        Stripes start at multiples of it, from the rectangle's start.
    target : callable
        Pairs that the next stripe should have; a stripe has at most that many, or a tile.
    """
    across, along = (columns, rows) if symmetric else (rows, columns)
    across_tile, along_tile = (tile[1], tile[0]) if symmetric else tile
    start = across[0]
    while start < across[1]:
        at = along[0]
        if symmetric and start > at:
            at += (start - at) // along_tile * along_tile
        pairs = target()
        band = _share(across[1] - start, max(isqrt(pairs), pairs // (along[1] - at)), across_tile)
        while at < along[1]:
            length = _share(along[1] - at, target() // band, along_tile)
            final = (start, start + band) if completes and at + length == along[1] else None
            yield Stripe(at, length, start, band, final) if symmetric else Stripe(start, band, at, length, final)
            at += length
        start += band


def _share(left: int, most: int, tile: int) -> int:
    """Images of the next of equal parts, none above `most` but for whole tiles."""
    tiles, most = -(-left // tile), max(1, most // tile)
    parts = -(-tiles // most)
    return min(left, -(-tiles // parts) * tile)


@lru_cache(maxsize=4)
def tile_list(rows: int, columns: int, tile: tuple[int, int], above: int | None) -> np.ndarray:
    """First row and column of each tile of a stripe, of shape (count, 2), int32, ordered to keep tables in the cache.

    `above` is column minus row of the stripe's first pair: tiles wholly above the diagonal are left out. With None,
    all are kept.
    """
    r, c = (axis.ravel() for axis in np.meshgrid(np.arange(0, rows, tile[0]), np.arange(0, columns, tile[1])))
    if above is not None:
        below = c + above <= np.minimum(r + tile[0], rows) - 1
        r, c = r[below], c[below]
    down, across = r // SQUARE_IMAGES, c // SQUARE_IMAGES
    # To and fro, so that a square is always next to the last one.
    order = np.lexsort((c, r, np.where(down % 2, -across, across), down))
    tiles = np.stack([r[order], c[order]], axis=1).astype(np.int32)
    tiles.flags.writeable = False
    return tiles


class Pace:
    """How fast the device computes, from the stripes so far; it starts with a rate that any device reaches."""

    def __init__(self, element_layers: int, processors: int) -> None:
        self.pairs_per_second = processors * CAUTIOUS_RATE / element_layers

    def measured(self, pairs: int, seconds: float) -> None:
        """Learn from a stripe that added `seconds` to the time in which kernels ran."""
        rate = pairs / max(seconds, 1e-9)
        self.pairs_per_second = min((self.pairs_per_second + rate) / 2, GROWTH * self.pairs_per_second)
