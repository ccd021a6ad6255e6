"""What the campaigns share: the seed, and copies of the checkout as the tests of the workflow have them."""

import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "tests/workflow"), str(ROOT / "tests/unit/study")]
from checkouts import Checkout, finished, finished_once, fresh  # noqa: E402, F401


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of all that a campaign draws at random")


@pytest.fixture
def seed(request) -> int:
    """The seed of this run."""
    return request.config.getoption("seed")


@pytest.fixture
def draw(seed) -> random.Random:
    """A source of random choices, the same for every test of one seed."""
    return random.Random(seed)
