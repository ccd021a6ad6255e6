"""The page that people look at: one self-contained HTML file with tables, figures and provenance."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from exact_cntk._support.atomic import write_bytes
from exact_cntk._support.stated_files import stated_text
from exact_cntk.errors import UserError
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
        The metrics files that belong to the study; default: all in ``<study_dir>/metrics``. A study whose sections need
        none has none.
    sections : iterable of paths, optional
        Pages of the study's sections; default: all in ``<study_dir>/sections``.
    out : path, optional
        Where to write; default ``<study_dir>/report.html``.

    Returns
    -------
    Path
        The page. It loads nothing: style and figures are in it, formulas are plain HTML.

    Raises
    ------
    UserError
        As `results.load`; and when there is no section, or a figure is missing, naming the command that makes it; and
        if the disk is full or not writable.
    """
    directory = Path(study_dir)
    chosen = sorted((directory / "metrics").glob("*.json")) if metrics is None else [Path(path) for path in metrics]
    pages = read_pages(section_pages(directory) if sections is None else sections)
    if not pages:
        raise UserError(
            f"{directory / 'sections'} holds no section: run the workflow, or `exact-cntk section show`, first"
        )
    out = directory / "report.html" if out is None else Path(out)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    templates = files(__package__).joinpath("templates")
    template = environment.from_string(templates.joinpath("report.html.j2").read_text(encoding="utf-8"))
    documents = _provenance(directory, chosen)
    page = template.render(
        name=directory.resolve().name,
        study=load(directory, chosen) if chosen else None,
        style=Markup(templates.joinpath("report.css").read_text(encoding="utf-8")),
        sections=[_section(directory, page) for page in pages],
        shared=Markup(to_html(shared_provenance(documents))) if documents else None,
        kernels=Markup(to_html(kernel_provenance(documents))) if documents else None,
        origins=_origins(directory, pages),
        notebooks=_notebooks(directory, out.parent, pages),
    )
    write_bytes(out, stated_text(page, before="<head>").encode())
    return out


def inline_svg(path: Path, description: str) -> str:
    """An SVG file as an element of a page: no prolog, no fixed size, a text for screen readers, ids of its own."""
    text = path.read_text(encoding="utf-8")
    start = text.find("<svg")
    if start < 0:
        raise UserError(f"{path} is not an SVG file; make it again with `exact-cntk section show`")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    # several drawings share one page, and with it one space of ids
    text = re.sub(r'\bid="', f'id="{path.stem}-', text)
    text = re.sub(r"url\(#", f"url(#{path.stem}-", text)
    text = re.sub(r'href="#', f'href="#{path.stem}-', text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(description)}">{rest}'


def shared_provenance(documents: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """What all kernels of the study have in common, one row a fact.

    Parameters
    ----------
    documents : dict
        Kernel name → provenance document.
    """
    flat = [_flatten(document) for document in documents.values()]
    rows = [
        {"what": key, "value": value}
        for key, value in flat[0].items()
        if all(key in other and other[key] == value for other in flat)
    ]
    return pd.DataFrame(rows, columns=["what", "value"])


def kernel_provenance(documents: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """What differs from kernel to kernel, one row a kernel; columns that all kernels share are left out."""
    flat = {name: _flatten(document) for name, document in documents.items()}
    shared = set(shared_provenance(documents)["what"])
    keys = dict.fromkeys(key for values in flat.values() for key in values if key not in shared)
    headings = {key: key.removeprefix("parameters.") for key in keys}
    rows = [{"kernel": name} | {headings[key]: values.get(key, "") for key in keys} for name, values in flat.items()]
    return pd.DataFrame(rows)


def _figure(directory: Path, name: str) -> Path:
    return directory / "figures" / f"{name}.svg"


def _needed(path: Path, verb: str) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `exact-cntk {verb} --study-dir {path.parent.parent}` first")
    return path


def _provenance(directory: Path, metrics: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Provenance documents by kernel name, of the kernels in the study."""
    documents = {}
    for name in sorted(metrics):
        path = directory / "provenance" / name.name
        if not path.is_file():
            continue
        documents[path.stem] = _read_provenance(path)
    return documents


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} cannot be read as provenance: {error}; delete it and run the study again") from error


def _origins(directory: Path, pages: Sequence[dict[str, Any]]) -> Markup | None:
    """Where the numbers of sections come from, a row a section, of those that have computed some."""
    documents = {
        page["title"]: _read_provenance(path)
        for page in pages
        if (path := directory / "section_provenance" / f"{page['key']}.json").is_file()
    }
    rows = []
    for name, document in documents.items():
        flat = _flatten({key: document[key] for key in ("finished", "git", "packages", "hardware")})
        rows.append({"section": name} | flat)
    return Markup(to_html(pd.DataFrame(rows))) if rows else None


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``a.b → text``."""
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: _text(value)}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _section(directory: Path, page: dict[str, Any]) -> dict[str, Any]:
    """One section ready for the template: figures and tables as HTML."""
    text, remedy = page["text"], f"section show {page['key']}"
    return {
        "key": page["key"],
        "title": page["title"],
        "navigation": page["navigation"],
        "headline": page["headline"],
        "text": Markup(text if text.lstrip().startswith("<p") else f"<p>{text}</p>"),
        "figures": [
            {
                "name": figure["name"],
                "caption": figure["caption"],
                "svg": Markup(inline_svg(_needed(_figure(directory, figure["name"]), remedy), figure["caption"])),
            }
            for figure in page["figures"]
        ],
        "tables": [
            Markup(to_html(pd.DataFrame(table["rows"], columns=table["columns"]), table["caption"]))
            for table in page["tables"]
        ],
    }


def _notebooks(directory: Path, page_folder: Path, pages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Links to the executed notebooks that are there, relative to the page."""
    links = []
    for name, what in (item for page in pages for item in plan(page["key"]).SECTION.notebooks.items()):
        candidates = [directory / "notebooks" / f"{name}{suffix}" for suffix in (".html", ".ipynb")]
        found = [candidate for candidate in candidates if candidate.is_file()]
        if found:
            href = Path(os.path.relpath(found[0].resolve(), page_folder.resolve())).as_posix()
            links.append({"name": name, "what": what, "href": href})
    return links
