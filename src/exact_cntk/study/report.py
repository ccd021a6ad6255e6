"""The page that people look at: one self-contained HTML file with tables, figures and provenance."""

import os
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from exact_cntk._support.atomic import write_bytes
from exact_cntk._support.outputs import check_outputs
from exact_cntk._support.reading import read_text
from exact_cntk._support.stated_files import belongs, read_stated, stated_text
from exact_cntk.errors import UserError
from exact_cntk.study.documents import check_images, read_document
from exact_cntk.study.provenance import FORMAT_VERSION as PROVENANCE
from exact_cntk.study.results import load
from exact_cntk.study.sections import plan, read_pages, section_pages
from exact_cntk.study.show.markup import to_html


def write_report(
    study_dir: str | Path,
    metrics: Iterable[str | Path] | None = None,
    *,
    sections: Iterable[str | Path] | None = None,
    out: str | Path | None = None,
) -> Path:
    """Write ``report.html`` of a study, from its sections, their figures, its metrics and provenance files.

    Parameters
    ----------
    study_dir : path
        results/<study>, after `sections.write_section`.
    metrics : iterable of paths, optional
        The metrics files that belong to the study; default: all in ``<study_dir>/metrics``, if there are any.
    sections : iterable of paths, optional
        Pages of the study's sections; default: all in ``<study_dir>/sections``.
    out : path, optional
        Where to write; default ``<study_dir>/report.html``.

    Returns
    -------
    Path
        The page. It loads nothing: styles and figures are inline, formulas are plain HTML.

    Raises
    ------
    UserError
        As `results.load`; if there is no section, or a figure is missing (with the command that makes it), or the disk
        is full or not writable.
    """
    directory = Path(study_dir)
    chosen = sorted((directory / "metrics").glob("*.json")) if metrics is None else [Path(path) for path in metrics]
    paths = section_pages(directory) if sections is None else [Path(path) for path in sections]
    pages = read_pages(paths)
    out = directory / "report.html" if out is None else Path(out)
    check_outputs({"--out": out}, [("the study", path) for path in (*chosen, *paths)])
    loader = jinja2.PackageLoader("exact_cntk.study")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    study = load(directory, chosen) if chosen else None
    digest = None if study is None else study.data["digest"]
    records = [directory / "provenance" / path.name for path in sorted(chosen)]
    documents = {path.stem: _read_provenance(path, "solve", digest) for path in records if path.exists()}
    shared, kernels = map(Markup, map(to_html, provenance_tables(documents))) if documents else (None, None)
    page = environment.get_template("report.html.j2").render(
        name=directory.resolve().name,
        study=study,
        sections=[_section(directory, page) for page in pages],
        shared=shared,
        kernels=kernels,
        origins=_origins(directory, pages, digest),
        notebooks=_notebooks(directory, out.parent, pages),
    )
    write_bytes(out, stated_text(page, before="<head>").encode())
    return out


def inline_svg(path: Path, description: str) -> str:
    """An SVG file as an element of a page: without prolog and fixed size, with unique ids and a text to read aloud."""
    text = read_text(path)
    start = text.find("<svg")
    if start < 0:
        raise UserError(f"{path} is not an SVG file; make it again with `exact-cntk section show`")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    # ids must be unique in the page, which has several drawings
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{path.stem}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(description)}">{rest}'


def provenance_tables(documents: dict[str, dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What all kernels of the study have in common, one row per fact, and what differs, one row per kernel.

    Parameters
    ----------
    documents : dict
        Kernel name → provenance document.
    """
    facts = pd.concat([pd.Series(_flatten(document), name=name) for name, document in documents.items()], axis=1)
    common = facts.nunique(axis=1, dropna=False) == 1
    shared = facts[common].iloc[:, 0].rename_axis("what").reset_index(name="value")
    different = facts[~common].rename(lambda name: name.removeprefix("parameters.")).fillna("")
    return shared, different.T.rename_axis("kernel").reset_index()


def _read_provenance(path: Path, step: str, digest: str | None) -> dict[str, Any]:
    """A document, and what was measured in the same step, in a file of its own, if it belongs to what is there."""
    remedy = "delete it and run the study again"
    document = read_document(path, "provenance", PROVENANCE, keys=("data", "packages", "hardware"), remedy=remedy)
    if digest is not None and "digest" in document["data"]:
        check_images(str(path), str(document["data"]["digest"]), "the metrics of the study", digest, remedy)
    measured = path.parent.parent / "benchmarks" / step / path.name
    if not measured.exists():
        return document
    try:
        times = read_stated(measured)
    except (OSError, ValueError) as error:
        raise UserError(f"{measured} cannot be read as measured times: {error}; {remedy}") from error
    belonging = times if belongs(times, measured) else {}
    return document | {name: belonging[name] for name in ("seconds", "finished") if name in belonging}


def _origins(directory: Path, pages: Sequence[dict[str, Any]], digest: str | None) -> Markup | None:
    """Where the numbers come from: one row per section that computes some."""
    paths = {page["title"]: directory / "section_provenance" / f"{page['key']}.json" for page in pages}
    documents = {
        title: _read_provenance(path, "section_provenance", digest) for title, path in paths.items() if path.exists()
    }
    names = ("finished", "git", "packages", "hardware")
    rows = [
        {"section": title} | _flatten({name: document.get(name) for name in names})
        for title, document in documents.items()
    ]
    return Markup(to_html(pd.DataFrame(rows))) if rows else None


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``a.b → text``."""
    if not isinstance(value, dict):
        return {prefix: _text(value)}
    parts = [_flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
    return {name: text for part in parts for name, text in part.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _section(directory: Path, page: dict[str, Any]) -> dict[str, Any]:
    """One section ready for the template: figures and tables as HTML."""
    text, figures = page["text"], []
    for figure in page["figures"]:
        path = directory / "figures" / f"{figure['name']}.svg"
        if not path.is_file():
            raise UserError(
                f"{path} is missing: run `exact-cntk section show {page['key']} --study-dir {directory}` first"
            )
        figures.append(figure | {"svg": Markup(inline_svg(path, figure["caption"]))})
    tables = [(pd.DataFrame(table["rows"], columns=table["columns"]), table["caption"]) for table in page["tables"]]
    return page | {
        "text": Markup(text if text.lstrip().startswith("<p") else f"<p>{text}</p>"),
        "figures": figures,
        "tables": [Markup(to_html(table, caption)) for table, caption in tables],
    }


def _notebooks(directory: Path, page_folder: Path, pages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Links to the executed notebooks, relative to the page."""
    links = []
    for name, subject in (item for page in pages for item in plan(page["key"]).SECTION.notebooks.items()):
        candidates = [directory / "notebooks" / f"{name}{suffix}" for suffix in (".html", ".ipynb")]
        for path in [candidate for candidate in candidates if candidate.is_file()][:1]:
            href = Path(os.path.relpath(path.resolve(), page_folder.resolve())).as_posix()
            links.append({"name": name, "subject": subject, "href": href})
    return links
