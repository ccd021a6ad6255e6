"""When the tests of this folder may be skipped."""

import os
from types import ModuleType
from typing import NoReturn

import pytest

from exact_cntk._support.machine import gpu_present


def skip_without_gpu(reason: str) -> NoReturn:
    """Skip, unless there is a GPU that nobody hides: then what does not work is a failure, not a reason to skip."""
    if gpu_present() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        pytest.fail(f"there is a GPU, but {reason}")
    pytest.skip(reason)


def require_gpu_of_torch(torch: ModuleType) -> None:
    """Skip, or fail, where torch can use no GPU; a build for the CPU alone is no excuse where there is one."""
    if torch.version.cuda is None:
        skip_without_gpu("this build of torch is for the CPU alone")
    if not torch.cuda.is_available():
        skip_without_gpu("torch finds no CUDA device")
