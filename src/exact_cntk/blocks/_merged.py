"""A merged kernel on disk: one HDF5 file for one architecture and depth.

Every kind is a dataset `/<kind>` of shape (n_train + n_test, n_train), float64, contiguous; the symmetric part is
filled. Attributes say what was computed and from what. There are no time stamps: same input, same bytes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._cost import ITEM_BYTES
from exact_cntk._stated_files import statement_attribute
from exact_cntk.blocks._file import FORMAT_VERSION, LIBVER, with_defaults, without_defaults
from exact_cntk.blocks._grid import Span
from exact_cntk.blocks._writer import write_at
from exact_cntk.errors import UserError


@dataclass(frozen=True)
class Kernel:
    """What a merged kernel file holds; the fields are those of a block's `Header`, with one depth.

    `instruction_set` lists all with which the blocks were computed, in alphabetical order.
    """

    family: str
    readout: str
    trained: str
    filter_size: int
    depth: int
    kinds: tuple[str, ...]
    backend: str
    dtype: str
    instruction_set: str
    data_digest: str
    n_train: int
    n_test: int
    pooling_window: int | None = None
    flips: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every dataset."""
        return self.n_train + self.n_test, self.n_train

    @property
    def nbytes(self) -> int:
        """Bytes of all datasets together."""
        return len(self.kinds) * self.shape[0] * self.shape[1] * ITEM_BYTES

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Kernel":
        """Back from HDF5; KeyError, TypeError or ValueError if they are not a kernel's."""
        values = with_defaults(attributes, [field.name for field in fields(cls)])
        return cls(**values | {"kinds": tuple(values["kinds"].split(","))})


class KernelWriter:
    """Fills a new kernel file rectangle by rectangle.

    HDF5 lays the file out; the numbers are then written by plain calls, which report a full disk as an error, where
    HDF5 1.14 crashes the process at exit.
    """

    def __init__(self, path: Path, kernel: Kernel) -> None:
        self._columns = kernel.n_train
        self._offsets = {}
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # gives each dataset its place in the file
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)
        with h5py.File(path, "w", libver=LIBVER) as file:
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs.update(without_defaults(asdict(kernel) | {"kinds": ",".join(kernel.kinds)}))
            file.attrs.update(statement_attribute())
            for kind in kernel.kinds:
                space = h5py.h5s.create_simple(kernel.shape)
                dataset = h5py.h5d.create(file.id, kind.encode(), h5py.h5t.IEEE_F64LE, space, layout)
                self._offsets[kind] = dataset.get_offset()
        self._descriptor = os.open(path, os.O_WRONLY)

    def __enter__(self) -> "KernelWriter":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, kind: str, rows: Span, cols: Span, values: np.ndarray) -> None:
        """Put `values`, of shape (rows.length, cols.length), in their place."""
        values = np.ascontiguousarray(values, dtype="<f8")
        for row, line in zip(range(*rows), values, strict=True):
            place = self._offsets[kind] + ITEM_BYTES * (row * self._columns + cols.start)
            write_at(self._descriptor, memoryview(line).cast("B"), place)


@contextmanager
def open_kernel(path: Path) -> Iterator[tuple[Kernel, h5py.File]]:
    """Open a merged kernel: its attributes, and the file whose datasets are read by slices.

    Raises
    ------
    UserError
        If the file is missing, damaged, or no merged kernel.
    """
    if not path.is_file():
        raise UserError(f"kernel {path} is missing: make it with `exact-cntk merge`")
    remedy = "delete it and merge again"
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise UserError(f"{path} is no kernel of format version {FORMAT_VERSION} ({version}): {remedy}")
            try:
                kernel = Kernel.from_attributes(file.attrs)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"kernel {path} has wrong attributes ({error}): {remedy}") from error
            for kind in kernel.kinds:
                if kind not in file or file[kind].shape != kernel.shape:
                    raise UserError(f"kernel {path} has no dataset {kind} of shape {kernel.shape}: {remedy}")
            yield kernel, file
    except OSError as error:
        raise UserError(f"kernel {path} cannot be read, it is truncated or damaged ({error}): {remedy}") from error
