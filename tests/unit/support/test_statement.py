"""What result files state of their making: written, read back, compared, and held against the facts."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from exact_cntk._support import statement as statement_module
from exact_cntk._support.hdf5 import write_checksum
from exact_cntk._support.stated_files import stated, stated_text, statement_attribute
from exact_cntk._support.statement import (
    Misfit,
    Statement,
    check_data,
    check_inputs,
    check_parameters,
    claim,
    computed_by,
    difference,
    digest_sources,
    misfit,
    read_statement,
    source_files,
    write_job,
)
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_json, write_result

SOLVE = Statement("solve", {"ridges": [0, 0.1], "study": "ci"}, "d1", "s1", {"kernel.h5": "k1"}, {"cpu": "b1"})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A checkout with one source; whatever is claimed in it is forgotten."""
    monkeypatch.setattr(statement_module, "_current", None)
    monkeypatch.chdir(tmp_path)
    Path("source.py").write_text("1\n", encoding="utf-8")
    statement_module._file_digest.cache_clear()
    return tmp_path


def make_current(statement, monkeypatch):
    monkeypatch.setattr(statement_module, "_current", statement)


@pytest.mark.parametrize(
    ("changes", "reason", "concerned"),
    [
        ({}, None, None),
        ({"step": "merge"}, "it was made by the step merge", None),
        ({"parameters": {"ridges": [0], "study": "ci"}}, "ridges was [0] and is [0, 0.1]", None),
        ({"parameters": {"ridges": [0, 0.1]}}, 'study was null and is "ci"', None),
        ({"parameters": {**SOLVE.parameters, "old": 1}}, "old was 1 and is null", None),
        ({"parameters": {**SOLVE.parameters, "old": "x" * 200}}, f'old was "{"x" * 98}… and is null', None),
        ({"data": "d2"}, "it was made from other images (digest d2, now d1)", None),
        ({"data": None}, "it was made from other images (digest None, now d1)", None),
        ({"sources": "s2"}, "it was made by other code", None),
        ({"inputs": {"kernel.h5": "k2"}}, "it was made from another kernel.h5", "kernel.h5"),
        ({"inputs": {}}, "it was made without kernel.h5", None),
        ({"inputs": {"kernel.h5": "k1", "b": "c"}}, "it was made from b as well", None),
        ({"backends": {"cuda": "b1"}}, "it was computed by the backend cuda", None),
        ({"backends": {"cpu": "b2"}}, "it was made by other code of the backend cpu", None),
        ({"backends": {}}, "its backend is unknown", None),
        ({"place": {"rows": "0:4"}}, 'it is for {"rows": "0:4"} instead of {}', None),
    ],
)
def test_difference_is_said_in_words(changes, reason, concerned):
    found = difference(replace(SOLVE, **changes), SOLVE)
    assert found == (None if reason is None else Misfit(reason, concerned))


def test_any_of_the_allowed_backends_fits():
    allowed = replace(SOLVE, backends={"cpu": "b1", "cuda": "c1"})
    assert difference(SOLVE, allowed) is None
    assert SOLVE.identity == allowed.identity


@pytest.mark.parametrize("change", [{"step": "x"}, {"parameters": {}}, {"data": "x"}, {"sources": "x"}, {"inputs": {}}])
def test_identity_is_of_all_else(change):
    assert replace(SOLVE, **change).identity != SOLVE.identity


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file.attrs.update(statement_attribute())
    with path.open("r+b") as file:
        write_checksum(file.fileno(), [])


