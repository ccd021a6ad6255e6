"""Which solver is taken, from numbers alone; and that a stated bound of memory is kept."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from kernel_files import environment

from exact_cntk._support import machine as machine_module
from exact_cntk._support.machine import GIB
from exact_cntk.errors import UserError
from exact_cntk.regression.solvers import choice
from exact_cntk.regression.solvers.choice import (
    Problem,
    blocked_bytes,
    choose_solver,
    device_bytes,
    plan_solver,
    tile_size,
)
from exact_cntk.regression.solvers.stores import cut, scratch_bytes

FULL = Problem(50_000, 10, 5)


@pytest.fixture
def machine(monkeypatch):
    """Sets available memory in GiB, and what is said of the GPU."""

    def set_up(available, lack="no GPU present"):
        for module in (choice, machine_module):
            monkeypatch.setattr(module, "available_memory", lambda: int(available * GIB))
        monkeypatch.setattr(choice, "usable_device", lambda problem: ("H200", lack))

    return set_up


@pytest.mark.parametrize(
    ("n", "available", "limit", "lack", "method", "reason"),
    [
        (10_000, 24, None, "", "eigh", "up to 10,000 points"),
        (10_000, 24, None, None, "eigh", "up to 10,000 points"),  # although there is a GPU
        (10_000, 24, 2, "", "cholesky", "eigh needs 2.34 GiB of 2 GiB of memory; K fits in memory"),
        (
            10_000,
            24,
            0.5,
            "",
            "blocked",
            "eigh needs 2.34 GiB of 0.5 GiB of memory; cholesky needs 0.85 GiB of 0.5 GiB",
        ),
        (10_001, 24, None, None, "cuda", "H200"),
        (50_000, 64, 16, "no GPU present", "cg", "no GPU present; 4.0e+13 operations expected in 200 pro"),
        (50_000, 12, 16, "no GPU present", "blocked", "no GPU present; cg needs 13.5 GiB of 12 GiB of memory"),
        (50_000, 64, 10, "no GPU present", "blocked", "no GPU present; cg has memory for 20 products with K"),
        (50_000, 64, 0.15, None, "blocked", "cuda needs 0.19 GiB of 0.15 GiB of memory; cg has memory for 20 products"),
    ],
)
def test_auto(machine, n, available, limit, lack, method, reason):
    machine(available, lack)
    solver = choose_solver(Problem(n, 10, 5), max_memory_gib=limit)
    assert solver.method == method
    assert solver.reason.startswith(reason)
    assert solver.memory <= min(available, limit or available) * GIB


@pytest.mark.parametrize(
    ("available", "limit", "lack", "method", "reason"),
    [
        (64, 32, "no GPU present", "cholesky", "no GPU present; K fits in memory"),
        (20, 64, "no GPU present", "blocked", "no GPU present; cholesky needs 21 GiB of 20 GiB"),
        (64, 16, "no GPU present", "blocked", "no GPU present; cholesky needs 21 GiB of 16 GiB of memory"),
    ],
)
def test_direct_has_leave_one_out(machine, available, limit, lack, method, reason):
    machine(available, lack)
    solver = choose_solver(FULL, method="direct", max_memory_gib=limit)
    assert solver.method == method
    assert solver.reason.startswith(reason)


def test_few_operations_are_left_to_a_factorisation(machine):
    """One ridge and many targets: the products of as many vectors cost more."""
    machine(64)
    for targets, ridges, method in ((10, 1, "cg"), (200, 1, "cholesky"), (200, 100, "cg")):
        assert choose_solver(Problem(20_000, targets, ridges)).method == method


def test_float32_takes_half(machine):
    machine(64)
    double, single = (choose_solver(FULL._replace(item_bytes=size), method="cg").memory for size in (8, 4))
    assert double - single == pytest.approx(2 * 50_000**2, rel=0.05)


@pytest.mark.parametrize(("n", "limit", "method"), [(2000, 16, "eigh"), (50_000, 16, "cg"), (50_000, 3, "blocked")])
def test_plans_do_not_look_at_the_machine(machine, n, limit, method):
    machine(0.001, None)
    assert plan_solver(Problem(n, 10, 5), limit).method == method
    assert plan_solver(Problem(n, 10, 5), 1e-6).method == "blocked"  # to be refused where it runs


def test_figures_at_full_scale(machine):
    """Those that docstrings and README state."""
    machine(64)
    solver = choose_solver(FULL, method="cg", max_memory_gib=16)
    assert solver.memory / GIB == pytest.approx(13.5, abs=0.05)
    solver = choose_solver(FULL, method="direct", max_memory_gib=16)
    assert solver.tile == 3856
    assert solver.memory / GIB == pytest.approx(1.9, abs=0.01)
    assert solver.scratch / GIB == pytest.approx(10, abs=0.1)
    assert device_bytes(FULL) / GIB == pytest.approx(20.1, abs=0.1)
    assert choose_solver(FULL, max_memory_gib=0.2).memory <= 0.2 * GIB


def test_tiles_follow_from_the_stated_limit_alone(machine):
    """What is available must not change the last digits of a result, nor part with a checkpoint."""
    tiles = set()
    for available in (3, 10):
        machine(available)
        tiles.add(choose_solver(FULL, max_memory_gib=2).tile)
    assert len(tiles) == 1
    machine(1)
    with pytest.raises(UserError, match=r"50000 points, method='blocked', needs 1\.9 GiB of memory, 1 GiB available"):
        choose_solver(FULL, method="blocked", max_memory_gib=2)


@pytest.mark.parametrize("n", [63, 64, 65, 1000, 4097, 50_000])
def test_tiles_keep_within_memory(n):
    problem = Problem(n, 3, 2)
    before = 0
    for memory in [10**p for p in range(3, 12)]:
        tile = tile_size(problem, memory)
        assert min(n, 33) <= tile <= min(n, 4096)
        assert tile >= before
        assert blocked_bytes(problem, tile) <= memory or tile <= 64
        assert sum(one.stop - one.start for one in cut(n, tile)) == n
        assert scratch_bytes(n, tile) <= 4 * (n**2 + n * tile)
        before = tile


@pytest.mark.parametrize("method", ["auto", "eigh", "cholesky", "blocked"])
def test_too_little_memory_is_refused_with_numbers(machine, method):
    machine(24)
    with pytest.raises(UserError, match=r"needs [\d.]+ GiB of memory, but --max-memory-gib allows 0\.05 GiB"):
        choose_solver(FULL, method=method, max_memory_gib=0.05)
    machine(0.05)
    with pytest.raises(UserError, match=r"solving this needs [\d.]+ GiB of memory, 0\.05 GiB available"):
        choose_solver(FULL, method=method, what="solving this")


def test_a_gpu_that_is_asked_for_and_not_there(machine):
    machine(24, "no GPU present")
    with pytest.raises(UserError, match="method='cuda', cannot run here: no GPU present"):
        choose_solver(FULL, method="cuda")


def test_what_is_said_of_the_gpu(monkeypatch):
    monkeypatch.setattr(choice, "gpu_present", lambda: False)
    assert choice.usable_device(FULL) == ("", "no GPU present")
    monkeypatch.setattr(choice, "gpu_present", lambda: True)
    monkeypatch.setattr(choice, "import_torch", lambda: __import__("no_such_module"))
    assert "torch is not installed" in choice.usable_device(FULL)[1]

    class Torch:
        __version__ = "2.13.0"

        class cuda:  # noqa: N801
            is_available = staticmethod(lambda: Torch.present)
            get_device_name = staticmethod(lambda: "H200")
            mem_get_info = staticmethod(lambda: (Torch.free, 140 * GIB))

    monkeypatch.setattr(choice, "import_torch", lambda: Torch)
    Torch.present, Torch.free = False, 19 * GIB
    assert choice.usable_device(FULL)[1] == "torch 2.13.0 finds no CUDA device that it can use"
    Torch.present = True
    assert choice.usable_device(FULL) == ("H200", "H200 has 19 GiB of free memory, of 20.1 GiB needed")
    Torch.free = 22 * GIB
    assert choice.usable_device(FULL) == ("H200", None)


PEAK = """
import pathlib, resource, sys
import h5py, numpy as np
from exact_cntk import kernel_regression

def peak():
    status = pathlib.Path("/proc/self/status")
    if not status.exists():  # macOS, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux lets a child's ru_maxrss start from the memory of its parent; this is its own.
    return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])

dataset = h5py.File(sys.argv[1])["K"]
y = np.arange(len(dataset)) % 3
kernel_regression(np.eye(400) + 0.1, y[:400], ridges=[0.1], method="cholesky")  # BLAS takes its buffers
before = peak()
fit = kernel_regression(dataset, y, ridges=[0, 0.1], method="blocked", max_memory_gib=float(sys.argv[2]))
assert fit.solved.all()
print(peak() - before)
"""


def test_peak_memory_is_within_the_bound(tmp_path):
    """K takes 48 MiB, the bound is 20; the system's own count of the process decides."""
    n, bound = 2500, 20 * 2**20
    with h5py.File(tmp_path / "K.h5", "w") as file:
        distance = abs(np.arange(n)[:, None] - np.arange(n))
        file["K"] = np.exp(-distance / 2)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "K.h5", str(bound / GIB)],
        env=environment() | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    # Not far below it either, or it would not be the bound that is tested.
    assert bound / 2 < int(done.stdout) <= bound
