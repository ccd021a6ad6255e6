"""Checks of HDF5 files: that all of their content is in the file itself, and that it is as it was written.

A file with a checksum ends, beyond what HDF5 reads, in two lines: where the numbers lie of which HDF5 has checksums,
with SHA-256 of all else (attributes, and what tells HDF5 where numbers lie: damaged, it reads zeros, or crashes); and
SHA-256 of that line with its length.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.atomic import write_at
from exact_cntk._support.reading import check_regular

SLICE_BYTES = 2**20  # read at a time
CHUNK_CHECKSUM_BYTES = 4  # HDF5's Fletcher-32, at the end of each chunk
_LAST_LINE = "\nexact_cntk sha256 {} of the {:12d} bytes before\n"
_LAST = re.compile(rb"\nexact_cntk sha256 ([0-9a-f]{64}) of the ([ 0-9]{12}) bytes before\n")
_LAST_BYTES = len(_LAST_LINE.format("0" * 64, 0))

Ranges = list[tuple[int, int]]  # of bytes: the first, and the one after the last

# Numbers of a kernel as they are stored, by the name of their precision.
TYPES = {"float32": h5py.h5t.IEEE_F32LE, "float64": h5py.h5t.IEEE_F64LE}

# What h5py raises on damaged files, besides OSError.
_DAMAGE = (LookupError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError)


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever h5py says of a damaged file into an OSError of one line."""
    try:
        yield
    except (OSError, *_DAMAGE) as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def open_to_read(path: Path, *, virtual: Collection[str] | None = ()) -> h5py.File:
    """Open a file that has all of its content; it may itself be a symbolic link.

    OSError if it is truncated or damaged, or has soft or external links, external storage or virtual datasets: HDF5
    reads a dataset whose storage is missing elsewhere as zeros. Only datasets of the names in `virtual` may be virtual,
    with None any: for those who read none of them by HDF5.
    """
    with reading():
        check_regular(path)
        # No lock: files are never written under their own names, and some network file systems know no locks. No cache
        # of chunks: whoever reads reads whole ones, and it would take 1 MiB for each dataset.
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=0)
        try:
            names: list[bytes] = []
            file.id.links.visit(names.append)  # errors within a visit are no longer h5py's
            for name in names:
                _check_storage(file, name, may_be_virtual=virtual is None or name.decode("latin-1") in virtual)
        except BaseException:
            file.close()
            raise
        return file


def _check_storage(file: h5py.File, name: bytes, *, may_be_virtual: bool) -> None:
    fault = ""
    if file.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        fault = "is a soft or external link"
    elif isinstance(item := h5py.h5o.open(file.id, name), h5py.h5d.DatasetID):
        layout = item.get_create_plist()
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            fault = "" if may_be_virtual else "is a virtual dataset"
        elif layout.get_external_count():
            fault = "has external storage"
    if fault:
        shown = name.decode(errors="backslashreplace")
        raise ValueError(f"{shown} {fault}, but the file must hold all of its content")


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """All attributes as JSON has them: text, numbers, bools and lists of these; OSError if they are damaged."""
    with reading():
        return {name: _plain(value) for name, value in file.attrs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    json.dumps(value)  # TypeError for anything else
    return value


def has_numbers(dataset: object, shape: tuple[int, ...], precision: str) -> bool:
    """Whether it is a dataset of this shape and one of `TYPES`, whole in the file: HDF5 reads what is missing as zeros.

    Its numbers have HDF5's checksums, chunk by chunk.
    """
    return (
        isinstance(dataset, h5py.Dataset)
        and dataset.shape == shape
        and dataset.id.get_type().equal(TYPES[precision])
        and dataset.fletcher32
        and dataset.file.id.get_filesize() >= dataset.id.get_storage_size() >= dataset.nbytes
    )


def list_chunks(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """Where each chunk of a dataset is in the file, first byte and the one after the last, in the order of its rows."""
    chunks = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
    chunks.sort(key=lambda chunk: chunk.chunk_offset)
    return [(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks]


def digest_chunks(path: Path, dataset: h5py.Dataset) -> str:
    """SHA-256 of the checksums that HDF5 has of a dataset's chunks: tells its numbers from others without reading them.

    That they have these checksums, HDF5 checks when it reads them.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for _, end in list_chunks(dataset):
            digest.update(_read(file, end - CHUNK_CHECKSUM_BYTES, end))
    return digest.hexdigest()


def find_numbers(datasets: Iterable[h5py.Dataset]) -> Ranges:
    """Where the chunks of these datasets are in the file, in order, adjacent ranges joined."""
    joined: Ranges = []
    for first, end in sorted(chunk for dataset in datasets for chunk in list_chunks(dataset)):
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def write_checksum(descriptor: int, numbers: Ranges) -> None:
    """Append the checksum of its content to a file that is open to read and write.

    `numbers` are from `find_numbers`: HDF5 keeps checksums of them, so that some can be read without the others, and
    they are left out.
    """
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        size = file.seek(0, os.SEEK_END)
        rest = _digest(file, size, numbers)
    # The second entry is of a time when some files had a checksum of all numbers.
    stated = {"numbers": numbers, "sha256_of_numbers": None, "size": size, "sha256_of_all_else": rest}
    line = json.dumps(stated).encode()
    write_at(descriptor, line + _LAST_LINE.format(hashlib.sha256(line).hexdigest(), len(line)).encode(), size)


def is_intact(path: Path) -> bool | None:
    """Whether a file has the content that its checksum states; None if it does not end in a checksum.

    HDF5, which can crash on damaged files, is not used, and memory has one slice at a time.
    """
    check_regular(path)
    with path.open("rb", buffering=0) as file:
        stated = _read_statement(file)
        if stated is None:
            return None
        return bool(_digest(file, stated["size"], stated["numbers"]) == stated["sha256_of_all_else"])


def stated_checksum(path: Path) -> str | None:
    """The checksum that a file states of all but its numbers, unchecked, read at its end; None if there is none."""
    check_regular(path)
    with path.open("rb", buffering=0) as file:
        stated = _read_statement(file)
    return None if stated is None else str(stated["sha256_of_all_else"])


def _read_statement(file: io.FileIO) -> dict[str, Any] | None:
    end = file.seek(0, os.SEEK_END)
    last = _LAST.fullmatch(_read(file, max(0, end - _LAST_BYTES), end))
    if last is None or not last[2].strip().isdigit():
        return None
    start = end - _LAST_BYTES - int(last[2])
    line = _read(file, start, end - _LAST_BYTES) if start >= 0 else b""
    if hashlib.sha256(line).hexdigest().encode() != last[1]:
        return None
    stated = json.loads(line)
    return dict(stated) if stated["size"] == start else None


def _digest(file: io.FileIO, size: int, numbers: Ranges) -> str:
    """SHA-256 of all but the numbers."""
    digest, end = hashlib.sha256(), 0
    for first, last in [*numbers, (size, size)]:
        _update(digest, file, end, first)
        end = last
    return digest.hexdigest()


def _update(digest: Any, file: io.FileIO, start: int, stop: int) -> None:
    view = memoryview(bytearray(min(SLICE_BYTES, max(0, stop - start))))
    file.seek(start)
    while start < stop and (n := file.readinto(view[: stop - start])):
        digest.update(view[:n])
        start += n


def _read(file: io.FileIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
