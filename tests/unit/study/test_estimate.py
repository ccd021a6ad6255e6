"""Estimates: the counts of the study's table of costs, and a readable table."""

from pathlib import Path

import pytest

from exact_cntk.errors import InputError
from exact_cntk.study import estimate as module
from exact_cntk.study.estimate import estimate_study, format_count, format_time
from exact_cntk.study.work import Fits, Work

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def known_backend(monkeypatch):
    monkeypatch.setattr(module, "describe_backend", lambda name: module.Backend("cpu", "avx2", "no GPU present"))


def test_the_paper_s_2k_study():
    """The counts of 2,000 training and 10,000 test images, and what an H200 would need for them."""
    estimate = estimate_study(ROOT / "config" / "cifar10-2k.yaml", calibration_seconds=0)
    costs = {cost.family: cost for cost in estimate.costs}
    pairs = 2000 * 2001 // 2 + 2000 * 10_000
    assert {cost.pairs for cost in estimate.costs} == {pairs}
    assert costs["cntk-v"].element_layers == pairs * 32**2 * 20
    assert costs["cntk-gap"].element_layers == pairs * 32**4 * 20
    assert costs["cntk-gap"].seconds_h200 / 60 == pytest.approx(9.6, abs=0.1)
    assert costs["cntk-v"].blocks == 1 + 3
    assert costs["cntk-gap"].largest == (3334, 2000)
    assert costs["cntk-gap"].seconds_h200 * costs["cntk-gap"].share == pytest.approx(175, abs=1)
    assert estimate.misfits == ("cntk-gap",)
    assert "blocks of cntk-gap have sizes for another backend; set `backend: cpu`" in estimate.table()
    # Kernels of the test images, and of the pool, half or all of it where it is one block.
    assert costs["cntk-v"].disk == 12_000 * 2000 * 10 * 8
    assert costs["cntk-v"].seconds_here is None and estimate.solve_seconds is None


@pytest.mark.parametrize(("depths", "limit"), [([3, 4, 6], 50e9), ([3, 4, 6, 11, 21], 80e9)])
def test_disk_of_all_of_cifar10(depths, limit):
    """Of the paper's column CNTK-V: each pair once, in float32, and half of the blocks on the diagonal."""
    params = module.load_params(ROOT / "config" / "cifar10-full.yaml")
    family = params["kernels"]["families"][0] | {"depth_passes": [depths]}
    for storage, size in (("float32", 4), ("float64", 8)):
        params["kernels"] |= {"families": [family], "storage": storage}
        (cost,) = estimate_study(params, calibration_seconds=0).costs
        assert 1 < cost.disk / (1.75e9 * 2 * len(depths) * size) < 1.1
        assert storage == "float64" or cost.disk < limit


def test_every_pass_costs():
    params = module.load_params(ROOT / "config" / "ci.yaml")
    one = estimate_study(params, calibration_seconds=0).costs[0]
    family, *others = params["kernels"]["families"]
    added = max(one.depths) + 2
    families = [family | {"depth_passes": [*family["depth_passes"], [added]]}, *others]
    more = params | {"kernels": params["kernels"] | {"families": families}}
    two = estimate_study(more, calibration_seconds=0).costs[0]
    assert two.depths == (*one.depths, added)
    assert two.element_layers == one.element_layers + one.element_layers // (one.depths[-1] - 1) * (added - 1)
    assert (two.pairs, two.blocks) == (2 * one.pairs, 2 * one.blocks)


def test_table(monkeypatch):
    monkeypatch.setattr(module, "measure_speed", lambda *_: 1e9)
    monkeypatch.setattr(module.Rates, "seconds", lambda self, works: 60.0)
    estimate = estimate_study(ROOT / "config" / "cifar10-full.yaml", calibration_seconds=0.01)
    table = estimate.table()
    assert "cifar10-full: 50000 training and 10000 test images of 32x32x3" in table
    assert "1.75 G" in table
    assert "13 h" in table
    assert "one H200: expected, not measured, from 8e11 (gap) and 5e11 (flatten) element-layers/s" in table
    # 20 kernels, 5 ridges, 4/3 n^3 operations each.
    assert estimate.solve_h200 == pytest.approx(100 * 4 / 3 * 50_000**3 / 4e13)
    assert "expected 6.9 min on one H200" in table
    assert "avx2" in table
    assert estimate.costs[0].seconds_here == estimate.costs[0].element_layers / 1e9
    assert max(map(len, table.splitlines())) < 140


