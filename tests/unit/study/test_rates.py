"""Rates: each pace is measured once, and seconds follow from counts."""

import pytest

from exact_cntk.networks import Family
from exact_cntk.study import rates as module
from exact_cntk.study.passes import KernelPass
from exact_cntk.study.rates import Rates, h200_solve_seconds, measure_speed
from exact_cntk.study.work import Convolutions, Fits, Work

FORM = Convolutions(3e9, (8, 8, 1), Family("gap"), 16, 10)


@pytest.fixture
def measured(monkeypatch):
    """Two cores; jobs start in 1 s, fits of 100 and 800 images take 0.1 s and 6.4 s, 1e9 operations 1 s."""
    calls = []

    def stand_in(name, value):
        monkeypatch.setattr(module, name, lambda *arguments: calls.append((name, *arguments)) or value(*arguments))

    stand_in("time_start", lambda: 1.0)
    stand_in("time_fit", lambda n, method, threads: {"eigh": {100: 0.1, 800: 6.4}, "cholesky": {2000: 4.0}}[method][n])
    stand_in("time_multiply", lambda threads: 1e10 * threads)
    stand_in("time_steps", lambda form, threads, seconds: 1e9 * threads)
    monkeypatch.setattr(Rates, "_products", lambda self, threads: calls.append(("products", threads)) or 1e9 * threads)
    monkeypatch.setattr(module, "cores", lambda: 2)
    return calls


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(jobs=1), 1.0),
        (Work(jobs=1, seconds=5.0), 6.0),
        (Work(jobs=1, torch=True), 1 + module.TORCH_SECONDS),
        (Work(jobs=1, products=3e9), 4.0),
        (Work(jobs=1, products=3e9, all_cores=True), 2.5),
        (Work(jobs=1, convolutions=FORM), 4.0),
        (Work(jobs=1, convolutions=FORM, all_cores=True), 2.5),
        (Work(jobs=1, fits=(Fits(10, 5, 20),)), 1 + 20 * 0.1),  # what a small fit takes beside linear algebra
        (Work(jobs=1, fits=(Fits(100, 5, 2), Fits(400, 5, 1))), 1 + 2 * 0.1 + 0.1 * 4**2),
        (Work(jobs=1, fits=(Fits(1600, 5, 1),)), 1 + 8 * 6.4),
        (Work(jobs=1, fits=(Fits(20_000, 5, 1),)), 1 + 4.0 * 5 / 2 * 10**3),
        (Work(jobs=1, fits=(Fits(20_000, 5, 3, 10),)), 1 + 3 * 4 * 20_000**2 * 10 * module.EXPECTED_STEPS / 1e10),
        (Work(jobs=1, fits=(Fits(20_000, 5, 3, 10),), all_cores=True), 1 + 3 * 0.8 * module.EXPECTED_STEPS),
    ],
)
def test_seconds_of_a_job(measured, work, seconds):
    assert Rates(0.1).job_seconds(work) == pytest.approx(seconds)


def test_a_gpu_is_not_measured(measured):
    rates = Rates(0.1)
    assert rates.job_seconds(Work(jobs=1, products=2e13, gpu=True)) == 2.0
    plain, rounded = (
        rates.job_seconds(Work(jobs=1, convolutions=FORM._replace(operations=4e14, tf32=tf32), gpu=True))
        for tf32 in (False, True)
    )
    assert (plain, rounded) == (11.0, 3.0)
    assert measured == [("time_start",)]


@pytest.mark.parametrize(
    ("works", "seconds"),
    [
        ([], 0.0),
        ([Work(jobs=0)], 0.0),
        ([Work(jobs=1)], 1.0),  # the other core is idle
        ([Work(jobs=6)], 3.0),
        ([Work(jobs=3), Work(jobs=1, seconds=9.0)], 10.0),  # the longest
        ([Work(jobs=6, all_cores=True)], 6.0),
        ([Work(jobs=6), Work(jobs=2, gpu=True)], 3.0 + 2.0),
    ],
)
def test_jobs_of_one_core_run_side_by_side(measured, works, seconds):
    assert Rates(0.1).seconds(works) == seconds


def test_every_pace_is_measured_once(measured):
    rates = Rates(0.1)
    everything = Work(jobs=3, fits=(Fits(10, 2, 1), Fits(900, 2, 1)), products=1.0, convolutions=FORM)
    for _ in range(2):
        rates.seconds([everything, everything])
    once = [("time_start",), ("time_fit", 100, "eigh", 1), ("time_fit", 800, "eigh", 1), ("products", 1)]
    assert measured == [*once, ("time_steps", FORM._replace(operations=0), 1, 0.1)]
    rates.seconds([Work(jobs=1, convolutions=FORM._replace(operations=5.0))])
    assert len(measured) == 5  # of the same form
    rates.seconds([Work(jobs=1, convolutions=FORM._replace(width=32))])
    assert len(measured) == 6


def test_without_torch_the_pace_of_networks_is_an_expected_one(measured, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert Rates(0.1).job_seconds(Work(jobs=1, convolutions=FORM._replace(operations=6e10))) == pytest.approx(3.0)
    assert measured == [("time_start",)]


def test_this_machine():
    rates = Rates(0.01)
    assert 0 < module.time_fit(20, "eigh", 1) < rates.seconds([Work(jobs=1, fits=(Fits(20, 2, 10**6),))])
    assert rates.seconds([Work(jobs=1, products=1e15)]) > 1


def test_products_with_a_kernel(monkeypatch):
    monkeypatch.setattr(module, "MULTIPLIED", 300)
    assert module.time_multiply(1) > 1e6


def test_steps_of_a_network():
    pytest.importorskip("torch")
    assert module.time_steps(FORM, 1, 0.02) > 1e6
    assert module.time_steps(FORM._replace(width=512, images=200), 1, 0.001) > 1e6  # in small


def test_a_gpu_takes_large_problems_alone():
    subsets = [{"train_images": 50_000, "repeats": 2}, {"train_images": 1000, "repeats": 9}]
    assert h200_solve_seconds(subsets, 5) == pytest.approx(10 * 4 / 3 * 50_000**3 / 4e13)


def test_measures_the_real_kernel():
    one = KernelPass("tiny", Family("gap", ("hidden",)), (3,))
    assert measure_speed((4, 4, 1), one, "float32", "reference", 0.05) > 0
