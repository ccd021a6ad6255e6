"""Interruptions: whatever is killed, the next run goes on, and ends with the bytes of an undisturbed one."""

import base64
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from checkouts import family, kill, wait_until
from kernel_files import HUNG

STUDY = ("python", "workflow/scripts/run_study.py", "--cores", "2")


def kill_all(process):
    """Kill a process and all that it has started, without a chance to clear up."""
    kill(family(process))
    process.wait()


def count(checkout, pattern):
    return len(list((checkout / "results/ci").glob(pattern)))


def unfinished(checkout):
    """What Snakemake has not yet taken note of as finished, and makes again, though it may be there already."""
    markers = (checkout / ".snakemake/incomplete").rglob("*")
    return {base64.urlsafe_b64decode(marker.name).decode() for marker in markers if marker.is_file()}


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
    # What a killed job was writing has a hidden name, and goes away in a later run.
    ages = {name: age for name, age in fresh.ages("blocks").items() if not Path(name).name.startswith(".")}
    kept = {name: age for name, age in ages.items() if name not in unfinished(fresh)}
    assert kept

    # Goes on from there; then Ctrl-C, which reaches the script alone.
    process = fresh.start(*STUDY)
    wait_until(lambda: count(fresh, "kernels/*.h5") >= 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    said = (fresh / "output.log").read_text(encoding="utf-8")
    assert "The last run was killed; going on from its finished files" in said
    assert "Interrupted." in said
    assert not list((fresh / ".snakemake").glob("locks/*"))
    assert fresh.ages("blocks").items() >= kept.items()

    # Killed once more; plain Snakemake goes on after the unlock.
    process = fresh.start("snakemake", "--cores", "2", "metrics")
    wait_until(lambda: count(fresh, "metrics/*.json") >= 1, process)
    kill_all(process)
    assert "--unlock" in fresh.snakemake("metrics", code=1)
    fresh.run("snakemake", "--unlock")
    fresh.snakemake("metrics")
    assert fresh.ages("blocks").items() >= kept.items()
    assert fresh.files("kernels", "metrics") == finished_once.files("kernels", "metrics")
    blocks, expected = fresh.files("blocks"), finished_once.files("blocks")
    assert blocks.items() <= expected.items()
    assert {name for name in expected if "/arch-" not in name} <= blocks.keys()  # the search is no part of the target


def test_killed_job_is_done_again(finished):
    # As after `kill -9` of a job in the middle of its write: the file lies there under another name.
    block = finished / "results/ci/blocks/cntk-v-d3-4/40-0.h5"
    content = block.read_bytes()
    block.rename(block.with_name(f".{block.name}.1234"))
    finished.snakemake("results/ci/blocks/cntk-v-d3-4/40-0.h5")
    assert block.read_bytes() == content


def test_a_job_killed_by_the_system_is_named(fresh):
    # As the system does it when memory runs out: nothing is left in the job's log.
    command = "python -c 'import os; os.kill(os.getpid(), 9)'; exact-cntk"
    fresh.edit("workflow/rules/prepare.smk", '"exact-cntk --made-from {params.made_from} data', f'"{command} data')
    output = fresh.snakemake("data/processed/ci.h5", code=1)
    assert output.count("This job was killed, most likely because memory ran out: ") == 1
    assert "Error in rule preprocess" in output


def test_a_home_that_takes_no_files_is_named(fresh):
    for name in ("HOME", "XDG_CACHE_HOME"):
        fresh.env = fresh.env | {"XDG_CACHE_HOME": "", name: "/dev/null/nowhere"}
        assert re.fullmatch(r"run_study: error: /dev/null/\S+ cannot be written: .*\n", fresh.run(*STUDY, code=2))
    (fresh / "results").touch()
    assert "error: results cannot be written: Not a directory" in fresh.run(*STUDY, code=2)


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
        # The table at the end has letters that ASCII lacks; they are escaped.
        finished.env = finished.env | {"PYTHONIOENCODING": "ascii"}
        said = finished.run(*STUDY)
        assert left.wait(timeout=HUNG) == -signal.SIGTERM
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
