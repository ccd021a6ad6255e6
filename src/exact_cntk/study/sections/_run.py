"""Do one job of a section: ``exact-cntk section run KEY JOB``."""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from exact_cntk.errors import UserError, nearest
from exact_cntk.study.sections import KEYS, Job, plan


class Context(NamedTuple):
    """What a job has beside its parameters.

    Attributes
    ----------
    data : Path
        The processed images.
    inputs, files : list of Path
        Those of the job.
    checkpoint : Path
        Where a job may keep what is finished, until all is: a file without suffix, or a folder.
    timings : Path
        Folder of the timings of blocks, by the folder of the pass.
    threads : int or None
        None: one for each core.
    max_memory_gib : float or None
        Refuse to need more.
    progress : bool
        Whether to show a progress bar.
    log : callable(line)
    """

    data: Path
    inputs: list[Path]
    files: list[Path]
    checkpoint: Path
    timings: Path
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
    """Do one job of a section of a study, and write its files.

    Parameters
    ----------
    key, name : str
        The section, and one of the names that ``jobs`` of its plan gives.
    params : mapping
        Checked parameters of the study.
    results : Path, optional
        The study's folder; by default results/<study>.
    data : Path, optional
        Its processed images; by default data/processed/<study>.h5.
    threads : int, optional
        By default one for each core.
    max_memory_gib : float, optional
        Refuse to need more.
    progress : bool
    log : callable(line)

    Returns
    -------
    list of Path
        The files that were written.

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
    folder = results or Path("results") / params["study"]
    context = Context(
        data=data or Path("data/processed") / f"{params['study']}.h5",
        inputs=[folder / file for file in job.inputs],
        files=[folder / file for file in job.files],
        checkpoint=folder / "checkpoints" / key / name,
        timings=folder / "benchmarks/kernel_block",
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
    """The jobs of a section by name; none of a section that computes nothing.

    Raises
    ------
    UserError
        No such section.
    """
    if key not in KEYS:
        raise UserError(f"section {key!r} is unknown{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}")
    jobs: dict[str, Job] = plan(key).jobs(params) if plan(key).SECTION.steps else {}
    return jobs
