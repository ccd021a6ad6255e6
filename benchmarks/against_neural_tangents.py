"""neural-tangents and exact_cntk on the same images and cores: speed, and agreement of the kernels.

neural-tangents needs versions of JAX and NumPy of its own, so it runs in an environment that is made here, from
neural-tangents.lock, and driven as a subprocess.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.images import cifar_like
from benchmarks.machine import ROOT
from benchmarks.speed import Case, element_layers

FOLDER = ROOT / "benchmarks"
ENVIRONMENT = FOLDER / ".venv-nt"
LOCK = FOLDER / "neural-tangents.lock"
WORKER = FOLDER / "neural_tangents_worker.py"
PYTHONS = ((3, 11), (3, 12))  # those with wheels of the versions that work

LAYERS = 10
# The blocks that neural-tangents is timed on: large enough that twice the images change its rate by little.
BLOCKS = (Case("gap", 32, 4), Case("gap", 8, 16), Case("flatten", 32, 64), Case("flatten", 8, 64))
# Ratios of element-layers a second that are required.
REQUIRED = {"avx512": {"gap 32×32": 100, "flatten 32×32": 35}, "avx2": {"gap 32×32": 60, "flatten 32×32": 20}}

DEPTHS = (3, 6, 11)
# Largest relative difference allowed: rounding of some hundred float64 operations; float32's own after ten layers.
TOLERANCES = {("reference", "float64"): 1e-12, ("cpu", "float64"): 1e-10, ("cpu", "float32"): 1e-6}


class NoEnvironmentError(Exception):
    """neural-tangents cannot be installed here; the message says why."""


def suitable_python() -> str:
    """Return this Python if neural-tangents' environment works with it, else one on the path."""
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    names = [f"python{major}.{minor}" for major, minor in PYTHONS]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise NoEnvironmentError(f"neural-tangents needs one of {', '.join(names)}, and none is on the path")
    return found


def make_environment() -> Path:
    """Create the environment, unless it is there and made from this very lock; return its Python."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "made-from.lock"
    if stamp.exists() and stamp.read_text() == LOCK.read_text():
        return python
    print("Installing neural-tangents into benchmarks/.venv-nt (1 minute, 2 GB)", flush=True)
    # The lock leaves tensorflow out, which tf2jax asks for: its CPU build, which the lock has, serves.
    install = ["install", "-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(LOCK)]
    for command in (
        [suitable_python(), "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", *install],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoEnvironmentError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    stamp.write_text(LOCK.read_text())
    return python


def versions() -> str:
    """Name what is compared with."""
    code = "import jax, neural_tangents as nt; print(f'neural-tangents {nt.__version__}, JAX {jax.__version__}')"
    done = subprocess.run([make_environment(), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run_worker(action: str, images: dict[str, np.ndarray], *options: str) -> dict[str, np.ndarray]:
    """Hand images to the worker and return the arrays that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **images)
        command = [make_environment(), WORKER, action, source, target, *options]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "JAX_PLATFORMS": "cpu"}
        )
        if done.returncode:
            raise RuntimeError(f"neural-tangents failed on '{action}':\n{done.stderr[-2000:]}")
        with np.load(target) as file:
            return dict(file)


def rates(dtype: str) -> dict[str, float]:
    """Element-layers a second of neural-tangents on all cores, for each case."""
    images = {case.name: cifar_like(2 * case.images, case.size, case.size) for case in BLOCKS}
    seconds = run_worker("time", images, f"--dtype={dtype}", f"--layers={LAYERS}")
    return {
        case.name: element_layers(case, (LAYERS + 1,), case.images) / float(np.median(seconds[case.name]))
        for case in BLOCKS
    }


def agreement() -> dict[str, float]:
    """Largest relative difference to neural-tangents' float64 kernels, for each backend and dtype.

    Covers all readouts and kinds, several depths, images of unequal sides, and pairs of the same image. With every
    convolution and the last layer at W_std = √2, exact_cntk's kernel is PQ·C/2 (flatten, local pooling) or C/2 (gap)
    times those of neural-tangents.
    """
    from exact_cntk import cntk

    height, width, channels = 12, 10, 3
    images = cifar_like(9, height, width, channels).astype(np.float64)
    x1, x2 = images[:5], images[3:]
    tangents = run_worker("kernels", {"x1": x1, "x2": x2}, "--depths=" + ",".join(map(str, DEPTHS)))
    flat = height * width * channels / 2
    factors = {("flatten", None): flat, ("lap", 3): flat, ("lap", 5): flat, ("gap", None): channels / 2}
    differences = {}
    for backend, dtype in TOLERANCES:
        worst = 0.0
        for (readout, window), factor in factors.items():
            options = {"readout": readout, "get": ("ntk", "nngp"), "backend": backend, "dtype": dtype}
            for (kind, depth), kernel in cntk(x1, x2, depths=DEPTHS, pooling_window=window, **options).items():
                reference = factor * tangents[f"{readout}{window or ''} {kind} {depth}"]
                worst = max(worst, float(np.max(np.abs(kernel / reference - 1))))
        differences[f"{backend} {dtype}"] = worst
    return differences
