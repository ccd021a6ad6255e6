"""The `cuda` backend from images to kernel matrices, on an emulated device, against the reference and the CPU."""

import itertools
import sys
import threading
import time
from functools import cache

import numpy as np
import pytest
from emulated_device import EmulatedDevice
from pictures import awkward_images, photographs

from exact_cntk import cntk
from exact_cntk.errors import UserError
from exact_cntk.kernels import backends, cpu, cuda, reference
from exact_cntk.kernels.backends import choose_backend, describe_backend
from exact_cntk.kernels.cuda import backend as backend_module
from exact_cntk.kernels.cuda import run as run_module
from exact_cntk.kernels.cuda import stripes as stripes_module
from exact_cntk.kernels.cuda.device import DeviceMemoryError
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


def spec(readout: str, *, depths=(2, 4), trained=("all", "hidden"), kinds=("ntk", "nngp"), **parts) -> KernelSpec:
    return KernelSpec(Family(readout, trained, **parts), depths, kinds)


def compute(x1, x2, what: KernelSpec, *, device=None, **options) -> np.ndarray:
    return cuda.compute(x1, x2, what, device=device or EmulatedDevice(), threads=2, **options).kernels


def sums_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("exact_cntk")]


# 8×8: the tuned kernels; 7×11: the general one; 5×4: so few pixels that it takes float64.
@pytest.mark.parametrize("shape", [(8, 8), (7, 11), (5, 4)])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_agrees_with_reference_and_cpu(readout, shape):
    x = awkward_images(*shape)
    for x1, x2 in ((x, None), (x[:4], x[2:])):
        expected = reference.compute(x1, x2, spec(readout)).kernels
        actual = compute(x1, x2, spec(readout))
        # Where a pixel of one image meets its own negative in another, the reference leaves 1e-9 of what is 0.
        np.testing.assert_allclose(actual, expected, rtol=TOLERANCE["float32"], atol=1e-9 * expected.max())
        on_cpu = cpu.compute(x1, x2, spec(readout), threads=2).kernels
        np.testing.assert_allclose(actual, on_cpu, rtol=TOLERANCE["float32"], atol=1e-12 * expected.max())
        assert not actual[:, 1].any()


# 8×8 and 7×11: float32; 5×4: so few pixels that it takes float64. Windows of one pixel and beyond the image are flatten
# and gap; one that is higher than the image, but not as wide, is local.
@pytest.mark.parametrize(("shape", "window"), [((8, 8), 3), ((7, 11), 5), ((7, 11), 15), ((5, 4), 3)])
def test_local_pooling_agrees_with_reference_and_cpu(shape, window):
    x = awkward_images(*shape)
    what = spec("lap", pooling_window=window)
    for x1, x2 in ((x, None), (x[:4], x[2:])):
        expected = reference.compute(x1, x2, what).kernels
        actual = compute(x1, x2, what)
        np.testing.assert_allclose(actual, expected, rtol=TOLERANCE["float32"], atol=1e-9 * expected.max())
        on_cpu = cpu.compute(x1, x2, what, threads=2).kernels
        np.testing.assert_allclose(actual, on_cpu, rtol=TOLERANCE["float32"], atol=1e-12 * expected.max())
        assert not actual[:, 1].any()


def test_ends_of_local_pooling():
    x = photographs(4, 8, 8)
    flat, pooled = compute(x, None, spec("flatten")), compute(x, None, spec("gap"))
    assert np.array_equal(compute(x, None, spec("lap", pooling_window=1)), flat)
    local = compute(x, None, spec("lap", pooling_window=15))
    np.testing.assert_allclose(local, pooled * 64**3 / 15**4, rtol=1e-14)


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_float64(readout):
    x1, x2 = photographs(2, 8, 8), photographs(3, 8, 8, seed=1)
    expected = reference.compute(x1, x2, spec(readout)).kernels
    np.testing.assert_allclose(compute(x1, x2, spec(readout), dtype="float64"), expected, rtol=TOLERANCE["float64"])


def test_symmetric_results_are_symmetric_and_those_of_blocks():
    x = photographs(11, 8, 8)
    kernels = compute(x, None, spec("flatten"))
    assert np.array_equal(kernels, kernels.transpose(0, 2, 1))
    assert np.array_equal(compute(x[6:], x[:6], spec("flatten")), kernels[:, 6:, :6])


@pytest.mark.parametrize("trained", [("all",), ("hidden",), ("hidden", "all")])
@pytest.mark.parametrize("kinds", [("ntk",), ("nngp",), ("nngp", "ntk")])
def test_any_choice_of_outputs(trained, kinds):
    x = photographs(3, 8, 8)
    what = spec("flatten", trained=trained, kinds=kinds, depths=(2, 3, 5))
    np.testing.assert_allclose(
        compute(x, None, what), reference.compute(x, None, what).kernels, rtol=TOLERANCE["float32"]
    )