WRITERS = {
    "a.json": lambda path: write_result(path, {"x": 1}),
    "a.ipynb": lambda path: write_json(path, {"metadata": stated({})}),
    "a.h5": write_hdf5,
    "a.svg": lambda path: path.write_text(stated_text("<?xml?>\n<svg><g/></svg>", "<svg"), encoding="utf-8"),
    "a.html": lambda path: path.write_text(stated_text("<!doctype html>\n<head></head>", "<head>"), encoding="utf-8"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("note", ["", "two -- hyphens -> and --> an end"])
def test_every_kind_of_file_gives_back_what_it_states(monkeypatch, name, note):
    path = Path(name)
    WRITERS[name](path)
    assert read_statement(path) == (None, {})
    statement = replace(SOLVE, parameters={**SOLVE.parameters, "note": note})
    make_current(statement, monkeypatch)
    WRITERS[name](path)
    assert read_statement(path) == (statement, {})
    first = path.read_bytes()
    WRITERS[name](path)
    assert path.read_bytes() == first
    assert misfit([path, Path("missing.json")], statement) is None
    assert misfit([path], replace(statement, data="d2")) is not None


def test_tables_are_held_by_the_document_beside_them(monkeypatch):
    make_current(SOLVE, monkeypatch)
    table = Path("tables/a.csv")
    table.parent.mkdir()
    table.write_bytes(b"1,2\n")
    write_result(Path("pages.json"), {}, {table: b"1,2\n"})
    assert misfit([table, Path("pages.json")], SOLVE) is None
    assert misfit([table], SOLVE) == Misfit("tables/a.csv does not state what it was made from")
    table.write_bytes(b"1,3\n")
    found = misfit([table, Path("pages.json")], SOLVE)
    assert found is not None and "tables/a.csv is damaged" in found.reason
    table.unlink()
    table.mkdir()
    found = misfit([table, Path("pages.json")], SOLVE)
    assert found is not None and "tables/a.csv cannot be read" in found.reason


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"made_from": 1}', b'{"made_from": {"step": "x", "other": 1}}', b"\xff"]
)
@pytest.mark.parametrize("suffix", [".json", ".ipynb", ".h5"])
def test_damaged_file_is_no_fit(suffix, content):
    path = Path(f"a{suffix}")
    path.write_bytes(content)
    found = misfit([path], SOLVE)
    assert found is not None and f"a{suffix} cannot be read" in found.reason


def test_folder_in_place_of_a_file_is_no_fit():
    Path("a.json").mkdir()
    assert misfit([Path("a.json")], SOLVE) is not None


def job(**changes):
    """A job's file, as the workflow writes it."""
    statement = Statement("solve", {}, "d1", digest_sources(["source.py"]), **changes)
    return write_job(statement, {"": ["source.py"]}, Path("jobs")), statement


def test_claim_takes_over_what_holds():
    path, statement = job()
    claim(path)
    assert statement_module.current() == statement
    assert write_job(statement, {"": ["source.py"]}, Path("jobs")) == path  # named by its content


def test_damaged_job_is_written_again():
    path, _ = job()
    content = path.read_bytes()
    for damaged in (b"", content.replace(b"d1", b"d2")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"\.json cannot be read .*: delete it, and run the study again"):
            claim(path)
        assert job()[0].read_bytes() == content
    claim(path)


def test_parameters_that_were_read_are_held_against_the_plan(monkeypatch):
    check_parameters("params.json", {"ridges": [0.5]})
    make_current(SOLVE, monkeypatch)
    check_parameters("params.json", {"ridges": (0.0, 0.1), "study": "ci"})
    with pytest.raises(UserError, match=r"params\.json: ridges is \[0, 0\.3\], but was planned as \[0, 0\.1\]"):
        check_parameters("params.json", {"ridges": [0, 0.3]})


def test_a_listed_drawing_is_held_against_its_list(monkeypatch):
    make_current(SOLVE, monkeypatch)
    drawing = stated_text("<svg><g/></svg>", "<svg")
    Path("a.svg").write_text(drawing, encoding="utf-8")
    write_result(Path("page.json"), {}, {Path("a.svg"): drawing.encode()})
    assert misfit([Path("a.svg"), Path("page.json")], SOLVE) is None
    Path("a.svg").write_text(drawing.replace("<g/>", "<h/>"), encoding="utf-8")
    found = misfit([Path("a.svg"), Path("page.json")], SOLVE)
    assert found is not None and "a.svg is damaged" in found.reason


def test_claim_refuses_edited_code():
    path, _ = job()
    Path("source.py").write_text("2\n", encoding="utf-8")
    statement_module._file_digest.cache_clear()
    with pytest.raises(UserError, match="the code of the step solve has been edited since this run was planned"):
        claim(path)


