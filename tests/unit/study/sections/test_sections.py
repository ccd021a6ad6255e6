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

from exact_cntk._support.stated_files import stated
from exact_cntk.errors import UserError
from exact_cntk.study import sections
from exact_cntk.study.documents import plain_numbers, read_documents, write_result
from exact_cntk.study.params import load_params
from exact_cntk.study.report import write_report
from exact_cntk.study.results import load
from exact_cntk.study.sections import KEYS, Job, Section, _pages, _run, plan
from exact_cntk.study.sections._section import NEEDS
from exact_cntk.study.summary import write_summary

ROOT = Path(__file__).parents[4]
KEY = "made_up"
FRAME = pd.DataFrame({"method": ["a", "b"], "accuracy": [0.5, np.nan]})


@pytest.fixture
def folder(tmp_path):
    write_study(tmp_path / "made-up", depths=(3,), subsets=((20, 1),), n_test=23)
    return tmp_path / "made-up"


def made_up(monkeypatch, **facts):
    """Let there be one section more, of one table and one figure; its modules plan, page and jobs."""
    for part in (sections, _pages, _run):
        monkeypatch.setattr(part, "KEYS", (*KEYS, KEY))
    modules = [ModuleType(f"exact_cntk.study.sections.{KEY}.{name}") for name in ("plan", "page", "jobs")]
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module)
    modules[0].SECTION = Section({KEY: "nothing"}, tables=(KEY,), figures=(KEY,), **facts)
    page = modules[1]
    page.tables = lambda results: {KEY: FRAME}
    page.figures = lambda results: {KEY: Figure(figsize=(1, 1))}
    page.CAPTIONS = {KEY: "Nothing."}
    page.TITLE, page.NAVIGATION, page.TEXT = "Made up", "Made", "For <em>tests</em>."
    page.shown = lambda results: [("accuracies", FRAME)]
    page.headline = lambda results: [f"{len(results[0])} documents, {results[1]} resamples, seed {results[2]}."]
    page.summary = lambda results: {"best": np.float64(0.5), "b": {"accuracy": np.nan, "n": np.int64(3)}}
    return modules


@pytest.fixture
def section(monkeypatch):
    """A section beside the kernels, which counts its documents."""
    _, page, _ = made_up(monkeypatch, needs=("data", "metrics"))
    page.load = lambda study, files, *, resamples, seed: (read_documents(study.data, files), resamples, seed)
    return page


@pytest.fixture
def alone(monkeypatch):
    """A section that needs nothing: one job for each of its numbers, which writes the number."""
    planned, page, jobs = made_up(monkeypatch, steps={"write": ("study/sections/made_up/jobs.py",)})
    planned.jobs = lambda params: {
        f"number-{number}": Job("write", (f"{KEY}/number-{number}.json",), {"number": number})
        for number in params[KEY] or ()
    }

    def run(job, context):
        write_result(context.files[0], dict(job.parameters))
        return f"number {job.parameters['number']}"

    def load(study, files, *, resamples, seed):
        assert study is None
        return [json.loads(path.read_text(encoding="utf-8")) for path in files], resamples, seed

    jobs.run, page.load = run, load
    return page


def document(folder, name="a.json", **changes):
    path = folder / KEY / name
    path.parent.mkdir(exist_ok=True)
    write_result(path, {"format_version": 1, "data": {"digest": "5" * 64}} | changes)
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
    made = json.loads(page)
    assert made.pop("sha256") == stated(made)["sha256"]
    assert made == {
        "format_version": 1,
        "key": KEY,
        "title": "Made up",
        "navigation": "Made",
        "text": "For <em>tests</em>.",
        "headline": ["2 documents, 7 resamples, seed 3."],
        "figures": [{"name": "made_up", "caption": "Nothing."}],
        "tables": [{"caption": "accuracies", "columns": ["method", "accuracy"], "rows": [["a", "0.5"], ["b", ""]]}],
        "summary": {"best": 0.5, "b": {"accuracy": None, "n": 3}},
        "files": {
            "../tables/made_up.csv": hashlib.sha256(table.encode()).hexdigest(),
            "../figures/made_up.svg": hashlib.sha256(figure.encode()).hexdigest(),
        },
    }
    assert sections.read_pages(written[-1:]) == [made]
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
    with pytest.raises(ValueError, match=r"makes the tables \['other'\], but its plan lists \['made_up'\]"):
        sections.write_section(KEY, folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format_version = 2; allowed: 1"),
        ({"data": {}}, "other images .digest None. than"),
        ({"data": {"digest": "6" * 64}}, "other images .digest 6666.* than the metrics of the study .digest 5555"),
    ],
)
def test_documents_of_other_formats_or_data_are_refused(folder, changes, words):
    path = document(folder, **changes)
    with pytest.raises(UserError, match=f"a.json.*{words}"):
        read_documents(load(folder).data, [path])


def test_broken_and_incomplete_documents_are_refused(folder):
    path = document(folder)
    study = load(folder)
    assert read_documents(study.data, [path.with_suffix(".csv")]) == {}
    with pytest.raises(UserError, match=r"a\.json lacks results, seed"):
        read_documents(study.data, [path], keys=["seed", "results"])
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json cannot be read as results"):
        read_documents(study.data, [path])


def test_files_that_lack_something_inside_are_one_line(folder, section, monkeypatch):
    path = document(folder, results=[{"depth": 3}])
    monkeypatch.setattr(
        section, "load", lambda study, files, **_: read_documents(study.data, files)[path]["results"][0]["kind"]
    )
    with pytest.raises(UserError, match=r"files of the section made_up in .* KeyError: 'kind'; compute them again"):
        sections.open_section(KEY, folder)


