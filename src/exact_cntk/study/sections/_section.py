"""What a section of a study is: the names of its files, what it needs, and the jobs that compute its files.

Standard library alone: the workflow reads this before anything runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What a section may need in addition to its own parameters → the key of a study's parameters that gives it.
NEEDS = {"data": "prepare", "kernels": "kernels", "metrics": "solve"}


@dataclass(frozen=True)
class Section:
    """What the workflow has to know of a section, in ``sections/<key>/plan.py`` under the name SECTION.

    Attributes
    ----------
    notebooks : mapping of str to str
        ``notebooks/<name>.ipynb``, whose parameters are `study_dir`, `metrics`, `files`, `resamples` and `seed` → what
        it shows, for the report's list of notebooks.
    needs : tuple of {"data", "kernels", "metrics"}
        What it is made from: the study's images, its merged kernels, its solved kernels. With none, the section is part
        of studies without images as well.
    tables, figures : tuple of str
        Stems of ``tables/<name>.csv`` and ``figures/<name>.svg``, in the order of the report.
    texts : tuple of str
        Further files of ``tables/``.
    steps : mapping of str to tuple of str
        Rule of the section → patterns, below src/exact_cntk, of the sources that define its numbers: the only ones
        whose edit makes its files stale.
    shows : tuple of str
        Patterns of further sources whose edit makes tables and figures stale; the section's own folder and the sources
        that all sections share always do.
    reads : tuple of str
        Other sections whose files it shows.
    """

    notebooks: Mapping[str, str]
    needs: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shows: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class Job(NamedTuple):
    """One job of a section.

    Attributes
    ----------
    step : str
        Its rule.
    files : tuple of str
        What it writes, below results/<study>.
    parameters : mapping
        All that its files depend on, except the images, its inputs and its sources; values are JSON's.
    inputs : tuple of str
        Results that it reads, below results/<study>.
    """

    step: str
    files: tuple[str, ...]
    parameters: Mapping[str, Any]
    inputs: tuple[str, ...] = ()


class FileName(NamedTuple):
    """A name that a section makes of its parameters, and where it comes from: key and value in the parameters."""

    what: str
    name: str
    key: str
    value: object
