"""Refusals, and what they say of the machine."""

import subprocess
import sys
import time

import pytest

from exact_cntk._support import machine
from exact_cntk.errors import UserError


def test_describes_this_machine():
    assert machine.cores() >= 1
    assert machine.cpu_model()
    assert 0 < machine.available_memory() <= machine.total_memory()


def test_a_container_limits_memory(monkeypatch):
    limits = {"memory.max": 3 * machine.GIB, "memory.current": 2 * machine.GIB}
    monkeypatch.setattr(machine, "_control_group", limits.get)
    monkeypatch.setattr(machine, "_reclaimable", lambda: 0)
    assert machine.total_memory() <= 3 * machine.GIB
    assert machine.available_memory() <= machine.GIB


def test_a_container_s_cached_files_are_available(monkeypatch):
    limits = {"memory.max": 3 * machine.GIB, "memory.current": 3 * machine.GIB}
    monkeypatch.setattr(machine, "_control_group", limits.get)
    monkeypatch.setattr(machine, "_reclaimable", lambda: machine.GIB)
    assert 0 < machine.available_memory() <= machine.GIB


def test_memory_refusals_give_the_numbers(monkeypatch):
    machine.require_memory("this", 2**20, limit_gib=1)
    with pytest.raises(UserError, match=r"this needs 3 GiB of memory, but --max-memory-gib allows 2\.5 GiB: raise"):
        machine.require_memory("this", 3 * machine.GIB, limit_gib=2.5)
    monkeypatch.setattr(machine, "available_memory", lambda: machine.GIB)
    with pytest.raises(UserError, match="this needs 3 GiB of memory, 1 GiB available: "):
        machine.require_memory("this", 3 * machine.GIB)


def test_disk_refusal_gives_the_numbers(tmp_path, monkeypatch):
    machine.require_disk("this", 1, tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(machine, "free_disk", lambda path: machine.GIB)
    with pytest.raises(UserError, match=r"this needs 2 GiB of disk for .*, 1 GiB available"):
        machine.require_disk("this", 2 * machine.GIB, tmp_path)


@pytest.mark.parametrize(
    ("size", "text"), [(2**26, "0.062 GiB"), (1.5 * 2**30, "1.5 GiB"), (1234.5 * 2**30, "1234 GiB")]
)
def test_format_gib(size, text):
    assert machine.format_gib(size) == text


def test_a_process_knows_its_age():
    code = "from exact_cntk._support.machine import process_seconds; print(process_seconds())"
    start = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    if sys.platform == "linux":
        # The system counts in hundredths of a second.
        assert 0 < float(printed) < time.monotonic() - start + 0.02
    else:
        assert printed == "None\n"


def test_a_folder_that_takes_no_files(tmp_path):
    machine.require_writable(tmp_path / "to/be/made", "do this")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match=rf"^{folder} cannot be written: .*, in {tmp_path}/file; do this$"):
            machine.require_writable(folder, "do this")
