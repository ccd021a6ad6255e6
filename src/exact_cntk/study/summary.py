"""``summary.json``: the numbers of all sections in one tree, for `dvc metrics` and `dvc exp show`."""

import json
from collections.abc import Iterable
from pathlib import Path

from exact_cntk._support.atomic import write_bytes
from exact_cntk.study.documents import write_result
from exact_cntk.study.sections import read_pages, section_pages

SUMMARY = "summary.json"
MADE_FROM = "summary.made_from.json"  # what the summary was made from, and their checksums


def write_summary(study_dir: str | Path, sections: Iterable[str | Path] | None = None) -> list[Path]:
    """Write the summary of a study: the numbers of its kernels by family, those of other sections by their key.

    Parameters
    ----------
    study_dir : path
        results/<study>.
    sections : iterable of paths, optional
        Pages of the study's sections; default: all in ``<study_dir>/sections``.

    Returns
    -------
    list of Path
        `SUMMARY` and `MADE_FROM`. Same pages, same bytes.

    Raises
    ------
    UserError
        As `sections.read_pages`; there is no section; and if the disk is full or not writable.
    """
    tree: dict[str, object] = {}
    for page in read_pages(section_pages(study_dir) if sections is None else sections):
        tree |= page["summary"] if page["key"] == "accuracy" else {page["key"]: page["summary"]}
    path, content = Path(study_dir) / SUMMARY, (json.dumps(tree, indent=2) + "\n").encode()
    write_bytes(path, content)
    write_result(path.with_name(MADE_FROM), {}, {path: content})
    return [path, path.with_name(MADE_FROM)]
