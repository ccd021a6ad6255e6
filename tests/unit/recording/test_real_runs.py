"""The real runs give the metrics of `exact_cntk.study.solve`, killed and resumed at any point or not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from kernel_files import factor, make_kernel
from recording import real_runs
from recording.real import plan, run
from recording.real.clock import Clock, OutOfTimeError
from recording.real.plan import Group, Piece
from recording.real.run import PieceRun
from recording.real.state import State

from exact_cntk._support.stated_files import read_stated
from exact_cntk.errors import UserError
from exact_cntk.kernels.backends import describe_backend
from exact_cntk.study.solve import solve
from exact_cntk.study.subsets import Subset

RIDGES = (0.0, 1e-4, 1e-1)
PIECE = Piece(
    "tiny",
    "cntk-v",
    "flatten",
    "all",
    (3, 5),
    (Group(24, (0,), ("ntk", "nngp"), RIDGES), Group(8, (0, 1, 2), ("ntk",), RIDGES)),
)


class ImpatientClock(Clock):
    """Time is up after so many looks at the clock."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def tick(self, done: int = 0, total: int = 0) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise OutOfTimeError("the time budget is spent")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Seven images a block, so that a piece of 24 has many steps; and a kernel that is no CNTK, but quick and known."""

    def known(x1, x2=None, *, depths, get, progress, **_):
        x2 = x1 if x2 is None else x2
        flat = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (x1, x2))
        rows, cols = flat
        progress(0, 1)
        kernel = np.exp(-((rows[:, None] - cols[None]) ** 2).sum(axis=2) / 32)
        return {(kind, depth): factor(kind, depth) * kernel for kind in get for depth in depths}

    monkeypatch.setattr(run, "cntk", known)
    monkeypatch.setattr(plan, "UNIT_PAIRS", {"flatten": 49, "gap": 49})
    monkeypatch.setattr(plan, "CPU_UNIT_PAIRS", {"flatten": 49, "gap": 49})
    monkeypatch.setattr(plan, "FEWEST_TEST_IMAGES", {"flatten": 2, "gap": 2})


def run_once(folder, data, clock=None, cache=None):
    PieceRun(PIECE, data, State(folder, PIECE, cache), describe_backend("reference"), clock or Clock()).run()


def metrics(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "tiny" / "metrics").iterdir())}


def test_same_metrics_as_the_study(tmp_path, data, data_file, full):
    run_once(tmp_path / "real", data)
    kernel_file = make_kernel(tmp_path, data, full)
    expected = solve(kernel_file, data_file, subsets=[Subset(24, 1), Subset(8, 3)], ridges=RIDGES).metrics
    ours = read_stated(tmp_path / "real/tiny/metrics/cntk-v-depth-03.json")
    by_problem = {(r["kind"], r["train_images"], r["repeat"]): r for r in expected["results"]}
    assert len(ours["results"]) == 5
    for result in ours.pop("results"):
        theirs = by_problem[result["kind"], result["train_images"], result["repeat"]]
        assert result == theirs | {"eigenvalues": None}
    del expected["results"]
    assert ours == expected | {"study": run.STUDY}


@pytest.mark.parametrize("cached", [False, True])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, data, cached):
    run_once(tmp_path / "whole", data)
    folder, cache = tmp_path / "killed", tmp_path / "cache" if cached else None
    looks, stops = 2, 0
    while not State(folder, PIECE).finished:
        try:
            run_once(folder, data, ImpatientClock(looks), cache)
        except OutOfTimeError:
            stops += 1
            # Without a cache the training kernel must be had in one sitting.
            looks += 0 if cached else 1
        assert stops < 100
    assert stops > 3
    assert metrics(folder) == metrics(tmp_path / "whole")
    assert not (folder / "tiny" / "state").exists()
    assert not cached or not (cache / "tiny").exists()


def test_kill_between_any_two_files(tmp_path, data, monkeypatch):
    run_once(tmp_path / "whole", data)
    folder = tmp_path / "killed"
    for module in ("recording.real.state", "exact_cntk.study.documents"):
        real = pytest.importorskip(module).write_bytes
        monkeypatch.setattr(f"{module}.write_bytes", killing(real, every=17))
    kills = 0
    while not State(folder, PIECE).finished:
        try:
            run_once(folder, data)
        except KeyboardInterrupt:
            kills += 1
        assert kills < 100
    assert kills > 1
    assert metrics(folder) == metrics(tmp_path / "whole")


def killing(write, every):
    count = 0

    def wrapped(path, content):
        nonlocal count
        count += 1
        if count % every == 0:
            raise KeyboardInterrupt
        write(path, content)

    return wrapped


def test_refuses_to_go_on_with_something_else(tmp_path, data):
    with pytest.raises(OutOfTimeError):
        run_once(tmp_path, data, ImpatientClock(3))
    state = State(tmp_path, PIECE)
    with pytest.raises(UserError, match=r"was begun with backend = 'reference', now it is 'cpu'"):
        PieceRun(PIECE, data, state, describe_backend("reference")._replace(name="cpu"), Clock()).run()


def test_cached_blocks_of_other_images_are_not_read(tmp_path, data):
    cache = tmp_path / "cache"
    other = dataclasses.replace(data, train_images=data.train_images[::-1].copy(), digest="0" * 64)
    with pytest.raises(OutOfTimeError):
        run_once(tmp_path / "other", other, ImpatientClock(6), cache)
    assert list(cache.rglob("*.npy"))
    run_once(tmp_path / "cached", data, cache=cache)
    run_once(tmp_path / "fresh", data)
    assert metrics(tmp_path / "cached") == metrics(tmp_path / "fresh")


def test_does_not_begin_a_training_kernel_that_would_be_lost(tmp_path, data):
    clock = Clock(budget=1000.0)
    clock.learn("flatten", 1.0, 10.0)
    with pytest.raises(OutOfTimeError, match=r"tiny: the kernel of the training images needs about \d+ s"):
        run_once(tmp_path, data, clock)


def test_gives_up_a_training_kernel_that_turns_out_too_slow(tmp_path, data):
    class SlowClock(Clock):
        blocks = 0

        def learn(self, kind, work, seconds):
            self.blocks += 1
            super().learn(kind, work, 300.0)

    clock = SlowClock(budget=1000.0)
    with pytest.raises(OutOfTimeError, match=r"tiny: the kernel of the training images needs about \d+ s"):
        run_once(tmp_path, data, clock)
    assert clock.blocks == 2


def test_command_line(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(real_runs, "load_images", lambda source, cache: data)
    arguments = ["--data", "x", "--out", str(tmp_path), "--backend", "reference"]
    assert real_runs.main([*arguments, "--budget", "1e-9"], {"tiny": PIECE}) == 0
    assert "stopped: the time budget is spent" in capsys.readouterr().err
    assert real_runs.main(arguments, {"tiny": PIECE}) == 0
    assert "finished" in capsys.readouterr().out
    assert real_runs.main([*arguments, "--only", "huge"], {"tiny": PIECE}) == 2
    assert "--only is 'huge'; allowed are tiny" in capsys.readouterr().err
    assert real_runs.main(["--list", "--out", str(tmp_path)], {"tiny": PIECE}) == 0
