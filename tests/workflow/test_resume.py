"""Interruptions: whatever is killed, the next run goes on, and ends with the bytes of an undisturbed one."""

import os
import signal
import subprocess
import sys

import psutil
from conftest import wait_until

STUDY = ("python", "workflow/scripts/run_study.py", "--cores", "2")


def kill_all(process):
    """Kill a process and all that it has started, without a chance to clear up."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        one.kill()
    psutil.wait_procs(family)
    process.wait()


def count(checkout, pattern):
    return len(list((checkout / "results/ci").glob(pattern)))


def test_killed_interrupted_and_resumed(fresh, finished_once):
    # Killed, all of it, after two blocks.
    process = fresh.start(*STUDY)
    wait_until(lambda: count(fresh, "blocks/*/*.h5") >= 2, process)
    # A second one respects the first, which is alive.
    said = fresh.run(*STUDY, code=2)
    assert f"another run is at work in this checkout (process {process.pid} " in said
    assert process.poll() is None
    kill_all(process)
    assert list((fresh / ".snakemake").glob("locks/*"))
    kept = fresh.ages("blocks")

    # Goes on from there; then Ctrl-C, which reaches the script alone.
    process = fresh.start(*STUDY)
    wait_until(lambda: count(fresh, "kernels/*.h5") >= 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    said = (fresh / "output.log").read_text(encoding="utf-8")
    assert "The last run was killed; going on from its finished files" in said
    assert "Interrupted." in said
    assert not list((fresh / ".snakemake").glob("locks/*"))
    # But for one at most, which was there before Snakemake had taken note of it.
    assert len(kept.items() & fresh.ages("blocks").items()) >= len(kept) - 1
    kept = fresh.ages("blocks")

    # Killed once more; plain Snakemake goes on after the unlock.
    process = fresh.start("snakemake", "--cores", "2", "metrics")
    wait_until(lambda: count(fresh, "metrics/*.json") >= 1, process)
    kill_all(process)
    assert "--unlock" in fresh.snakemake("metrics", code=1)
    fresh.run("snakemake", "--unlock")
    fresh.snakemake("metrics")
    assert fresh.ages("blocks").items() >= kept.items()
    assert fresh.files("kernels", "metrics") == finished_once.files("kernels", "metrics")
    # Those of the sections are no part of the target; some were begun before.
    assert fresh.files("blocks").items() <= finished_once.files("blocks").items()


def test_killed_job_is_done_again(finished):
    # As after `kill -9` of a job in the middle of its write: the file lies there under another name.
    block = finished / "results/ci/blocks/cntk-v-d3-4/40-0.h5"
    content = block.read_bytes()
    block.rename(block.with_name(f".{block.name}.1234"))
    finished.snakemake("results/ci/blocks/cntk-v-d3-4/40-0.h5")
    assert block.read_bytes() == content


def test_jobs_left_behind_are_stopped(finished):
    code = "import signal; print('ready', flush=True); signal.pause()"
    left, other = (
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"EXACT_CNTK_WORKFLOW": str(path)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for path in (finished.path, finished / "elsewhere")
    )
    try:
        assert left.stdout.readline() == other.stdout.readline() == b"ready\n"
        said = finished.run(*STUDY)
        assert left.wait(timeout=60) == -signal.SIGTERM
        assert other.poll() is None
        assert "Stopping 1 processes" in said
        # And then it ends as every run does.
        assert "| depth |" in said
        assert said.rstrip().endswith(f"Report: {finished / 'results/ci/report.html'}")
    finally:
        for process in (left, other):
            process.kill()
            process.wait()
            process.stdout.close()
