"""Backends: the function behind each name, which one "auto" means here, and what it computes with."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import gpu_present
from exact_cntk.errors import UserError

BACKENDS = ("auto", "reference", "cpu", "cuda")


class Backend(NamedTuple):
    """A backend as chosen.

    Attributes
    ----------
    name : str
        "reference", "cpu" or "cuda", never "auto".
    instruction_set : str
        For example "avx512" or "sm_90"; "numpy" for the reference.
    reason : str
        Why this one.
    device : str or None
        The GPU's name; None for the others.
    """

    name: str
    instruction_set: str
    reason: str
    device: str | None = None


def load_backend(name: str) -> Callable[..., np.ndarray]:
    """The backend's function `compute(x1, x2, spec, *, dtype, threads, progress)`.

    Raises
    ------
    UserError
        The backend is not available here.
    """
    if name == "auto":
        name, _ = choose_backend()
    if name == "reference":
        from exact_cntk.kernels import reference

        return reference.compute
    if name == "cuda":
        from exact_cntk.kernels import cuda

        cuda.require_gpu()
        return cuda.compute
    from exact_cntk.kernels import cpu

    return cpu.compute


def choose_backend() -> tuple[str, str]:
    """What "auto" means here, and why: "cuda" where there is a GPU that CuPy can use, else "cpu"."""
    if not gpu_present():
        # Looked for first, as importing CuPy takes a second.
        return "cpu", "no GPU present"
    from exact_cntk.kernels import cuda

    try:
        cuda.require_gpu()
    except UserError as error:
        return "cpu", f"a GPU is present, but {error}"
    return "cuda", "a GPU is present"


def describe_backend(requested: str) -> Backend:
    """Settle a backend and say why.

    Raises
    ------
    InputError
        No such backend.
    UserError
        It is not available here.
    """
    name, reason = check.as_choice("backend", requested, BACKENDS), "as asked for"
    if name == "auto":
        name, reason = choose_backend()
    if name == "reference":
        return Backend(name, "numpy", reason)
    if name == "cuda":
        from exact_cntk.kernels import cuda

        properties = cuda.open_device().properties
        return Backend(name, properties.architecture, f"{reason}: {properties.name}", properties.name)
    from exact_cntk.kernels import cpu

    return Backend(name, cpu.instruction_set(), reason)
