"""Provenance: complete, and it says so where something cannot be known."""

import json
import subprocess

from exact_cntk.study import provenance as module
from exact_cntk.study.provenance import git_state, packages, provenance, section_provenance, timing


def _git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_holds_everything_and_is_json():
    record = provenance(
        parameters={"depth": 3},
        data={"digest": "0" * 64},
        backend="cpu",
        instruction_set="avx2",
    )
    assert json.loads(json.dumps(record)) == record
    assert set(record) >= {"parameters", "data", "packages", "git", "backend", "instruction_set", "hardware"}
    assert set(record["hardware"]) >= {"cpu", "cores", "memory_gib"}


def test_what_differs_from_run_to_run_is_apart():
    assert timing({"solve": 1.23456})["seconds"] == {"solve": 1.235}
    runs = [section_provenance({"width": 64}, {}) for _ in range(2)]
    assert runs[0] == runs[1] and not set(runs[0]) & set(timing({}))


def test_packages(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    versions = packages()
    assert versions["numpy"] and versions["python"]
    assert versions["no-such-package-anywhere"] is None


def test_git(tmp_path):
    assert git_state(tmp_path) == {"revision": None, "dirty": None}
    _git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-q", "-m", "One")
    (tmp_path / "untracked").write_text("")
    revision = _git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"revision": revision, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"revision": revision, "dirty": True}


def test_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"revision": None, "dirty": None}


def test_of_a_section_tells_torch():
    record = section_provenance({"width": 64}, {"digest": "0" * 64})
    assert json.loads(json.dumps(record)) == record
    assert "torch" in record["packages"] and "torch" not in packages()
    assert record["parameters"] == {"width": 64}
    assert set(record) >= {"data", "git", "hardware"}