@pytest.mark.parametrize("depths", [(2,), (13,), (14, 27)])
def test_depths_beyond_the_growth_of_the_units(depths):
    x = awkward_images(8, 8)
    what = spec("flatten", depths=depths)
    expected = reference.compute(x, None, what).kernels
    np.testing.assert_allclose(compute(x, None, what), expected, rtol=TOLERANCE["float32"], atol=1e-9 * expected.max())


def test_input_may_have_gaps_and_any_units():
    x = photographs(12, 8, 8).astype(np.float64)
    scale = 2.0 ** np.arange(-30, 30, 10)[:, None, None, None]
    expected = compute(np.ascontiguousarray(x[::2]), None, spec("flatten"))
    scaled = compute(np.asfortranarray(x)[::2] * scale, None, spec("flatten"))
    assert np.array_equal(scaled, expected * scale[:, 0, 0] * scale[:, 0, 0, 0])


@cache
def whole_kernels(symmetric: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    x1, x2 = photographs(30, 8, 8), None if symmetric else photographs(23, 8, 8, seed=1)
    x1[7] = x1[20]
    return x1, x2, compute(x1, x2, spec("flatten"))


@pytest.mark.parametrize("symmetric", [True, False])
def test_stripes_and_chunks_give_the_same_bytes(symmetric, monkeypatch):
    x1, x2, expected = whole_kernels(symmetric)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 200)
    device = EmulatedDevice()
    assert np.array_equal(compute(x1, x2, spec("flatten"), device=device), expected)
    assert device.launches > 3
    sizes, chunk_sizes = [], run_module.chunk_sizes
    monkeypatch.setattr(backend_module, "TABLE_SHARE", 0.02)
    monkeypatch.setattr(run_module, "chunk_sizes", lambda *args: sizes.append(chunk_sizes(*args)) or sizes[-1])
    rows = []
    device = EmulatedDevice(memory=1 << 20)
    actual = compute(x1, x2, spec("flatten"), device=device, on_rows=lambda start, part: rows.append((start, part)))
    assert np.array_equal(actual, expected)
    assert max(sizes[0]) <= 15
    assert device.free_bytes() == 1 << 20, "all memory was given back"
    assert_rows(rows, expected)


def assert_rows(rows, expected):
    starts, parts = zip(*rows, strict=True)
    assert list(starts) == [0, *itertools.accumulate(part.shape[1] for part in parts[:-1])]
    assert np.array_equal(np.concatenate(parts, axis=1), expected)


@pytest.mark.parametrize("symmetric", [True, False])
def test_rows_are_final_when_they_are_handed_over(symmetric, monkeypatch):
    x1, x2, expected = whole_kernels(symmetric)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 200)
    rows, main = [], threading.current_thread()

    def on_rows(start: int, part: np.ndarray) -> None:
        assert threading.current_thread() is main
        rows.append((start, part.copy()))

    started = time.perf_counter()
    computed = cuda.compute(x1, x2, spec("flatten"), device=EmulatedDevice(), threads=2, on_rows=on_rows)
    wall = time.perf_counter() - started
    assert len(rows) > 1
    assert_rows(rows, expected)
    assert 0 < computed.seconds <= wall


def test_progress_counts_pairs_from_this_thread(monkeypatch):
    x1, _, _ = whole_kernels(True)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 200)
    seen = []
    compute(x1, None, spec("flatten"), progress=lambda *at: seen.append((*at, threading.current_thread())))
    assert seen[-1][:2] == (30 * 31 // 2, 30 * 31 // 2)
    assert len({done for done, *_ in seen}) > 2
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(seen))
    assert {thread for *_, thread in seen} == {threading.main_thread()}


@pytest.mark.parametrize("raiser", ["progress", "on_rows"])
def test_interrupt_leaves_nothing_behind(raiser, monkeypatch):
    x1, _, _ = whole_kernels(True)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 200)
    calls = []

    def interrupt(*_) -> None:
        calls.append(device.launches)
        raise KeyboardInterrupt

    device = EmulatedDevice(memory=1 << 24)
    with pytest.raises(KeyboardInterrupt):
        compute(x1, None, spec("flatten"), device=device, **{raiser: interrupt})
    assert calls == [device.launches], "nothing was launched afterwards"
    assert not sums_threads()
    assert device.free_bytes() == 1 << 24


