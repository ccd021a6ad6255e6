"""What sections cost: each counts for itself, and the estimate of a study adds them up."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from test_checks import study

from exact_cntk._support.machine import format_gib
from exact_cntk.study import estimate
from exact_cntk.study.sections import KEYS, has_parameters
from exact_cntk.study.sections import _collect as section_costs
from exact_cntk.study.work import Work

COSTLY = [key for key in KEYS if has_parameters(key)]


@pytest.fixture
def stand_in(monkeypatch):
    """Every section has the work of 90 jobs of a second, 3 GiB of memory and 2 GiB of disk; returns what was asked."""
    asked = []

    def module(key):
        return SimpleNamespace(
            expected_work=lambda params: [Work(jobs=90)],
            expected_memory=lambda params: 3 * 2**30,
            expected_disk=lambda params: 2 * 2**30,
        )

    monkeypatch.setattr(section_costs, "_module", module)
    monkeypatch.setattr(estimate, "measure_speed", lambda *_: 1e9)
    monkeypatch.setattr(
        estimate.Rates, "seconds", lambda self, works: asked.append(self) or sum(work.jobs for work in works)
    )
    return asked


def test_estimate_adds_sections_up(stand_in):
    params = study(small_data=None)
    costs = estimate.estimate_study(params, calibration_seconds=0.6)
    assert [one.key for one in costs.sections] == ["cnns", "random_features", "architectures"]
    assert [one.seconds for one in costs.sections] == [90] * 3
    assert len(stand_in) == 1 + 3 and len(set(map(id, stand_in))) == 1  # one machine, measured once
    table = costs.table()
    assert "cnns             1.5 min  3 GiB   2 GiB" in table
    kernels = sum(cost.seconds_here for cost in costs.costs)
    in_all = estimate.format_time(kernels + costs.solve_seconds + 3 * 90)
    assert f"total: about {in_all} here" in table
    disk = sum(cost.disk for cost in costs.costs) + 3 * 2 * 2**30
    assert "this machine: 3 GiB of" in table and f"GiB available memory, {format_gib(disk)} of" in table


def test_without_calibration_nothing_is_measured(stand_in):
    costs = estimate.estimate_study(study(small_data=None), calibration_seconds=0)
    assert {one.seconds for one in costs.sections} == {None}
    assert stand_in == []
    assert "total: about" not in costs.table()


def test_without_sections_the_table_is_the_kernels_(stand_in):
    costs = estimate.estimate_study(study(**dict.fromkeys(COSTLY)), calibration_seconds=0)
    assert costs.sections == ()
    assert "\nsections" not in costs.table()


@pytest.mark.parametrize("key", COSTLY)
def test_every_section_counts_its_cost(key):
    params = study()
    module = import_module(f"exact_cntk.study.sections.{key}.cost")
    assert all(work.jobs > 0 for work in module.expected_work(params)) and module.expected_work(params)
    assert module.expected_memory(params) > 0
    assert module.expected_disk(params) > 0
    assert key not in [cost.key for cost in section_costs.section_costs(params | {key: None}, None)]
