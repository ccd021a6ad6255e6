import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of small matrices are no faster in two, and other tests may run beside these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
