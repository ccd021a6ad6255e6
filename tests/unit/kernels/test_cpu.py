"""The compiled core against the reference, on every instruction set that this machine runs."""

import itertools
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from kernel_files import HUNG

from exact_cntk import cntk, kernels
from exact_cntk.errors import UserError
from exact_cntk.kernels import cpu, flips, reference
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

DEPTHS = (2, 3, 6, 21)
BOTH = ("all", "hidden")
KINDS = ("ntk", "nngp")
# Float32 rounding, averaged over the pixels of a pair; float64 leaves what the polynomial for arccos and 20 layers add.
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def available_sets() -> list[str]:
    return [isa for isa in cpu.ISA_NAMES if cpu.library().exact_cntk_instruction_set(isa.encode())]


@pytest.fixture(params=available_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(cpu.ISA_VARIABLE, request.param)
    return request.param


def smooth_images(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images with a spectrum like a photograph's, of mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    noise = np.fft.fft2(rng.standard_normal((n, channels, height, width)))
    images = np.moveaxis(np.fft.ifft2(noise / frequency**1.3).real, 1, -1)
    return (images / images.std()).astype(np.float32)


def spec(readout: str, *, depths=DEPTHS, trained=BOTH, kinds=KINDS, **parts) -> KernelSpec:
    return KernelSpec(Family(readout, trained, **parts), depths, kinds)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    error = np.abs(actual - expected)
    # Exact zeros (black images, depth 2 with hidden layers trained) must be zeros.
    return float(np.max(np.divide(error, np.abs(expected), out=error.copy(), where=expected != 0)))


@cache
def reference_case(
    readout: str, shape: tuple[int, int], window: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x1, x2 = smooth_images(3, *shape, 2), smooth_images(2, *shape, 2, seed=1)
    return x1, x2, reference.compute(x1, x2, spec(readout, pooling_window=window)).kernels


def check(x1: np.ndarray, x2: np.ndarray | None, what: KernelSpec, dtype: str, tolerance: float | None = None) -> None:
    actual = cpu.compute(x1, x2, what, dtype=dtype, threads=2).kernels
    assert np.isfinite(actual).all()
    assert relative_error(actual, reference.compute(x1, x2, what).kernels) <= (tolerance or TOLERANCE[dtype])


# (9, 8): an odd number of rows; (8, 11): padded rows; (12, 16) and (9, 18): one and two whole or part vectors of
# AVX-512; (1, 70): more than four vectors a row, hence the general kernel.
@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (8, 11), (12, 16), (9, 18), (1, 70), (5, 3)])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_agrees_with_reference(isa, readout, shape):
    x1, x2, expected = reference_case(readout, shape)
    for dtype in ("float32", "float64"):
        actual = cpu.compute(x1, x2, spec(readout), dtype=dtype, threads=2).kernels
        assert relative_error(actual, expected) <= TOLERANCE[dtype]


# Windows within the image, higher than it but not as wide, and beyond it on both sides.
@pytest.mark.parametrize(
    ("shape", "window"),
    [*itertools.product([(8, 8), (8, 11), (9, 18)], [3, 17]), ((9, 8), 5), ((5, 3), 5), ((3, 60), 7), ((1, 70), 33)],
)
def test_local_pooling_agrees_with_reference(isa, shape, window):
    x1, x2, expected = reference_case("lap", shape, window)
    for dtype in ("float32", "float64"):
        actual = cpu.compute(x1, x2, spec("lap", pooling_window=window), dtype=dtype, threads=2).kernels
        assert relative_error(actual, expected) <= TOLERANCE[dtype]


def test_ends_of_local_pooling(isa):
    """A window of one pixel is flatten, and one beyond the image gap, to the last bit but for the scale."""
    x = smooth_images(5, 8, 11)
    flat, pooled = (cpu.compute(x, None, spec(readout)).kernels for readout in ("flatten", "gap"))
    assert np.array_equal(cpu.compute(x, None, spec("lap", pooling_window=1)).kernels, flat)
    for window in (21, 23, 1001):
        local = cpu.compute(x, None, spec("lap", pooling_window=window)).kernels
        np.testing.assert_allclose(local, pooled * 88**3 / window**4, rtol=1e-14)


@pytest.mark.parametrize("filter_size", [1, 5])
@pytest.mark.parametrize("trained", [("all",), ("hidden", "all")])
def test_local_pooling_with_other_filters_and_outputs(isa, filter_size, trained):
    x1, x2 = smooth_images(3, 9, 8), smooth_images(2, 9, 8, seed=1)
    x2[1] = x1[2]
    what = spec("lap", pooling_window=5, filter_size=filter_size, trained=trained)
    check(x1, x2, what, "float32", 1e-12 if filter_size == 1 else None)
    check(x1, None, what, "float64")


@pytest.mark.parametrize("noise", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("window", [3, 7])
def test_near_duplicates_with_local_pooling(isa, window, noise):
    x = smooth_images(3, 8, 8)
    x[1] = x[0] * (1 + noise * np.random.default_rng(0).standard_normal(x[0].shape))
    check(x, None, spec("lap", pooling_window=window), "float32", 5e-6 if noise == 1e-1 else None)
    x[2, 1:] = x[1, :-1]
    # Of the displacements that wide windows reach, one is not noticed, as with global pooling: entries of an angle of
    # up to 1e-3 are taken for parallel, on its share of the whole.
    check(x, None, spec("lap", pooling_window=window), "float32", 2e-5 if window == 7 or noise == 1e-1 else None)


def test_local_pooling_of_awkward_images(isa):
    """Black, constant, opposite, identical, half black, of one bright pixel, shifted by one row."""
    x = smooth_images(9, 8, 8)
    x[1], x[2], x[3], x[4], x[6] = 0, 3, -x[0], x[0], 0
    x[5, :, 4:] = 0
    x[6, 3, 3] = 1
    x[7, 1:] = x[0, :-1]
    what = spec("lap", pooling_window=3)
    expected, actual = reference.compute(x, None, what).kernels, cpu.compute(x, None, what, threads=2).kernels
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8 * expected.max())
    assert np.array_equal(actual, actual.transpose(0, 2, 1))
    assert not actual[:, 1].any()


def test_flips_in_blocks_have_the_bytes_of_the_whole(isa, monkeypatch):
    x = smooth_images(19, 8, 9)
    options = {"depths": (3, 5), "flips": True, "backend": "cpu", "threads": 2}
    for readout in ({"readout": "flatten"}, {"readout": "lap", "pooling_window": 3}, {"readout": "gap"}):
        whole = cntk(x, **readout, **options)
        with monkeypatch.context() as patch:
            patch.setattr(flips, "FEWEST_ROWS", dict.fromkeys(flips.FEWEST_ROWS, 4))
            parts = cntk(x, **readout, **options)
        for key, kernel in cntk(x[10:], x[:10], **readout, **options).items():
            assert np.array_equal(whole[key], whole[key].T)
            assert np.array_equal(whole[key], parts[key])
            assert np.array_equal(kernel, whole[key][10:, :10])


@pytest.mark.parametrize("filter_size", [1, 5, 7])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_other_filters(isa, readout, filter_size):
    x1, x2 = smooth_images(3, 9, 8), smooth_images(2, 9, 8, seed=1)
    # Where q = 1, float32 would not average its rounding: always float64.
    check(x1, x2, spec(readout, filter_size=filter_size), "float32", 1e-12 if filter_size == 1 else None)
    check(x1, x2, spec(readout, filter_size=filter_size), "float64")


@pytest.mark.parametrize("trained", [("all",), ("hidden",), ("hidden", "all")])
@pytest.mark.parametrize("kinds", [("ntk",), ("nngp",), ("nngp", "ntk")])
def test_any_choice_of_outputs(isa, trained, kinds):
    x = smooth_images(2, 8, 9, 1)
    for readout in ("flatten", "gap"):
        check(x, None, spec(readout, trained=trained, kinds=kinds, depths=(2, 5)), "float32")
    check(x, None, spec("gap", trained=trained, kinds=kinds, depths=(2,)), "float32")


def test_reference_size_images(isa):
    """Two pairs of 32×32 pixels, the size that the fast path is made for, against float64 of the same core."""
    x1, x2 = smooth_images(1, 32, 32), smooth_images(2, 32, 32, seed=1)
    what = spec("gap", depths=(21,), trained=("hidden",))
    assert relative_error(cpu.compute(x1, x2, what).kernels, cpu.compute(x1, x2, what, dtype="float64").kernels) < 1e-6
    check(x1, x2, spec("flatten", depths=(4,)), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_symmetric_call(isa, readout, dtype):
    n = 19  # neither a multiple of the lanes nor fewer
    x = smooth_images(n, 8, 8)
    what = spec(readout, depths=(3, 11))
    kernels = cpu.compute(x, None, what, dtype=dtype, threads=2).kernels
    assert np.array_equal(kernels, kernels.transpose(0, 2, 1))
    # The pair (i, j) of the whole has the same bytes as in a block of the lower triangle.
    block = cpu.compute(x[10:], x[:10], what, dtype=dtype, threads=1).kernels
    assert np.array_equal(block, kernels[:, 10:, :10])


@pytest.mark.parametrize("shape", [(8, 8), (20, 20)])
def test_same_bytes_for_any_number_of_threads(isa, shape):
    x1, x2 = smooth_images(6, *shape), smooth_images(5, *shape, seed=1)
    x2[3] = x1[2] * np.float32(1.0005)
    results = [cpu.compute(x1, x2, spec("gap", depths=(5,)), threads=threads).kernels for threads in (1, 2, 5)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_identical_images_wherever_they_are(isa):
    x1, x2 = smooth_images(4, 8, 8), smooth_images(5, 8, 8, seed=1)
    x2[4] = x1[0]
    x2[1] = 2 * x1[3]
    x1[2] = x1[1]
    for readout in ("flatten", "gap"):
        check(x1, x2, spec(readout), "float32")
        check(x1, None, spec(readout), "float32")


def test_black_constant_and_opposite_images(isa):
    x = smooth_images(7, 8, 8)
    x[1], x[2], x[3], x[4] = 0, 3, -1, -x[0]
    x[5, :, 4:] = 0
    for readout in ("flatten", "gap"):
        expected = reference.compute(x, None, spec(readout)).kernels
        actual = cpu.compute(x, None, spec(readout), threads=2).kernels
        # At rho = −1 the reference leaves a rounding error of 1e-9 where K is 0.
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8 * expected.max())
    assert not cpu.compute(x, None, spec("gap")).kernels[:, 1].any()


def test_images_of_one_pixel_and_with_one_pixel(isa):
    x = np.zeros((5, 8, 8, 1), np.float32)
    x[0, 3, 3], x[1, 3, 3], x[2, 7, 0], x[3, 4, 5] = 1, -2, 1e-3, 1
    for readout in ("flatten", "gap"):
        check(x, None, spec(readout), "float32")
        check(smooth_images(4, 1, 1), None, spec(readout), "float32")


@pytest.mark.parametrize("noise", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
def test_near_duplicates(isa, noise):
    x = smooth_images(2, 8, 8)
    x[1] = x[0] * (1 + noise * np.random.default_rng(0).standard_normal(x[0].shape))
    for readout in ("flatten", "gap"):
        # Angles of 0.1 are too wide for the second pass in float64, and without fused multiply-add twice as noisy.
        check(x, None, spec(readout), "float32", 5e-6 if noise == 1e-1 else None)


def test_shifted_images(isa):
    x = smooth_images(3, 16, 16)
    x[1, 1:] = x[0, :-1]
    x[2, :, :-2] = x[0, :, 2:]
    for readout in ("flatten", "gap"):
        check(x, None, spec(readout, depths=(2, 21)), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_units_of_the_input_do_not_matter(isa, dtype):
    x = smooth_images(3, 8, 8)
    what = spec("gap", depths=(3, 21))
    plain = cpu.compute(x, None, what, dtype=dtype).kernels
    scale = np.array([2.0**-90, 1.0, 2.0**100])
    scaled = cpu.compute(x.astype(np.float64) * scale[:, None, None, None], None, what, dtype=dtype).kernels
    assert np.array_equal(scaled, plain * scale[:, None] * scale)
    check(x * np.array([1e-10, 1, 1e10], np.float32)[:, None, None, None], None, what, dtype)


def test_deep_networks_stay_finite(isa):
    for shape in ((8, 8), (1, 9), (1, 1)):
        check(smooth_images(2, *shape), None, spec("flatten", depths=(100,)), "float32", 2e-6)


def test_tables_in_blocks_give_the_same_bytes(isa, monkeypatch):
    x1, x2 = smooth_images(21, 8, 8), smooth_images(18, 8, 8, seed=1)
    whole = [cpu.compute(x1, other, spec("flatten", depths=(4,))).kernels for other in (None, x2)]
    monkeypatch.setattr(cpu, "TABLE_BYTES", 20_000)
    blocks = [cpu.compute(x1, other, spec("flatten", depths=(4,))).kernels for other in (None, x2)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, blocks, strict=True))


def test_no_images():
    kernels, _ = cpu.compute(np.empty((0, 8, 8, 3)), smooth_images(3, 8, 8), spec("gap", depths=(3,)))
    assert kernels.shape == (3, 0, 3)


def test_progress_counts_pairs_from_this_thread():
    seen = []
    x = smooth_images(30, 16, 16)

    def progress(done: int, total: int) -> None:
        seen.append((done, total, threading.current_thread()))

    cpu.compute(x, None, spec("gap", depths=(11,)), progress=progress)
    assert seen[-1][:2] == (30 * 31 // 2, 30 * 31 // 2)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(seen))
    assert {thread for *_, thread in seen} == {threading.main_thread()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_interrupt_stops_at_once(isa, dtype):
    x = smooth_images(40, 32, 32)
    raised_at = []

    def interrupt(done: int, total: int) -> None:
        raised_at.append(time.monotonic())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cpu.compute(x, None, spec("gap", depths=(21,)), dtype=dtype, progress=interrupt)
    # The whole takes from half a minute to an hour; the bound is what is promised to users.
    assert time.monotonic() - raised_at[0] < 1
    assert not [thread for thread in threading.enumerate() if "core" in thread.name]


def test_out_of_memory_is_an_exception():
    """In a process whose address space ends 256 MiB beyond what it has: half the tables' budget does not fit."""
    script = """
import resource
import numpy as np
from exact_cntk.kernels import cpu
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

x = np.ones((200, 64, 64, 1), np.float32)
cpu.instruction_set()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 256 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    cpu.compute(x, None, KernelSpec(Family("flatten"), (201,), ("ntk",)), threads=2)
except MemoryError as error:
    print("MemoryError:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=HUNG)
    assert done.stdout.startswith("MemoryError: the compiled core ran out of memory")


def test_unknown_instruction_set(monkeypatch):
    monkeypatch.setenv(cpu.ISA_VARIABLE, "mmx")
    with pytest.raises(UserError, match=r"EXACT_CNTK_ISA='mmx'.*portable"):
        cpu.instruction_set()


def test_stale_build_is_refused(monkeypatch, tmp_path: Path):
    installed = next(Path(p) for p in kernels.__path__ if (Path(p) / cpu.LIBRARY_NAME).is_file())
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "api.cpp").write_text("// changed\n")
    monkeypatch.setattr(kernels, "__path__", [str(installed), str(tmp_path)])
    cpu.library.cache_clear()
    try:
        with pytest.raises(UserError, match="older than its source; run `make install`"):
            cpu.library()
    finally:
        cpu.library.cache_clear()
