"""Where a kernel and its Cholesky factor are stored, cut into square tiles of which the last may be smaller.

`Disk` reads the kernel from where it is and keeps the factor in a scratch file; `Device` holds both in one matrix.
"""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from exact_cntk._support.cut import cut
from exact_cntk._support.machine import format_gib, require_disk
from exact_cntk.errors import UserError
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.regression.ridge_path import mirrored
from exact_cntk.regression.solvers.arrays import Array, Arrays, NumPyArrays, TorchArrays


class StoredKernel:
    """The kernel of the points in a slice of a larger h5py.Dataset: read by slices, or whole by `np.asarray`.

    `dtype`, by default the dataset's, is one that its numbers fit in without loss, though slices have more digits.
    """

    def __init__(self, dataset: Any, points: slice, dtype: Any = None) -> None:
        self._dataset = dataset
        self._first = points.start
        self.shape = (points.stop - points.start,) * 2
        self.dtype = np.dtype(dataset.dtype if dtype is None else dtype)
        self.file = dataset.file

    def __getitem__(self, ranges: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (slice(self._first + part.start, self._first + part.stop) for part in ranges)
        return self._dataset[rows, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = slice(0, len(self))
        return np.asarray(self[whole, whole], dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]


class LoadedTiles(Protocol):
    """Takes the tiles (i, j) of K, i ≥ j."""

    @property
    def arrays(self) -> Arrays:
        """What is done to tiles."""

    @property
    def bounds(self) -> list[slice]:
        """Rows, or columns, of each tile."""

    def load(self, i: int, j: int, tile: Array) -> None:
        """Take K's tile (j, i), i ≥ j, before anything else."""


class KernelTiles(LoadedTiles, Protocol):
    """Tiles (i, j) of K, i ≥ j."""

    def kernel(self, i: int, j: int) -> Array:
        """Tile of K, not to be changed."""


class Tiles(KernelTiles, Protocol):
    """Tiles (i, j) of L as well, which may be written once in every factorisation."""

    def start(self, i: int, j: int) -> Array:
        """Tile of K to turn into one of L."""

    def keep(self, i: int, j: int, tile: Array) -> None:
        """Store what `start` gave, now a tile of L."""

    def factor(self, i: int, j: int) -> Array:
        """Tile of L, not to be changed."""


def read_tile(source: Any, rows: slice, columns: slice) -> np.ndarray:
    """A new C-ordered float64 array of what an array or a dataset has there."""
    values = source[rows, columns]
    fresh = not isinstance(source, np.ndarray)
    return np.ascontiguousarray(values, dtype=np.float64) if fresh else np.array(values, dtype=np.float64, order="C")


def scratch_bytes(n: int, tile: int) -> int:
    """Disk for the tiles of L: 8 (n² + n·tile) / 2 bytes, a little less where the last tile is smaller."""
    return sum(ITEM_BYTES * (rows.stop - rows.start) * rows.stop for rows in cut(n, tile))


class Disk:
    """K read tile by tile from a dataset or array, L in a scratch file; memory has only the tiles in use.

    The scratch file, by default in the folder of the source, has no name: however the process ends, its space is free
    again. A full disk or a folder that is not writable is a UserError.
    """

    def __init__(self, source: Any, tile: int, folder: Path | None = None) -> None:
        self.arrays = NumPyArrays()
        self.bounds = cut(source.shape[0], tile)
        self._source, self._folder = source, folder or _folder_of(source)
        sizes = [ITEM_BYTES * (rows.stop - rows.start) * rows.stop for rows in self.bounds]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).tolist()  # of rows of tiles
        require_disk(f"the factor of a kernel of {source.shape[0]} points", self._offsets[-1], self._folder)
        with self._explained():
            self._scratch = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            try:
                if hasattr(os, "posix_fallocate"):  # a disk that is too small shows here, not hours later
                    os.posix_fallocate(self._scratch.fileno(), 0, self._offsets[-1])
            except OSError:
                self._scratch.close()
                raise

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def load(self, i: int, j: int, tile: np.ndarray) -> None:
        """It stays where it is."""

    def kernel(self, i: int, j: int) -> np.ndarray:
        tile = read_tile(self._source, self.bounds[i], self.bounds[j])
        return mirrored(tile) if i == j else tile

    start = kernel

    def keep(self, i: int, j: int, tile: np.ndarray) -> None:
        with self._explained():
            left = self._seek(i, j, tile)
            while left:  # a write may be cut short
                left = left[self._scratch.write(left) :]

    def factor(self, i: int, j: int) -> np.ndarray:
        tile = np.empty(tuple(self.bounds[k].stop - self.bounds[k].start for k in (i, j)))
        with self._explained():
            left = self._seek(i, j, tile)
            while left:
                read = self._scratch.readinto(left)
                if not read:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                left = left[read:]
        return tile

    def _seek(self, i: int, j: int, tile: np.ndarray) -> memoryview:
        """Put the file at a tile's offset, and view the tile's memory as bytes."""
        rows = self.bounds[i].stop - self.bounds[i].start
        self._scratch.seek(self._offsets[i] + ITEM_BYTES * rows * self.bounds[j].start)
        return memoryview(tile.data).cast("B")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the scratch file of {format_gib(self._offsets[-1])} in {self._folder} failed: "
                f"{os.strerror(error.errno or 0)}; free some space, or name another folder for it (scratch)"
            ) from error


