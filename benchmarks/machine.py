"""The hardware and software that a table of timings belongs to."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from exact_cntk._support.machine import cores, cpu_model, total_memory

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
    """Git revision of the checkout, with a mark if files differ from it; "unknown" without one or without git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def gpus() -> list[str]:
    """Name, memory and driver of each GPU, as nvidia-smi gives them; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def describe(command: str = "python -m benchmarks") -> dict[str, str]:
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
        "command": " ".join([command, *sys.argv[1:]]),
    }
