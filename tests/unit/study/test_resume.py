"""Finished parts: taken up by the same problem and code alone; in the workflow, by the sources that the rule lists."""

import json
from pathlib import Path

import pytest

from exact_cntk._support import statement as statement_module
from exact_cntk._support.statement import Statement, digest_sources
from exact_cntk.errors import UserError
from exact_cntk.study import resume
from exact_cntk.study.resume import FinishedParts

PROBLEM = ["digits", [0.0, 0.1], {"depth": 3}]


@pytest.fixture(autouse=True)
def no_statement(monkeypatch):
    monkeypatch.setattr(statement_module, "_current", None)


def computed(file, problem=PROBLEM, parts="abc", **options):
    """Names of the parts that had to be computed, the last of which is interrupted."""
    finished, calls = FinishedParts(file, problem, save_seconds=0, **options), []

    def compute(name):
        calls.append(name)
        if name == parts[-1]:
            raise KeyboardInterrupt
        return {"name": name, "value": 0.1}

    with pytest.raises(KeyboardInterrupt):
        for name in parts:
            assert finished.part(name, lambda name=name: compute(name)) == {"name": name, "value": 0.1}
    return calls


def test_only_what_is_left_is_computed(tmp_path):
    file = tmp_path / "later" / "parts.json"
    assert computed(file) == ["a", "b", "c"]
    assert computed(file) == ["c"]
    assert computed(file, parts="bdac") == ["d", "c"]
    FinishedParts(file, PROBLEM).forget()
    assert not file.exists()
    FinishedParts(file, PROBLEM).forget()  # nothing to remove
    assert computed(file) == ["a", "b", "c"]


@pytest.mark.parametrize("problem", [["digits", [0.0], {"depth": 3}], ["digits", [0.0, 0.1], {"depth": 4}], []])
def test_another_problem_takes_nothing(tmp_path, problem):
    computed(tmp_path / "a.json")
    assert computed(tmp_path / "a.json", problem) == ["a", "b", "c"]
    assert computed(tmp_path / "a.json") == ["a", "b", "c"]  # the other one's are in the file


def test_other_code_takes_nothing(tmp_path, monkeypatch):
    computed(tmp_path / "a.json")
    monkeypatch.setattr(resume, "code_identity", lambda: "other code")
    assert computed(tmp_path / "a.json") == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["[]", "{", '{"identity": 1}', "null", '{"identity": "1", "parts": 3}'])
def test_rubbish_is_replaced(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert computed(tmp_path / "a.json") == ["a", "b", "c"]
    assert computed(tmp_path / "a.json") == ["c"]


def test_damaged_parts_count_for_nothing(tmp_path):
    computed(tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({"identity": document["identity"], "parts": 3}))
    assert computed(tmp_path / "a.json") == ["a", "b", "c"]


def test_quick_parts_are_written_several_at_a_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    finished, file = FinishedParts(tmp_path / "a.json", PROBLEM, save_seconds=10), tmp_path / "a.json"
    for name, later, names in (
        ("a", 4, None),
        ("b", 7, ["a", "b"]),
        ("c", 9, ["a", "b"]),
        ("d", 1, ["a", "b", "c", "d"]),
    ):
        now[0] += later
        finished.part(name, lambda: 1)
        assert names == (list(json.loads(file.read_text())["parts"]) if file.exists() else None)


def test_without_a_file_nothing_is_kept(tmp_path):
    finished = FinishedParts(None, PROBLEM, save_seconds=0)
    assert finished.part("a", lambda: 1) == finished.part("a", lambda: 2) == 1
    finished.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder; name a file"):
        FinishedParts(tmp_path, PROBLEM)


class TestInTheWorkflow:
    """The rule lists job.py; a caption is in the package all the same."""

    @pytest.fixture(autouse=True)
    def checkout(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("job.py", "caption.py"):
            Path(name).write_text("1\n", encoding="utf-8")
        monkeypatch.setattr(resume, "code_identity", lambda: digest_sources(["*.py"]))

    def run(self, monkeypatch, **changes):
        statement_module._file_digest.cache_clear()
        stated = {"step": "solve", "parameters": {}, "data": "d1", "inputs": {"kernel.h5": "k1+b1"}}
        stated["sources"] = digest_sources(["job.py"])
        monkeypatch.setattr(statement_module, "_current", Statement(**stated | changes))
        return computed(Path("parts.json"))

    def test_the_edit_of_a_caption_discards_nothing(self, monkeypatch):
        assert self.run(monkeypatch) == ["a", "b", "c"]
        Path("caption.py").write_text("2\n", encoding="utf-8")
        assert self.run(monkeypatch) == ["c"]

    def test_the_edit_of_the_job_discards_all(self, monkeypatch):
        self.run(monkeypatch)
        Path("job.py").write_text("2\n", encoding="utf-8")
        assert self.run(monkeypatch) == ["a", "b", "c"]

    @pytest.mark.parametrize("changes", [{"inputs": {"kernel.h5": "k1+b2"}}, {"inputs": {}}, {"step": "merge"}])
    def test_other_inputs_take_nothing(self, monkeypatch, changes):
        self.run(monkeypatch)
        assert self.run(monkeypatch, **changes) == ["a", "b", "c"]

    def test_outside_of_it_every_source_counts(self, monkeypatch):
        computed(Path("parts.json"))
        Path("caption.py").write_text("2\n", encoding="utf-8")
        statement_module._file_digest.cache_clear()
        assert computed(Path("parts.json")) == ["a", "b", "c"]
