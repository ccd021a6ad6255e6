"""Backends: the module behind each name, which one "auto" means here, and what it computes with."""

from typing import NamedTuple, Protocol

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import gpu_present
from exact_cntk._support.progress import Progress
from exact_cntk.errors import UserError
from exact_cntk.kernels.spec import Computed, KernelSpec, OnRows

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


class BackendModule(Protocol):
    """What the module of a backend has.

    Attributes
    ----------
    streams_rows : bool
        Whether some rows are finished before others, which `compute` then hands to `on_rows`.
    """

    streams_rows: bool

    def compute(
        self,
        x1: np.ndarray,
        x2: np.ndarray | None,
        spec: KernelSpec,
        *,
        dtype: str,
        threads: int | None,
        progress: Progress | None,
        on_rows: OnRows | None = None,
    ) -> Computed:
        """All kernels of `spec`, without flips: of x1 (n, P, Q, C) with x2 (m, P, Q, C), or with itself."""


def load_backend(name: str) -> BackendModule:
    """The module of a backend.

    Raises
    ------
    UserError
        The backend is not available here.
    """
    if name == "auto":
        name, _ = choose_backend()
    if name == "reference":
        from exact_cntk.kernels import reference

        return reference
    if name == "cuda":
        from exact_cntk.kernels import cuda

        cuda.require_gpu()
        return cuda
    from exact_cntk.kernels import cpu

    return cpu


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
