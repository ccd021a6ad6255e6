"""The layer over CuPy, by a CuPy of this file's own: the calls of the real one that it makes, on the host's memory.

That the real one has what is called here, a test asks it; that needs no GPU.
"""

import builtins
import ctypes
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from emulated_device import EmulatedDevice
from pictures import photographs

from exact_cntk.errors import UserError
from exact_cntk.kernels import cpu
from exact_cntk.kernels import cuda as cuda_module
from exact_cntk.kernels.cuda.device import CudaDevice, DeviceMemoryError, DeviceProperties
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

SPEC = KernelSpec(Family("flatten"), (2, 4), ("ntk",))
FREE = 1 << 24
ATTRIBUTES = {
    "MultiProcessorCount": 2,
    "MaxSharedMemoryPerBlockOptin": 227 * 1024,
    "MaxSharedMemoryPerMultiprocessor": 228 * 1024,
}


class Pointer:
    """cupy.cuda.MemoryPointer."""

    def __init__(self, memory: np.ndarray, offset: int = 0) -> None:
        self.memory, self.offset = memory, offset

    @property
    def ptr(self) -> int:
        return self.memory.ctypes.data + self.offset

    def copy_from_host_async(self, mem: ctypes.c_void_p, size: int, stream: "Stream") -> None:
        assert isinstance(stream, Stream)
        ctypes.memmove(self.ptr, mem.value, size)

    def copy_to_host_async(self, mem: ctypes.c_void_p, size: int, stream: "Stream") -> None:
        assert isinstance(stream, Stream)
        ctypes.memmove(mem.value, self.ptr, size)


class Array:
    """cupy.ndarray, as far as slices of the leading axis."""

    def __init__(self, shape, dtype, memptr: Pointer) -> None:
        self.shape, self.dtype, self.data = tuple(shape), np.dtype(dtype), memptr

    def __getitem__(self, part: slice) -> "Array":
        start, stop, _ = part.indices(self.shape[0])
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        pointer = Pointer(self.data.memory, self.data.offset + start * row)
        return Array((stop - start, *self.shape[1:]), self.dtype, pointer)

    def __len__(self) -> int:
        return self.shape[0]

    def on_host(self) -> np.ndarray:
        memory = (ctypes.c_ubyte * (int(np.prod(self.shape)) * self.dtype.itemsize)).from_address(self.data.ptr)
        return np.frombuffer(memory, self.dtype).reshape(self.shape)


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"CUDA's error {status}")
        self.status = status


def memory(size: int) -> np.ndarray:
    """cupy.cuda.Memory."""
    if size > FREE:
        raise CUDARuntimeError(2)
    return EmulatedDevice().empty((max(1, size),), np.uint8)


class Event:
    def __init__(self, block: bool) -> None:
        assert block

    def record(self, stream: "Stream") -> None:
        self.stream = stream

    def synchronize(self) -> None:
        assert isinstance(self.stream, Stream)


class Stream:
    current: "Stream | None" = None

    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking

    def __enter__(self) -> None:
        Stream.current = self

    def __exit__(self, *_) -> None:
        Stream.current = None

    def wait_event(self, event: Event) -> None:
        assert isinstance(event, Event)


class RawModule:
    """Compiles for the emulator."""

    def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
        assert backend == "nvrtc" and isinstance(options, tuple)
        assert not [option for option in options if option.startswith(("-arch", "-ftz"))]
        self.code, self.options = code, options

    def get_function(self, name: str) -> "Function":
        return Function(self, name)


class Function:
    max_dynamic_shared_size_bytes = 48 * 1024
    preferred_shared_memory_carveout = -1

    def __init__(self, module: RawModule, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, grid, block, args, *, shared_mem: int) -> None:
        assert Stream.current is not None
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        device = EmulatedDevice()
        kernel = device.compile(self.module.code, self.module.options, self.name, shared_mem)
        device.stream().launch(kernel, *grid, *block, [self._passed(value) for value in args])

    @staticmethod
    def _passed(value):
        # CuPy takes arrays, and NumPy's numbers by their size: Python's int would be 8 bytes, None a crash.
        if isinstance(value, Array):
            return value.on_host()
        assert isinstance(value, np.int32 | np.uintp)
        return int(value) if isinstance(value, np.int32) else None


def fake_cupy() -> SimpleNamespace:
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"NVIDIA H200"},
        memGetInfo=lambda: (FREE, 2 * FREE),
        runtimeGetVersion=lambda: 13020,
        driverGetVersion=lambda: 12080,
        deviceGetAttribute=lambda attribute, _: ATTRIBUTES[attribute],
        **{f"cudaDevAttr{name}": name for name in ATTRIBUTES},
    )
    device = SimpleNamespace(id=0, compute_capability="90")
    cuda = SimpleNamespace(
        Device=lambda: device,
        Event=Event,
        Memory=memory,
        MemoryPointer=Pointer,
        Stream=Stream,
        alloc_pinned_memory=bytearray,
        get_elapsed_time=lambda start, end: 2.0,
        nvrtc=SimpleNamespace(getVersion=lambda: (13, 5)),
        runtime=runtime,
    )
    return SimpleNamespace(__version__="14.2.0", RawModule=RawModule, ndarray=Array, cuda=cuda)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_computes_through_it(cupy, readout):
    x1, x2 = photographs(3, 8, 8), photographs(2, 8, 8, seed=1)
    what = KernelSpec(Family(readout), (2, 4), ("ntk",))
    actual, seconds = cuda_module.compute(x1, x2, what)
    np.testing.assert_allclose(actual, cpu.compute(x1, x2, what).kernels, rtol=1e-6)
    assert seconds == 0.002


