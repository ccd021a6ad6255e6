"""The sections of a study: what it computes, and how tables, figures, notebooks and the report show it.

A section is a folder of this package, a rule file and a notebook; adding one means to add these, its key to `KEYS`
below, and, if it computes something, to the stage ``sections`` of dvc.yaml. In the folder are

plan.py
    SECTION: Section
        Names of files, and what the section needs. Of the standard library, as all of the plan.
    contradictions(section, params) -> Iterator[str]
        Complaints about its parameters that a schema cannot make, see `exact_cntk.study.checks`.
    factors(params) -> dict[str, int]
        Keys (with words that say more) whose product is about the number of its jobs or passes, where it is a product.
    jobs(params) -> dict[str, Job]
        Its jobs by name, for ``exact-cntk section run KEY JOB``; {} where its key is left out.
    passes(params) -> tuple[KernelPass, ...]
        Kernels that it needs beside the study's own; their blocks are computed as those are.
    names(params) -> Iterator[FileName]
        Names made of its parameters that could collide.
params.schema.yaml
    Its part of the parameters' schema. A section without one is part of every study that has what it needs.
jobs.py
    run(job, context) -> str
        Do a job, and return a line for the log; `exact_cntk.study.sections._run.Context` says what there is.
cost.py
    What its jobs cost, for ``exact-cntk estimate``; see `exact_cntk.study.sections._collect`.
results.schema.yaml
    The form of the files that its jobs write, for `read_documents`.
page.py, with results.py and figures.py as it needs them
    load(study, files, *, resamples, seed) -> Results
        `study` is the loaded `exact_cntk.study.results.Study`, None for a section that does not need metrics; `files`
        are those of its jobs, `resamples` and `seed` those of the bootstrap. `read_documents` reads and checks JSON.
    tables(results) -> dict[str, DataFrame]
        Tidy; name → ``tables/<name>.csv``, where the data's name is put in front as the column ``dataset``.
    texts(results) -> dict[str, str]
        Of `SECTION.texts`.
    figures(results) -> dict[str, Figure]
        Name → ``figures/<name>.svg``; in the style of `exact_cntk.study.show.style`.
    CAPTIONS: dict[str, str]
        Of the figures, by name.
    TITLE, NAVIGATION, TEXT: str
        Heading in the report, its short name for the list of sections, and a paragraph (or several in <p>) of HTML:
        what is compared, and how.
    shown(results) -> list[tuple[str, DataFrame]]
        Caption and table for people, in the order of the report; cells are texts or numbers to be shown as they are.
    measured(results, benchmarks) -> list[tuple[str, DataFrame]], may be missing
        As `shown`, of what was measured, in files of the folder `benchmarks`. Nothing else may depend on them.
    headline(results) -> list[str]
        Sentences for the top of the report, every number computed.
    summary(results) -> dict
        Numbers, or dicts of them, for ``summary.json`` (`dvc metrics`), where they stand under the section's key.
captions/<name>.rst
    One sentence for each table and figure, for Snakemake's own report.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from exact_cntk._support.lazy import lazy_exports
from exact_cntk.study.sections._section import NEEDS, FileName, Job, Section

if TYPE_CHECKING:
    from exact_cntk.study.sections._pages import open_section, read_pages, section_pages, write_section

__all__ = [
    "KEYS",
    "FileName",
    "Job",
    "Section",
    "has_parameters",
    "is_present",
    "open_section",
    "plan",
    "present",
    "read_pages",
    "schema_file",
    "section_pages",
    "write_section",
]

__getattr__ = lazy_exports(
    __name__, dict.fromkeys(["open_section", "read_pages", "section_pages", "write_section"], "_pages")
)

# In the order of the report.
KEYS = ("accuracy", "cnns", "random_features", "correlation", "architectures", "small_data")


def plan(key: str) -> ModuleType:
    """The section's plan.py."""
    return import_module(f"{__package__}.{key}.plan")


def schema_file(key: str) -> Path:
    """The section's part of the schema of parameters."""
    return Path(__file__).parent / key / "params.schema.yaml"


def has_parameters(key: str) -> bool:
    """Whether a section has a key in the parameters; the others are part of every study that has what they need."""
    return schema_file(key).is_file()


def is_present(key: str, params: Mapping[str, Any]) -> bool:
    """Whether a study has a section."""
    if has_parameters(key):
        return params.get(key) is not None
    return all(params.get(NEEDS[need]) is not None for need in plan(key).SECTION.needs)


def present(params: Mapping[str, Any]) -> list[str]:
    """List the keys of the sections that a study has, in the order of the report."""
    return [key for key in KEYS if is_present(key, params)]
