"""What is timed on a GPU, and how: seconds of the kernels alone from events, and the wall time of the call."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Any

from benchmarks.images import cifar_like
from exact_cntk import cntk
from exact_cntk.networks import Family

DEPTHS = (3, 4, 6, 11, 21)
BLOCK_BYTES = 4 << 30  # of a block's kernels on the host, at most


@dataclass(frozen=True)
class GpuCase:
    """One timing: a whole block of n × n different images, all depths emitted.

    Attributes
    ----------
    required : float or None
        Element-layers a second that are asked for, sustained over the block.
    """

    name: str
    readout: str
    size: int
    trained: str | tuple[str, ...]
    kinds: tuple[str, ...] = ("ntk",)
    required: float | None = None

    @property
    def entries(self) -> int:
        """Entries of a pair's covariance tensor that the readout needs."""
        return Family(self.readout).element_layers(1, (self.size, self.size), 2)

    def images(self, seconds: float, rate: float) -> int:
        """Images a side for so many seconds at a rate."""
        pairs = seconds * rate / (self.entries * (max(DEPTHS) - 1))
        ntk = len(DEPTHS) * (1 if isinstance(self.trained, str) else len(self.trained))
        outputs = sum(ntk if kind == "ntk" else len(DEPTHS) for kind in self.kinds)
        return max(2, isqrt(int(min(pairs, BLOCK_BYTES / (8 * outputs)))))


BOTH = ("all", "hidden")
CASES = (
    GpuCase("gap 32×32", "gap", 32, "hidden", required=8e11),
    GpuCase("gap 32×32 and NNGP", "gap", 32, "hidden", ("ntk", "nngp")),
    GpuCase("gap 32×32, both trained variants and NNGP", "gap", 32, BOTH, ("ntk", "nngp")),
    GpuCase("gap 32×32, NNGP alone", "gap", 32, "all", ("nngp",)),
    GpuCase("gap 28×28", "gap", 28, "hidden"),
    GpuCase("gap 16×16", "gap", 16, "hidden"),
    GpuCase("gap 8×8", "gap", 8, "hidden"),
    GpuCase("flatten 32×32", "flatten", 32, "all", required=5e11),
    GpuCase("flatten 32×32, both trained variants and NNGP", "flatten", 32, BOTH, ("ntk", "nngp")),
    GpuCase("flatten 8×8", "flatten", 8, "all"),
)


def measure(case: GpuCase, backend: str, seconds: float, rate: float) -> dict[str, Any]:
    """Time one case after a small call that compiles its kernel.

    Returns
    -------
    dict
        `images` (a side), `element_layers`, `wall` and `kernel` (s; None where the backend launches none),
        `rate` (element-layers/s of the wall time), `kernel_rate`, `busy` (kernel/wall).
    """
    n = case.images(seconds, rate)
    images = cifar_like(2 * n, case.size, case.size)
    options: dict[str, Any] = {"depths": DEPTHS, "readout": case.readout, "trained": case.trained, "get": case.kinds}
    cntk(images[:4], images[n : n + 4], **options, backend=backend)
    with launches_timed() if backend == "cuda" else contextlib.nullcontext(Launches()) as launches:
        start = time.perf_counter()
        cntk(images[:n], images[n:], **options, backend=backend)
        wall = time.perf_counter() - start
    kernel = launches.seconds()
    work = Family(case.readout).element_layers(n * n, (case.size, case.size), max(DEPTHS))
    return {
        "images": n,
        "element_layers": work,
        "wall": wall,
        "kernel": kernel,
        "rate": work / wall,
        "kernel_rate": None if kernel is None else work / kernel,
        "busy": None if kernel is None else kernel / wall,
        "required": case.required,
    }


class Launches:
    """Events before and after each launch of a kernel."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, Any]] = []

    def seconds(self) -> float | None:
        """Time during which at least one kernel ran; None if there was none."""
        if not self.events:
            return None
        origin = self.events[0][0]
        for _, end in self.events:
            end.synchronize()
        spans = sorted((begin.seconds_since(origin), end.seconds_since(origin)) for begin, end in self.events)
        total, reached = 0.0, spans[0][0]
        for begin, end in spans:  # kernels of several streams may overlap
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total


@contextlib.contextmanager
def launches_timed() -> Iterator[Launches]:
    """Record events around the launches of the backend `cuda` in the body."""
    from exact_cntk.kernels.cuda import device

    launches = Launches()
    plain = device.open_device
    device.open_device = lambda: _timed(plain(), launches)
    try:
        yield launches
    finally:
        device.open_device = plain


def _timed(device: Any, launches: Launches) -> Any:
    """The device, with streams that record events around launches."""
    plain_stream = device.stream

    def stream() -> Any:
        made = plain_stream()
        plain_launch = made.launch

        def launch(*arguments: Any) -> None:
            begin = made.record()
            plain_launch(*arguments)
            launches.events.append((begin, made.record()))

        made.launch = launch
        return made

    device.stream = stream
    return device


@contextlib.contextmanager
def clocks_sampled() -> Iterator[list[tuple[float, float]]]:
    """Sample the first GPU's clock (MHz) and power (W) twice a second during the body; empty without nvidia-smi."""
    samples: list[tuple[float, float]] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    query = ["nvidia-smi", "-i", "0", "--query-gpu=clocks.sm,power.draw"]
    query += ["--format=csv,noheader,nounits", "-lms", "500"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield samples
        finally:
            process.terminate()
            text = process.communicate()[0]
            for line in text.splitlines():
                with contextlib.suppress(ValueError):  # "[N/A]" on machines that hide one of them
                    clock, power = line.split(",")
                    samples.append((float(clock), float(power)))