def test_properties(cupy):
    device = cuda_module.open_device()
    assert device.properties == DeviceProperties("NVIDIA H200", (9, 0), 2, 227 * 1024)
    assert device.properties.architecture == "sm_90"
    assert device.free_bytes() == FREE
    assert cuda_module.describe_software() == {
        "cupy": "14.2.0", "cuda_runtime": "13.2", "cuda_driver": "12.8", "nvrtc": "13.5",
    }  # fmt: skip


def test_memory_that_is_not_there(cupy):
    with pytest.raises(DeviceMemoryError, match=r"NVIDIA H200 cannot give 0\.02 GiB"):
        CudaDevice(cupy).empty((FREE + 1,), np.uint8)


def test_other_failures_keep_their_name(cupy, monkeypatch):
    def fail(_):
        raise CUDARuntimeError(700)

    monkeypatch.setattr(cupy.cuda, "Memory", fail)
    with pytest.raises(CUDARuntimeError, match="700"):
        CudaDevice(cupy).empty((1,), np.uint8)


def test_shared_memory_for_all_blocks(cupy):
    device = CudaDevice(cupy)
    for shared_bytes, blocks, percent in ((46 * 1024, 2, 42), (80 * 1024, 1, 36), (227 * 1024, 2, 100)):
        function = device.compile("", (), "kernel", shared_bytes, blocks).function
        assert function.max_dynamic_shared_size_bytes == max(48 * 1024, shared_bytes)
        assert function.preferred_shared_memory_carveout == percent


def test_no_headers(cupy, monkeypatch):
    def fail(*_):
        raise RuntimeError("Failed to find CUDA headers. Please install CUDA toolkit headers")

    monkeypatch.setattr(RawModule, "get_function", fail)
    with pytest.raises(UserError, match=r"no headers of CUDA.*exact-cntk\[cuda\]"):
        CudaDevice(cupy).compile("", (), "kernel", 0)


def test_copies_are_of_equal_arrays(cupy):
    device = CudaDevice(cupy)
    target, stream = device.empty((4, 3), np.float32), device.stream()
    for source in (np.zeros((4, 2), np.float32), np.zeros((4, 3)), np.zeros((3, 4), np.float32).T):
        with pytest.raises(ValueError, match="differ, or have gaps"):
            stream.upload(source, target)


def test_no_place_for_what_is_compiled(cupy, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied", "/nowhere")

    monkeypatch.setattr(RawModule, "get_function", fail)
    with pytest.raises(UserError, match=r"CuPy cannot write what it compiles .*/nowhere.*CUPY_CACHE_DIR"):
        CudaDevice(cupy).compile("", (), "kernel", 0)
    importer = builtins.__import__
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: fail() if name == "cupy" else importer(name, *rest))
    with pytest.raises(UserError, match=r"CuPy cannot write what it compiles .*/nowhere.*CUPY_CACHE_DIR"):
        cuda_module.require_gpu()


@pytest.mark.parametrize("failure", ["none visible", "old driver", "old GPU", "taken GPU", "no NVRTC"])
def test_says_what_is_missing(cupy, monkeypatch, failure):
    def fail(*_):
        raise CUDARuntimeError(35)

    if failure == "none visible":
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
        reason = "no GPU is visible; check CUDA_VISIBLE_DEVICES"
    elif failure == "old driver":
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
        reason = "CUDA's error 35.*a driver as new as CuPy's CUDA 13.2 .*cupy-cuda12x"
    elif failure == "old GPU":
        monkeypatch.setattr(cupy.cuda, "Device", lambda: SimpleNamespace(id=0, compute_capability="75"))
        reason = r"compute capability 8\.0\) or later, and this one has 7\.5"
    elif failure == "taken GPU":
        monkeypatch.setattr(cupy.cuda, "Device", fail)
        reason = "the GPU cannot be used .*CUDA's error 35"
    else:
        monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", fail)
        reason = r"NVRTC.*cannot be loaded.*pip install \"exact-cntk\[cuda\]\""
    with pytest.raises(UserError, match=f"backend 'cuda' is not available.*{reason}"):
        cuda_module.require_gpu()


def test_the_real_cupy_has_all_that_is_called():
    real = pytest.importorskip("cupy", reason="CuPy is not installed")
    fake = fake_cupy()
    assert all(hasattr(real.cuda.runtime, name) for name in vars(fake.cuda.runtime))
    assert all(hasattr(real.cuda, name) for name in vars(fake.cuda))
    for owner, members in (
        (real.cuda.MemoryPointer, ("copy_from_host_async", "copy_to_host_async")),
        (real.cuda.Event, ("record", "synchronize")),
        (real.cuda.Stream, ("__enter__", "__exit__", "wait_event")),
        (real.RawModule, ("get_function",)),
        (real.RawKernel, ("__call__", "max_dynamic_shared_size_bytes", "preferred_shared_memory_carveout")),
    ):
        assert [name for name in members if not hasattr(owner, name)] == []
    assert re.match(r"\d+\.\d+", real.__version__)
