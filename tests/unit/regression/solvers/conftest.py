"""Fixtures of the solvers' tests. Being here, it puts problems on the path."""

import numpy as np
import pytest
import torch
from problems import make_kernel
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread():
    """Tiles so small are no work for two; and the last digits must not depend on who else is computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["blocked", "cuda"])
def method(request):
    """Both stores of tiles; "cuda" runs torch on the CPU, see `use_tiles`."""
    return request.param


@pytest.fixture(scope="module", name="K")
def kernel():
    K = make_kernel(330)
    K.flags.writeable = False
    return K


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(2).integers(0, 5, 330)
