"""`exact-cntk section`: what a study computes besides its kernels, with tables, figures and provenance."""

from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import (
    LARGEST_SEED,
    MOST_RESAMPLES,
    MaxMemory,
    StudyDir,
    Threads,
    log,
    on_terminal,
    whole,
)
from exact_cntk.cli.verb import Verb

app = typer.Typer(no_args_is_help=True, help="Compute and show a section of a study.", rich_markup_mode=None)

Key = Annotated[str, typer.Argument(help="Name of the section, as in params.yaml.", metavar="KEY")]


@app.command(cls=Verb)
def run(
    key: Key,
    job: Annotated[str, typer.Argument(help="One of its jobs. [default: list them]", metavar="JOB")] = "",
    params: Annotated[Path, typer.Option(help="Parameters of the study.", metavar="FILE.yaml")] = Path("params.yaml"),
    study_dir: Annotated[
        Path | None, typer.Option(help="Folder of the study. [default: results/<study>]", metavar="DIR")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Its images. [default: data/processed/<study>.h5]", metavar="FILE.h5")
    ] = None,
    threads: Threads = None,
    max_memory_gib: MaxMemory = None,
) -> None:
    """Do one job of a section, and write its files into the study's folder.

    The parameters of the study alone determine what the job computes; the files that it reads must exist. Run again
    after an interruption, long jobs resume where they stopped.

    \b
    Example:
      exact-cntk section run small_data rbf
    """
    from exact_cntk.study.params import load_params
    from exact_cntk.study.sections._run import run_job, section_jobs

    checked = load_params(params)
    if not job:
        print("\n".join(section_jobs(key, checked)))
        return
    run_job(
        key,
        job,
        checked,
        results=study_dir,
        data=data,
        threads=threads,
        max_memory_gib=max_memory_gib,
        progress=on_terminal(),
        log=log,
    )


@app.command(cls=Verb)
def show(
    key: Key,
    study_dir: StudyDir,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files from its jobs. [default: all in its folders]", metavar="FILES"),
    ] = None,
    metrics: Annotated[
        list[Path] | None,
        typer.Option(help="Metrics files of the study, repeatable. [default: all in DIR/metrics]", metavar="FILE.json"),
    ] = None,
    resamples: Annotated[
        int, typer.Option(parser=whole(1, MOST_RESAMPLES), help="Bootstrap samples for intervals.", metavar="N")
    ] = 2000,
    seed: Annotated[int, typer.Option(parser=whole(0, LARGEST_SEED), help="Seed of the bootstrap.", metavar="N")] = 0,
) -> None:
    """Write tables and figures of one section of a study.

    They go to DIR/tables and DIR/figures; the section's part of the report goes to DIR/sections/KEY.json. The study's
    own kernels are the section accuracy.

    \b
    Example:
      exact-cntk section show correlation --study-dir results/digits
    """
    from exact_cntk.study.sections import write_section

    for path in write_section(key, study_dir, metrics, files, resamples=resamples, seed=seed):
        log(str(path))


@app.command(cls=Verb)
def provenance(
    parameters: Annotated[Path, typer.Option(help="Parameters of the section.", metavar="FILE.yaml")],
    out: Annotated[Path, typer.Option(help="Where to write.", metavar="FILE.json")],
    data: Annotated[
        Path | None, typer.Option(help="The digest, from `exact-cntk data prepare`.", metavar="FILE.json")
    ] = None,
    timing: Annotated[Path | None, typer.Option(help="Also record the time.", metavar="FILE.json")] = None,
) -> None:
    """Record where the files of a section come from: code, packages and machine of the run that made them.

    \b
    Example:
      exact-cntk section provenance --data data/processed/digits.json
        --parameters results/digits/cnns/parameters.yaml
        --out results/digits/section_provenance/cnns.json
    """
    from exact_cntk._support.reading import parse_object, read_text
    from exact_cntk._support.stated_files import read_stated
    from exact_cntk._support.statement import check_data, check_parameters
    from exact_cntk.errors import UserError
    from exact_cntk.study.documents import write_result
    from exact_cntk.study.provenance import section_provenance
    from exact_cntk.study.provenance import timing as measured
    from exact_cntk.study.yaml_files import read_yaml

    try:
        digest = {} if data is None else read_stated(data)
        if data is not None:
            check_data(data, digest["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{data} cannot be read as a digest: {error}; make it with `exact-cntk data prepare`"
        ) from error
    try:
        text = read_text(parameters)
        # The workflow's are JSON, whose 1e-05 is a text in YAML.
        given = parse_object(text) if text.startswith("{") else read_yaml(parameters)
    except (OSError, ValueError) as error:
        raise UserError(f"{parameters} cannot be read: {error}; delete it and run the study again") from error
    check_parameters(str(parameters), {"parameters": given})
    write_result(out, section_provenance(given or {}, digest))
    if timing is not None:
        write_result(timing, measured({}), {out: out.read_bytes()})
    log(str(out))
