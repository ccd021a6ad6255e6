"""The GPU suite runs from end to end on what every machine has, and its pages say what was and was not done."""

from dataclasses import replace
from types import SimpleNamespace

import gpu_standin
import pytest
from benchmarks import gpu_rivals, gpu_speed
from benchmarks.gpu_cases import CASES, GpuCase, Launches, launches_timed
from benchmarks.gpu_profile import METRICS, parse
from benchmarks.gpu_report import as_markdown, ratios

TINY = tuple(replace(case, size=4, name=case.name) for case in CASES if case.required or "NNGP" in case.name)


@pytest.fixture(scope="module")
def suite():
    suite = gpu_speed.Suite("reference", seconds=1e-6, rate=1e9, cupy=gpu_standin, torch_device="cpu")
    kept = []
    suite.time_cases(TINY, lambda: kept.append(len(suite.result["cases"])))
    assert kept == [1 + i for i in range(len(TINY))]  # after each case
    return suite


def test_cases_and_rivals(suite, monkeypatch):
    monkeypatch.setattr(gpu_rivals, "DEPTH", 3)
    suite.time_rivals(size=4, seconds=0.0)
    assert suite.result["failures"] == {}
    assert set(suite.result["rivals"]) == {
        f"{name}, {readout}" for name in ("released algorithm", "plain torch") for readout in ("gap", "flatten")
    }
    assert set(ratios(suite.result)) == set(suite.result["rivals"])
    page = as_markdown(suite.result)
    assert "| gap 32×32 | 2 × 2 |" in page
    assert "| plain torch, flatten |" in page
    assert "one NTK entry of a network of 21 convolutions with pooling on a V100 (float32) | 0.0027 |" in page
    assert "Not done" not in page


def test_a_failure_is_told_and_costs_nothing_else(suite):
    broken = GpuCase("broken", "gap", 4, "nonsense")
    again = gpu_speed.Suite("reference", seconds=1e-6, rate=1e9)
    again.time_cases((broken, *TINY[:1]), lambda: None)
    assert list(again.result["cases"]) == [TINY[0].name]
    assert "- broken: InputError: trained is 'nonsense'" in as_markdown(again.result)


def test_a_rival_that_computes_something_else_is_not_timed():
    with pytest.raises(RuntimeError, match="differs from the reference by"):
        gpu_rivals.compare(lambda x, y, depth, readout: 1.01 * gpu_rivals.whole_tensors("cpu")(x, y, depth, readout))


def test_command_line(tmp_path, capsys):
    only = ["--backend", "reference", "--only", "flatten 8×8", "--alone", "--rate", "1", "--out", str(tmp_path)]
    assert gpu_speed.main(only) == 0
    assert "| flatten 8×8 |" in capsys.readouterr().out
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md"]
    assert gpu_speed.main(["--only", "flatten 9×9"]) == 2


class Event:
    def __init__(self, at):
        self.at = at

    def synchronize(self):
        pass

    def seconds_since(self, earlier):
        return self.at - earlier.at


class Stream:
    """Every launch takes a second, and nothing else takes any time."""

    def __init__(self):
        self.now = 0.0

    def record(self):
        return Event(self.now)

    def launch(self, *arguments):
        self.now += 1.0


def test_launches_are_timed(monkeypatch):
    from exact_cntk.kernels.cuda import device

    monkeypatch.setattr(device, "open_device", lambda: SimpleNamespace(stream=Stream))
    with launches_timed() as launches:
        stream = device.open_device().stream()
        for _ in range(3):
            stream.launch("kernel", 1, 1, ())
    assert launches.seconds() == pytest.approx(3.0)
    device.open_device().stream().launch("kernel", 1, 1, ())
    assert len(launches.events) == 3


def test_overlapping_kernels_count_once():
    launches = Launches()
    assert launches.seconds() is None
    launches.events = [(Event(5.0), Event(6.0)), (Event(5.5), Event(7.0)), (Event(8.0), Event(9.0))]
    assert launches.seconds() == pytest.approx(3.0)


def test_counters_of_ncu():
    keys = list(METRICS)
    heading = ",".join(f'"{name}"' for name in ["ID", "Kernel Name", keys[0], "gpu__time_duration.sum"])
    text = f'==PROF== Connected\n{heading}\n"","","%","ms"\n"0","cntk_pairs","87.5","12.5"\n'
    assert parse(text) == {METRICS[keys[0]]: "87.5", "time (as ncu gives it)": "12.5 ms"}
    assert parse("==ERROR== no permission\n") == {}
