"""The `cpu` backend: the compiled core, loaded through ctypes."""

import ctypes
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exact_cntk import kernels
from exact_cntk._support.machine import cores
from exact_cntk._support.progress import Progress
from exact_cntk.errors import UserError
from exact_cntk.kernels.spec import Computed, KernelSpec, OnRows
from exact_cntk.networks import Output

LIBRARY_NAME = "_exact_cntk_core.so"
ISA_VARIABLE = "EXACT_CNTK_ISA"
ISA_NAMES = ("avx512", "avx2", "portable")
# What the core takes besides inputs and outputs, whatever the number of images: prepared images and their norm tables,
# layers × P × Q floats each (twice that for x2 where pooled), both sides together. More images are taken in blocks,
# whose tables are made again; a block has at least one image of each side, or as many as a vector has lanes.
TABLE_BYTES = 1 << 30
READOUT_CODES = {"flatten": 0, "gap": 1, "lap": 2}  # `exact_cntk_pooling` of kernels/core/api.hpp
# How often the calling thread looks for progress and for Ctrl-C while the core runs, in seconds.
POLL_SECONDS = 0.1

streams_rows = False

_OK, _CANCELLED, _NO_MEMORY, _NO_SUCH_ISA = range(4)


class _Request(ctypes.Structure):
    """`exact_cntk_request` of kernels/core/api.hpp, field by field."""

    _fields_ = (
        ("x1", ctypes.c_void_p),
        ("x2", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        ("m", ctypes.c_int64),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("filter_size", ctypes.c_int32),
        ("pooling", ctypes.c_int32),
        ("pooling_window", ctypes.c_int32),
        ("input_is_double", ctypes.c_int32),
        ("compute_in_double", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("output_kind", ctypes.POINTER(ctypes.c_int32)),
        ("output_layers", ctypes.POINTER(ctypes.c_int32)),
        ("isa", ctypes.c_char_p),
        ("table_bytes", ctypes.c_int64),
        ("done", ctypes.POINTER(ctypes.c_int64)),
        ("cancelled", ctypes.POINTER(ctypes.c_int32)),
    )


def compute(
    x1: NDArray[np.floating],
    x2: NDArray[np.floating] | None,
    spec: KernelSpec,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    progress: Progress | None = None,
    on_rows: OnRows | None = None,
) -> Computed:
    """Compute all kernel matrices of `spec` in one pass of the compiled core.

    The recursion runs in `dtype`; norms, the exact diagonal of K(x, x) and all sums over pixels are float64. Arguments
    are those of `BackendModule.compute`; no rows are finished before others. Ctrl-C ends the core's threads first.

    Raises
    ------
    UserError
        The core is older than its source, or EXACT_CNTK_ISA names what this machine cannot run.
    """
    del on_rows
    started = time.perf_counter()
    call = Call(x1, x2, spec, dtype, threads)
    if call.out.size:
        _run(call, progress)
    return Computed(call.out, time.perf_counter() - started)


class Call:
    """A request to the core, and all that it points to: `out`, which the core fills; `total` is its number of pairs."""

    def __init__(
        self,
        x1: NDArray[np.floating],
        x2: NDArray[np.floating] | None,
        spec: KernelSpec,
        dtype: str,
        threads: int | None,
    ) -> None:
        """Take the arguments of `compute`."""
        self._images = [np.ascontiguousarray(x) for x in (x1, x2) if x is not None]
        if self._images[0].dtype != self._images[-1].dtype or self._images[0].dtype not in (np.float32, np.float64):
            self._images = [x.astype(np.float64) for x in self._images]
        n, height, width, channels = self._images[0].shape
        m = len(self._images[-1])
        self.out = np.empty((len(spec.outputs), n, m))
        self.total = n * (n + 1) // 2 if x2 is None else n * m
        self._done, self._cancelled = ctypes.c_int64(0), ctypes.c_int32(0)
        self.request = _Request(
            x1=self._images[0].ctypes.data,
            x2=None if x2 is None else self._images[1].ctypes.data,
            out=self.out.ctypes.data,
            n=n,
            m=m,
            height=height,
            width=width,
            channels=channels,
            filter_size=spec.family.filter_size,
            pooling=READOUT_CODES[spec.family.readout],
            pooling_window=spec.family.pooling_window or 0,
            input_is_double=self._images[0].dtype == np.float64,
            compute_in_double=dtype == "float64",
            threads=threads or cores(),
            outputs=len(spec.outputs),
            output_kind=_int32_array(_kind_code(output) for output in spec.outputs),
            output_layers=_int32_array(output.depth - 1 for output in spec.outputs),
            isa=instruction_set().encode(),
            table_bytes=TABLE_BYTES,
            done=ctypes.pointer(self._done),
            cancelled=ctypes.pointer(self._cancelled),
        )

    @property
    def done(self) -> int:
        """Pairs finished so far; read while the core runs."""
        return self._done.value

    def cancel(self) -> None:
        """Make the core return soon, from whatever it does for this request."""
        self._cancelled.value = 1

    def check(self, status: int) -> None:
        """Raise what a status of the core stands for; that it was cancelled is no error."""
        if status == _NO_MEMORY:
            raise MemoryError("the compiled core ran out of memory")
        if status not in (_OK, _CANCELLED):
            raise RuntimeError(f"the compiled core failed with status {status}")


def instruction_set() -> str:
    """Name the instruction set in use: the machine's best, or what the variable EXACT_CNTK_ISA asks for."""
    asked = os.environ.get(ISA_VARIABLE)
    name = library().exact_cntk_instruction_set(asked.encode() if asked else None)
    if name is None:
        available = [isa for isa in ISA_NAMES if library().exact_cntk_instruction_set(isa.encode())]
        raise UserError(f"{ISA_VARIABLE}={asked!r} cannot run on this machine; it can run {', '.join(available)}")
    return str(name.decode())


def source_digest(directory: Path) -> str:
    """Digest of the core's sources, as CMakeLists.txt computes it: sha256 over the lines "name:sha256 of the file"."""
    paths = sorted([*directory.glob("*.cpp"), *directory.glob("*.hpp")], key=lambda path: path.name)
    lines = [f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _run(call: Call, progress: Progress | None) -> None:
    """Run the core in a thread of its own, so that this one stays open to Ctrl-C and reports progress."""
    core = library()
    status = [_OK]
    finished = threading.Event()

    def work() -> None:
        status[0] = core.exact_cntk_compute(ctypes.byref(call.request))
        finished.set()

    worker = threading.Thread(target=work, name="exact_cntk core")
    worker.start()
    try:
        while not finished.wait(POLL_SECONDS):
            if progress is not None:
                progress(call.done, call.total)
    except BaseException:
        call.cancel()
        raise
    finally:
        # Also on Ctrl-C: the core writes into arrays that are about to be freed.
        worker.join()
    call.check(status[0])
    if progress is not None:
        progress(call.total, call.total)


def _kind_code(output: Output) -> int:
    """Return the `exact_cntk_kind` of kernels/core/api.hpp."""
    return 0 if output.kind == "nngp" else 1 if output.trained == "hidden" else 2


def _int32_array(values: Iterator[int]) -> ctypes.Array[ctypes.c_int32]:
    listed = list(values)
    return (ctypes.c_int32 * len(listed))(*listed)


@cache
def library() -> ctypes.CDLL:
    """Load the core from where the package is installed: with the sources, or in site-packages."""
    folders = [Path(folder) for folder in kernels.__path__]
    files = [folder / LIBRARY_NAME for folder in folders if (folder / LIBRARY_NAME).is_file()]
    if not files:
        raise UserError(
            f"the compiled core {LIBRARY_NAME} is in none of {[str(f) for f in folders]}; run `make install`"
        )
    core = ctypes.CDLL(str(files[0]))
    core.exact_cntk_compute.argtypes = [ctypes.POINTER(_Request)]
    core.exact_cntk_compute.restype = ctypes.c_int32
    core.exact_cntk_instruction_set.argtypes = [ctypes.c_char_p]
    core.exact_cntk_instruction_set.restype = ctypes.c_char_p
    core.exact_cntk_source_digest.restype = ctypes.c_char_p
    for folder in folders:
        sources = folder / "core"
        if sources.is_dir() and source_digest(sources) != core.exact_cntk_source_digest().decode():
            raise UserError("the compiled core is older than its source; run `make install`")
    return core
