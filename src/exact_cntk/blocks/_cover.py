"""Whether blocks cover the kernel matrix, each entry once."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from exact_cntk.blocks._grid import Position, Span


class Overlap(NamedTuple):
    """Blocks number `first` and `second` hold the same entries."""

    first: int
    second: int


class Gap(NamedTuple):
    """No block holds the entries at this position."""

    position: Position


def placements(position: Position, n_train: int) -> list[Position]:
    """Where a block's entries go: its own position and, within the symmetric part, the mirror image."""
    rows, cols = position
    mirrored = rows.start < n_train and not position.diagonal
    return [position, Position(cols, rows)] if mirrored else [position]


def find_fault(positions: Sequence[Position], n_train: int, n_test: int) -> Overlap | Gap | None:
    """The first overlap, or else the first gap, of blocks that should cover (n_train + n_test) × n_train entries once.

    The matrix is looked at cell by cell, where the cells are cut by the edges of all blocks: B blocks of any grids
    cost O(B) assignments to slices.
    """
    placed = [(k, part) for k, position in enumerate(positions) for part in placements(position, n_train)]
    row_edges = sorted({0, n_train, n_train + n_test, *(edge for _, part in placed for span in part for edge in span)})
    col_edges = row_edges[: row_edges.index(n_train) + 1]
    owner = np.full((len(row_edges) - 1, len(col_edges) - 1), -1)
    for number, (rows, cols) in placed:
        cells = owner[
            bisect_left(row_edges, rows.start) : bisect_left(row_edges, rows.stop),
            bisect_left(col_edges, cols.start) : bisect_left(col_edges, cols.stop),
        ]
        if (taken := cells[cells >= 0]).size:
            return Overlap(int(taken[0]), number)
        cells[:] = number
    # The mirror image of a gap is a gap: the one on or below the diagonal names the block to compute.
    for i, j in np.argwhere(owner < 0):
        if row_edges[i] >= col_edges[j]:
            return Gap(Position(Span(*row_edges[i : i + 2]), Span(*col_edges[j : j + 2])))
    return None
