"""Where numbers come from: the code, the packages and the machine; and, in other documents, how long it took."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from exact_cntk._support.machine import GIB, cores, cpu_model, gpu_driver, gpu_models, total_memory

FORMAT_VERSION = 1
# Those that the numbers of a study pass through.
PACKAGES = ("exact-cntk", "numpy", "scipy", "h5py", "scikit-learn")
# In addition, those of sections.
SECTION_PACKAGES = ("torch",)
# CuPy is installed under the name of the CUDA that it was built for; NVRTC compiles the kernels.
CUDA_PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "cupy", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")


def provenance(
    *,
    parameters: Mapping[str, Any],
    data: Mapping[str, Any],
    backend: str,
    instruction_set: str,
) -> dict[str, Any]:
    """What is known about how a result was made, ready for JSON; the same for every run of one revision on one machine.

    `parameters` of the kernel and what was made of it, digest and name of the `data`, and what the kernel was computed
    with.
    """
    return {
        "format_version": FORMAT_VERSION,
        "parameters": dict(parameters),
        "data": dict(data),
        "backend": backend,
        "instruction_set": instruction_set,
        "packages": packages(),
        "git": git_state(Path.cwd()),
        "hardware": hardware(),
    }


def section_provenance(parameters: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What is known about the run that made the files of a section, ready for JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "parameters": dict(parameters),
        "data": dict(data),
        "packages": packages(SECTION_PACKAGES),
        "git": git_state(Path.cwd()),
        "hardware": hardware(),
    }


def timing(seconds: Mapping[str, float]) -> dict[str, Any]:
    """What differs from run to run, ready for JSON: wall time in seconds by stage, and when the last one ended."""
    return {
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def packages(more: Sequence[str] = ()) -> dict[str, str | None]:
    """Versions of Python, of `PACKAGES` and `more`, None if not installed, and of the installed packages for GPUs."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    for name in CUDA_PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def source_digest() -> str:
    """SHA-256 over the package's own sources, which tells the revision where there is no git."""
    digest, folder = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".cpp", ".hpp", ".cu", ".cuh"):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def code_identity() -> str:
    """SHA-256 over sources and packages; what an interrupted run has finished is taken up by the same code alone."""
    state = [source_digest(), packages(SECTION_PACKAGES)]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def git_state(folder: Path) -> dict[str, Any]:
    """Revision of the checkout that `folder` is in, and whether tracked files differ from it; None without git."""
    revision = _git(folder, "rev-parse", "HEAD")
    changes = None if revision is None else _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    # No optional locks: many jobs ask at the same time, and the user may be committing.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """This machine: processor, cores that we may use, memory, GPUs, system, and threads that BLAS was told to use."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": round(total_memory() / GIB, 1),
        "gpus": gpu_models(),
        "gpu_driver": gpu_driver(),
        "system": platform.platform(),
        "blas_threads": os.environ.get("OMP_NUM_THREADS"),
    }
