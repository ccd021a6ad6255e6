"""All blocks of a pass as the kernels of the pool's first images, of which some rows are in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exact_cntk.blocks._cover import Gap, find_fault, placements
from exact_cntk.blocks._file import Block, Header
from exact_cntk.blocks._grid import Position, Span, block_name
from exact_cntk.blocks._merge import check_equal, read_headers, read_values
from exact_cntk.errors import UserError


@dataclass(frozen=True)
class BlockSet:
    """Blocks that contain the kernels between the pool's first n images, and between them and the test set.

    Attributes
    ----------
    headers : dict of Path to Header
        Of all blocks; equal but for their positions.
    n : int
        May be less than the whole pool.
    """

    headers: dict[Path, Header]
    n: int

    @property
    def header(self) -> Header:
        """The header of one block; all state the same pass."""
        return next(iter(self.headers.values()))

    @property
    def pairs(self) -> int:
        """Pairs of images that were computed."""
        return sum(header.position.pairs for header in self.headers.values())

    def kernel(self, kind: str, depth: int, trained: str | None = None, *, rows: slice) -> np.ndarray:
        """Rows of one kernel of the pass, of shape (rows, n), float64; the symmetric part is filled.

        Parameters
        ----------
        kind, depth, trained
            `trained` where the blocks have the NTK of several choices of trained layers.
        rows : slice
            Of the n images of the pool and the test images after them.

        Raises
        ------
        UserError
            A block is damaged, has NaN, or does not hold this kernel.
        """
        kernel = np.empty((rows.stop - rows.start, self.n))
        for path, header in self.headers.items():
            places = [
                (_moved(place.rows, header.n_train, self.n), place.cols)
                for place in placements(header.position, header.n_train)
            ]
            if not any(span.start < rows.stop and span.stop > rows.start for span, _ in places):
                continue
            with Block(path) as block:
                values = read_values(block, (kind, depth, *([trained] if trained else [])))
            for (span, cols), part in zip(places, (values, values.T), strict=False):
                first, last = max(span.start, rows.start), min(span.stop, rows.stop)
                if first < last:
                    kernel[first - rows.start : last - rows.start, cols.start : cols.stop] = part[
                        first - span.start : last - span.start
                    ]
        return kernel


def read_block_set(paths: Sequence[Path], n: int) -> BlockSet:
    """Check that blocks belong together and contain all kernels of the pool's first n images.

    Parameters
    ----------
    paths : sequence of Path
        All blocks of one pass.
    n : int

    Raises
    ------
    UserError
        Naming the file: a block is missing or damaged, differs from the others in parameters or data, overlaps another
        one, exceeds the first n images, or leaves a gap.
    """
    blocks = read_headers(paths)
    check_equal(blocks)
    headers = {path: header for path, (header, _) in blocks.items()}
    first = next(iter(headers.values()))
    for path, header in headers.items():
        rows, cols = header.position
        if cols.stop > n or n < rows.stop <= header.n_train:
            raise UserError(f"block {path} ({header.position}) reaches beyond the first {n} images of the pool")
    moved = [Position(_moved(rows, first.n_train, n), cols) for rows, cols in (h.position for h in headers.values())]
    fault = find_fault(moved, n, first.n_test)
    if isinstance(fault, Gap):
        rows = fault.position.rows
        shifted = Span(rows.start + first.n_train - n, rows.stop + first.n_train - n) if rows.start >= n else rows
        likely = Position(shifted, fault.position.cols)
        where = paths[0].with_name(block_name(likely))
        raise UserError(f"no block covers {likely} of the kernel: {where} is missing, or of another grid")
    if fault is not None:
        raise UserError(
            f"block {list(headers)[fault.second]} overlaps {list(headers)[fault.first]}: they are of two grids; delete "
            "the one of the old block size"
        )
    return BlockSet(headers, n)


def _moved(rows: Span, n_train: int, n: int) -> Span:
    """Rows of the test set come after the first n images instead of the whole pool."""
    return Span(rows.start - n_train + n, rows.stop - n_train + n) if rows.start >= n_train else rows
