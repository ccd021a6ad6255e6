"""What solving needs, from the parameters alone."""

from pathlib import Path

import pytest

from exact_cntk._support.machine import GIB
from exact_cntk.regression.solvers import choice
from exact_cntk.study.params import load_params
from exact_cntk.study.solving import largest_problem, solve_memory, solve_seconds, solve_work

ROOT = Path(__file__).parents[3]


@pytest.fixture
def full():
    """50,000 images, five ridges."""
    return load_params(ROOT / "config" / "cifar10-full.yaml")


def test_a_job_of_the_full_study(full, monkeypatch):
    monkeypatch.setattr(choice, "available_memory", None)  # this machine does not count
    monkeypatch.setattr(choice, "gpu_present", None)
    assert largest_problem(full).n == 50_000
    assert 10 * GIB < solve_memory(full) < full["solve"]["max_memory_gib"] * GIB
    hours = solve_seconds(full) / 3600
    assert 0.5 < hours < 5
    full["solve"]["max_memory_gib"] = 4
    assert solve_memory(full) < 4 * GIB
    assert solve_seconds(full) / 3600 > 10 * hours  # by tiles on disk
    assert solve_work(full)[0].fits[0].iterated == 0


def test_small_training_sets_need_little():
    digits = load_params(ROOT / "config" / "digits.yaml")
    assert solve_memory(digits) < 0.2 * GIB
    assert solve_seconds(digits) < 60
    assert solve_work(digits | {"solve": None}) == []
