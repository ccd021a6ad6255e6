"""The hardware and software that a table of timings belongs to."""

import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from exact_cntk._machine import cores, cpu_model, total_memory

ROOT = Path(__file__).resolve().parent.parent


def cpu_name() -> str:
    """Model name, with family and model number where virtual machines hide the exact name."""
    fields = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    if {"cpu family", "model"} <= fields.keys():
        return f"{cpu_model()} (family {fields['cpu family']}, model {fields['model']})"
    return cpu_model()


def revision() -> str:
    """Git revision of the checkout, with a mark if files differ from it; "unknown" outside a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Return what a reader needs to judge or repeat the timings, as label and text."""
    return {
        "CPU": cpu_name(),
        "cores": str(cores()),
        "memory": f"{total_memory() / 2**30:.0f} GiB",
        "load when started": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": f"exact-cntk {version('exact-cntk')}, NumPy {version('numpy')}",
        "revision": revision(),
        "date": date.today().isoformat(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }
