"""Checks of HDF5 files: that all of their content is in the file itself, and that it is as it was written.

A file with a checksum ends, beyond what HDF5 reads, in two lines: where its numbers lie, with SHA-256 of all else
(attributes, and what tells HDF5 where numbers lie: damaged, it reads zeros, or crashes) and perhaps of the numbers; and
SHA-256 of that line with its length.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.atomic import write_at
from exact_cntk._support.reading import check_regular

SLICE_BYTES = 2**20  # read at a time
_LAST_LINE = "\nexact_cntk sha256 {} of the {:12d} bytes before\n"
_LAST = re.compile(rb"\nexact_cntk sha256 ([0-9a-f]{64}) of the ([ 0-9]{12}) bytes before\n")
_LAST_BYTES = len(_LAST_LINE.format("0" * 64, 0))

Ranges = list[tuple[int, int]]  # of bytes: the first, and the one after the last

# What h5py raises on damaged files, besides OSError.
_DAMAGE = (LookupError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError)


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever h5py says of a damaged file into an OSError of one line."""
    try:
        yield
    except (OSError, *_DAMAGE) as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def open_to_read(path: Path) -> h5py.File:
    """Open a file that has all of its content; it may itself be a symbolic link.

    OSError if it is truncated or damaged, or has soft or external links, external storage or virtual datasets: HDF5
    reads a dataset whose storage is missing elsewhere as zeros.
    """
    with reading():
        check_regular(path)
        # No lock: files are never written under their own names, and some network file systems know no locks.
        file = h5py.File(path, "r", locking=False)
        try:
            names: list[bytes] = []
            file.id.links.visit(names.append)  # errors within a visit are no longer h5py's
            for name in names:
                _check_storage(file, name)
        except BaseException:
            file.close()
            raise
        return file


def _check_storage(file: h5py.File, name: bytes) -> None:
    fault = ""
    if file.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        fault = "is a soft or external link"
    elif isinstance(item := h5py.h5o.open(file.id, name), h5py.h5d.DatasetID):
        layout = item.get_create_plist()
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            fault = "is a virtual dataset"
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


def has_numbers(dataset: object, shape: tuple[int, ...]) -> bool:
    """Whether it is a float64 dataset of this shape, whole in the file: HDF5 reads missing numbers as zeros."""
    return (
        isinstance(dataset, h5py.Dataset)
        and dataset.shape == shape
        and dataset.id.get_type().equal(h5py.h5t.IEEE_F64LE)
        and dataset.file.id.get_filesize() >= dataset.id.get_storage_size() >= dataset.nbytes
    )


def find_numbers(datasets: Iterable[h5py.Dataset]) -> Ranges:
    """Where the numbers of these datasets are in the file, in order, adjacent ranges joined."""
    ranges: Ranges = []
    for dataset in datasets:
        if dataset.chunks is None:
            ranges.append((dataset.id.get_offset(), dataset.id.get_offset() + dataset.id.get_storage_size()))
        else:
            chunks = (dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks()))
            ranges += [(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks]
    joined: Ranges = []
    for first, end in sorted(ranges):
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def write_checksum(descriptor: int, numbers: Ranges, *, of_numbers: bool) -> None:
    """Append the checksum of its content to a file that is open to read and write.

    `numbers` are from `find_numbers`. Where HDF5 keeps checksums of them, so that some can be read without the others,
    `of_numbers` is False and they are left out.
    """
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        size = file.seek(0, os.SEEK_END)
        rest, content = _digests(file, size, numbers, of_numbers=of_numbers)
    stated = {"numbers": numbers, "sha256_of_numbers": content, "size": size, "sha256_of_all_else": rest}
    line = json.dumps(stated).encode()
    write_at(descriptor, line + _LAST_LINE.format(hashlib.sha256(line).hexdigest(), len(line)).encode(), size)


def is_intact(path: Path, *, numbers: bool) -> bool | None:
    """Whether a file has the content that its checksum states; None if it does not end in a checksum.

    With `numbers`, they are checked too, if the checksum includes them. HDF5, which can crash on damaged files, is not
    used, and memory has one slice at a time.
    """
    check_regular(path)
    with path.open("rb", buffering=0) as file:
        stated = _read_statement(file)
        if stated is None:
            return None
        content = stated["sha256_of_numbers"] if numbers else None
        digests = _digests(file, stated["size"], stated["numbers"], of_numbers=content is not None)
    return digests == (stated["sha256_of_all_else"], content)


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


def _digests(file: io.FileIO, size: int, numbers: Ranges, *, of_numbers: bool) -> tuple[str, str | None]:
    """SHA-256 of all but the numbers, and of these."""
    rest, content, end = hashlib.sha256(), hashlib.sha256(), 0
    for first, last in [*numbers, (size, size)]:
        _update(rest, file, end, first)
        if of_numbers:
            _update(content, file, first, last)
        end = last
    return rest.hexdigest(), content.hexdigest() if of_numbers else None


def _update(digest: Any, file: io.FileIO, start: int, stop: int) -> None:
    view = memoryview(bytearray(min(SLICE_BYTES, max(0, stop - start))))
    file.seek(start)
    while start < stop and (n := file.readinto(view[: stop - start])):
        digest.update(view[:n])
        start += n


def _read(file: io.FileIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
