"""`exact-cntk section` and `provenance`: what a study computes beside its kernels, shown and accounted for."""

from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import StudyDir, log


def section(
    key: Annotated[str, typer.Argument(help="Name of the section, as in params.yaml.", metavar="KEY")],
    study_dir: StudyDir,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="What its rules have made. [default: all in its folders]", metavar="FILES"),
    ] = None,
    metrics: Annotated[
        list[Path] | None,
        typer.Option(help="Metrics files of the study, repeatable. [default: all in DIR/metrics]", metavar="FILE.json"),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap behind intervals.", metavar="N")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", metavar="N")] = 0,
) -> None:
    """Write tables and figures of one section of a study.

    They go to DIR/tables and DIR/figures; what the report says of the section goes to DIR/sections/KEY.json. The
    sections are cnns, random_features, correlation, architectures and small_data.

    \b
    Example:
      exact-cntk section correlation --study-dir results/digits
    """
    from exact_cntk.study.sections import write_section

    for path in write_section(key, study_dir, metrics, files, resamples=resamples, seed=seed):
        log(str(path))


def provenance(
    data: Annotated[Path, typer.Option(help="The digest, from `exact-cntk data prepare`.", metavar="FILE.json")],
    parameters: Annotated[Path, typer.Option(help="Parameters of the section.", metavar="FILE.yaml")],
    out: Annotated[Path, typer.Option(help="Where to write.", metavar="FILE.json")],
) -> None:
    """Record where the files of a section come from.

    Code, packages and machine of the run that has made them.

    \b
    Example:
      exact-cntk provenance --data data/processed/digits.json
        --parameters results/digits/cnns/parameters.yaml
        --out results/digits/section_provenance/cnns.json
    """
    import json

    import yaml

    from exact_cntk.errors import UserError
    from exact_cntk.study.documents import write_result
    from exact_cntk.study.provenance import section_provenance

    try:
        documents = json.loads(data.read_text(encoding="utf-8")), yaml.safe_load(parameters.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{data} and {parameters} cannot be read: {error}") from error
    write_result(out, section_provenance(documents[1] or {}, documents[0]))
    log(str(out))
