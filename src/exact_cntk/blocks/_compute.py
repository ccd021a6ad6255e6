"""One block, from the processed images to its file."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.atomic import replacing
from exact_cntk._support.devices import sole_device
from exact_cntk._support.machine import require_memory
from exact_cntk._support.progress import Progress
from exact_cntk._support.statement import computed_by, is_stated
from exact_cntk.blocks._file import Header, is_complete
from exact_cntk.blocks._grid import Position, Span
from exact_cntk.blocks._writer import BlockWriter
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.kernels import cntk
from exact_cntk.kernels.backends import Backend, describe_backend
from exact_cntk.kernels.cost import STORED_BYTES, block_memory
from exact_cntk.networks import KINDS, Family


@dataclass(frozen=True)
class BlockSummary:
    """What computing one block took.

    Attributes
    ----------
    header : Header
    backend : Backend
        With the reason for it.
    element_layers : int
    seconds : float or None
        Of the kernel alone, without reading, writing and starting; None if the block was already complete.
    job_seconds : float or None
        From the call until the file has its name.
    """

    header: Header
    backend: Backend
    element_layers: int
    seconds: float | None
    job_seconds: float | None = None

    @property
    def busy(self) -> float | None:
        """Fraction of the job's time that went into the kernel."""
        return self.seconds / self.job_seconds if self.seconds and self.job_seconds else None

    def timing(self) -> dict[str, Any]:
        """The summary for JSON. Unlike the block itself, it differs from run to run."""
        position, software = self.header.position, None
        if self.backend.name == "cuda":
            from exact_cntk.kernels import cuda

            software = cuda.describe_software()
        return {
            "block": {"rows": list(position.rows), "cols": list(position.cols), "pairs": position.pairs},
            "backend": self.backend.name,
            "instruction_set": self.backend.instruction_set,
            "device": self.backend.device,
            "software": software,
            "element_layers": self.element_layers,
            "kernel_seconds": _rounded(self.seconds),
            "job_seconds": _rounded(self.job_seconds),
            "busy": _rounded(self.busy),
        }

    def __str__(self) -> str:
        header = self.header
        name = f"{header.name} {header.position}"
        if self.seconds is None:
            return f"{name}: already complete, nothing to do"
        rate = self.element_layers / max(self.seconds, 1e-9)  # a coarse clock may say 0
        busy = f", {self.busy:.1%} of the job's {self.job_seconds:.2f} s" if self.busy else ""
        return (
            f"{name}: {', '.join(header.kinds)} at depths {', '.join(map(str, header.depths))}; backend "
            f"{self.backend.name} ({self.backend.instruction_set}), {self.backend.reason}; {header.position.pairs} "
            f"pairs in {self.seconds:.2f} s, {rate:.3g} element-layers/s{busy}"
        )


def compute_block(
    data: Path,
    out: Path,
    *,
    name: str,
    network: Family,
    depths: Sequence[int],
    kinds: Sequence[str],
    rows: Span,
    cols: Span,
    backend: str = "auto",
    dtype: str = "float32",
    storage: str = "float64",
    threads: int | None = None,
    progress: bool | Progress = False,
) -> BlockSummary:
    """Compute one block of a kernel matrix, every kind and depth of a pass, and write it.

    An existing block, complete and with exactly this header, is left as it is. Rows are written while later ones are
    computed, where the backend finishes some before others. With several GPUs in the machine, the process
    takes one that no other has taken.

    Parameters
    ----------
    data : Path
        The processed images; its order is pool, then test set.
    out : Path
        The HDF5 file.
    name : str
        Of the family, recorded with the block.
    network : Family
    depths, kinds, backend, dtype, threads, progress
        As `exact_cntk.cntk` takes them; `kinds` is its `get`.
    rows, cols : Span
        Which images; see `exact_cntk.blocks`.
    storage : {"float64", "float32"}
        Precision of the kernels on disk.

    Raises
    ------
    InputError
        A parameter is not allowed, or there is no such block.
    UserError
        The data cannot be read, memory does not suffice, or the disk is full.
    """
    start = time.perf_counter()
    with sole_device() if backend in ("auto", "cuda") else nullcontext():
        with ThreadPoolExecutor(max_workers=1) as thread:  # each takes about a second, with all of CIFAR-10 and a GPU
            loading = thread.submit(load_processed, data)
            chosen = describe_backend(backend)
            images = loading.result()
        computed_by(chosen.name)
        header = Header(
            name=name,
            network=network,
            depths=check.as_depths("depths", depths),
            kinds=check.as_choices("kinds", kinds, KINDS),
            backend=chosen.name,
            dtype="float64" if chosen.name == "reference" else check.as_choice("dtype", dtype, cntk.DTYPES),
            data_digest=images.digest,
            n_train=len(images.train_images),
            n_test=len(images.test_images),
            position=Position(rows, cols),
            storage=check.as_choice("storage", storage, tuple(STORED_BYTES)),
        )
        shape = images.train_images.shape[1:]
        work = network.element_layers(header.position.pairs, shape, header.depths[-1])
        if is_complete(out, header) and is_stated(out):
            return BlockSummary(header, chosen, work, None)
        need = block_memory(*header.shape, len(header.datasets), shape, header.depths[-1], header.storage)
        require_memory(f"block {header.position} of {name}", need)
        with replacing(out) as temporary, BlockWriter(temporary, out, header, chosen.instruction_set) as writer:
            seconds = _compute(images, header, writer.put, threads=threads, progress=progress)
    return BlockSummary(header, chosen, work, seconds, time.perf_counter() - start)


def _compute(images: ProcessedData, header: Header, on_rows: Callable[[dict], object], **how: Any) -> float:
    """Pass all rows on; the seconds in which the backend worked on pairs."""
    rows, cols = header.position
    left, right = _take(images, rows), None if header.position.diagonal else _take(images, cols)
    how |= {"backend": header.backend, "dtype": header.dtype}
    _, seconds = cntk.by_rows(left, right, header.spec, on_rows=on_rows, **how)
    return seconds


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _take(images: ProcessedData, span: Span) -> np.ndarray:
    """Images in the order of the kernel's rows; a span never mixes pool and test set."""
    n_train = len(images.train_images)
    if span.start < n_train:
        return images.train_images[span.start : span.stop]
    return images.test_images[span.start - n_train : span.stop - n_train]
