"""Snakemake in processes that are forked from one which has imported it: a start costs a second of CPU otherwise."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["snakemake.cli", "jsonschema", "h5py", "pandas"])


def snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> tuple[int | None, str]:
    """Run Snakemake's command in a folder; exit code, None if it took too long, and output of both streams."""
    with tempfile.NamedTemporaryFile() as output:
        process = _FORKS.Process(target=_run, args=(arguments, folder, dict(environment), output.name))
        process.start()
        process.join(timeout)
        code = process.exitcode
        process.kill()
        return code, Path(output.name).read_text(encoding="utf-8")


def _run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: str) -> None:
    from snakemake.cli import main

    with Path(output).open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    main()
