"""The order of the images and the grid of blocks: pure functions, which the workflow's rules call too.

A kernel matrix has one row for each image, those of the training pool first and those of the test set after them, and
one column for each image of the pool. Both parts are cut into pieces of one size, so that a block holds either rows of
the pool or rows of the test set. Of the pool's symmetric part only the lower triangle of blocks is computed.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from exact_cntk.blocks._sizes import BlockSizes
from exact_cntk.errors import InputError


class Span(NamedTuple):
    """The images start, start + 1, …, stop − 1."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of images."""
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


class Position(NamedTuple):
    """Rows and columns of a block in the kernel matrix."""

    rows: Span
    cols: Span

    @property
    def diagonal(self) -> bool:
        """Whether rows and columns are the same images, so that the block itself is symmetric."""
        return self.rows == self.cols

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the block."""
        return self.rows.length, self.cols.length

    @property
    def entries(self) -> int:
        """Entries of the block as stored: a diagonal block is stored whole."""
        return self.rows.length * self.cols.length

    @property
    def pairs(self) -> int:
        """Pairs of images to compute."""
        return self.rows.length * (self.rows.length + 1) // 2 if self.diagonal else self.entries

    def __str__(self) -> str:
        return f"rows {self.rows}, columns {self.cols}"


def parse_span(text: str, name: str) -> Span:
    """Read "0:500", as `--rows` and `--cols` take it.

    Raises
    ------
    InputError
        If it is not two numbers with start < stop.
    """
    edges = re.fullmatch(r"(\d{1,12}):(\d{1,12})", text, re.ASCII)
    if edges is None or int(edges[1]) >= int(edges[2]):
        raise InputError(f"{name} is {text!r}; allowed is START:STOP with 0 <= START < STOP, for example 0:500")
    return Span(int(edges[1]), int(edges[2]))


def spans(start: int, stop: int, length: int) -> list[Span]:
    """Cut [start, stop) into pieces of `length`, the last one perhaps shorter."""
    return [Span(left, min(left + length, stop)) for left in range(start, stop, length)]


def block_positions(n_train: int, n_test: int, block_images: int | BlockSizes) -> list[Position]:
    """Every block of a kernel matrix of shape (n_train + n_test, n_train).

    Parameters
    ----------
    n_train, n_test : int
        Images of the training pool and of the test set.
    block_images : int or BlockSizes
        Largest number of images along a side, of pool and test set alike or of each; it need not divide anything.

    Raises
    ------
    InputError
        If n_train or block_images is below 1, or n_test below 0.
    """
    sizes = BlockSizes(block_images, block_images) if isinstance(block_images, int) else block_images
    for name, value, least in (("n_train", n_train, 1), ("n_test", n_test, 0), ("block_images", min(sizes), 1)):
        if value < least:
            raise InputError(f"{name} is {value}; allowed are integers ≥ {least}")
    pool = spans(0, n_train, sizes.pool)
    test = spans(n_train, n_train + n_test, sizes.test)
    return [Position(rows, cols) for rows in pool + test for cols in pool if cols.start <= rows.start]


def check_position(position: Position, n_train: int, n_test: int) -> None:
    """Refuse a block that no kernel matrix of this shape has.

    Raises
    ------
    InputError
        If the block leaves the matrix, mixes pool and test set, or lies above the diagonal of the symmetric part.
    """
    rows, cols = position
    if rows.stop > n_train + n_test:
        raise InputError(f"rows {rows} leave the kernel matrix: the data has {n_train} + {n_test} images")
    if cols.stop > n_train:
        raise InputError(f"columns {cols} leave the kernel matrix: the training pool has {n_train} images")
    if rows.start < n_train < rows.stop:
        raise InputError(f"rows {rows} mix the training pool (0:{n_train}) and the test set: split them at {n_train}")
    if rows.start < n_train and not position.diagonal and cols.stop > rows.start:
        raise InputError(
            f"{position} reach above the diagonal of the symmetric part: only blocks below it are computed, and blocks "
            "whose rows and columns are the same"
        )


def block_name(position: Position) -> str:
    """File name of a block, for example "500-0.h5"."""
    return f"{position.rows.start}-{position.cols.start}.h5"


def kernel_id(family: str, depths: Iterable[int]) -> str:
    """Name of one pass and of its folder of blocks, for example "cntk-v-d3-4-6-11-21"."""
    return f"{family}-d{'-'.join(map(str, depths))}"


def kernel_name(family: str, depth: int) -> str:
    """Name of one merged kernel and of what is made from it, for example "cntk-v-depth-03"."""
    return f"{family}-depth-{depth:02d}"


def dataset_name(kind: str, depth: int, trained: str | None = None) -> str:
    """Dataset of a block file, for example "ntk/depth_03"; with the trained layers where it has several choices."""
    return f"{kind}-{trained}/depth_{depth:02d}" if trained else f"{kind}/depth_{depth:02d}"