def test_the_device_has_work_while_the_host_finishes(monkeypatch):
    x1, _, expected = whole_kernels(True)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 200)
    several, finish = threading.Event(), cuda.remote.Remote.finish

    class CountingDevice(EmulatedDevice):
        @property
        def launches(self) -> int:
            return self._launches

        @launches.setter
        def launches(self, count: int) -> None:
            self._launches = count
            if count == run_module.SLOTS:
                several.set()

    def patient_finish(*arguments) -> None:
        assert several.wait(60), "no stripe was launched before the first one was finished"
        finish(*arguments)

    monkeypatch.setattr(cuda.remote.Remote, "finish", patient_finish)
    assert np.array_equal(compute(x1, None, spec("flatten"), device=CountingDevice()), expected)


def test_a_failing_kernel_is_an_error_here(monkeypatch):
    device = EmulatedDevice()
    stream = device.stream()
    monkeypatch.setattr(type(stream), "launch", lambda *_: (_ for _ in ()).throw(RuntimeError("illegal address")))
    with pytest.raises(RuntimeError, match="illegal address"):
        compute(photographs(3, 8, 8), None, spec("flatten"), device=device)
    assert not sums_threads()


def test_failing_to_finish_is_an_error_here(monkeypatch):
    monkeypatch.setattr(cuda.remote.Remote, "finish", lambda *_: (_ for _ in ()).throw(MemoryError("of the core")))
    with pytest.raises(MemoryError, match="of the core"):
        compute(photographs(3, 8, 8), None, spec("flatten"))
    assert not sums_threads()


class CrowdedDevice(EmulatedDevice):
    """Reports more memory than it gives, as where another process takes some meanwhile."""

    largest = 1 << 13

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self.largest:
            raise DeviceMemoryError("no")
        return super().empty(shape, dtype)


def test_smaller_chunks_where_memory_runs_out(monkeypatch):
    x1, _, expected = whole_kernels(True)
    monkeypatch.setattr(stripes_module, "STRIPE_BYTES", 70 * 100)
    assert np.array_equal(compute(x1, None, spec("flatten"), device=CrowdedDevice(memory=1 << 18)), expected)


def test_too_little_memory_for_one_pair():
    device = EmulatedDevice(memory=4000)
    with pytest.raises(UserError, match=r"emulated has .* free, too little for one pair of images.*use backend='cpu'"):
        compute(photographs(3, 8, 8), None, spec("flatten"), device=device)


def test_no_images():
    assert compute(np.empty((0, 8, 8, 3)), photographs(3, 8, 8), spec("gap", depths=(3,))).shape == (3, 0, 3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> EmulatedDevice:
    """Let the package find an emulated GPU."""
    device = EmulatedDevice()
    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    monkeypatch.setattr(cuda, "require_gpu", lambda: None)
    for module in (cuda, cuda.device):
        monkeypatch.setattr(module, "open_device", lambda: device)
    return device


@pytest.mark.parametrize("backend", ["cuda", "auto"])
def test_by_the_public_function(gpu, backend):
    x1, x2 = photographs(3, 8, 8), photographs(2, 8, 8, seed=1)
    options = {"depths": [2, 4], "readout": "flatten", "trained": ["all", "hidden"], "get": ["ntk", "nngp"]}
    on_gpu, on_cpu = (cntk(x1, x2, backend=name, **options) for name in (backend, "cpu"))
    assert gpu.launches == 1
    assert on_gpu.keys() == on_cpu.keys()
    for key, kernel in on_gpu.items():
        assert kernel.dtype == np.float64
        np.testing.assert_allclose(kernel, on_cpu[key], rtol=TOLERANCE["float32"])


def test_describes_the_gpu(gpu):
    assert describe_backend("auto") == ("cuda", "sm_90", "a GPU is present: emulated", "emulated")
    assert describe_backend("cuda").reason == "as requested: emulated"
    assert describe_backend("cpu").name == "cpu"


def test_auto_takes_the_cpu_and_says_why(monkeypatch):
    monkeypatch.setattr(backends, "gpu_present", lambda: False)
    assert choose_backend() == ("cpu", "no GPU present")
    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    name, reason = choose_backend()
    assert name == "cpu" and reason.startswith("a GPU is present, but ") and "exact-cntk[cuda]" in reason


def test_no_gpu_that_cuda_sees():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        if cupy.cuda.runtime.getDeviceCount():
            pytest.skip("there is a GPU here")
    except cupy.cuda.runtime.CUDARuntimeError:
        pass
    with pytest.raises(UserError, match=r"backend 'cuda' is not available.*CUDA_VISIBLE_DEVICES"):
        cntk(photographs(2, 8, 8), depths=3, readout="gap", backend="cuda")
