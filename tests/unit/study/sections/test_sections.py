"""Sections: what is generic about them, shown on a made-up one."""

import hashlib
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import sections
from exact_cntk.study.results import load
from exact_cntk.study.sections import _pages

ROOT = Path(__file__).parents[4]
KEY = "made_up"
FRAME = pd.DataFrame({"method": ["a", "b"], "accuracy": [0.5, np.nan]})


@pytest.fixture
def folder(tmp_path):
    write_study(tmp_path / "made-up", depths=(3,), subsets=((20, 1),), n_test=23)
    return tmp_path / "made-up"


@pytest.fixture
def section(monkeypatch):
    """A section of one table and one figure, which counts its documents."""
    module = ModuleType(f"exact_cntk.study.sections.{KEY}")
    module.load = lambda study, files, *, resamples, seed: (sections.read_documents(study, files), resamples, seed)
    module.tables = lambda results: {"made_up": FRAME}
    module.figures = lambda results: {"made_up": Figure(figsize=(1, 1))}
    module.CAPTIONS = {"made_up": "Nothing."}
    module.TITLE, module.NAVIGATION, module.TEXT = "Made up", "Made", "For <em>tests</em>."
    module.shown = lambda results: [("accuracies", FRAME)]
    module.headline = lambda results: [f"{len(results[0])} documents, {results[1]} resamples, seed {results[2]}."]
    module.summary = lambda results: {"best": np.float64(0.5), "b": {"accuracy": np.nan, "n": np.int64(3)}}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    files = sections.SectionFiles("made_up", "nothing", ("made_up",), ("made_up",), (KEY,))
    monkeypatch.setitem(sections.SECTIONS, KEY, files)
    return module


def document(folder, name="a.json", **changes):
    path = folder / KEY / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"format_version": 1, "data": {"digest": "5" * 64}} | changes), encoding="utf-8")
    return path


def test_tables_figures_and_page(folder, section):
    files = [document(folder, "a.json"), document(folder, "b.json")]
    written = sections.write_section(KEY, folder, files=files, resamples=7, seed=3)
    assert [str(path.relative_to(folder)) for path in written] == [
        "tables/made_up.csv",
        "figures/made_up.svg",
        "sections/made_up.json",
    ]
    table, figure, page = (path.read_text(encoding="utf-8") for path in written)
    assert table.splitlines() == ["dataset,method,accuracy", f'"{DATASET}",a,0.5', f'"{DATASET}",b,']
    assert "<svg" in figure
    assert json.loads(page) == {
        "format_version": 1,
        "key": KEY,
        "title": "Made up",
        "navigation": "Made",
        "text": "For <em>tests</em>.",
        "headline": ["2 documents, 7 resamples, seed 3."],
        "figures": [{"name": "made_up", "caption": "Nothing."}],
        "tables": [{"caption": "accuracies", "columns": ["method", "accuracy"], "rows": [["a", "0.5"], ["b", ""]]}],
        "summary": {"best": 0.5, "b": {"accuracy": None, "n": 3}},
        "files": {"../tables/made_up.csv": hashlib.sha256(table.encode()).hexdigest()},
    }
    assert sections.read_pages(written[-1:]) == [json.loads(page)]
    before = [path.read_bytes() for path in written]
    sections.write_section(KEY, folder, files=files, resamples=7, seed=3)
    assert [path.read_bytes() for path in written] == before


def test_by_default_all_files_of_its_folders(folder, section):
    document(folder, "b.json")
    document(folder, "a.json")
    (folder / KEY / "a.txt").write_text("", encoding="utf-8")
    module, (documents, resamples, seed) = sections.open_section(KEY, folder)
    assert module is section
    assert [path.name for path in documents] == ["a.json", "b.json"]
    assert (resamples, seed) == (2000, 0)


