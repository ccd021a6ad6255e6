"""Fixtures shared by the tests of blocks, command line and study. Being here, it puts kernel_files on the path."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_files import linear_kernel, make_blocks, make_data

from exact_cntk.data import ProcessedData


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    return tmp_path / "squares.h5"


@pytest.fixture
def data(data_file: Path) -> ProcessedData:
    return make_data(data_file)


@pytest.fixture
def full(data: ProcessedData) -> np.ndarray:
    return linear_kernel(data)


@pytest.fixture
def block_files(tmp_path: Path, data: ProcessedData, full: np.ndarray) -> list[Path]:
    return make_blocks(tmp_path / "blocks", data, full)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a disk of 16 KiB; where no disk can be mounted, one on which every write says that it is full."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return

    refuse_writes_below(folder, monkeypatch)
    yield folder


def refuse_writes_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every write to a file of the folder say that the disk is full, and leave other files alone."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os_open, os_pwrite, write_bytes, disk_usage = os.open, os.pwrite, Path.write_bytes, shutil.disk_usage
    descriptors: set[int] = set()

    def inside(path: Any) -> bool:
        return isinstance(path, str | Path) and folder in [Path(path), *Path(path).parents]

    def opening(path: Any, *rest: Any, **options: Any) -> int:
        descriptor = os_open(path, *rest, **options)
        (descriptors.add if inside(path) else descriptors.discard)(descriptor)
        return descriptor

    def writing(descriptor: int, *rest: Any) -> int:
        if descriptor in descriptors:
            raise full
        return os_pwrite(descriptor, *rest)

    def writing_bytes(path: Path, content: Any) -> int:
        if inside(path):
            raise full
        return write_bytes(path, content)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "pwrite", writing)
    monkeypatch.setattr(Path, "write_bytes", writing_bytes)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: disk_usage(path)._replace(**{"free": 0} if inside(path) else {})
    )