def test_unknown_section(folder):
    with pytest.raises(UserError, match="section 'small-data' is unknown, did you mean 'small_data'"):
        sections.open_section("small-data", folder)


def test_pages_come_in_the_order_of_the_report(folder, tmp_path):
    def page(key):
        return json.dumps(stated({"format_version": 1, "key": key, "tables": []}))

    paths = [tmp_path / f"{key}.json" for key in ("small_data", "cnns")]
    for path in paths:
        path.write_text(page(path.stem), encoding="utf-8")
    assert [one["key"] for one in sections.read_pages(paths)] == ["cnns", "small_data"]
    for text, words in [("{", "cannot be read as a section"), (page("x"), "is no section of format_version 1")]:
        paths[0].write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=f"{words}.*run `exact-cntk section show small_data --study-dir .*` again"):
            sections.read_pages(paths)
    paths[0].unlink()
    with pytest.raises(UserError, match=r"small_data\.json is missing: run `exact-cntk section show small_data"):
        sections.read_pages(paths)


def test_sections_of_a_study():
    params = dict.fromkeys(["prepare", "kernels", "solve", *KEYS])
    assert sections.present(params) == []
    assert sections.present(params | {"small_data": {}}) == ["small_data"]
    solved = {"prepare": {}, "kernels": {}, "solve": {}}
    without = [key for key in KEYS if not sections.has_parameters(key)]
    assert "accuracy" in without and sections.present(params | solved) == without
    assert sections.present(params | solved | {"solve": None}) == []


class TestThatNeedsNothing:
    """In a study without images, kernels and metrics."""

    def test_it_is_part_of_every_study(self, alone):
        assert sections.present(dict.fromkeys(["prepare", "kernels", "solve", *KEYS])) == [KEY]

    def test_jobs_tables_page_and_report(self, alone, tmp_path):
        params = {"study": "numbers", KEY: [3, 5]}
        said = []
        for name in _run.section_jobs(KEY, params):
            _run.run_job(KEY, name, params, results=tmp_path, log=said.append)
        assert [line.partition(", ")[0] for line in said] == [
            f"{tmp_path}/{KEY}/number-{number}.json: number {number}" for number in (3, 5)
        ]
        table, _, page = sections.write_section(KEY, tmp_path, resamples=7)
        assert table.read_text(encoding="utf-8") == "method,accuracy\na,0.5\nb,\n"
        assert json.loads(page.read_text(encoding="utf-8"))["headline"] == ["2 documents, 7 resamples, seed 0."]
        written, _ = write_summary(tmp_path)
        assert json.loads(written.read_text(encoding="utf-8")) == {KEY: {"best": 0.5, "b": {"accuracy": None, "n": 3}}}
        report = write_report(tmp_path).read_text(encoding="utf-8")
        assert "2 documents, 7 resamples, seed 0." in report and "For <em>tests</em>." in report
        assert "provenance was recorded" not in report

    def test_an_unknown_job_is_refused_with_those_that_there_are(self, alone):
        with pytest.raises(UserError, match="section made_up of numbers has no job 'number-4', did you mean 'number-"):
            _run.run_job(KEY, "number-4", {"study": "numbers", KEY: [3, 5]})
        with pytest.raises(UserError, match="section 'mad_up' is unknown, did you mean 'made_up'"):
            _run.section_jobs("mad_up", {"study": "numbers"})


def test_numbers_are_json_s():
    assert plain_numbers((np.float32(0.5), np.inf, True, None, "a")) == [0.5, None, True, None, "a"]
    with pytest.raises(TypeError, match="is no number"):
        plain_numbers(object())


@pytest.mark.parametrize("key", KEYS)
def test_every_section_keeps_to_the_protocol(key):
    module, facts = import_module(f"exact_cntk.study.sections.{key}.page"), plan(key).SECTION
    assert [name.strip("_") for name in inspect.signature(module.load).parameters] == [
        *("study", "files", "resamples", "seed")
    ]
    for name in ("tables", "figures", "shown", "headline", "summary", *(["texts"] if facts.texts else [])):
        assert callable(getattr(module, name)), name
    for name in ("TITLE", "NAVIGATION", "TEXT"):
        assert isinstance(getattr(module, name), str), name
    assert set(facts.figures) == set(module.CAPTIONS)
    assert facts.tables and facts.figures and set(facts.needs) <= set(NEEDS) and set(facts.reads) <= set(KEYS)
    # Their captions in Snakemake's own report.
    captions = sections.schema_file(key).parent / "captions"
    files = {f"{what}/{name}.rst" for what in ("tables", "figures") for name in getattr(facts, what)}
    assert files == {str(path.relative_to(captions)) for path in captions.rglob("*.rst")}
    for name in facts.notebooks:
        assert (ROOT / f"notebooks/{name}.ipynb").is_file()
    for pattern in (*facts.shows, *(pattern for patterns in facts.steps.values() for pattern in patterns)):
        assert list((ROOT / "src/exact_cntk").glob(pattern)), pattern
    assert (ROOT / f"workflow/rules/{key}.smk").is_file() == bool(facts.steps)


def test_no_two_sections_write_one_file():
    for what in ("tables", "figures", "texts", "notebooks"):
        names = [name for key in KEYS for name in getattr(plan(key).SECTION, what)]
        assert len(names) == len(set(names)), what


@pytest.mark.parametrize("preset", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_jobs_belong_to_steps_and_no_two_write_one_file(preset):
    params = load_params(preset)
    files = []
    for key in KEYS:
        for job in _run.section_jobs(key, params).values():
            assert job.step in plan(key).SECTION.steps
            json.dumps(job.parameters)
            files += job.files
    assert len(files) == len(set(files))
