"""Do one job of a section: ``exact-cntk section run KEY JOB``."""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from exact_cntk._support.statement import check_parameters
from exact_cntk.errors import UserError, nearest
from exact_cntk.study.sections import KEYS, Job, plan


class Context(NamedTuple):
    """What a job has in addition to its parameters.

    Attributes
    ----------
    data : Path
        The processed images.
    inputs, files : list of Path
        Those of the job.
    checkpoint : Path
        Where a job may keep finished parts: a file without suffix, or a folder.
    benchmarks : Path
        Folder for what is measured, which differs from run to run; no result may depend on it.
    threads : int or None
        None: one per core.
    max_memory_gib : float or None
        Limit of memory.
    progress : bool
        Whether to show a progress bar.
    log : callable(line)
    """

    data: Path
    inputs: list[Path]
    files: list[Path]
    checkpoint: Path
    benchmarks: Path
    threads: int | None
    max_memory_gib: float | None
    progress: bool
    log: Callable[[str], object]


def run_job(
    key: str,
    name: str,
    params: Mapping[str, Any],
    *,
    results: Path | None = None,
    data: Path | None = None,
    threads: int | None = None,
    max_memory_gib: float | None = None,
    progress: bool = False,
    log: Callable[[str], object] = print,
) -> list[Path]:
    """Do one job of a section, and give the files that it wrote.

    Parameters
    ----------
    key, name : str
        The section, and one of its jobs, by ``jobs`` of its plan.
    params : mapping
        Checked parameters of the study.
    results, data : Path, optional
        The study's folder and processed images; by default results/<study> and data/processed/<study>.h5.
    threads, max_memory_gib, progress, log
        See `Context`.

    Raises
    ------
    UserError
        No such section or job; and as the job says.
    """
    jobs = section_jobs(key, params)
    if name not in jobs:
        known = f"; allowed: {', '.join(list(jobs)[:20])}{', …' if len(jobs) > 20 else ''}" if jobs else ""
        raise UserError(f"section {key} of {params['study']} has no job {name!r}{nearest(name, list(jobs))}{known}")
    job = jobs[name]
    check_parameters(f"{key} {name}", job.parameters)
    folder = results or Path("results") / params["study"]
    context = Context(
        data=data or Path("data/processed") / f"{params['study']}.h5",
        inputs=[folder / file for file in job.inputs],
        files=[folder / file for file in job.files],
        checkpoint=folder / "checkpoints" / key / name,
        benchmarks=folder / "benchmarks",
        threads=threads,
        max_memory_gib=max_memory_gib,
        progress=progress,
        log=log,
    )
    start = time.perf_counter()
    outcome = import_module(f"{__package__}.{key}.jobs").run(job, context)
    log(f"{context.files[0]}: {outcome}, {time.perf_counter() - start:.1f} s")
    return context.files


def section_jobs(key: str, params: Mapping[str, Any]) -> dict[str, Job]:
    """The jobs of a section by name, none of one that computes nothing; UserError if there is no such section."""
    if key not in KEYS:
        raise UserError(f"section {key!r} is unknown{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}")
    jobs: dict[str, Job] = plan(key).jobs(params) if plan(key).SECTION.steps else {}
    return jobs
