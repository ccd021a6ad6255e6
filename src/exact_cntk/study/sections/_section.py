"""What a section of a study is: the names of its files, what it needs, and the jobs that compute its files.

Standard library alone: the workflow reads this before anything runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What a section may be made from, beside its own parameters.
NEEDS = ("data", "kernels", "metrics")


@dataclass(frozen=True)
class Section:
    """What the workflow has to know of a section, in ``sections/<key>/plan.py`` under the name SECTION.

    Attributes
    ----------
    notebook : str
        ``notebooks/<notebook>.ipynb``, whose parameters are `study_dir`, `metrics`, `files`, `resamples` and `seed`.
    about : str
        What the notebook shows, for the report's list of notebooks.
    needs : tuple of {"data", "kernels", "metrics"}
        What it is made from: the study's images, its merged kernels, its solved kernels; none of it, and the section is
        part of studies without images as well.
    tables, figures : tuple of str
        Stems of ``tables/<name>.csv`` and ``figures/<name>.svg``, in the order of the report.
    steps : mapping of str to tuple of str
        Name of a rule of the section → patterns below src/exact_cntk of the sources that define its numbers.
    sources : tuple of str
        Patterns below src/exact_cntk: whose edit makes tables and figures stale, beside the section's own folder and
        what all sections share.
    reads : tuple of str
        Keys of other sections whose files it shows.
    """

    notebook: str
    about: str
    needs: tuple[str, ...]
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class Job(NamedTuple):
    """One job of a section.

    Attributes
    ----------
    step : str
        The rule.
    parameters : mapping
        All that its files depend on, beside the images, its inputs and its sources; JSON's values.
    files : tuple of str
        What it writes, below results/<study>.
    inputs : tuple of str
        Results that it reads, below results/<study>.
    """

    step: str
    parameters: Mapping[str, Any]
    files: tuple[str, ...]
    inputs: tuple[str, ...] = ()
