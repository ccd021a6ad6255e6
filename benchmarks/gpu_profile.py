"""Issue slots, pipes and memory of the tuned kernel, read by Nsight Compute where it runs.

`python -m benchmarks.gpu_profile` prints them alone, `python -m benchmarks.gpu_speed --profile` with all else. The
clocks are left as they are (--clock-control none).
"""

import csv
import io
import json
import shutil
import subprocess
import sys

from benchmarks.machine import ROOT

# Percent of peak, while a multiprocessor is active; and counts.
METRICS = {
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue slots used (%)",
    "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active": "FMA pipe (%)",
    "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active": "ALU pipe (%)",
    "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active": "special functions (%)",
    "sm__inst_executed_pipe_lsu.avg.pct_of_peak_sustained_active": "load and store pipe (%)",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared.avg.pct_of_peak_sustained_active": "shared memory (%)",
    "lts__t_sectors.avg.pct_of_peak_sustained_elapsed": "L2 (%)",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "device memory (%)",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps resident (%)",
    "smsp__inst_executed.sum": "warp instructions",
    "smsp__cycles_active.avg": "cycles",
    "launch__registers_per_thread": "registers a thread",
    "gpu__time_duration.sum": "time (as ncu gives it)",
}
KERNEL = "cntk_pairs"


def profile(case: str, timeout: float = 120.0) -> dict[str, str]:
    """Counters of one launch in a short run of one case of gpu_speed, as ncu prints them.

    The first three are too small to occupy the GPU: one compiles, and the next ones find out how fast it is.

    Raises
    ------
    RuntimeError
        There is no ncu, or it could not read the counters; with its own words.
    """
    if shutil.which("ncu") is None:
        raise RuntimeError("ncu is not on the path")
    run = [sys.executable, "-m", "benchmarks.gpu_speed", "--only", case, "--alone", "--seconds", "1", "--no-files"]
    select = ["--kernel-name", KERNEL, "--launch-skip", "3", "--launch-count", "1"]
    command = [
        "ncu",
        "--clock-control",
        "none",
        "--csv",
        "--page",
        "raw",
        "--metrics",
        ",".join(METRICS),
        *select,
        *run,
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"ncu took longer than {timeout:.0f} s") from error
    values = parse(done.stdout)
    if not values:
        raise RuntimeError(f"ncu read no counter (exit status {done.returncode}): {(done.stdout + done.stderr)[-800:]}")
    return values


def parse(text: str) -> dict[str, str]:
    """Values by their names here, from ncu's CSV: messages, a heading, units, and one line per kernel."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        return {}
    rows = list(csv.reader(io.StringIO("\n".join(lines[first:]))))
    if len(rows) < 3:
        return {}
    units, values = dict(zip(rows[0], rows[1], strict=False)), dict(zip(rows[0], rows[2], strict=False))
    named = {label: (values[key], units.get(key, "")) for key, label in METRICS.items() if values.get(key)}
    return {label: value if unit in ("", "%") else f"{value} {unit}" for label, (value, unit) in named.items()}


def main() -> int:
    """Print the counters of the tuned kernels; exit status 1 where they cannot be read."""
    status = 0
    for case in sys.argv[1:] or ["gap 32×32", "flatten 32×32"]:
        try:
            print(json.dumps({case: profile(case)}, indent=1, ensure_ascii=False))
        except RuntimeError as error:
            print(f"{case}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
