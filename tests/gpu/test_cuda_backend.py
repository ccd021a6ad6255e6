"""The `cuda` backend on a real GPU, against the CPU."""

import itertools
import threading
import time

import numpy as np
import pytest
from pictures import awkward_images, photographs

from exact_cntk.kernels import cpu, cuda, reference
from exact_cntk.kernels.backends import choose_backend, describe_backend
from exact_cntk.kernels.cuda import backend as backend_module
from exact_cntk.kernels.cuda import stripes as stripes_module
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

BOTH = ("all", "hidden")


def spec(readout: str, *, depths=(2, 3, 6, 21), trained=BOTH, kinds=("ntk", "nngp"), **parts) -> KernelSpec:
    return KernelSpec(Family(readout, trained, **parts), depths, kinds)


def check(x1, x2, what: KernelSpec, dtype: str = "float32", tolerance: float | None = None) -> np.ndarray:
    actual = cuda.compute(x1, x2, what, dtype=dtype).kernels
    # Which is within 1e-12 of the reference, and takes minutes less.
    expected = cpu.compute(x1, x2, what, dtype="float64").kernels
    tolerance = tolerance or (1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=1e-12 * np.abs(expected).max())
    return actual


def test_auto_means_this_gpu():
    name, reason = choose_backend()
    assert name == "cuda" and reason == "a GPU is present"
    backend = describe_backend("auto")
    assert backend.instruction_set.startswith("sm_") and backend.device in backend.reason
    assert {"cupy", "cuda_driver", "cuda_runtime", "nvrtc"} == set(cuda.describe_software())


# Tuned: 32×32, and the sizes beside it; general: odd sizes, larger ones, and so small that it takes float64.
@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (16, 16), (8, 8), (24, 32), (7, 11), (33, 31), (40, 40), (5, 4)])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_awkward_images(readout, shape):
    x = awkward_images(*shape)
    small = shape[0] * shape[1] <= 256
    what = spec(readout) if small or readout == "flatten" else spec(readout, depths=(2, 6))
    for x1, x2 in ((x, None), (x[:5], x[3:])):
        actual = check(x1, x2, what)
        assert not actual[:, 1].any()


# Windows of one pixel and beyond the image are the tuned kernels' work, all others the general one's.
@pytest.mark.parametrize("window", [1, 3, 5, 17, 63])
@pytest.mark.parametrize("shape", [(32, 32), (16, 16), (8, 8), (7, 11), (5, 4)])
def test_local_pooling(shape, window):
    x = awkward_images(*shape)
    small = shape[0] * shape[1] <= 256
    depths = (2, 3, 6, 21) if small else (2, 6)
    for x1, x2 in ((x, None), (x[:5], x[3:])):
        actual = check(x1, x2, spec("lap", pooling_window=window, depths=depths))
        assert not actual[:, 1].any()


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_agrees_with_the_reference(readout):
    x1, x2 = photographs(3, 12, 12), photographs(2, 12, 12, seed=1)
    expected = reference.compute(x1, x2, spec(readout)).kernels
    np.testing.assert_allclose(cuda.compute(x1, x2, spec(readout)).kernels, expected, rtol=1e-6)


@pytest.mark.parametrize("trained", [("all",), ("hidden",), ("hidden", "all")])
@pytest.mark.parametrize("kinds", [("ntk",), ("nngp",), ("nngp", "ntk")])
@pytest.mark.parametrize("shape", [(32, 32), (8, 8), (9, 15)])
def test_any_choice_of_outputs(shape, trained, kinds):
    for readout in ("flatten", "gap"):
        check(photographs(3, *shape), None, spec(readout, trained=trained, kinds=kinds, depths=(2, 5)))


@pytest.mark.parametrize("filter_size", [1, 5, 7])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_other_filters(readout, filter_size):
    x1, x2 = photographs(4, 16, 16), photographs(3, 16, 16, seed=1)
    # Where q = 1 nothing averages over a pixel's neighbourhood.
    tolerance = 3e-6 if filter_size == 1 else None
    check(x1, x2, spec(readout, filter_size=filter_size, depths=(2, 11)), tolerance=tolerance)


@pytest.mark.parametrize("shape", [(16, 16), (7, 11), (40, 44)])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_float64(readout, shape):
    depths = (2, 21) if shape[0] < 40 else (3,)
    check(photographs(3, *shape), None, spec(readout, depths=depths), dtype="float64")


@pytest.mark.parametrize("depths", [(60,), (100,)])
def test_deep_networks(depths):
    for shape in ((32, 32), (8, 8), (6, 16)):
        # Rounding adds up, on the CPU alike: 4e-6 at depth 100 on 8×8 pixels.
        check(photographs(3, *shape), None, spec("flatten", depths=depths), tolerance=1e-5)


def test_many_images():
    x1, x2 = photographs(700, 32, 32), photographs(520, 32, 32, seed=1)
    x2[17] = x1[5]
    check(x1, x2, spec("flatten", trained=("all",), kinds=("ntk",)))
    check(x1, None, spec("flatten", trained=("all",), kinds=("ntk",)))


def test_many_images_with_pooling():
    x1, x2 = photographs(120, 16, 16), photographs(90, 16, 16, seed=1)
    check(x1, x2, spec("gap", trained=("hidden",), kinds=("ntk",)))
    check(photographs(16, 32, 32), photographs(12, 32, 32, seed=1), spec("gap", trained=("hidden",), kinds=("ntk",)))


@pytest.mark.parametrize("readout", ["flatten", "gap"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_same_bytes_however_it_is_cut(readout, symmetric, monkeypatch):
    shape = (32, 32) if readout == "flatten" else (16, 16)
    x1, x2 = photographs(90, *shape), None if symmetric else photographs(70, *shape, seed=1)
    x1[40] = x1[3]
    first = cuda.compute(x1, x2, spec(readout)).kernels
    assert first.tobytes() == cuda.compute(x1, x2, spec(readout), threads=1).kernels.tobytes()
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 1 << 17)
    monkeypatch.setattr(stripes_module, "STRIPE_SECONDS", 1e-3)
    # Room for 20 images or so of either side at a time.
    share = 40 * x1[0].size * 40 / cuda.open_device().free_bytes()
    monkeypatch.setattr(backend_module, "TABLE_SHARE", share)
    rows = []
    again = cuda.compute(x1, x2, spec(readout), on_rows=lambda start, part: rows.append((start, part.copy()))).kernels
    assert first.tobytes() == again.tobytes()
    assert [start for start, _ in rows] == [0, *itertools.accumulate(part.shape[1] for _, part in rows[:-1])]
    assert np.array_equal(np.concatenate([part for _, part in rows], axis=1), first)


def test_kernels_run_most_of_the_time():
    """Not the 95 % of a long job: this one takes a second, start and end included; but no idling between stripes."""
    x1, x2 = photographs(250, 32, 32), photographs(200, 32, 32, seed=1)
    what = spec("gap", trained=("hidden",), kinds=("ntk",))
    cuda.compute(x1[:20], x2[:20], what)  # compiles, or finds compiled
    started = time.perf_counter()
    seconds = cuda.compute(x1, x2, what).seconds
    assert 0.5 < seconds / (time.perf_counter() - started) <= 1


def test_interrupt_stops_within_a_second():
    x = photographs(600, 32, 32)
    raised_at = []

    def interrupt(done: int, total: int) -> None:
        if done:
            raised_at.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cuda.compute(x, None, spec("gap"), progress=interrupt)
    assert time.monotonic() - raised_at[0] < 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("exact_cntk")]
    check(x[:3], None, spec("flatten"))


def test_next_to_a_process_that_takes_the_memory():
    import cupy

    free = cupy.cuda.runtime.memGetInfo()[0]
    taken = cupy.cuda.alloc(max(0, free - (200 << 20)))
    try:
        check(photographs(1500, 32, 32), photographs(900, 32, 32, seed=1), spec("flatten", depths=(2, 21)))
    finally:
        del taken
        cupy.get_default_memory_pool().free_all_blocks()
