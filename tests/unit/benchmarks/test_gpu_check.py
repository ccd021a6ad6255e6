"""The one command for a machine with a GPU: steps, what they leave, and how they end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

if sys.platform != "linux":
    pytest.skip("gpu_check.sh is for Linux", allow_module_level=True)


def check(tmp_path, *arguments, **environment):
    """Run the script with nothing but stand-ins for the commands that take long."""
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "$@" >> "$CALLS"\n' + environment.pop("script", "exit 0") + "\n")
    python.chmod(0o755)
    environment |= {"PYTHON": str(python), "WORK": str(tmp_path / "work"), "CALLS": str(tmp_path / "calls")}
    command = ["bash", ROOT / "benchmarks/gpu_check.sh", "--dry-run", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_all_steps(tmp_path):
    (tmp_path / "work" / "real" / "gap-2k-0").mkdir(parents=True)
    (tmp_path / "work" / "real" / "gap-2k-0" / "fit.npz").write_bytes(b"7")
    done = check(tmp_path, tmp_path / "out", DATA="images.tar.xz", BUDGET="100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["logs.tar.gz", "real.tar.00", "summary.txt"]
    lines = (tmp_path / "out/summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        "build",
        "device",
        "tests",
        "sanitizer",
        "speed",
        "counters",
        "real",
    ]
    calls = (tmp_path / "calls").read_text()
    assert "-m pip install" in calls and "-m pytest" in calls and "-m benchmarks.gpu_speed" in calls
    assert "-m recording.real_runs --data images.tar.xz" in calls

    # The state goes on elsewhere.
    shutil.rmtree(tmp_path / "work")
    assert check(tmp_path, tmp_path / "again", tmp_path / "out", DATA="x", STEPS="real").returncode == 0
    assert (tmp_path / "work/real/gap-2k-0/fit.npz").read_bytes() == b"7"


def test_a_failing_step_is_told_and_costs_no_other(tmp_path):
    script = 'case "$*" in "-m pytest"*) exit 3 ;; *gpu_speed*) sleep 30 ;; esac'
    done = check(tmp_path, tmp_path / "out", script=script, BUDGET="2", STEPS="tests device speed real")
    assert done.returncode == 1
    summary = (tmp_path / "out/summary.txt").read_text()
    assert "tests      FAILED: status 3" in summary
    assert "device     ok" in summary
    assert "speed      FAILED: out of time" in summary
    assert "real       no time left" in summary
