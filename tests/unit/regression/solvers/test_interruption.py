"""Scratch is gone whatever happens, and an interrupted path goes on where it stopped."""

import signal

import numpy as np
import pytest
from problems import RIDGES, make_kernel, store, use_tiles

from exact_cntk import kernel_regression
from exact_cntk.errors import InputError, UserError
from exact_cntk.regression.solvers import stores


@pytest.fixture(autouse=True)
def tiles(monkeypatch):
    use_tiles(monkeypatch, 70)


@pytest.fixture
def scratch(monkeypatch):
    """Every scratch file that is opened."""
    opened = []

    def spy(*args, make=stores.tempfile.TemporaryFile, **kwargs):
        opened.append(make(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", spy)
    return opened


def stopping(at, how):
    """A progress function that stops at a step; and where it was called."""
    seen = []

    def report(done, total):
        seen.append(done)
        if len(seen) == at:
            how()

    return report, seen


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """Shells start what runs in the background with SIGINT ignored, and Python leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_scratch_is_gone_after_success(tmp_path, scratch, K, labels):
    dataset = store(tmp_path / "K.h5", K)
    while_running = set()
    kernel_regression(dataset, labels, method="blocked", progress=lambda *_: while_running.update(names(tmp_path)))
    assert while_running == {"K.h5"}  # no name, so that nothing can be left behind
    assert names(tmp_path) == ["K.h5"]
    assert [file.closed for file in scratch] == [True]


def test_scratch_lies_where_it_is_told_to(tmp_path, monkeypatch, K, labels):
    folders = []
    make = stores.tempfile.TemporaryFile
    monkeypatch.setattr(
        stores.tempfile, "TemporaryFile", lambda dir, **rest: folders.append(dir) or make(dir=dir, **rest)
    )
    (tmp_path / "scratch").mkdir()
    dataset = store(tmp_path / "K.h5", K)
    kernel_regression(dataset, labels, method="blocked")
    kernel_regression(dataset, labels, method="blocked", scratch=tmp_path / "scratch")
    assert folders == [tmp_path, tmp_path / "scratch"]


@pytest.mark.parametrize("at", [1, 30, 60])
def test_scratch_is_gone_after_ctrl_c(tmp_path, scratch, K, labels, at):
    report, seen = stopping(at, interrupt)
    with pytest.raises(KeyboardInterrupt):
        kernel_regression(store(tmp_path / "K.h5", K), labels, method="blocked", progress=report)
    assert len(seen) == at
    assert names(tmp_path) == ["K.h5"] and scratch[0].closed


def test_scratch_is_gone_after_an_error(tmp_path, scratch, K, labels):
    with pytest.raises(InputError, match="not positive semi-definite"):
        kernel_regression(store(tmp_path / "K.h5", K - 3 * np.eye(330)), labels, method="blocked")
    assert names(tmp_path) == ["K.h5"] and scratch[0].closed


def test_too_little_disk_is_refused_with_numbers(tmp_path, monkeypatch, scratch, K, labels):
    monkeypatch.setattr("exact_cntk._support.machine.free_disk", lambda path: 1000)
    with pytest.raises(UserError, match=r"a kernel of 330 points needs 0\.00049 GiB of disk for .*, 9.3e-07 GiB avail"):
        kernel_regression(store(tmp_path / "K.h5", K), labels, method="blocked")
    assert scratch == []


def test_a_disk_that_is_full_nevertheless(tmp_path, small_disk, monkeypatch, scratch, K, labels):
    """As by another process: noticed before anything is computed where the system can reserve space, or later."""
    monkeypatch.setattr(stores, "require_disk", lambda *_: None)
    if not small_disk.is_mount():
        monkeypatch.setattr(stores.os, "posix_fallocate", stores.os.pwrite, raising=False)
    dataset = store(tmp_path / "K.h5", K)
    for _ in range(2):
        with pytest.raises(UserError, match=r"scratch file of 0\.00049 GiB in .*small failed: No space left on device"):
            kernel_regression(dataset, labels, method="blocked", scratch=small_disk)
        if not small_disk.is_mount():
            break
        monkeypatch.delattr(stores.os, "posix_fallocate", raising=False)
    assert list(small_disk.iterdir()) == [] and all(file.closed for file in scratch)


def test_a_folder_that_is_not_there(tmp_path, K, labels):
    with pytest.raises(UserError, match=r"in .*nowhere failed: No such file"):
        kernel_regression(K, labels, method="blocked", scratch=tmp_path / "nowhere")


@pytest.mark.parametrize("method", ["blocked", "cholesky", "cuda"])
@pytest.mark.parametrize("ridge", [0, 1, 3])
def test_goes_on_where_it_stopped(tmp_path, K, labels, method, ridge):
    """To the same numbers; their last digit may depend on how the system aligns small arrays in memory."""
    dataset = store(tmp_path / "K.h5", K)
    options = {"ridges": RIDGES, "method": method}
    undisturbed = kernel_regression(dataset, labels, **options)
    steps = 1 if method == "cholesky" else 2 * (5 * 24 // 6 + 15)  # products of 5 × 5 tiles
    saved = tmp_path / "ridges.npz"
    report, seen = stopping(ridge * steps + 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        kernel_regression(dataset, labels, **options, checkpoint=saved, progress=report)
    done = ridge + (method == "cholesky")  # it reports a ridge when it is saved
    assert saved.exists() == (done > 0)
    counts = []
    result = kernel_regression(dataset, labels, **options, checkpoint=saved, progress=lambda *n: counts.append(n))
    left = (4 - done) * steps
    assert counts == [(i + 1, left) for i in range(left)]
    for name in ("dual", "loo_predictions", "loo_error", "condition_number"):
        np.testing.assert_allclose(getattr(result, name), getattr(undisturbed, name), rtol=1e-12)
    again = kernel_regression(dataset, labels, **options, checkpoint=saved, progress=report)  # no step left
    assert len(seen) == ridge * steps + 1
    for name in ("dual", "loo_predictions", "residual_norm", "condition_number"):
        assert getattr(again, name).tobytes() == getattr(result, name).tobytes()


@pytest.mark.parametrize("method", ["blocked", "cholesky"])
def test_a_checkpoint_of_another_problem_is_ignored(tmp_path, K, labels, method):
    saved = tmp_path / "ridges.npz"

    def steps(kernel, y, **options):
        counts = []
        options = {"ridges": [0.0, 1.0], "method": method} | options
        result = kernel_regression(kernel, y, **options, checkpoint=saved, progress=lambda *n: counts.append(n))
        expected = kernel_regression(kernel, y, **options)
        np.testing.assert_allclose(result.dual, expected.dual, rtol=1e-9)
        return len(counts)

    whole = steps(K, labels)
    assert steps(K, labels) == 0
    assert steps(make_kernel(330, seed=5), labels) == whole
    assert steps(K, labels) == whole  # replaced
    assert steps(K, (labels + 1) % 5) == whole
    assert steps(K, labels, ridges=[0.0, 2.0]) == whole
    assert steps(K, labels, ridges=[0.0, 2.0], tolerance=1e-9) == whole
    for damage in (b"", b"not a file of NumPy's", saved.read_bytes()[:-100]):
        saved.write_bytes(damage)
        assert steps(K, labels) == whole


def test_an_unproven_kernel_leaves_no_checkpoint(tmp_path, K, labels):
    """Ridge 0 fails; that the kernel is indefinite shows later, and must show again."""
    bad, saved = K - 0.5 * np.eye(330), tmp_path / "ridges.npz"
    for _ in range(2):
        with pytest.raises(InputError, match="not positive semi-definite"):
            kernel_regression(bad, labels, ridges=[0, 9.0], method="blocked", checkpoint=saved)
        assert not saved.exists()
