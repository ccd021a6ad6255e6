"""The GPU as the rest of the backend sees it: a thin layer over CuPy, and the interface that tests emulate.

Kernels are shipped as source and compiled by NVRTC through `cupy.RawModule`: a public interface, stable for years. It
caches what it compiled on disk (CUPY_CACHE_DIR), hands out streams, events and pinned memory as well, and leaves the
choice of the CUDA version to the user. A compiled wheel would be tied to one; NVIDIA's cuda.core still changes from
release to release.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from exact_cntk._support.machine import GIB
from exact_cntk.errors import UserError

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_OLDEST_CAPABILITY = 80  # sm_80, the A100's: tuned kernels copy to shared memory asynchronously
_RESERVED_BYTES = 1024  # of shared memory, that CUDA takes for each block

# Memory on the device: an array whose leading axis can be sliced.
Buffer = Any
Kernel = Any


class DeviceMemoryError(MemoryError):
    """The device does not have that much memory left."""


@dataclass(frozen=True)
class DeviceProperties:
    """What a device is."""

    name: str  # for example "NVIDIA H200"
    compute_capability: tuple[int, int]
    processors: int  # streaming multiprocessors
    shared_bytes: int  # the most dynamic shared memory that a block may opt in to

    @property
    def architecture(self) -> str:
        """As compilers name it: "sm_90"."""
        major, minor = self.compute_capability
        return f"sm_{major}{minor}"


class Event(Protocol):
    """A point in a stream."""

    def synchronize(self) -> None:
        """Wait until the stream has come to it; other threads run meanwhile."""

    def seconds_since(self, earlier: Any) -> float:
        """Seconds of the device's clock between two events that have both come to pass."""


class Stream(Protocol):
    """Work that the device does in order, in parallel with other streams."""

    def upload(self, source: np.ndarray, target: Buffer) -> None:
        """Copy pinned memory to the device: contiguous, and of one dtype and shape."""

    def download(self, source: Buffer, target: np.ndarray) -> None:
        """Copy from the device to pinned memory."""

    def launch(self, kernel: Kernel, blocks: int, threads: int, arguments: Sequence[Buffer | int | None]) -> None:
        """Start a kernel; integers are passed as int32, None as a null pointer."""

    def record(self) -> Event:
        """Return an event that comes to pass when all work so far is done."""

    def wait(self, event: Event) -> None:
        """Let work from here on wait for an event of another stream."""


class Device(Protocol):
    """What `compute` needs of a device."""

    properties: DeviceProperties

    def free_bytes(self) -> int:
        """Memory that is left."""

    def compile(
        self, source: str, options: tuple[str, ...], entry: str, shared_bytes: int, blocks_per_sm: int = 1
    ) -> Kernel:
        """Compile a kernel whose blocks get `shared_bytes` of dynamic shared memory, so many blocks together."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        """Allocate uninitialised memory on the device; raises DeviceMemoryError."""

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Allocate uninitialised page-locked memory of the host, for copies that run while kernels do."""

    def stream(self) -> Stream:
        """Return a new stream."""


def require_gpu() -> Any:
    """CuPy, with a working NVRTC and a device to compute on; UserError says what is missing."""
    try:
        import cupy
    except ImportError as error:
        raise _unavailable(f"it needs CuPy ({error}); pip install \"exact-cntk[cuda]\", or use 'cpu'") from error
    except OSError as error:
        raise _no_cache(error) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        version = _version(cupy.cuda.runtime.runtimeGetVersion())
        raise _unavailable(
            f"{error}: it needs an NVIDIA GPU, one that CUDA_VISIBLE_DEVICES leaves visible, and a driver as new as "
            f"CuPy's CUDA {version} (for a driver of CUDA 12: pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12 "
            "nvidia-cuda-runtime-cu12); or use 'cpu'"
        ) from error
    if count == 0:
        raise _unavailable("no GPU is visible; check CUDA_VISIBLE_DEVICES")
    try:
        capability = str(cupy.cuda.Device().compute_capability)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise _unavailable(
            f"the GPU cannot be used ({error}), perhaps because it is full or another process has it for itself; or "
            "use 'cpu'"
        ) from error
    if int(capability) < _OLDEST_CAPABILITY:
        raise _unavailable(
            f"it needs a GPU of the A100's generation (compute capability 8.0) or later, and this one has "
            f"{capability[:-1]}.{capability[-1]}; or use 'cpu'"
        )
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as error:
        raise _unavailable(
            f'NVRTC, which compiles its kernels, cannot be loaded ({error}); pip install "exact-cntk[cuda]"'
        ) from error
    return cupy


def _unavailable(reason: str) -> UserError:
    return UserError(f"backend 'cuda' is not available: {reason}")


def _no_cache(error: OSError) -> UserError:
    return _unavailable(
        f"CuPy cannot write what it compiles ({error}); let CUPY_CACHE_DIR name a folder that can be written, or use "
        "'cpu'"
    )


def open_device() -> Device:
    """The current device: the first that CUDA_VISIBLE_DEVICES leaves, unless the caller made another one current."""
    return CudaDevice(require_gpu())


def describe_software() -> dict[str, str]:
    """Versions that a result on this device depends on: CuPy, CUDA's runtime, NVRTC, and the driver's CUDA."""
    cupy = require_gpu()
    return {
        "cupy": cupy.__version__,
        "cuda_runtime": _version(cupy.cuda.runtime.runtimeGetVersion()),
        "cuda_driver": _version(cupy.cuda.runtime.driverGetVersion()),
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
    }


