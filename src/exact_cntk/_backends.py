"""Which backend "auto" means here, and what it computes with."""

from typing import NamedTuple

from exact_cntk import _validation as check
from exact_cntk._cntk import BACKENDS, load_backend
from exact_cntk._machine import gpu_present


class Backend(NamedTuple):
    """A backend as chosen.

    Attributes
    ----------
    name : str
        "reference" or "cpu", never "auto".
    instruction_set : str
        For example "avx512"; "numpy" for the reference.
    reason : str
        Why this one.
    """

    name: str
    instruction_set: str
    reason: str


def describe_backend(requested: str) -> Backend:
    """Settle a backend and say why.

    Raises
    ------
    InputError
        No such backend.
    UserError
        It is not available here.
    """
    load_backend(check.as_choice("backend", requested, BACKENDS))
    if requested == "reference":
        return Backend("reference", "numpy", "as asked for")
    from exact_cntk import _cpu

    reason = "as asked for"
    if requested == "auto":
        reason = "this version computes on the CPU only" if gpu_present() else "no GPU present"
    return Backend("cpu", _cpu.instruction_set(), reason)
