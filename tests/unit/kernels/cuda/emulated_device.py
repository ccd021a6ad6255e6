"""A device for the CUDA backend that is this processor: kernels compiled by g++, their threads emulated one by one.

See tests/cuda_emulator for what the emulator does and what misuse it detects.
"""

import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from exact_cntk.kernels.cuda.device import DeviceMemoryError, DeviceProperties

if sys.platform != "linux" or shutil.which("g++") is None:
    pytest.skip("the CUDA emulator needs Linux and g++", allow_module_level=True)

SOURCES = Path(__file__).parents[3] / "cuda_emulator"
CACHE = Path(__file__).parents[4] / "build" / "cuda_emulator"
RUNTIME = ("scheduler.cpp", "memory.cpp", "copies.cpp", "accesses.cpp", "faults.cpp")
# Device code may reach one type through another's pointer; a fortified longjmp takes a switch of stacks for an attack.
OPTIONS = ("-std=c++17", "-O2", "-g1", "-gdwarf-4", "-fPIC", "-march=native", "-fno-strict-aliasing", "-fno-math-errno",
           "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE")  # fmt: skip
# The hooks of -fsanitize=thread are the emulator's own (accesses.cpp): nothing of the sanitizer's is linked.
CHECKS = (
    "-fsanitize=thread",
    "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
)
INITIALISE_LOCALS = "-ftrivial-auto-var-init=pattern"  # since g++ 12
POISON = 0xFF
MESSAGE_BYTES = 1000
_running = threading.Lock()


class EmulationError(RuntimeError):
    """The kernel misused the machine; the message says which thread, how and where."""


