"""The rivals on the same GPU in the same run: agreement with the reference first, then time."""

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.images import cifar_like
from benchmarks.rivals.released import Released
from exact_cntk import cntk
from exact_cntk.networks import Family

DEPTH = 21
# float32 arccos near ρ = 1, which both take as it comes, on smooth images of 8×8 pixels.
TOLERANCE = 2e-4
REQUIRED_RATIO = 25  # of our element-layers a second to the released algorithm's
READOUTS = {"gap": "hidden", "flatten": "all"}

Kernel = Callable[[np.ndarray, np.ndarray, int, str], np.ndarray]


def released(cupy: ModuleType) -> Kernel:
    """The authors' algorithm as a function (x, y, depth, readout) → kernel matrix; waits for the device."""

    def kernel(x: np.ndarray, y: np.ndarray, depth: int, readout: str) -> np.ndarray:
        rival = _compiled(cupy, x.shape[1], depth, readout)
        values = rival.kernel(rival.upload(x), rival.upload(y))
        return np.asarray(values.get() if hasattr(values, "get") else values)

    return kernel


def _compiled(cupy: ModuleType, side: int, depth: int, readout: str) -> Released:
    # CuPy keeps what it compiled, so that making it again costs nothing.
    return Released(cupy, side, depth=depth, readout=readout, trained=READOUTS[readout])


def whole_tensors(device: str) -> Kernel:
    """The plain torch version as a function (x, y, depth, readout) → kernel matrix; waits for the device."""
    module = importlib.import_module("benchmarks.rivals.whole_tensor")

    def kernel(x: np.ndarray, y: np.ndarray, depth: int, readout: str) -> np.ndarray:
        return module.kernel(x, y, depth=depth, readout=readout, trained=READOUTS[readout], device=device)

    return kernel


def compare(kernel: Kernel, size: int = 8) -> float:
    """Largest relative difference to the float64 reference over both readouts, on small images.

    Raises
    ------
    RuntimeError
        It exceeds what float32 explains: timing another function would be worth nothing.
    """
    images, worst = cifar_like(4, size, size), 0.0
    for readout, trained in READOUTS.items():
        reference = cntk(images[:2], images[2:], depths=4, readout=readout, trained=trained, backend="reference")
        rival_kernel = kernel(images[:2], images[2:], 4, readout)
        worst = max(worst, float(np.max(np.abs(rival_kernel / reference["ntk", 4] - 1))))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"it differs from the reference by {worst:.1e} relative; allowed is {TOLERANCE:g}")
    return worst


def measure(kernel: Kernel, readout: str, seconds: float, size: int = 32, pairs: int = 16) -> dict[str, Any]:
    """Pairs a second of one network of 20 ReLU layers, after a first call that warms up.

    Parameters
    ----------
    seconds : float
        About so long: the number of pairs is scaled by a first timing.
    pairs : int
        Of the first timing.
    """
    side = max(1, int(pairs**0.5))
    images = cifar_like(2 * side, size, size)
    kernel(images[:side], images[side:], DEPTH, readout)
    elapsed = _time(kernel, images, readout)
    scale = max(1, int((seconds / elapsed) ** 0.5))
    if scale > 1:
        images = cifar_like(2 * side * scale, size, size)
        elapsed = _time(kernel, images, readout)
    count = (len(images) // 2) ** 2
    # Whatever the readout, the rivals take the whole tensor through the layers.
    return {
        "pairs": count,
        "wall": elapsed,
        "pairs_a_second": count / elapsed,
        "rate": Family("gap").element_layers(count, (size, size), DEPTH) / elapsed,
    }


def _time(kernel: Kernel, images: np.ndarray, readout: str) -> float:
    half = len(images) // 2
    start = time.perf_counter()
    kernel(images[:half], images[half:], DEPTH, readout)
    return time.perf_counter() - start


def published() -> list[dict[str, Any]]:
    """What neural-tangents publishes about itself: `what`, seconds an entry, `note`; from the references alone."""
    from exact_cntk.study.show import references  # takes pandas, which a machine with a GPU may lack

    return [
        {"what": cost["what"], "seconds": cost["value"], "note": cost["note"]}
        for cost in references.read()["costs"]
        if cost["source"] == "neural-tangents" and cost["unit"] == "s"
    ]
