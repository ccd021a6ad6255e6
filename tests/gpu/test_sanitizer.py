"""No kernel reads or writes where it should not, reads what nobody wrote, races, or waits at barriers apart."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SANITIZER = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")


@pytest.mark.skipif(SANITIZER is None, reason="compute-sanitizer is not on the PATH")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_clean(tool):
    script = Path(__file__).with_name("sanitized.py")
    options = ["--tool", tool, "--error-exitcode", "9"]
    if tool == "memcheck":
        # What CUDA refuses its callers, CuPy for one, as where an attribute is unknown, is no fault of a kernel.
        options += ["--report-api-errors", "no"]
    command = [SANITIZER, *options, sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    report = f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, report
    assert "all kernels agree with the cpu" in done.stdout, report