def test_files_that_a_section_does_not_announce_are_a_bug(folder, section):
    section.tables = lambda results: {"other": FRAME}
    with pytest.raises(ValueError, match=r"makes the tables \['other'\], but SECTIONS lists \['made_up'\]"):
        sections.write_section(KEY, folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format_version = 2; allowed: 1"),
        ({"data": {}}, "other data .None. than"),
        ({"data": {"digest": "6" * 64}}, "other data .6666.* than the metrics of the study .5555"),
    ],
)
def test_documents_of_other_formats_or_data_are_refused(folder, changes, words):
    path = document(folder, **changes)
    with pytest.raises(UserError, match=f"a.json.*{words}"):
        sections.read_documents(load(folder), [path])


def test_broken_and_incomplete_documents_are_refused(folder):
    path = document(folder)
    study = load(folder)
    assert sections.read_documents(study, [path.with_suffix(".csv")]) == {}
    with pytest.raises(UserError, match=r"a\.json lacks results, seed"):
        sections.read_documents(study, [path], keys=["seed", "results"])
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json cannot be read as results"):
        sections.read_documents(study, [path])


def test_files_that_lack_something_inside_are_one_line(folder, section, monkeypatch):
    path = document(folder, results=[{"depth": 3}])
    monkeypatch.setattr(
        section, "load", lambda study, files, **_: sections.read_documents(study, files)[path]["results"][0]["kind"]
    )
    with pytest.raises(UserError, match=r"files of the section made_up in .* KeyError: 'kind'; compute them again"):
        sections.open_section(KEY, folder)


def test_unknown_section(folder):
    with pytest.raises(UserError, match="section 'small-data' is unknown, did you mean 'small_data'"):
        sections.open_section("small-data", folder)


def test_pages_come_in_the_order_of_the_report(folder, tmp_path):
    def page(key):
        return json.dumps({"format_version": 1, "key": key})

    paths = [tmp_path / f"{key}.json" for key in ("small_data", "cnns")]
    for path in paths:
        path.write_text(page(path.stem), encoding="utf-8")
    assert [one["key"] for one in sections.read_pages(paths)] == ["cnns", "small_data"]
    for text, words in [("{", "cannot be read as a section"), (page("x"), "is no section of format_version 1")]:
        paths[0].write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=f"{words}.*run `exact-cntk section small_data --study-dir .*` again"):
            sections.read_pages(paths)
    paths[0].unlink()
    with pytest.raises(UserError, match=r"small_data\.json is missing: run `exact-cntk section small_data"):
        sections.read_pages(paths)


def test_sections_of_a_study():
    params = dict.fromkeys(sections.SECTIONS) | {"small_data": {}}
    assert sections.present(params) == [key for key in sections.SECTIONS if key in (*sections.ALWAYS, "small_data")]


def test_numbers_are_json_s():
    assert _pages.plain_numbers((np.float32(0.5), np.inf, True, None, "a")) == [0.5, None, True, None, "a"]
    with pytest.raises(TypeError, match="is no number"):
        _pages.plain_numbers(object())


@pytest.mark.parametrize("key", [key for key in sections.SECTIONS if key != KEY])
def test_every_section_keeps_to_the_protocol(key):
    module = import_module(f"exact_cntk.study.sections.{key}")
    files = sections.plan(key).SECTION
    assert list(inspect.signature(module.load).parameters) == ["study", "files", "resamples", "seed"]
    for name in ("tables", "figures", "shown", "headline", "summary"):
        assert callable(getattr(module, name)), name
    for name in ("TITLE", "NAVIGATION", "TEXT"):
        assert isinstance(getattr(module, name), str), name
    assert set(files.figures) <= set(module.CAPTIONS)
    assert files.tables and files.figures
    # Their captions in Snakemake's own report.
    for folder, names in (("tables", files.tables), ("figures", files.figures)):
        for name in names:
            assert (ROOT / f"workflow/report/{folder}/{name}.rst").is_file(), name
    assert (ROOT / f"notebooks/{files.notebook}.ipynb").is_file()
    for pattern in files.sources:
        assert list((ROOT / "src/exact_cntk").glob(pattern)), pattern


def test_no_two_sections_write_one_file():
    for what in ("tables", "figures"):
        names = [name for files in sections.SECTIONS.values() for name in getattr(files, what)]
        assert len(names) == len(set(names)), what