class Device:
    """K and L in one n×n matrix on a device: K above the diagonal, L on and below it, K's diagonal apart.

    Entering or leaving the context raises UserError if the device's memory was not enough.
    """

    def __init__(self, n: int, tile: int, device: str = "cuda") -> None:
        self.arrays = TorchArrays(device)
        self.bounds = cut(n, tile)
        self._matrix: Array = None
        self._diagonal: Array = None

    def __enter__(self) -> "Device":
        n = self.bounds[-1].stop
        try:
            self._matrix = self.arrays.zeros(n, n)
            self._diagonal = self.arrays.zeros(1, n)[0]
        except self.arrays.torch.OutOfMemoryError as error:
            raise self._failure(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._matrix = self._diagonal = None
        if self.arrays.device.type == "cuda":
            self.arrays.torch.cuda.empty_cache()  # for other processes on the same GPU
        if isinstance(error, self.arrays.torch.OutOfMemoryError):
            raise self._failure(error) from error

    def load(self, i: int, j: int, tile: Array) -> None:
        self._view(j, i).copy_(tile)
        if i == j:
            self._diagonal[self.bounds[i]] = tile.diagonal()

    def kernel(self, i: int, j: int) -> Array:
        if i != j:
            return self._view(j, i).T
        above = self._view(i, i).triu(1)
        return above + above.T + self._diagonal[self.bounds[i]].diag()

    def start(self, i: int, j: int) -> Array:
        return self.kernel(i, i) if i == j else self._view(i, j).copy_(self._view(j, i).T)

    def keep(self, i: int, j: int, tile: Array) -> None:
        if i == j:  # all others were changed in this matrix itself
            self._view(i, i).copy_(self._view(i, i).triu(1) + tile)

    def factor(self, i: int, j: int) -> Array:
        return self._view(i, i).tril() if i == j else self._view(i, j)

    def _view(self, i: int, j: int) -> Array:
        return self._matrix[self.bounds[i], self.bounds[j]]

    def _failure(self, error: BaseException) -> UserError:
        return UserError(
            f"the memory of {self.arrays.device} is not enough, perhaps because other processes use it: run again, or "
            f'use another method than "cuda" ({error})'
        )


def is_stored(kernel: Any) -> bool:
    """Whether a kernel lies on disk, to be read by slices."""
    h5py = sys.modules.get("h5py")  # whoever has a dataset has imported it
    return isinstance(kernel, StoredKernel) or (h5py is not None and isinstance(kernel, h5py.Dataset))


def _folder_of(source: Any) -> Path:
    return Path(source.file.filename).absolute().parent if is_stored(source) else Path(tempfile.gettempdir())