def _version(number: int) -> str:
    """CUDA's 13020 as "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


class CudaDevice:
    """The device that is current when this is made. Its memory goes back to the system with it."""

    def __init__(self, cupy: Any) -> None:
        """Ask `cupy` what the device is."""
        self._cupy = cupy
        device, runtime = cupy.cuda.Device(), cupy.cuda.runtime
        capability = str(device.compute_capability)
        name = runtime.getDeviceProperties(device.id)["name"]
        self.properties = DeviceProperties(
            name=name.decode() if isinstance(name, bytes) else str(name),
            compute_capability=(int(capability[:-1]), int(capability[-1])),
            processors=int(runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, device.id)),
            shared_bytes=int(runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, device.id)),
        )
        self._processor_bytes = int(
            runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerMultiprocessor, device.id)
        )

    def free_bytes(self) -> int:
        """Memory that is left on the device."""
        return int(self._cupy.cuda.runtime.memGetInfo()[0])

    def compile(
        self, source: str, options: tuple[str, ...], entry: str, shared_bytes: int, blocks_per_sm: int = 1
    ) -> Kernel:
        """Compile, or find in CuPy's cache on disk."""
        # CuPy adds the device's architecture, and -ftz=true for kernels in float32.
        own = tuple(option for option in options if not option.startswith(("-arch", "--gpu-architecture", "-ftz")))
        module = self._cupy.RawModule(code=source, options=own, backend="nvrtc")
        try:
            function = module.get_function(entry)
        except OSError as error:
            raise _no_cache(error) from error
        except RuntimeError as error:
            # CuPy wants them on the compiler's path even where, as here, nothing is included.
            if "CUDA headers" not in str(error):
                raise
            raise _unavailable(
                "CuPy finds no headers of CUDA, without which it compiles nothing; "
                'pip install "exact-cntk[cuda]", or set CUDA_PATH to a CUDA toolkit'
            ) from error
        # More than 48 KiB a block must be requested; and of the memory that shared memory and the L1 cache divide
        # between them, what all blocks need (in percent; CUDA rounds up to what the hardware can do).
        # The function is the same for the same source, so another thread may have requested more.
        function.max_dynamic_shared_size_bytes = max(function.max_dynamic_shared_size_bytes, shared_bytes)
        together = blocks_per_sm * (shared_bytes + _RESERVED_BYTES)
        function.preferred_shared_memory_carveout = min(100, -(-100 * together // self._processor_bytes))
        return _CompiledKernel(function, shared_bytes)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        """Memory on the device.

        Without a pool: CuPy's keeps unused memory from other processes, and a private one, which CuPy 14 never empties,
        would leak. A run allocates a dozen times.
        """
        cuda = self._cupy.cuda
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        try:
            memory = cuda.Memory(size)
        except cuda.runtime.CUDARuntimeError as error:
            if error.status != _OUT_OF_MEMORY:
                raise
            raise DeviceMemoryError(
                f"{self.properties.name} cannot give {size / GIB:.2f} GiB; it has {self.free_bytes() / GIB:.2f} GiB"
            ) from error
        return self._cupy.ndarray(shape, dtype, memptr=cuda.MemoryPointer(memory, 0))

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Page-locked memory of the host."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = self._cupy.cuda.alloc_pinned_memory(max(1, count) * np.dtype(dtype).itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def stream(self) -> Stream:
        """Return a stream that does not wait for the default stream."""
        return _CudaStream(self._cupy, self._cupy.cuda.Stream(non_blocking=True))


@dataclass(frozen=True)
class _CompiledKernel:
    function: Any
    shared_bytes: int


class _CudaStream:
    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cupy = cupy
        self._stream = stream

    def upload(self, source: np.ndarray, target: Buffer) -> None:
        _check_alike(source, target)
        target.data.copy_from_host_async(ctypes.c_void_p(source.ctypes.data), source.nbytes, self._stream)

    def download(self, source: Buffer, target: np.ndarray) -> None:
        _check_alike(target, source)
        source.data.copy_to_host_async(ctypes.c_void_p(target.ctypes.data), target.nbytes, self._stream)

    def launch(self, kernel: Kernel, blocks: int, threads: int, arguments: Sequence[Buffer | int | None]) -> None:
        passed = [np.uintp(0) if x is None else np.int32(x) if isinstance(x, int) else x for x in arguments]
        with self._stream:
            kernel.function((blocks,), (threads,), tuple(passed), shared_mem=kernel.shared_bytes)

    def record(self) -> Event:
        # A blocking event: the thread that waits sleeps, and does not spin on a core that could finish sums.
        event = self._cupy.cuda.Event(block=True)
        event.record(self._stream)
        return _CudaEvent(self._cupy, event)

    def wait(self, event: Any) -> None:
        self._stream.wait_event(event.event)


@dataclass(frozen=True)
class _CudaEvent:
    cupy: Any
    event: Any

    def synchronize(self) -> None:
        self.event.synchronize()

    def seconds_since(self, earlier: Any) -> float:
        return float(self.cupy.cuda.get_elapsed_time(earlier.event, self.event)) / 1000


def _check_alike(host: np.ndarray, device: Buffer) -> None:
    """Copies are by bytes: a mistake of shape would go unnoticed."""
    if host.shape != device.shape or host.dtype != device.dtype or not host.flags.c_contiguous:
        raise ValueError(f"host {host.dtype}{host.shape} and device {device.dtype}{device.shape} differ, or have gaps")
