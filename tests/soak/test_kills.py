"""Runs that are killed at random, in every way, and resumed by `make study`: the results are as if they were not.

Killed are a job, Snakemake, make, or all processes at once, after a time drawn at random; finished studies are removed
and begun anew until there were `KILLS`.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
from checkouts import family, kill
from tools.compare_results import compared_files

KILLS = 25
LONGEST_RUN = 40.0  # seconds until a kill, at most; each run has more finished files to begin with
HOURS = 3600  # until a process counts as hung
# make of the checkout itself has made the environment; here it is to run the study alone.
STUDY = ("make", "--old-file=install", "study")


def marked(checkout):
    """All processes of a checkout's jobs and runs, also those whose parents have been killed."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.cwd() == str(checkout.path):
                found.append(process)
    return found


def chosen(way, process, draw):
    """The processes to kill."""
    alive = family(process)
    if way == "all":
        return alive
    if way == "make":
        return alive[:1]
    wanted = []
    for one in alive:
        with suppress(psutil.Error):
            words = one.cmdline()
            if way == "snakemake" and "snakemake" in words[:3]:
                wanted.append(one)
            if way == "job" and any(Path(word).name == "exact-cntk" for word in words[:3]):
                wanted.append(one)
    return [draw.choice(wanted)] if wanted else []


def finish(checkout):
    """Run the study to its end, by the documented command alone; wait for a run that is still at work."""
    while True:
        process = checkout.start(*STUDY)
        if process.wait(HOURS) == 0:
            return
        output = (checkout / "output.log").read_text(encoding="utf-8")
        assert "another run is at work in this checkout" in output or "Snakemake is at work" in output, output
        psutil.wait_procs(marked(checkout), HOURS)


def differences(checkout, undisturbed):
    """Names of result files that are missing, are new, or have other bytes."""
    found, expected = (compared_files(folder / "results/ci") for folder in (checkout, undisturbed))
    changed = {
        name for name in found.keys() & expected.keys() if found[name].read_bytes() != expected[name].read_bytes()
    }
    return sorted(found.keys() ^ expected.keys() | changed)


def test_killed_and_resumed(fresh, finished_once, draw):
    ways = [draw.choice(["job", "snakemake", "make", "all"]) for _ in range(KILLS)]
    killed = []
    while ways:
        process = fresh.start(*STUDY)
        try:
            code = process.wait(draw.uniform(0, LONGEST_RUN))
        except subprocess.TimeoutExpired:
            victims = chosen(ways[-1], process, draw)
            kill(victims)
            killed += [ways.pop()] if victims else []
            process.wait(HOURS)
            continue
        output = (fresh / "output.log").read_text(encoding="utf-8")
        if code:  # what was left behind is still at work
            assert "at work in this checkout" in output, output
            psutil.wait_procs(marked(fresh), HOURS)
            continue
        assert not differences(fresh, finished_once), killed
        for folder in ("results", "data/processed", ".snakemake"):
            shutil.rmtree(fresh / folder, ignore_errors=True)
    finish(fresh)
    assert not differences(fresh, finished_once), killed
