"""torch, or what to install."""

from exact_cntk.errors import UserError

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise UserError('exact_cntk.finite needs torch, which is not installed: pip install "exact-cntk[torch]"') from None

__all__ = ["torch"]
