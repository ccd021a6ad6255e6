"""Run a study to its report with Snakemake, going on where an earlier run was interrupted; what `make study` calls.

python workflow/scripts/run_study.py [--cores N] [--configfile FILE] [anything else that Snakemake takes]
"""

import argparse
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from exact_cntk._support.console import escape_output
from exact_cntk._support.machine import require_writable
from exact_cntk.errors import UserError
from exact_cntk.study.params import load_params

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(".snakemake/study.lock")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
MARK = "EXACT_CNTK_WORKFLOW"  # an environment variable of all jobs, the checkout's path; see workflow/rules/common.smk
SECONDS_TO_STOP = 10
INTERRUPTED = 130


class BusyError(UserError):
    """Another run is at work in this checkout."""


def main(arguments: list[str] | None = None) -> int:
    """Run the study and print its table and the path of its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", default="all", help="cores to use [default: all]")
    parser.add_argument("--configfile", help="parameters of the study [default: params.yaml]")
    escape_output()
    given, passed_on = parser.parse_known_args(arguments)
    os.chdir(ROOT)
    try:
        check_cores(given.cores)
        study = load_params(given.configfile or "params.yaml")["study"]
        check_folders()
        with sole_run() as lock:
            clear_up()
            chosen = ["--configfile", given.configfile] if given.configfile else []
            code = run_snakemake(lock, ["--cores", given.cores, *passed_on, *chosen])
    except UserError as error:
        print(f"run_study: error: {error}", file=sys.stderr)
        return 2
    if code == 0:
        print_results(Path("results") / study)
    elif code == INTERRUPTED:
        print("Interrupted. What is finished stays: the same command goes on from there.", file=sys.stderr)
    return code


def check_cores(given: str) -> None:
    """Refuse, also where nothing is left to do, what is no number of cores."""
    if given != "all" and not re.fullmatch(r"[1-9][0-9]{,4}", given):
        raise UserError(f"--cores is {given!r}; allowed are all, or a whole number from 1 on")


def check_folders() -> None:
    """Refuse to start where Snakemake, Jupyter or Python could not write what they keep outside of the results."""
    for folder in (SNAKEMAKE_LOCKS, Path("results"), Path("data/processed")):
        require_writable(folder, "make it writable, or work in a copy of the checkout")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache")
    require_writable(cache, "name a folder of your own in HOME and XDG_CACHE_HOME")
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise UserError(f"{error.strerror}; name a folder for temporary files in TMPDIR") from error


@contextmanager
def sole_run() -> Iterator[IO[str]]:
    """Hold the checkout's lock, which the system releases when its owners are dead.

    Raises
    ------
    BusyError
        Another living process holds it.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pids = [pid for pid in lock.read().split() if psutil.pid_exists(int(pid))]
            raise BusyError(
                f"another run is at work in this checkout (process {' and '.join(pids)}); wait for it, or stop it "
                f"with `kill -INT {pids[0] if pids else 'PID'}`"
            ) from None
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield lock


def clear_up() -> None:
    """Clear away what a killed run has left: its jobs, which nobody waits for any more, and Snakemake's lock.

    Raises
    ------
    BusyError
        Snakemake's lock is there and a Snakemake is alive, which was started without this script.
    """
    locked = SNAKEMAKE_LOCKS.is_dir() and any(SNAKEMAKE_LOCKS.iterdir())
    if alive := [process for process in _others() if _is_snakemake(process)]:
        if locked:
            raise BusyError(f"Snakemake is at work in this checkout (process {alive[0].pid}); wait for it, or stop it")
        return
    if jobs := [process for process in _others() if _is_job(process)]:
        print(f"Stopping {len(jobs)} processes that an interrupted run has left behind", file=sys.stderr)
        for job in jobs:
            _signal(job, signal.SIGTERM)
        for job in psutil.wait_procs(jobs, timeout=SECONDS_TO_STOP)[1]:
            _signal(job, signal.SIGKILL)
    if locked:
        print("The last run was killed; going on from its finished files", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "--quiet", "all"], check=True)


def run_snakemake(lock: IO[str], options: list[str]) -> int:
    """Run Snakemake and pass Ctrl-C and a polite kill on, to it and its jobs; a second one kills.

    Returns
    -------
    int
        Its exit code, `INTERRUPTED` if there was a signal.
    """
    received: list[int] = []
    process = None

    def pass_on(*signalled: int | None) -> None:
        received.extend(signalled[:1])
        if process:
            os.killpg(process.pid, signal.SIGINT if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        # It inherits the lock: if this process alone is killed, the run goes on, and its lock holds as long as it does.
        command = [sys.executable, "-m", "snakemake", *options]
        process = subprocess.Popen(command, pass_fds=[lock.fileno()], process_group=0, stdin=subprocess.DEVNULL)
        print(process.pid, file=lock, flush=True)
        if received:
            os.killpg(process.pid, signal.SIGINT)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if received and code else code


def print_results(results: Path) -> None:
    """Print the table of accuracies and the path of the report, unless the run was told to make other files."""
    table, report = results / "tables" / "table1.md", results / "report.html"
    if table.exists() and report.exists():
        print(table.read_text(encoding="utf-8"))
        print(f"Report: {ROOT / report}")


def _others() -> list[psutil.Process]:
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own]


def _is_snakemake(process: psutil.Process) -> bool:
    try:
        names = [Path(word).name for word in process.cmdline()[:3]]
        return "snakemake" in names and Path(process.cwd()) == ROOT
    except psutil.Error:  # it has ended meanwhile, or is another user's
        return False


def _is_job(process: psutil.Process) -> bool:
    try:
        return process.environ().get(MARK) == str(ROOT)
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


if __name__ == "__main__":
    raise SystemExit(main())
