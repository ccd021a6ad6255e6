"""The sections of a study: what it computes beside its kernels, and how tables, figures and the report show it.

A section has a key, the one of its parameters in ``params.yaml`` (null: not part of the study). Its rules compute files
in ``results/<study>/<key>/``; a module of this package, ``sections/<key>.py``, turns them into tables and figures. All
else is generic: the rule and verb ``section``, the notebook, the section of the report, the entry in ``summary.json``.

A module has
    load(study, files, *, resamples, seed) -> Results
        `study` is the loaded `exact_cntk.study.results.Study` (its kernels' accuracies, name, dataset), `files` what
        the section's rules have made, `resamples` and `seed` those of the bootstrap (``report`` in the parameters).
        `read_documents` reads and checks JSON files. Results are whatever the functions below take.
    tables(results) -> dict[str, DataFrame]
        Tidy; name → ``tables/<name>.csv``, the data's name is put in front as the column ``dataset``.
    figures(results) -> dict[str, Figure]
        Name → ``figures/<name>.svg``; in the style of `exact_cntk.study.show.style`.
    CAPTIONS: dict[str, str]
        Of the figures, by name.
    TITLE, NAVIGATION, TEXT: str
        Heading in the report, its short name for the list of sections, and a paragraph (or several in <p>) of HTML:
        what is compared, and how.
    shown(results) -> list[tuple[str, DataFrame]]
        Caption and table for people, in the order of the report; cells are texts or numbers to be shown as they are.
    headline(results) -> list[str]
        At most two sentences for the top of the report, every number computed.
    summary(results) -> dict
        Numbers, or dicts of them, for ``summary.json`` (`dvc metrics`), where they stand under the section's key.

A section that costs more than its presentation has, in ``study/<key>.py``,
    expected_seconds(params, calibration_seconds) -> float
        Seconds of all its jobs on this machine, `params` the checked parameters of the whole study; 0 where its key is
        null; measured for about `calibration_seconds`.
    expected_memory(params) -> int
        Peak of its largest job, bytes.
    expected_disk(params) -> int
        Files it leaves, checkpoints with them, bytes.
for ``exact-cntk estimate`` and the line that Snakemake starts with. They import what they need themselves: the module
must be cheap to import.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exact_cntk._support.lazy import lazy_exports

if TYPE_CHECKING:
    from exact_cntk.study.sections._pages import open_section, read_pages, section_pages, write_section

__all__ = [
    "ALWAYS",
    "SECTIONS",
    "SectionFiles",
    "open_section",
    "present",
    "read_pages",
    "section_pages",
    "write_section",
]

__getattr__ = lazy_exports(
    __name__,
    dict.fromkeys(["open_section", "read_pages", "section_pages", "write_section"], "_pages"),
)


@dataclass(frozen=True)
class SectionFiles:
    """Names of the files that a section's presentation consists of; the workflow reads them from here.

    Attributes
    ----------
    notebook : str
        ``notebooks/<notebook>.ipynb``, whose parameters are `study_dir`, `metrics`, `files`, `resamples` and `seed`.
    about : str
        What the notebook shows, for the report's list of notebooks.
    tables, figures : tuple of str
        Stems of ``tables/<name>.csv`` and ``figures/<name>.svg``, in the order of the report.
    folders : tuple of str
        Folders of results/<study> that hold the section's files.
    sources : tuple of str
        Patterns below src/exact_cntk: further files whose edit makes tables and figures stale, beside the section's own
        module ``study/sections/<key>.py`` and what all of them share.
    """

    notebook: str
    about: str
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


# In the order of the report.
SECTIONS: dict[str, SectionFiles] = {
    "cnns": SectionFiles(
        notebook="cnn_vs_cntk",
        about="trained finite networks beside the exact kernels",
        tables=("cnn_vs_cntk", "cnn_rates", "cnn_learning_curves"),
        figures=("cnn_vs_cntk", "cnn_learning_curves", "cnn_rates"),
        folders=("cnns",),
        sources=("study/sections/cnns/figures.py",),
    ),
    "random_features": SectionFiles(
        notebook="random_features",
        about="kernels of random finite networks beside the exact ones",
        tables=(
            "random_features",
            "random_features_draws",
            "random_features_ridge_path",
            "random_features_losses",
            "table2",
            "width_sweep",
        ),
        figures=("random_features_ridge_path", "random_features_condition", "width_sweep"),
        folders=("random_features",),
        sources=(
            "study/sections/random_features/*.py",
            "study/sections/accuracy/figures.py",
            "study/sections/accuracy/results.py",
        ),
    ),
    "correlation": SectionFiles(
        notebook="correlation",
        about="few training images against all of them, and the paper's table",
        tables=("correlation", "correlation_differences"),
        figures=("correlation_forest", "small_against_full", "correlation_regret", "paper_table1"),
        folders=("cnns",),
        sources=(
            "study/sections/correlation/analysis.py",
            "study/sections/correlation/figures.py",
            "study/stats/comparison.py",
            "study/stats/differences.py",
            "study/stats/statistics.py",
        ),
    ),
    "architectures": SectionFiles(
        notebook="architecture_search",
        about="many architectures ranked by few training images",
        tables=("architectures", "architecture_correlation", "architecture_search"),
        figures=("architecture_ranking", "architecture_cost", "architecture_search"),
        folders=("architectures",),
        sources=(
            "study/sections/architectures/figures.py",
            "study/sections/architectures/plan.py",
            "study/sections/architectures/results.py",
            "study/sections/architectures/strategies.py",
            "study/stats/comparison.py",
            "study/stats/statistics.py",
        ),
    ),
    "small_data": SectionFiles(
        notebook="small_data",
        about="kernels, networks and standard methods from 10 images on",
        tables=("small_data_accuracy", "small_data_differences"),
        figures=("small_data_curves", "small_data_differences"),
        folders=("small_data",),
        sources=("study/sections/small_data/results.py", "study/stats/statistics.py"),
    ),
}
# Part of every study, without a key of its own.
ALWAYS = ("correlation",)


def present(params: Mapping[str, Any]) -> list[str]:
    """List the keys of the sections that a study has, in the order of the report."""
    return [key for key in SECTIONS if key in ALWAYS or params.get(key) is not None]
