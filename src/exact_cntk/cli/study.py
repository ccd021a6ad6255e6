"""`exact-cntk solve`, `summary` and `report`: from kernels to the report."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import (
    LARGEST_RIDGE,
    KernelData,
    Ridges,
    StudyDir,
    StudyName,
    gib,
    log,
    number,
    on_terminal,
    parse_list,
    study_name,
)
from exact_cntk.errors import InputError


def solve(
    kernel: Annotated[Path, typer.Option(help="From `exact-cntk merge`.", metavar="FILE.h5")],
    data: KernelData,
    subset: Annotated[
        list[str],
        typer.Option(help="Training sets, consecutive in the pool; repeatable, or with commas.", metavar="NxREPEATS"),
    ],
    out: Annotated[Path, typer.Option(help="The metrics.", metavar="FILE.json")],
    ridges: Ridges = "0",
    provenance: Annotated[
        Path | None, typer.Option(help="Also record code, packages and machine.", metavar="FILE.json")
    ] = None,
    timing: Annotated[Path | None, typer.Option(help="Also record seconds and time.", metavar="FILE.json")] = None,
    study: StudyName = None,
    method: Annotated[
        str,
        typer.Option(
            help="eigh, cholesky, cuda, blocked, cg, direct (no cg) or auto: the cheapest that fits.", metavar="NAME"
        ),
    ] = "auto",
    max_memory_gib: Annotated[
        float | None,
        typer.Option(parser=gib, help="Use a method that needs no more memory, or fail.", metavar="GIB"),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Finished ridges, until the metrics are written. [default: next to them]", metavar="DIR"),
    ] = None,
) -> None:
    """Fit and test kernel regression along a ridge path.

    Every training set is tested on all test images. The metrics give accuracy, leave-one-out error, residual and
    condition number for every ridge, without ridge (the paper's protocol) and for the ridge chosen on the training
    images alone.

    More than 10,000 images are solved on a GPU, where there is one, else by conjugate gradients, which choose the ridge
    on a held-out tenth (`selection` in the metrics); a ridge for which these do not converge has no answer, and
    --method direct solves it. The log says how and why. Run again after an interruption, it resumes after the last
    finished ridge or product, on the CPU.

    \b
    Example:
      exact-cntk solve --kernel cntk-v-depth-03.h5 --data data/processed/digits.h5
        --subset 1000x1 --subset 200x5 --ridges 0,1e-6,1e-4 --out metrics.json
    """
    from exact_cntk._support.devices import sole_device
    from exact_cntk.regression.solvers.choice import prefers_gpu
    from exact_cntk.study.solve import solve_to_files
    from exact_cntk.study.subsets import parse_subset

    start = time.perf_counter()
    if study is None:
        try:
            study = study_name(data.stem)
        except typer.BadParameter as error:
            raise InputError(f"--study is not given, and --data's name {error.message}; give --study") from None
    subsets = [parse_subset(item) for text in subset for item in text.split(",")]
    with sole_device() if prefers_gpu(max(size.train_images for size in subsets), method) else nullcontext():
        metrics = solve_to_files(
            kernel,
            data,
            out,
            provenance,
            timing_file=timing,
            subsets=subsets,
            ridges=parse_list("--ridges", ridges, number(0, LARGEST_RIDGE)),
            study=study,
            method=method,
            max_memory_gib=max_memory_gib,
            checkpoints=checkpoints,
            progress=on_terminal(),
            log=log,
        )
    log(
        f"{out}: {metrics['family']}, depth {metrics['depth']}, {len(metrics['results'])} training sets and kinds, "
        f"{time.perf_counter() - start:.1f} s"
    )


Metrics = Annotated[
    list[Path] | None,
    typer.Argument(help="Metrics files from `exact-cntk solve`. [default: all in DIR/metrics]", metavar="METRICS"),
]


Sections = Annotated[
    list[Path] | None,
    typer.Option(
        "--section",
        help="From `exact-cntk section show`, repeatable. [default: all in DIR/sections]",
        metavar="FILE.json",
    ),
]


def summary(study_dir: StudyDir, sections: Sections = None) -> None:
    """Write DIR/summary.json: the numbers of all sections in one tree.

    \b
    Example:
      exact-cntk summary --study-dir results/digits
    """
    from exact_cntk.study.summary import write_summary

    _log_paths(write_summary(study_dir, sections))


def report(
    study_dir: StudyDir,
    metrics: Metrics = None,
    sections: Sections = None,
    out: Annotated[Path | None, typer.Option(help="The page. [default: DIR/report.html]", metavar="FILE.html")] = None,
) -> None:
    """Write the report of a study, one page.

    It holds tables, figures and provenance, and opens offline.

    \b
    Example:
      exact-cntk report --study-dir results/digits
    """
    from exact_cntk.study.report import write_report

    _log_paths([write_report(study_dir, metrics or None, sections=sections, out=out)])


def _log_paths(paths: list[Path]) -> None:
    for path in paths:
        log(str(path))