def test_on_a_gpu(monkeypatch):
    gpu = module.Backend("cuda", "sm_90", "a GPU is present", "NVIDIA H200")
    monkeypatch.setattr(module, "describe_backend", lambda name: gpu)
    monkeypatch.setattr(module, "measure_speed", lambda *_: 7e11)
    monkeypatch.setattr(module.Rates, "seconds", lambda self, works: 60.0)
    estimate = estimate_study(ROOT / "config" / "cifar10-2k.yaml", calibration_seconds=0.01)
    assert "here: NVIDIA H200, backend cuda (sm_90), measured just now: cntk-v 7e+11" in estimate.table()
    assert estimate.misfits == ()


def test_seconds_of_what_is_left(monkeypatch):
    params = module.load_params(ROOT / "config" / "cifar10-2k.yaml")
    v, gap = (one.kernel_id for one in module.kernel_passes(params))
    pairs = {v: 10_000, gap: 2000}
    work = 10_000 * 32**2 * 20, 2000 * 32**4 * 20

    def seconds(backend):
        return module.expected_seconds(params, pairs, backend, calibration_seconds=0.1)

    # The one that starts CUDA would hold the GPU's memory until the study is done.
    monkeypatch.setattr(module, "measure_speed", None)
    assert seconds("cuda") == pytest.approx(work[0] / 5e11 + work[1] / 8e11)
    monkeypatch.setattr(module, "measure_speed", lambda *_: 1e9)
    assert seconds("cpu") == pytest.approx(sum(work) / 1e9)
    pairs = {v: 0, gap: 0}
    assert seconds("cpu") == 0


def test_what_cannot_be_solved_here_is_said(monkeypatch):
    params = module.load_params(ROOT / "config" / "digits.yaml")
    params["solve"]["max_memory_gib"] = 0.001
    assert "solve: " in (table := estimate_study(params, calibration_seconds=0).table())
    assert "--max-memory-gib allows 0.001 GiB" in table


def test_solves_are_a_job_a_kernel_with_all_its_kinds(monkeypatch):
    params = module.load_params(ROOT / "config" / "digits.yaml")
    asked = []
    monkeypatch.setattr(module, "measure_speed", lambda *_: 1e9)
    monkeypatch.setattr(module.Rates, "seconds", lambda self, works: asked.append(list(works)) or 60.0)
    estimate = estimate_study(params, calibration_seconds=0.01)
    (work,) = asked[0]
    ridges = len(params["solve"]["ridges"])
    assert work == Work(jobs=2 * 5, fits=(Fits(1000, ridges, 2), Fits(200, ridges, 2 * 5)))
    assert estimate.solve_seconds == 60 and {one.seconds for one in estimate.sections} == {60}
    assert "solve: eigh, " in estimate.table() and "about 60 s" not in estimate.table()
    assert "about 1 min in all on this CPU" in estimate.table()
    large = module.load_params(ROOT / "config" / "cifar10-full.yaml")
    estimate_study(large, calibration_seconds=0.01)
    (work,) = asked[1 + len(estimate.sections)]
    assert work.all_cores and work.fits[0] == Fits(50_000, 5, 2, 10)  # by products, with ten classes


def test_bad_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        estimate_study(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.002, "< 1 s"),
        (1.26, "1.3 s"),
        (45, "45 s"),
        (576, "9.6 min"),
        (45_720, "13 h"),
        (5e5, "5.8 days"),
        (1e9, "32 years"),
    ],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (1297500, "1.3 M"), (1.75e9, "1.75 G"), (22e6, "22 M")])
def test_format_count(count, text):
    assert format_count(count) == text
