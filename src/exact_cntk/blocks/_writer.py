"""A block's file, written while its rows are still being computed.

The bytes are those that HDF5 itself writes for the whole block at once, in whatever pieces the rows come, and a
checksum of all but the numbers, of which HDF5 keeps its own. HDF5 lays the file out in memory, with zeros for numbers;
the numbers are then written by plain calls, which report a full disk as an error, where HDF5 1.14 crashes the
process at exit.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from exact_cntk._support.atomic import replacing, write_at
from exact_cntk._support.hdf5 import find_numbers, list_chunks, write_checksum
from exact_cntk._support.stated_files import statement_attribute
from exact_cntk.blocks._file import FORMAT_VERSION, LIBVER, Header, check_finite

CHUNK_BYTES = 2**20  # of the checksummed pieces; HDF5 keeps 1 MiB of them in memory
DTYPES = {"float32": "<f4", "float64": "<f8"}  # by storage

Kernels = Mapping[tuple, np.ndarray]


def write_block(path: Path, header: Header, kernels: Kernels, instruction_set: str) -> None:
    """Write a block: complete, synced and under its name, or not at all.

    Parameters
    ----------
    path : Path
    header : Header
    kernels : mapping of key to array of shape header.shape
        As `exact_cntk.cntk` returns them, with the keys of `Header.datasets`.
    instruction_set : str
        What the backend computed with. Blocks of one kernel may differ in it, so it is no part of the header.

    Raises
    ------
    UserError
        If an entry is not finite, or the disk is full or not writable.
    """
    with replacing(path) as temporary, BlockWriter(temporary, path, header, instruction_set) as writer:
        writer.put(kernels)


class BlockWriter:
    """Writes rows of a block in a thread of its own, so that the caller can compute the next ones.

    Leaving the context without an error leaves the new file whole; syncing and renaming it are the caller's task.

    Parameters
    ----------
    path, name : Path
        The new file, and what messages call it.
    header, instruction_set
        As `write_block` takes them.
    """

    def __init__(self, path: Path, name: Path, header: Header, instruction_set: str) -> None:
        self._name, self._header = name, header
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exact_cntk writer")
        self._layout = self._thread.submit(_Layout, self._descriptor, header, instruction_set)
        self._jobs: list[Future] = [self._layout]
        self._rows = 0  # received
        self._rest: dict[tuple, np.ndarray] = {}  # the last of them, fewer than a chunk has

    def __enter__(self) -> "BlockWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._check(self._jobs)
                if self._rows != self._header.shape[0]:
                    raise RuntimeError(f"{self._name}: {self._rows} of {self._header.shape[0]} rows are there")
                self._layout.result().finish()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
            if not self._layout.cancelled() and not self._layout.exception():
                self._layout.result().close()
            os.close(self._descriptor)

    def put(self, kernels: Kernels) -> None:
        """Take the next rows, which must not change any more.

        Parameters
        ----------
        kernels : mapping of key to array of shape (any number of rows, header.shape[1])

        Raises
        ------
        UserError
            If an entry of earlier rows is not finite.
        OSError
            If earlier rows could not be written.
        """
        self._check([job for job in self._jobs if job.done()])
        start, self._rows = self._rows, self._rows + len(next(iter(kernels.values())))
        self._jobs.append(self._thread.submit(self._write, kernels, start, self._rows))

    @staticmethod
    def _check(jobs: Sequence[Future]) -> None:
        for job in jobs:
            job.result()

    def _write(self, kernels: Kernels, start: int, stop: int) -> None:
        """Write all chunks that are whole now; a chunk is written once."""
        layout = self._layout.result()
        size = layout.chunk_rows
        first = start // size * size
        last = stop if stop == self._header.shape[0] else stop // size * size
        for key, name in self._header.datasets.items():
            with np.errstate(over="ignore"):  # infinity is refused in the next line
                rows = kernels[key].astype(DTYPES[self._header.storage], copy=False)
            check_finite(rows, f"{self._name}: {name} as computed from the data", start)
            if first < start:
                rows = np.concatenate((self._rest[key], rows))
            for row in range(first, last, size):
                layout.write(name, row // size, rows[row - first : min(row + size, last) - first])
            self._rest[key] = rows[max(0, last - first) :].copy()
        os.fsync(self._descriptor)  # now, during the computation, rather than all at the end


class _Layout:
    """A file with everything but the numbers, and where they go."""

    def __init__(self, descriptor: int, header: Header, instruction_set: str) -> None:
        self._descriptor = descriptor
        rows, columns = header.shape
        dtype = np.dtype(DTYPES[header.storage])
        self.chunk_rows = max(1, min(rows, CHUNK_BYTES // (dtype.itemsize * columns)))
        chunk = (self.chunk_rows, columns)
        how = {"chunks": chunk, "dtype": dtype, "fletcher32": True, "track_times": False}
        names = list(header.datasets.values())
        with _in_memory(f"layout {descriptor}") as file:
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs.update(header.attributes())
            file.attrs["instruction_set"] = instruction_set
            file.attrs.update(statement_attribute())
            for name in names:
                file.create_dataset(name, data=np.zeros(header.shape, dtype), **how)
            file.flush()
            self._chunks = {name: list_chunks(file[name]) for name in names}
            self._numbers = find_numbers(file[name] for name in names)
            image = memoryview(file.id.get_file_image())
        end = 0
        for first, last in self._numbers:
            write_at(descriptor, image[end:first], end)
            end = last
        write_at(descriptor, image[end:], end)
        # One chunk in memory, for HDF5 to add the checksum.
        self._filter = _in_memory(f"chunk {descriptor}")
        self._filtered = self._filter.create_dataset("chunk", shape=chunk, **how)
        self._buffer = np.zeros(chunk, dtype)

    def write(self, name: str, chunk: int, rows: np.ndarray) -> None:
        """Write one chunk of a dataset, with its checksum; beyond the last row it holds zeros."""
        self._buffer[: len(rows)], self._buffer[len(rows) :] = rows, 0
        self._filtered[...] = self._buffer
        _, content = self._filtered.id.read_direct_chunk((0, 0))
        write_at(self._descriptor, content, self._chunks[name][chunk][0])

    def finish(self) -> None:
        """Add the checksum, once all chunks are written."""
        write_checksum(self._descriptor, self._numbers)

    def close(self) -> None:
        self._filter.close()


def _in_memory(name: str) -> h5py.File:
    """A file of a name that no other open one has, which HDF5 would refuse."""
    return h5py.File(name, "w", driver="core", backing_store=False, libver=LIBVER)