def test_claim_refuses_another_package():
    source = Path("src/exact_cntk/errors.py")
    source.parent.mkdir(parents=True)
    source.write_text("edited\n", encoding="utf-8")
    statement = Statement("solve", {}, "d1", digest_sources([str(source)]))
    with pytest.raises(UserError, match=r"is not this checkout's: src/exact_cntk/errors\.py differs"):
        claim(write_job(statement, {"": [str(source)]}, Path("jobs")))


@pytest.mark.parametrize("content", ["", "[]", '{"statement": 1}', '{"statement": {"step": "a"}}'])
def test_claim_refuses_what_is_no_job(content):
    Path("job.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"job\.json cannot be read"):
        claim(Path("job.json"))


def test_inputs_must_be_what_the_study_makes(monkeypatch):
    kernel = replace(SOLVE, step="merge", inputs={}, backends={"cpu": "b1"})
    make_current(kernel, monkeypatch)
    write_hdf5(Path("kernel.h5"))
    make_current(None, monkeypatch)
    path, _ = job(inputs={"kernel.h5": kernel.identity}, backends={"cpu": "b1", "cuda": "c1"})
    # Patterns of backends are those of the step that computes; here it is another.
    claim(path)
    now = statement_module.current()
    assert now is not None and now.backends == {"cpu": "b1"}

    for change, message in [
        ({"data": "d2"}, "kernel.h5 is not what the parameters of this study make"),
        ({"backends": {"cpu": "b2"}}, "backend cpu was other code then"),
        ({"backends": {"reference": "b2"}}, "backend reference is not in the study's parameters"),
    ]:
        make_current(replace(kernel, **change), monkeypatch)
        write_hdf5(Path("kernel.h5"))
        with pytest.raises(UserError, match=message):
            claim(path)
    Path("kernel.h5").unlink()
    with pytest.raises(UserError, match=r"kernel\.h5 is missing"):
        claim(path)


def test_blocks_are_inputs_by_their_folder(monkeypatch):
    block = replace(SOLVE, step="block", inputs={}, place={"rows": "0:4"})
    make_current(block, monkeypatch)
    Path("blocks").mkdir()
    write_hdf5(Path("blocks/0-0.h5"))
    make_current(replace(SOLVE, inputs={"blocks": block.identity}), monkeypatch)
    check_inputs(["blocks/0-0.h5"])
    make_current(replace(SOLVE, inputs={"blocks": "other"}), monkeypatch)
    with pytest.raises(UserError, match=r"blocks/0-0\.h5 is not what"):
        check_inputs(["blocks/0-0.h5"])


def test_images_and_backend_are_held_against_the_plan(monkeypatch):
    make_current(replace(SOLVE, inputs={}, backends={"cpu": "b1", "cuda": "c1"}), monkeypatch)
    check_data(Path("data.h5"), "d1")
    with pytest.raises(UserError, match=r"data\.h5 holds other images \(digest d2\)"):
        check_data(Path("data.h5"), "d2")
    with pytest.raises(UserError, match="backend reference is not in the study's parameters"):
        computed_by("reference")
    computed_by("cuda")
    now = statement_module.current()
    assert now is not None and now.backends == {"cuda": "c1"}


def test_nothing_is_held_outside_of_the_workflow():
    check_inputs(["missing.h5"])
    check_data(Path("data.h5"), "d")
    computed_by("cpu")
    assert set(stated({"x": 1})) == {"x", "sha256"}
    assert statement_module.is_stated(Path("missing.h5"))


def test_sources_are_their_names_and_content():
    first = digest_sources(["*.py"])
    Path("other.py").write_text("1\n", encoding="utf-8")
    assert source_files(["*.py", "source.py"]) == ["other.py", "source.py"]
    assert digest_sources(["*.py"]) != first
    with pytest.raises(FileNotFoundError, match=r"misspelt\.py"):
        digest_sources(["misspelt.py"])


def test_job_file_is_json_for_people(folder):
    path, statement = job()
    assert json.loads(path.read_text(encoding="utf-8"))["statement"] == statement.document()
    assert not list(folder.glob("jobs/*.tmp"))
