"""Fixtures: a tiny CIFAR-10 as a folder and as an archive."""

from pathlib import Path

import pytest
from cifar10_files import make_batches, python2_dumps, write_archive, write_folder


@pytest.fixture
def contents() -> dict[str, bytes]:
    return {name: python2_dumps(batch) for name, batch in make_batches().items()}


@pytest.fixture
def folder(tmp_path, contents) -> Path:
    return write_folder(tmp_path / "extracted", contents)


@pytest.fixture
def archive(tmp_path, contents) -> Path:
    return write_archive(tmp_path / "cifar-10-python.tar.gz", contents)
