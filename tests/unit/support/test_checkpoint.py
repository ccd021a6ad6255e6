"""Arrays of an unfinished computation: as they were saved, or as if there were none."""

import numpy as np
import pytest

from exact_cntk._support.checkpoint import Checkpoint


@pytest.fixture
def file(tmp_path):
    Checkpoint(tmp_path / "run.npz", "this run").save(step=3, weights=np.arange(100.0))
    return tmp_path / "run.npz"


def test_same_computation_gets_it_back(file):
    saved = Checkpoint(file, "this run").load()
    assert saved["step"] == 3
    np.testing.assert_array_equal(saved["weights"], np.arange(100.0))
    assert Checkpoint(file, "another run").load() is None
    assert Checkpoint(file.with_name("missing.npz"), "this run").load() is None


def test_every_byte_counts(file):
    content = file.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        assert Checkpoint(file, "this run").load() is None, place


@pytest.mark.parametrize("size", [0, 10, 50, -1])
def test_truncated(file, size):
    file.write_bytes(file.read_bytes()[:size])
    assert Checkpoint(file, "this run").load() is None


def test_arrays_of_earlier_versions_have_no_checksum(file):
    np.savez(file, identity="this run", step=3)
    assert Checkpoint(file, "this run").load() is None
