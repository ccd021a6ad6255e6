"""Computing a block: the kernel between the right images, all of it recorded."""

import numpy as np
import pytest

from exact_cntk import cntk
from exact_cntk.blocks import Span, compute_block, read_header, read_kernel
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family

OPTIONS = {"name": "tiny", "network": Family("gap", ("hidden",)), "backend": "reference"}
SPAN = {"depths": [3, 4], "kinds": ["ntk", "nngp"]}


@pytest.mark.parametrize(("rows", "cols"), [((0, 5), (0, 5)), ((5, 12), (0, 5)), ((24, 34), (3, 7))])
def test_holds_the_kernel_of_these_images(tmp_path, data_file, data, rows, cols):
    out = tmp_path / "block.h5"
    summary = compute_block(data_file, out, rows=Span(*rows), cols=Span(*cols), **OPTIONS, **SPAN)
    images = np.concatenate([data.train_images, data.test_images])
    left, right = images[slice(*rows)], None if rows == cols else images[slice(*cols)]
    expected = cntk(
        left, right, depths=[3, 4], readout="gap", trained="hidden", get=("ntk", "nngp"), backend="reference"
    )
    for (kind, depth), kernel in expected.items():
        np.testing.assert_array_equal(read_kernel(out, kind, depth), kernel)
    header, _ = read_header(out)
    assert header == summary.header
    assert (header.data_digest, header.n_train, header.n_test) == (data.digest, 24, 10)
    assert (header.backend, header.dtype, header.network) == ("reference", "float64", OPTIONS["network"])


def test_a_complete_block_stays(tmp_path, data_file, data, monkeypatch):
    out = tmp_path / "block.h5"
    arguments = OPTIONS | SPAN | {"rows": Span(0, 3), "cols": Span(0, 3)}
    first = compute_block(data_file, out, **arguments)
    before = out.stat().st_mtime_ns
    assert first.seconds > 0 and "element-layers/s" in str(first)
    second = compute_block(data_file, out, **arguments)
    assert second.seconds is None and "already complete" in str(second)
    assert out.stat().st_mtime_ns == before
    third = compute_block(data_file, out, **arguments | {"depths": [3]})
    assert third.seconds is not None and read_header(out)[0].depths == (3,)


def test_says_which_backend_and_why(tmp_path, data_file, data, monkeypatch):
    monkeypatch.setattr("exact_cntk.kernels.backends.gpu_present", lambda: False)
    arguments = OPTIONS | SPAN | {"rows": Span(0, 3), "cols": Span(0, 3), "backend": "auto"}
    summary = compute_block(data_file, tmp_path / "block.h5", **arguments)
    assert "backend cpu (" in str(summary) and "no GPU present" in str(summary)
    assert "6 pairs" in str(summary)
    assert summary.element_layers == 6 * 4**4 * 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depths": [1]}, "depths is 1"),
        ({"kinds": ["ntk", "cntk"]}, "kinds is 'cntk'"),
        ({"backend": "gpu"}, "backend is 'gpu'"),
        ({"dtype": "float16", "backend": "cpu"}, "dtype is 'float16'"),
        ({"rows": Span(0, 6)}, "above the diagonal"),
        ({"rows": Span(40, 44)}, "leave the kernel matrix"),
    ],
)
def test_bad_parameters(tmp_path, data_file, data, change, reason):
    arguments = OPTIONS | SPAN | {"rows": Span(0, 3), "cols": Span(0, 3)} | change
    with pytest.raises(InputError, match=reason):
        compute_block(data_file, tmp_path / "block.h5", **arguments)
    assert not (tmp_path / "block.h5").exists()


def test_too_little_memory(tmp_path, data_file, data, monkeypatch):
    monkeypatch.setattr("exact_cntk._support.machine.available_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"block rows 0:3, columns 0:3 of tiny needs .* available"):
        compute_block(data_file, tmp_path / "b.h5", rows=Span(0, 3), cols=Span(0, 3), **OPTIONS, **SPAN)
