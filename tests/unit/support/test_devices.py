"""GPUs of one machine, shared out among processes; with stand-ins for GPUs, as there need be none."""

import os
import subprocess
import sys

import pytest

from exact_cntk._support import devices as devices_module
from exact_cntk._support.devices import VARIABLE, sole_device, visible_devices
from exact_cntk.errors import UserError

TAKE = """
import sys
from pathlib import Path
from exact_cntk._support.devices import VARIABLE, sole_device
import os
with sole_device(["0", "1"], Path(sys.argv[1])) as device:
    print(device, os.environ[VARIABLE], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def start():
    """Start processes that take one of two GPUs and hold it until they are told to end."""
    processes = []

    def one(folder):
        command = [sys.executable, "-c", TAKE, str(folder)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield one
    for process in processes:
        process.kill()
        process.communicate()


def test_every_process_has_its_own_and_waits_for_one(tmp_path, start):
    first = start(tmp_path)
    assert first.stdout.readline().split() == ["0", "0"]
    second = start(tmp_path)
    assert second.stdout.readline().split() == ["1", "1"]

    third = start(tmp_path)
    fourth = start(tmp_path)
    first.kill()  # without a chance to give anything back
    second.communicate("")
    assert sorted(process.stdout.readline().split()[0] for process in (third, fourth)) == ["0", "1"]


def test_within_one_process(tmp_path):
    with sole_device(["a", "b/c"], tmp_path) as one:
        with sole_device(["a", "b/c"], tmp_path) as other:
            assert (one, other) == ("a", "b/c")
            assert os.environ[VARIABLE] == other
        assert os.environ[VARIABLE] == one
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("devices", [[], ["0"], ["GPU-1b2c"]])
def test_nothing_to_choose_takes_no_lock(tmp_path, devices):
    # A cluster shows every job its GPU as number 0, whichever it is: two of them must not wait for each other.
    with sole_device(devices, tmp_path) as one, sole_device(devices, tmp_path) as other:
        assert one == other == (devices[0] if devices else None)
        assert VARIABLE not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("listed", "devices"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("2", ["2"]),
        ("3, 1", ["3", "1"]),
        ("GPU-1b2c,GPU-3d4e", ["GPU-1b2c", "GPU-3d4e"]),
        ("0,-1,1", ["0"]),
        ("-1", []),
    ],
)
def test_visible_devices(tmp_path, monkeypatch, listed, devices):
    monkeypatch.setattr(devices_module, "gpu_nodes", lambda: [tmp_path] * 3)
    if listed is not None:
        monkeypatch.setenv(VARIABLE, listed)
    assert visible_devices() == devices


def test_the_variable_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "4,5")
    with pytest.raises(KeyError), sole_device(folder=tmp_path):
        assert os.environ[VARIABLE] == "4"
        raise KeyError
    assert os.environ[VARIABLE] == "4,5"
    with sole_device(folder=tmp_path) as again:
        assert again == "4"


def test_locks_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"locks in .*file, which cannot be written"),
        sole_device(["0", "1"], tmp_path / "file"),
    ):
        pass
