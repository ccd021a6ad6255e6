"""Every hostile value in every key of two studies: refused in one line that names the key, or planned in 2 seconds."""

import signal
from contextlib import contextmanager

import hostile
import pytest
import yaml

from .conftest import ROOT

SECONDS = 2.0  # of a processor, for a check and a plan, which take hundredths of one
SAMPLE = 20  # of a study, through Snakemake itself


@contextmanager
def limited(seconds):
    """Fail if the block takes longer."""

    def stop(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read(study):
    return yaml.safe_load((ROOT / f"config/{study}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("study", ["ci", "digits"])
def test_every_value_in_every_key(study):
    params, faults, counts = read(study), [], {True: 0, False: 0}
    for path in hostile.keys(params):
        for value in hostile.VALUES:
            try:
                with limited(SECONDS):
                    counts[bool(hostile.outcome(hostile.changed(params, path, value), path))] += 1
            except Exception as error:  # all of them are to be seen at once
                faults.append(f"{'.'.join(map(str, path))} = {value!r:.60}: {type(error).__name__}: {error!s:.200}")
    print(f"{study}: {counts[True]} refused, {counts[False]} planned")
    assert not faults, "\n".join(faults)
    assert min(counts.values()) > 0


@pytest.mark.parametrize("study", ["ci", "digits"])
def test_some_through_snakemake(fresh, draw, study):
    params = read(study)
    cases = [(path, value) for path in hostile.keys(params) for value in hostile.VALUES]
    for path, value in draw.sample(cases, SAMPLE):
        given = hostile.changed(params, path, value)
        message = hostile.outcome(given, path)
        (fresh / "params.yaml").write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
        output = fresh.run("snakemake", "--dry-run", "--quiet", "all", code=1 if message else 0)
        assert "Traceback" not in output
        if message:
            lines = [line for line in output.splitlines() if message.removeprefix("a.yaml: ") in line]
            assert len(lines) == 1, f"{path} = {value!r}: {message}\n{output}"
