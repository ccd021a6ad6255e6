"""A merged kernel on disk: one HDF5 file for one architecture and depth.

Every kind is a dataset `/<kind>` of shape (n_train + n_test, n_train), float64, contiguous; the symmetric part is
filled. Attributes say what was computed and from what. The file ends in checksums, of the numbers and of all else.
There are no time stamps: same input, same bytes.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.atomic import write_at
from exact_cntk._support.hdf5 import (
    Ranges,
    find_numbers,
    has_numbers,
    is_intact,
    open_to_read,
    read_attributes,
    reading,
    write_checksum,
)
from exact_cntk._support.stated_files import statement_attribute
from exact_cntk.blocks._file import LIBVER, read_common
from exact_cntk.blocks._grid import Span
from exact_cntk.errors import UserError
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.networks import Family

FORMAT_VERSION = 2
REMEDY = "delete it and merge again"


@dataclass(frozen=True)
class Kernel:
    """What a merged kernel file holds; the fields are those of a block's `Header`, with one depth.

    `instruction_set` lists those that the blocks were computed with, in alphabetical order.
    """

    name: str
    network: Family
    depth: int
    kinds: tuple[str, ...]
    backend: str
    dtype: str
    instruction_set: str
    data_digest: str
    n_train: int
    n_test: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every dataset."""
        return self.n_train + self.n_test, self.n_train

    @property
    def nbytes(self) -> int:
        """Bytes of all datasets together."""
        return len(self.kinds) * self.shape[0] * self.shape[1] * ITEM_BYTES

    def attributes(self) -> dict[str, Any]:
        """As HDF5 stores it, and as provenance states it."""
        apart = ("name", "network")
        others = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        return {"family": self.name} | self.network.stated_parts(**others | {"kinds": ",".join(self.kinds)})

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Kernel":
        """Back from HDF5; KeyError, TypeError or ValueError if they are not a kernel's."""
        own = {"depth": int(attributes["depth"]), "instruction_set": attributes["instruction_set"]}
        return cls(**read_common(attributes), **own)


class KernelWriter:
    """Fills a new kernel file rectangle by rectangle; at the end reads it back and adds its checksum.

    HDF5 lays the file out in memory; all is then written by plain calls, which report a full disk as an error, where
    HDF5 1.14 crashes the process at exit.
    """

    def __init__(self, path: Path, kernel: Kernel) -> None:
        self._columns = kernel.n_train
        with _SparseFile() as layout:
            self._offsets, self._numbers = _lay_out(layout, kernel)
            pieces, size = layout.pieces, layout.size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.ftruncate(self._descriptor, size)
            for offset, content in pieces:
                write_at(self._descriptor, content, offset)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> "KernelWriter":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:
                write_checksum(self._descriptor, self._numbers, of_numbers=True)
        finally:
            os.close(self._descriptor)

    def write(self, kind: str, rows: Span, cols: Span, values: np.ndarray) -> None:
        """Write `values`, of shape (rows.length, cols.length), to these rows and columns."""
        values = np.ascontiguousarray(values, dtype="<f8")
        for row, line in zip(range(*rows), values, strict=True):
            offset = self._offsets[kind] + ITEM_BYTES * (row * self._columns + cols.start)
            write_at(self._descriptor, memoryview(line).cast("B"), offset)


def _lay_out(target: "_SparseFile", kernel: Kernel) -> tuple[dict[str, int], Ranges]:
    """Write everything but the numbers and the checksum; the offset of each kind, and the ranges of all numbers."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # gives each dataset its offset in the file
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    offsets = {}
    with h5py.File(target, "w", libver=LIBVER) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs.update(kernel.attributes())
        file.attrs.update(statement_attribute())
        for kind in kernel.kinds:
            space = h5py.h5s.create_simple(kernel.shape)
            dataset = h5py.h5d.create(file.id, kind.encode(), h5py.h5t.IEEE_F64LE, space, layout)
            offsets[kind] = dataset.get_offset()
        return offsets, find_numbers(file[kind] for kind in kernel.kinds)


class _SparseFile(io.RawIOBase):
    """A file in memory, for HDF5 to write to; what it leaves out takes no space."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []  # (offset, content) as written; later ones may cover earlier ones
        self.size = self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def write(self, content: Any) -> int:
        self.pieces.append((self._position, bytes(content)))
        self._position += len(self.pieces[-1][1])
        self.size = max(self.size, self._position)
        return len(self.pieces[-1][1])

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self.size - self._position))
        view[:n] = bytes(n)
        for offset, content in self.pieces:
            first, last = max(offset, self._position), min(offset + len(content), self._position + n)
            if first < last:
                view[first - self._position : last - self._position] = content[first - offset : last - offset]
        self._position += n
        return n

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size


@contextmanager
def open_kernel(path: Path, *, verify: bool = True) -> Iterator[tuple[Kernel, h5py.File]]:
    """Open a merged kernel: its attributes, and the file whose datasets are read by slices.

    Parameters
    ----------
    path : Path
    verify : bool
        Check the whole file against its checksums first: about 1.5 GB/s, 15 s for 24 GB, or as long as the disk needs.
        False, for a look at the attributes, leaves the numbers out.

    Raises
    ------
    UserError
        If the file is missing, damaged, or no merged kernel.
    """
    try:
        if not path.exists():
            raise UserError(f"kernel {path} is missing: make it with `exact-cntk merge`")
        intact = is_intact(path, numbers=verify)
        if intact is False:
            raise _damaged(path)
        with open_to_read(path) as file:
            attributes = read_attributes(file)
            _check_version(path, attributes)  # first: older ones state no checksum
            if intact is None:
                raise _damaged(path)
            yield _check(path, file, attributes), file
    except OSError as error:
        raise UserError(f"kernel {path} cannot be read, it is truncated or damaged ({error}): {REMEDY}") from error


def _damaged(path: Path) -> UserError:
    return UserError(
        f"kernel {path} is truncated or damaged: its content does not have the checksum that it states; {REMEDY}"
    )


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if "rows" in attributes:
        raise UserError(f"{path} is a block, not a merged kernel: merge all blocks of its pass with `exact-cntk merge`")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path} is no kernel of format version {FORMAT_VERSION} ({version}): {REMEDY}")


def _check(path: Path, file: h5py.File, attributes: Mapping[str, Any]) -> Kernel:
    """The header in the attributes, after comparing the datasets with it."""
    try:
        kernel = Kernel.from_attributes(attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"kernel {path} has wrong attributes ({error}): {REMEDY}") from error
    with reading():
        for kind in kernel.kinds:
            if not has_numbers(file.get(kind), kernel.shape):
                raise UserError(f"kernel {path} has no dataset {kind} of shape {kernel.shape}: {REMEDY}")
    return kernel