class _Launch(ctypes.Structure):
    """`Launch` of scheduler.hpp, field by field."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("blocks", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("shared_bytes", ctypes.c_uint64),
        ("static_shared", ctypes.c_void_p),
        ("static_shared_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("flush_denormals", ctypes.c_int32),
        ("checks_accesses", ctypes.c_int32),
        ("message", ctypes.c_char_p),
        ("message_bytes", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class EmulatedKernel:
    library: ctypes.CDLL
    path: Path
    program: str
    shared_bytes: int
    flush_denormals: bool


class EmulatedEvent:
    def __init__(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def seconds_since(self, earlier: "EmulatedEvent") -> float:
        return self.time - earlier.time


class EmulatedDevice:
    """The device of `exact_cntk.kernels.cuda.device` without a GPU; all is done at once, in the order of the calls.

    Parameters
    ----------
    capability, processors, shared_bytes : as of the GPU that it stands for
    memory : int
        Bytes that arrays may take together.
    seed : int
        0 runs threads in order; any other value runs blocks, warps and lanes in an order of its own.
    checked : bool
        Compile kernels so that every access to memory is checked: bounds, races, reading what was never written.
    """

    def __init__(
        self,
        capability: tuple[int, int] = (9, 0),
        processors: int = 2,
        shared_bytes: int = 227 * 1024,
        memory: int = 1 << 30,
        seed: int = 0,
        checked: bool = False,
    ) -> None:
        self.properties = DeviceProperties("emulated", capability, processors, shared_bytes)
        self.memory = memory
        self.seed = seed
        self.checked = checked
        self.launches = 0
        self._taken = 0

    def free_bytes(self) -> int:
        return self.memory - self._taken

    def compile(
        self, source: str, options: Sequence[str], entry: str, shared_bytes: int, blocks_per_sm: int = 1
    ) -> EmulatedKernel:
        # NVRTC's -I, -std and the like: of what it is given, macros alone mean anything here.
        macros = [option for option in options if option.startswith("-D")]
        path = build_kernel(source, entry, (*macros, *(checks() if self.checked else ())))
        # The GPU flushes denormals of float, never those of double.
        flush = (
            not re.search(r"^\s*#define\s+SCALAR\s+double", source, re.MULTILINE) and "-DSCALAR=double" not in macros
        )
        return EmulatedKernel(ctypes.CDLL(str(path)), path, source, shared_bytes, flush)

    def empty(self, shape: int | tuple[int, ...], dtype: np.typing.DTypeLike, name: str = "array") -> np.ndarray:
        """Poison between pages that nobody may touch."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > self.free_bytes():
            raise DeviceMemoryError(f"{size} bytes asked for, {self.free_bytes()} free")
        address = _runtime().cuda_emulator_allocate(size, name.encode())
        if not address:
            raise MemoryError(f"no memory for {size} bytes")
        buffer = (ctypes.c_ubyte * size).from_address(address)
        self._taken += size
        weakref.finalize(buffer, self._free, address, size)
        return np.frombuffer(buffer, dtype=dtype).reshape(shape)

    def pinned(self, shape: int | tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = POISON
        return array

    def stream(self) -> "EmulatedStream":
        return EmulatedStream(self)

    def _free(self, address: int, size: int) -> None:
        _runtime().cuda_emulator_free(address)
        self._taken -= size


class EmulatedStream:
    def __init__(self, device: EmulatedDevice) -> None:
        self.device = device

    def upload(self, source: np.ndarray, target: np.ndarray) -> None:
        _check_transfer(source, target)
        target[...] = source.reshape(target.shape)
        _runtime().cuda_emulator_filled(target.ctypes.data, target.nbytes)

    def download(self, source: np.ndarray, target: np.ndarray) -> None:
        _check_transfer(source, target)
        target[...] = source.reshape(target.shape)

    def launch(
        self, kernel: EmulatedKernel, blocks: int, threads: int, arguments: Sequence[np.ndarray | int | None]
    ) -> None:
        """Run the whole grid.

        Raises
        ------
        EmulationError
        """
        wanted = kernel.library.cuda_emulator_parameters()
        if len(arguments) != wanted:
            raise EmulationError(f"{len(arguments)} arguments given to a kernel with {wanted} parameters")
        if kernel.shared_bytes > self.device.properties.shared_bytes:
            raise EmulationError(f"{kernel.shared_bytes} bytes of shared memory; a block may have at most "
                                 f"{self.device.properties.shared_bytes}")  # fmt: skip
        self.device.launches += 1
        with _running:
            _launch(kernel, blocks, threads, arguments, self.device)

    def record(self) -> EmulatedEvent:
        return EmulatedEvent()

    def wait(self, event: EmulatedEvent) -> None:
        pass


def compiler_version() -> int:
    return int(subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout.split(".")[0])


@cache
def checks() -> tuple[str, ...]:
    return (*CHECKS, INITIALISE_LOCALS) if compiler_version() >= 12 else CHECKS


def build_kernel(program: str, entry: str, options: tuple[str, ...] = ()) -> Path:
    """Compile a program for the emulator, or find it compiled.

    Raises
    ------
    EmulationError
        With the compiler's messages.
    """
    runtime = _runtime_path()
    headers = [SOURCES / name for name in ("kernel.cpp", "cuda_builtins.hpp", "machine.hpp")]
    flags = (*OPTIONS, *options, f"-DCUDA_EMULATOR_ENTRY={entry}")
    path = CACHE / f"kernel-{_digest(program, flags, runtime.name, *(h.read_text() for h in headers))}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as folder:
        source, compiled = Path(folder) / "program.cu", Path(folder) / "kernel.o"
        source.write_text(program)
        named = f'-DCUDA_EMULATOR_PROGRAM="{source}"'
        # In two steps: linking with -fsanitize=thread would bring in the sanitizer's own library.
        _run("g++", *flags, named, "-c", str(SOURCES / "kernel.cpp"), "-o", str(compiled))
        _link(path, str(compiled), str(runtime))
    return path


@cache
def _runtime_path() -> Path:
    files = sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.hpp")])
    path = CACHE / f"runtime-{_digest(OPTIONS, *(file.read_text() for file in files))}.so"
    if not path.exists():
        _link(path, *OPTIONS, *(str(SOURCES / name) for name in RUNTIME), "-ldl")
    return path


@cache
def _runtime() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_runtime_path()))
    library.cuda_emulator_allocate.argtypes = [ctypes.c_uint64, ctypes.c_char_p]
    library.cuda_emulator_allocate.restype = ctypes.c_void_p
    library.cuda_emulator_free.argtypes = [ctypes.c_void_p]
    library.cuda_emulator_filled.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    library.cuda_emulator_launch.argtypes = [ctypes.POINTER(_Launch)]
    return library


