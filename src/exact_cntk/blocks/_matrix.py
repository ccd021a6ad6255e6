"""A kernel matrix that is read from its blocks, of which the symmetric part has those on and below the diagonal."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import h5py
import numpy as np

from exact_cntk._support.hdf5 import stated_checksum
from exact_cntk.blocks._cover import placements
from exact_cntk.blocks._file import Block
from exact_cntk.blocks._grid import Position
from exact_cntk.errors import UserError

OPEN_BLOCKS = 64  # at a time: of a pool of 50,000, more than a row or column of the matrix meets
PIECE_BYTES = 2**21  # read at a time, as a rule a few chunks: small enough for the cache of a CPU
LOST = "run the study again, or compute the block again (`exact-cntk block`) and then merge again"


class MergedBlock(NamedTuple):
    """A block as a kernel file lists it.

    `file` is relative to the folder of the kernel; `checksum` is that of all but the numbers, and `digests` tell the
    numbers of each kind from others.
    """

    file: str
    position: Position
    checksum: str
    digests: dict[str, str]


class OpenBlocks:
    """The block files of a kernel, each verified when it is opened, a few of them open at a time.

    Parameters
    ----------
    path : Path
        The kernel file.
    blocks : sequence of MergedBlock

    Attributes
    ----------
    filename : str
        That of the kernel.
    lock : Lock
        To be held while a block is read, which another thread might close otherwise.
    """

    def __init__(self, path: Path, blocks: Sequence[MergedBlock]) -> None:
        self.path, self.filename, self.blocks, self.lock = path, str(path), blocks, Lock()
        self._open: OrderedDict[int, tuple[Block, dict[str, h5py.Dataset]]] = OrderedDict()

    def dataset(self, number: int, kind: str, depth: int) -> tuple[Block, h5py.Dataset]:
        """One kind and depth of a block, which is the one that was merged."""
        block, datasets = self._opened(number)
        if kind not in datasets:
            dataset = block.dataset((kind, depth))
            if block.digest((kind, depth)) != self.blocks[number].digests[kind]:
                raise self._exchanged(block.path)
            datasets[kind] = dataset
        return block, datasets[kind]

    def find_lost(self) -> Path | None:
        """The first block that is missing, or states another checksum."""
        for block in self.blocks:
            path = self._find(block)
            try:
                if stated_checksum(path) != block.checksum:
                    return path
            except (OSError, ValueError, LookupError, TypeError):
                return path
        return None

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1][0].close()

    def _opened(self, number: int) -> tuple[Block, dict[str, h5py.Dataset]]:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= OPEN_BLOCKS:
            self._open.popitem(last=False)[1][0].close()
        path = self._find(self.blocks[number])
        if not os.path.lexists(path):
            raise UserError(f"block {path}, which kernel {self.path} was merged from, is missing: {LOST}")
        block = Block(path)
        if block.checksum != self.blocks[number].checksum:
            block.close()
            raise self._exchanged(path)
        self._open[number] = block, {}
        return self._open[number]

    def _find(self, block: MergedBlock) -> Path:
        """As HDF5 does: from the folder of the kernel file, or of what it is a link to."""
        path = _joined(self.path.parent, block.file)
        if not path.exists() and self.path.is_symlink():
            there = self.path.resolve().parent / block.file
            path = there if there.exists() else path
        return path

    def _exchanged(self, path: Path) -> UserError:
        return UserError(
            f"block {path} is not the one that kernel {self.path} was merged from: delete the kernel and merge again, "
            "or bring that block back"
        )


def _joined(folder: Path, name: str) -> Path:
    """A file by its name as seen from a folder; without "..", if no link makes that another one."""
    path = folder / name
    short = Path(os.path.normpath(path))
    return short if short.parent.resolve() == path.parent.resolve() else path


class _Part(NamedTuple):
    """Where a block's entries are in the matrix, as they are or mirrored."""

    number: int
    mirrored: bool


class _Wanted(NamedTuple):
    """Increasing rows and columns of a block, and the array that they are to fill."""

    rows: np.ndarray
    cols: np.ndarray
    out: np.ndarray

    def mirrored(self) -> "_Wanted":
        return _Wanted(self.cols, self.rows, self.out.T)


