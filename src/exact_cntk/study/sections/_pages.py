"""From a section's files to its tables, figures and page; the same for every section."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from exact_cntk._support.atomic import write_texts
from exact_cntk._support.stated_files import belongs, check_files, read_stated
from exact_cntk.errors import InputError, UserError, nearest
from exact_cntk.study.documents import plain_numbers, read_document, write_result
from exact_cntk.study.results import Study, find_study, load
from exact_cntk.study.sections import KEYS, plan
from exact_cntk.study.show.markup import to_texts, unbroken
from exact_cntk.study.show.style import to_svg

FORMAT_VERSION = 1


def open_section(
    key: str,
    study_dir: str | Path,
    metrics: Iterable[str | Path] | None = None,
    files: Iterable[str | Path] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[ModuleType, Any]:
    """Load a section; what its notebook begins with.

    Parameters
    ----------
    key : str
        One of `KEYS`.
    study_dir : path
        results/<study>, which `exact_cntk.study.results.find_study` looks for.
    metrics, files : iterable of paths, optional
        Metrics files of the study, and files of the section's jobs; default: all in their folders.
    resamples, seed : int
        Of the bootstrap behind intervals.

    Returns
    -------
    module, results
        ``exact_cntk.study.sections.<key>.page``, and what its functions take.

    Raises
    ------
    UserError
        No such section or folder, or as `results.load` and `read_documents`.
    """
    module, _, results = _open(key, find_study(study_dir), metrics, files, resamples, seed)
    return module, results


def section_files(key: str, study_dir: Path) -> list[Path]:
    """List all files in the folders that a section shows, sorted, without hidden ones, those of unfinished jobs."""
    files = []
    for folder in (study_dir / name for name in (key, *plan(key).SECTION.reads)):
        paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".csv"))
        files += [folder / path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return files


def write_section(
    key: str,
    study_dir: str | Path,
    metrics: Iterable[str | Path] | None = None,
    files: Iterable[str | Path] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Path]:
    """Write a section's tables, figures and ``sections/<key>.json`` for the report; takes and raises as `open_section`.

    Returns
    -------
    list of Path
        The files written: tables, figures, the page. Same files, same bytes.
    """
    directory = Path(study_dir)
    module, study, results = _open(key, directory, metrics, files, resamples, seed)
    with _damage_named(key, directory):
        tables, figures = module.tables(results), module.figures(results)
        content = section_page(key, module, results)
    _check_names(key, "tables", tables)
    _check_names(key, "figures", figures)
    dataset = None if study is None else study.dataset
    texts = {f"{name}.csv": _csv(frame, dataset) for name, frame in tables.items()}
    texts |= module.texts(results) if plan(key).SECTION.texts else {}
    written = write_texts(directory / "tables", texts)
    texts |= {f"{name}.svg": to_svg(figure) for name, figure in figures.items()}
    drawn = write_texts(directory / "figures", {f"{name}.svg": texts[f"{name}.svg"] for name in figures})
    page = directory / "sections" / f"{key}.json"
    write_result(page, content, {path: texts[path.name].encode() for path in [*written, *drawn]})
    if hasattr(module, "measured"):
        measured = _tables(module.measured(results, directory / "benchmarks"))
        write_result(
            measured_page(page), {"format_version": FORMAT_VERSION, "tables": measured}, {page: page.read_bytes()}
        )
    return [*written, *drawn, page]


def section_page(key: str, module: ModuleType, results: Any) -> dict[str, Any]:
    """What the report and the summary take from a section, ready for JSON."""
    names = plan(key).SECTION.figures
    return {
        "format_version": FORMAT_VERSION,
        "key": key,
        "title": module.TITLE,
        "navigation": module.NAVIGATION,
        "text": module.TEXT,
        "headline": [unbroken(sentence) for sentence in module.headline(results)],
        "figures": [{"name": name, "caption": module.CAPTIONS[name]} for name in names],
        "tables": _tables(module.shown(results)),
        "summary": plain_numbers(module.summary(results)),
    }


def _tables(shown: Iterable[tuple[str, pd.DataFrame]]) -> list[dict[str, Any]]:
    return [
        {"caption": caption, "columns": list(map(str, frame.columns)), "rows": to_texts(frame)}
        for caption, frame in shown
    ]


def measured_page(page: Path) -> Path:
    """Name the file of measured tables that belong to a section's page; they differ from run to run."""
    return page.parent.parent / "benchmarks" / "sections" / page.name