def _link(path: Path, *arguments: str) -> None:
    """Link to a name of its own first: another process may be doing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        _run("g++", "-shared", *arguments, "-o", str(made))
        made.replace(path)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmulationError(f"{' '.join(command)} failed:\n{done.stderr}")


def _digest(*parts: object) -> str:
    # -march=native: what is built for one processor may not run on another that shares the folder.
    cpuinfo = Path("/proc/cpuinfo")
    features = re.search(r"^(flags|Features).*$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    machine = (platform.machine(), features and features.group(), compiler)
    return hashlib.sha256(repr((machine, parts)).encode()).hexdigest()[:32]


def _launch(
    kernel: EmulatedKernel,
    blocks: int,
    threads: int,
    arguments: Sequence[np.ndarray | int | None],
    device: EmulatedDevice,
) -> None:
    values = [
        ctypes.c_int32(value)
        if isinstance(value, int)
        else ctypes.c_void_p(None if value is None else value.ctypes.data)
        for value in arguments
    ]
    static_bytes = ctypes.c_uint64(0)
    kernel.library.cuda_emulator_static_shared.restype = ctypes.c_void_p
    static_shared = kernel.library.cuda_emulator_static_shared(ctypes.byref(static_bytes))
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    request = _Launch(
        kernel=ctypes.cast(kernel.library.cuda_emulator_kernel, ctypes.c_void_p),
        arguments=(ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values)),
        blocks=blocks,
        threads=threads,
        shared_bytes=kernel.shared_bytes,
        static_shared=static_shared,
        static_shared_bytes=static_bytes,
        seed=device.seed,
        flush_denormals=kernel.flush_denormals,
        checks_accesses=device.checked,
        message=ctypes.cast(message, ctypes.c_char_p),
        message_bytes=MESSAGE_BYTES,
    )
    if _runtime().cuda_emulator_launch(ctypes.byref(request)) != 0:
        raise EmulationError(_with_lines(message.value.decode(), kernel))


def _with_lines(message: str, kernel: EmulatedKernel) -> str:
    """Turn addresses of code into lines of the program, and quote the lines that the message names."""

    def line_of(match: re.Match) -> str:
        # The address is where a call returns to: the call is before it.
        address = hex(int(match.group(1), 16) - 1)
        found = subprocess.run(
            ["addr2line", "-i", "-e", str(kernel.path), address], capture_output=True, text=True, check=False
        )
        lines = re.findall(r"program\.cu:(\d+)", found.stdout)
        return ", called from ".join(f"in line {line}" for line in lines)

    message = re.sub(r"\[code \+(0x[0-9a-f]+)\]", line_of, message)
    text = kernel.program.splitlines()
    numbers = sorted({int(number) for number in re.findall(r"line (\d+)", message)})
    return "\n".join([message, *(f"{n:5}: {text[n - 1]}" for n in numbers if 0 < n <= len(text))])


def _check_transfer(source: np.ndarray, target: np.ndarray) -> None:
    if source.dtype != target.dtype or source.size != target.size:
        raise ValueError(f"cannot copy {source.dtype}{source.shape} to {target.dtype}{target.shape}")
    if not (source.flags.c_contiguous and target.flags.c_contiguous):
        raise ValueError("copies between host and device are of contiguous arrays")
