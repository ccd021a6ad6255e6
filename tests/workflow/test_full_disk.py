"""A disk that fills up in the middle of a run: the run says so, and the next one goes on from what is finished."""

import subprocess

import pytest

STUDY = ("python", "workflow/scripts/run_study.py", "--cores", "2", "metrics")


@pytest.fixture
def small_results(fresh):
    """Mount a file system of 256 KiB at results/, which holds about half of the blocks of the study ci."""
    results = fresh / "results"
    results.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(results)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {getattr(error, 'stderr', error)}")
    yield results
    subprocess.run(["umount", str(results)], check=True)


def test_goes_on_when_there_is_space_again(fresh, small_results, finished_once):
    said = fresh.run(*STUDY, code=1)
    assert "No space left on device" in said
    assert said.count("Finished files stay: the same command goes on from there.") == 1
    kept = fresh.ages("blocks")
    assert 0 < len(kept) < len(finished_once.ages("blocks"))
    assert not any(name.endswith(".tmp") for name in kept)

    # To the last byte, so that jobs cannot even write to their logs.
    with (small_results / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while filler.write(bytes(4096)):
            pass
    assert "ci: no space left on the disk of results/ci; free some." in fresh.run(*STUDY, code=1)
    assert fresh.ages("blocks") == kept

    (small_results / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_results)], check=True)
    fresh.run(*STUDY)
    assert fresh.ages("blocks").items() >= kept.items()
    assert fresh.files("kernels", "metrics") == finished_once.files("kernels", "metrics")
    expected = finished_once.files("blocks")
    assert fresh.files("blocks") == {
        name: expected[name] for name in expected if "/arch-" not in name
    }  # not the target
