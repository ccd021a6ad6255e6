"""A block computed on a GPU, from the images' file to its own; the GPU is emulated."""

import numpy as np
import pytest
from emulated_device import EmulatedDevice
from kernel_files import make_data

from exact_cntk.blocks import Span, _compute, compute_block, read_header, read_kernel
from exact_cntk.kernels import cuda
from exact_cntk.kernels.backends import Backend
from exact_cntk.kernels.cuda import backend as backend_module
from exact_cntk.networks import Family

OPTIONS = {"name": "tiny", "network": Family("flatten"), "threads": 1}
OPTIONS |= {"depths": [3, 4], "kinds": ["ntk", "nngp"]}


@pytest.fixture
def emulated(monkeypatch):
    """Whoever asks for a GPU gets the emulator."""
    monkeypatch.setattr(_compute, "describe_backend", lambda _: Backend("cuda", "sm_90", "as requested", "stand-in"))
    monkeypatch.setattr(cuda, "require_gpu", lambda: None)
    monkeypatch.setattr(cuda, "describe_software", lambda: {"cupy": "none"})
    monkeypatch.setattr(backend_module.devices, "open_device", EmulatedDevice)


@pytest.mark.parametrize(("rows", "cols"), [(Span(0, 7), Span(0, 7)), (Span(24, 30), Span(3, 7))])
def test_holds_the_kernel_and_says_what_the_gpu_did(tmp_path, emulated, rows, cols):
    data_file = tmp_path / "squares.h5"
    make_data(data_file)
    out, expected = tmp_path / "cuda.h5", tmp_path / "reference.h5"
    summary = compute_block(data_file, out, rows=rows, cols=cols, backend="cuda", **OPTIONS)
    assert read_header(out) == (summary.header, "sm_90")
    assert summary.header.backend == "cuda"
    timing = summary.timing()
    assert (timing["device"], timing["software"]) == ("stand-in", {"cupy": "none"})
    assert 0 <= timing["kernel_seconds"] < timing["job_seconds"]
    assert "backend cuda (sm_90)" in str(summary)

    # The same bytes at every run, as nothing of this is in the file.
    once, _ = out.read_bytes(), out.unlink()
    compute_block(data_file, out, rows=rows, cols=cols, backend="cuda", **OPTIONS)
    assert out.read_bytes() == once

    _compute.describe_backend = lambda _: Backend("reference", "numpy", "as requested")  # undone by the fixture
    compute_block(data_file, expected, rows=rows, cols=cols, backend="reference", **OPTIONS)
    for kind in OPTIONS["kinds"]:
        for depth in OPTIONS["depths"]:
            kernel = read_kernel(out, kind, depth)
            np.testing.assert_allclose(kernel, read_kernel(expected, kind, depth), rtol=1e-6)
            assert rows != cols or np.array_equal(kernel, kernel.T)
