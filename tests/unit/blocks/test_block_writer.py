"""Blocks written while they are computed: the same bytes, whatever comes in between."""

import os
import subprocess
import sys
import threading
from itertools import pairwise
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_files import DEPTHS, KINDS, entries, environment, make_header, renew_checksum

from exact_cntk._support.atomic import replacing
from exact_cntk.blocks import BlockWriter, Position, Span, _writer, compute_block, read_kernel, write_block
from exact_cntk.blocks._file import FORMAT_VERSION, LIBVER
from exact_cntk.errors import UserError
from exact_cntk.kernels.spec import Computed
from exact_cntk.networks import Family

POSITION = Position(Span(9, 22), Span(0, 9))


@pytest.fixture
def header(data):
    return make_header(data, POSITION)


def whole_file(path, header, kernels, chunk_rows):
    """The bytes that HDF5 writes for all of it at once, and the checksum."""
    with h5py.File("whole", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs.update(header.attributes())
        file.attrs["instruction_set"] = "avx2"
        for (kind, depth), kernel in kernels.items():
            file.create_dataset(
                f"{kind}/depth_{depth:02d}",
                data=kernel,
                chunks=(chunk_rows, header.shape[1]),
                fletcher32=True,
                track_times=False,
            )
        file.flush()
        path.write_bytes(file.id.get_file_image())
    renew_checksum(path)
    return path.read_bytes()


def stream(path, header, kernels, edges):
    with replacing(path) as temporary, BlockWriter(temporary, path, header, "avx2") as writer:
        for start, stop in pairwise(edges):
            writer.put({key: kernel[start:stop] for key, kernel in kernels.items()})


@pytest.mark.parametrize("chunk_rows", [1, 4, 5, 13])
def test_streamed_file_is_the_one_written_at_once(tmp_path, header, full, monkeypatch, chunk_rows):
    monkeypatch.setattr(_writer, "CHUNK_BYTES", 8 * header.shape[1] * chunk_rows)
    kernels = entries(full, header)
    expected = whole_file(tmp_path / "whole.h5", header, kernels, chunk_rows)

    @settings(deadline=None, max_examples=10)  # each is synced to disk
    @given(st.sets(st.integers(1, header.shape[0] - 1)))
    def check(cuts):
        stream(tmp_path / "streamed.h5", header, kernels, [0, *sorted(cuts), header.shape[0]])
        assert (tmp_path / "streamed.h5").read_bytes() == expected

    check()
    write_block(tmp_path / "once.h5", header, kernels, "avx2")
    assert (tmp_path / "once.h5").read_bytes() == expected


def test_the_caller_computes_while_rows_are_written(tmp_path, header, full, monkeypatch):
    handed_over = threading.Event()
    write = _writer._Layout.write

    def late_write(*arguments):
        assert handed_over.wait(60)
        write(*arguments)

    monkeypatch.setattr(_writer._Layout, "write", late_write)
    monkeypatch.setattr(_writer, "CHUNK_BYTES", 1)
    kernels, path = entries(full, header), tmp_path / "block.h5"
    with replacing(path) as temporary, BlockWriter(temporary, path, header, "avx2") as writer:
        for row in range(header.shape[0]):
            writer.put({key: kernel[row : row + 1] for key, kernel in kernels.items()})
        handed_over.set()
    np.testing.assert_array_equal(read_kernel(path, "ntk", 3), kernels["ntk", 3])


def test_missing_rows_make_no_file(tmp_path, header, full):
    path = tmp_path / "block.h5"
    with pytest.raises(RuntimeError, match="12 of 13 rows"):
        stream(path, header, entries(full, header), [0, 5, 12])
    assert list(tmp_path.glob("*block*")) == []


def test_what_is_not_finite_is_named_by_its_row_in_the_block(tmp_path, header, full):
    full[9 + 7, 3] = np.nan
    with pytest.raises(UserError, match="has nan at row 7, column 3"):
        stream(tmp_path / "block.h5", header, entries(full, header), [0, 6, 13])
    assert list(tmp_path.glob("*block*")) == []


def test_disk_that_fills_up_half_way(tmp_path, header, full, monkeypatch):
    def no_space(*_):
        raise OSError(28, os.strerror(28))

    before = threading.active_count()
    with pytest.raises(UserError, match="No space left on device"):
        path = tmp_path / "block.h5"
        with replacing(path) as temporary, BlockWriter(temporary, path, header, "avx2") as writer:
            kernels = entries(full, header)
            writer.put({key: kernel[:6] for key, kernel in kernels.items()})
            monkeypatch.setattr(_writer, "write_at", no_space)
            writer.put({key: kernel[6:] for key, kernel in kernels.items()})
    assert list(tmp_path.glob("*block*")) == []
    assert threading.active_count() == before


def test_killed_half_way(tmp_path, header, full, data_file):
    script = """
import signal, sys
from pathlib import Path
from exact_cntk._support.atomic import replacing
from exact_cntk.blocks import BlockWriter, Position, Span
from kernel_files import entries, linear_kernel, make_data, make_header
data = make_data(Path(sys.argv[1]))
header = make_header(data, Position(Span(9, 22), Span(0, 9)))
kernels = entries(linear_kernel(data), header)
with replacing(Path(sys.argv[2])) as temporary, BlockWriter(temporary, temporary, header, "avx2") as writer:
    writer.put({key: kernel[:6] for key, kernel in kernels.items()})
    writer._jobs[-1].result()
    print("half", flush=True)
    signal.pause()
"""
    path = tmp_path / "block.h5"
    command = [sys.executable, "-c", script, str(data_file), str(path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert [leftover.suffix for leftover in tmp_path.glob("*block*")] == [".tmp"]

    kernels = entries(full, header)
    write_block(path, header, kernels, "avx2")
    assert list(tmp_path.glob("*block*")) == [path]
    for kind in KINDS:
        for depth in DEPTHS:
            np.testing.assert_array_equal(read_kernel(path, kind, depth), kernels[kind, depth])


def test_backend_that_finishes_rows_before_others(tmp_path, data_file, data, monkeypatch):
    """As the GPU does: rows go to the file as they come, and the seconds of its kernels are what is reported."""
    from exact_cntk.kernels import cntk as cntk_module
    from exact_cntk.kernels import reference

    def compute(*arguments, on_rows, **options):
        out = reference.compute(*arguments, **options).kernels
        for start, stop in ((0, 2), (2, 3), (3, 8)):
            on_rows(start, out[:, start:stop])
        return Computed(out, 0.25)

    arguments = {"name": "tiny", "network": Family("gap"), "backend": "reference"}
    arguments |= {"depths": [3, 4], "kinds": ["ntk", "nngp"], "rows": Span(24, 32), "cols": Span(0, 5)}
    compute_block(data_file, tmp_path / "once.h5", **arguments)
    module = SimpleNamespace(compute=compute, streams_rows=True)
    monkeypatch.setattr(cntk_module, "load_backend", lambda _: module)
    summary = compute_block(data_file, tmp_path / "streamed.h5", **arguments)
    assert (tmp_path / "streamed.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()
    assert summary.seconds == 0.25
    assert summary.timing()["busy"] == round(0.25 / summary.job_seconds, 3)
    assert "% of the job's" in str(summary)