class KernelMatrix:
    """One kind of kernel, of shape (n_train + n_test, n_train), read by slices as a NumPy array is, in float64.

    Parameters
    ----------
    kind : str
    depth : int
    shape : tuple of int
    n_train : int
    files : OpenBlocks

    Raises
    ------
    UserError
        When it is read: a block is missing, damaged, or not the one that was merged.
    """

    ndim = 2
    dtype = np.dtype(np.float64)

    def __init__(self, kind: str, depth: int, shape: tuple[int, int], n_train: int, files: OpenBlocks) -> None:
        self.kind, self.depth, self.shape = kind, depth, shape
        self._files = files
        placed = [
            (position, _Part(number, mirrored=k > 0))
            for number, block in enumerate(files.blocks)
            for k, position in enumerate(placements(block.position, n_train))
        ]
        self._parts = [part for _, part in placed]
        self._edges = np.array([[*position.rows, *position.cols] for position, _ in placed])

    @property
    def name(self) -> str:
        """Name of the dataset, "/ntk" for example."""
        return f"/{self.kind}"

    @property
    def file(self) -> OpenBlocks:
        """Has the `filename` of the kernel, as that of a h5py.Dataset has."""
        return self._files

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype=dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows, or rows and columns: each a number, a slice of step 1, or an array of numbers, which are combined.

        ``K[[1, 5], [0, 2]]`` has two rows and two columns, as NumPy's ``K[np.ix_([1, 5], [0, 2])]``.
        """
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > self.ndim:
            raise IndexError(f"{len(parts)} indices of a matrix")
        rows, back = _selected(parts[0] if parts else slice(None), self.shape[0])
        cols, back_cols = _selected(parts[1] if len(parts) > 1 else slice(None), self.shape[1])
        values = np.empty((len(rows), len(cols)))
        if values.size:
            with self._files.lock:
                self._read(rows, cols, values)
        chosen = values[back][..., back_cols]
        return chosen if chosen.flags.c_contiguous else chosen.copy()

    def _read(self, rows: np.ndarray, cols: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` with what is at increasing rows and columns."""
        top, bottom, left, right = self._edges.T
        met = (top <= rows[-1]) & (bottom > rows[0]) & (left <= cols[-1]) & (right > cols[0])
        wanted: dict[int, list[_Wanted]] = {}
        for k in np.flatnonzero(met):
            i, j = np.searchsorted(rows, (top[k], bottom[k]))
            p, q = np.searchsorted(cols, (left[k], right[k]))
            if i < j and p < q:
                entries = _Wanted(rows[i:j] - top[k], cols[p:q] - left[k], out[i:j, p:q])
                number, mirrored = self._parts[k]
                wanted.setdefault(number, []).append(entries.mirrored() if mirrored else entries)
        for number, places in wanted.items():
            first, *others = places
            for other in others:  # at most one, the mirror image: often of the same entries, which are then read once
                if np.array_equal(first.rows, other.rows) and np.array_equal(first.cols, other.cols):
                    self._read_block(number, first, other.out)
                    break
                self._read_block(number, other)
            else:
                self._read_block(number, first)

    def _read_block(self, number: int, wanted: "_Wanted", *outs: np.ndarray) -> None:
        """Read what is wanted of a block, a few chunks at a time, also into `outs`."""
        block, dataset = self._files.dataset(number, self.kind, self.depth)
        rows, cols = wanted.rows, wanted.cols
        first, last = int(cols[0]), int(cols[-1]) + 1
        chosen = slice(None) if last - first == len(cols) else cols - first
        with block.explained():
            for piece in _pieces(rows, dataset):
                start, stop = int(rows[piece.start]), int(rows[piece.stop - 1]) + 1
                values = dataset[start:stop, first:last]
                if stop - start > piece.stop - piece.start:
                    values = values[rows[piece] - start]
                for out in (wanted.out, *outs):
                    out[piece] = values[:, chosen]


def _pieces(rows: np.ndarray, dataset: h5py.Dataset) -> Iterator[slice]:
    """Cut increasing rows where chunks of the dataset end: a few at a time, or if rows are missing between, each."""
    size, columns = dataset.chunks
    if rows[-1] - rows[0] + 1 == len(rows):
        size *= max(1, PIECE_BYTES // (8 * size * columns))
    edges = np.flatnonzero(np.diff(rows // size)) + 1
    for start, stop in zip([0, *edges], [*edges, len(rows)], strict=True):
        yield slice(int(start), int(stop))


def _selected(key: Any, length: int) -> tuple[np.ndarray, Any]:
    """The numbers that an index selects, increasing and once each, and the index that gives them as they were asked."""
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        if step != 1:
            raise IndexError(f"a slice has step {step}; allowed is 1")
        return np.arange(start, max(start, stop)), slice(None)
    wanted = np.asarray(key)
    if wanted.dtype.kind not in "iu" or wanted.ndim > 1:
        raise IndexError(f"index {key!r} is no number, slice or list of numbers")
    if wanted.size and not (-length <= wanted.min() and wanted.max() < length):
        raise IndexError(f"an index of {wanted.min()} to {wanted.max()} leaves the {length} that there are")
    distinct, back = np.unique(wanted % length, return_inverse=True)
    if wanted.ndim == 0:
        return distinct, 0
    return distinct, slice(None) if len(distinct) == wanted.size and np.array_equal(distinct, wanted) else back
