"""These tests need a GPU that CuPy can use; they share their images with the tests that emulate one."""

import sys
from pathlib import Path

import pytest
from presence import skip_without_gpu

from exact_cntk.errors import UserError
from exact_cntk.kernels import cuda

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "kernels" / "cuda"))


@pytest.fixture(autouse=True, scope="session")
def gpu() -> None:
    try:
        cuda.require_gpu()
    except UserError as error:
        skip_without_gpu(str(error))
