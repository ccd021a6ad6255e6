"""Backends: the module of each name, the one that "auto" means here, and what it computes with."""

from typing import NamedTuple, Protocol

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import gpu_present
from exact_cntk._support.progress import Progress
from exact_cntk.errors import UserError
from exact_cntk.kernels.spec import Computed, KernelSpec, OnRows

BACKENDS = ("auto", "reference", "cpu", "cuda")


class Backend(NamedTuple):
    """A backend as chosen."""

    name: str  # "reference", "cpu" or "cuda", never "auto"
    instruction_set: str  # for example "avx512" or "sm_90"; "numpy" for the reference
    reason: str  # why this backend
    device: str | None = None  # the GPU's name


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
        """All kernels of `spec`, without flips: of x1 (n, P, Q, C) with x2 (m, P, Q, C), or with itself.

        Parameters
        ----------
        x1, x2 : arrays of finite float32 or float64
            An x2 of None stands for x1: half the work, and an exactly symmetric result.
        dtype : {"float32", "float64"}
            What the recursion runs in.
        threads : int or None
            None takes all cores open to this process. The result is the same, to the byte, for any number.
        progress : callable(done, total) or None
            Called in pairs of images, from the calling thread.
        on_rows : callable(start, rows) or None
            Where the backend streams rows: called from the calling thread as soon as rows [start, start + len) of all
            outputs are final, with a view of the result of shape (outputs, len, m); in increasing order, each row once.
        """


def load_backend(name: str) -> BackendModule:
    """The module of a backend; UserError if it is not available here."""
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
    name, reason = check.as_choice("backend", requested, BACKENDS), "as requested"
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
