"""Fixtures shared by the tests of blocks, command line and study. Being here, it puts kernel_files on the path."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

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

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    yield folder