def section_pages(study_dir: str | Path) -> list[Path]:
    """List the pages of sections that are there; UserError if there is none."""
    folder = Path(study_dir) / "sections"
    if pages := sorted(folder.glob("*.json")):
        return pages
    raise UserError(f"{folder} holds no section: run the workflow, or `exact-cntk section show`, first")


def read_pages(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Read pages of sections in the order of `KEYS`, with the tables of what was measured after their others.

    Raises
    ------
    UserError
        Naming a page that is missing or damaged, or has other tables and figures than those that are there, and the
        command that makes it.
    """
    pages = {}
    for path in map(Path, paths):
        remedy = f"run `exact-cntk section show {path.stem} --study-dir {path.parent.parent}`"
        try:
            page = read_stated(path)
            check_files(page, path)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: {remedy} first") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a section: {error}; {remedy} again") from error
        if page.get("format_version") != FORMAT_VERSION or page.get("key") not in KEYS:
            raise UserError(f"{path} is no section of format_version {FORMAT_VERSION}; {remedy} again")
        pages[page["key"]] = page | {"tables": page["tables"] + _measured_tables(path, remedy)}
    return [pages[key] for key in KEYS if key in pages]


def _measured_tables(path: Path, remedy: str) -> list[dict[str, Any]]:
    """None where those that are there belong to another page, as after a checkout."""
    measured = measured_page(path)
    if not measured.exists():
        return []
    document = read_document(measured, "measured tables", FORMAT_VERSION, keys=["tables"], remedy=f"{remedy} again")
    return list(document["tables"]) if belongs(document, measured) else []


def _open(
    key: str,
    study_dir: str | Path,
    metrics: Iterable[str | Path] | None,
    files: Iterable[str | Path] | None,
    resamples: int,
    seed: int,
) -> tuple[ModuleType, Study | None, Any]:
    if key not in KEYS:
        raise UserError(f"section {key!r} is unknown{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}")
    module = import_module(f"{__package__}.{key}.page")
    directory = Path(study_dir)
    study = load(directory, list(metrics or ()) or None) if "metrics" in plan(key).SECTION.needs else None
    chosen = [Path(path) for path in files or ()] or section_files(key, directory)
    with _damage_named(key, directory):
        return module, study, module.load(study, chosen, resamples=resamples, seed=seed)


@contextmanager
def _damage_named(key: str, directory: Path) -> Iterator[None]:
    """Report missing keys and wrong values as errors in the section's files."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the files of the section {key} in {directory} are not what its rules make, "
            f"{type(error).__name__}: {error}; compute them again"
        ) from error


def _check_names(key: str, what: str, made: dict[str, Any]) -> None:
    """A bug of the section, if it fails: the workflow has planned other files than the section makes."""
    planned: Sequence[str] = getattr(plan(key).SECTION, what)
    if set(made) != set(planned):
        raise ValueError(f"section {key} makes the {what} {sorted(made)}, but its plan lists {sorted(planned)}")


def _csv(frame: pd.DataFrame, dataset: str | None) -> str:
    """Comma-separated values with the data's name in front, which says by itself whether the source was verified."""
    if dataset is not None and "dataset" not in frame:
        frame = frame.copy()
        frame.insert(0, "dataset", dataset)
    return frame.to_csv(index=False, lineterminator="\n")
