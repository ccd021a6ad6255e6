"""What the machine has: cores, memory, disk, GPU; and the refusals when a job needs more."""

import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path

from exact_cntk.errors import UserError

GIB = 2**30


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_nodes() -> list[Path]:
    """Device nodes of NVIDIA GPUs, one each; opens nothing, so it costs nothing."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def gpu_present() -> bool:
    """Whether the machine has a GPU."""
    return bool(gpu_nodes())


def gpu_models() -> list[str]:
    """Names of the NVIDIA GPUs, as the driver lists them in /proc, which costs nothing."""
    listed = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for path in listed for line in path.read_text().splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def gpu_driver() -> str | None:
    """Version of NVIDIA's driver; None where there is none."""
    version = Path("/proc/driver/nvidia/version")
    match = re.search(r"\d+\.\d+(\.\d+)?", version.read_text()) if version.exists() else None
    return match.group() if match else None


def process_seconds() -> float | None:
    """Seconds since this process started, its interpreter and imports included; None where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), counted after the name
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def total_memory() -> int:
    """Memory of the machine, or of the container that limits this process, in bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _control_group("memory.max")
    return machine if limit is None else min(machine, limit)


def available_memory() -> int:
    """Memory available without swapping, in bytes: the machine's, or what the container has left."""
    available = total_memory()
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    limit, used = _control_group("memory.max"), _control_group("memory.current")
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used + _reclaimable()))
    return available


def _reclaimable() -> int:
    """Memory of the container that only caches files, tens of GiB after a large kernel was merged; in bytes."""
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))


def _control_group(name: str) -> int | None:
    """A number of the control group (version 2) that a container runs in; None where it sets none."""
    try:
        text = Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def free_disk(path: Path) -> int:
    """Free bytes on the file system that holds, or will hold, `path`."""
    folder = next(parent for parent in [path, *path.absolute().parents] if parent.is_dir())
    return shutil.disk_usage(folder).free


def require_memory(what: str, need: int, limit_gib: float | None = None) -> None:
    """Refuse, before it starts, work whose estimated peak of `need` bytes would not fit in memory.

    `what` is the subject of the message, for example "solving cntk-v at depth 3"; `limit_gib` is the user's own limit,
    `--max-memory-gib`.
    """
    if limit_gib is not None and need > limit_gib * GIB:
        raise UserError(
            f"{what} needs {format_gib(need)} of memory, but --max-memory-gib allows {limit_gib:g} GiB: "
            "raise it (params.yaml: solve.max_memory_gib) or use fewer images"
        )
    if need > (available := available_memory()):
        raise UserError(
            f"{what} needs {format_gib(need)} of memory, {format_gib(available)} available: "
            "free some, use fewer images or a larger machine"
        )


def require_writable(folder: Path, remedy: str) -> None:
    """Refuse to start where `folder`, or the nearest one above it that is there, takes no files."""
    existing = next(path for path in [folder, *folder.absolute().parents] if _exists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}, in {existing}; {remedy}") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # its name is too long
        return False


def require_disk(what: str, need: int, path: Path) -> None:
    """Refuse to start writing `need` bytes that do not fit on the disk of `path`."""
    if need > (available := free_disk(path)):
        raise UserError(
            f"{what} needs {format_gib(need)} of disk for {path}, {format_gib(available)} available: free some space"
        )


def format_gib(size: float) -> str:
    """Bytes as GiB for people: two or three digits."""
    gib = size / GIB
    return f"{gib:.0f} GiB" if gib >= 100 else f"{gib:.3g} GiB" if gib >= 1 else f"{gib:.2g} GiB"
