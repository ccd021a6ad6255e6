"""Metrics with a valid checksum and another form are refused in one line, which names the file and what to do."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from synthetic import write_study

from exact_cntk.errors import UserError
from exact_cntk.study import results
from exact_cntk.study.documents import read_document, write_result
from exact_cntk.study.sections import KEYS, plan, schema_file
from exact_cntk.study.yaml_files import read_yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "made-up"
    write_study(folder, depths=(3,), subsets=((20, 2),), n_test=31, families={"cntk-v": ("flatten", "all")})
    return folder


def load_changed(study, tmp_path, key, value):
    """Load a study of one file, in which the value of a dotted key is another one; without it, if that is `...`."""
    (path,) = (study / "metrics").iterdir()
    document = json.loads(path.read_text(encoding="utf-8"))
    *parents, last = [int(part) if part.isdecimal() else part for part in key.split(".")]
    holder = document
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    write_result(tmp_path / path.name, document)
    return results.load(tmp_path, [tmp_path / path.name])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("depth", "3"),
        ("depth", 3.0),
        ("depth", 1),
        ("readout", "foo"),
        ("trained", None),
        ("filter_size", "3"),
        ("study", ""),
        ("study", ...),
        ("colour", "red"),
        ("format_version", True),
        ("format_version", 1.0),
        ("data", None),
        ("data", []),
        ("data.verified", "no"),
        ("data.digest", 5),
        ("data.image_shape", [8, 8]),
        ("results", {}),
        ("results", "x"),
        ("results", []),
        ("results.0", 1),
        ("results.0.kind", "x"),
        ("results.0.accuracy", 5.0),
        ("results.0.accuracy", "0.5"),
        ("results.0.accuracy", ...),
        ("results.0.accuracy", None),
        ("results.0.accuracy", 0.5),
        ("results.0.accuracy_loo_ridge", 5.0),
        ("results.0.accuracy_loo_ridge", 0.5),
        ("results.0.loo_ridge", 0.3),
        ("results.0.train_images", 60.5),
        ("results.0.repeat", -1),
        ("results.0.test_images", "31"),
        ("results.0.test_images", 30),
        ("results.0.ridges", [1e-8, 1e-7]),
        ("results.0.ridges.1", 0.0),
        ("results.0.test_accuracy", [0.5]),
        ("results.0.condition_number", {}),
        ("results.0.loo_error.2", "x"),
        ("results.0.eigenvalues", [1, 2]),
        ("results.0.eigenvalues.rank", [1]),
        ("results.0.test_correct_hex", 5),
        ("results.0.test_correct_hex", "xy"),
        ("results.0.selection", "x"),
        ("results.0.loo_error.0", 10**400),
    ],
)
def test_refused(study, tmp_path, key, value):
    with pytest.raises(UserError) as error:
        load_changed(study, tmp_path, key, value)
    message = str(error.value)
    assert str(tmp_path / "cntk-v-depth-03.json") in message and "\n" not in message and len(message) < 500
    assert "solve this kernel again, with `exact-cntk solve`" in message or "compute this file again" in message


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(study, tmp_path, monkeypatch, constant):
    (path,) = (study / "metrics").iterdir()
    text = path.read_text(encoding="utf-8").replace('"loo_ridge": ', f'"loo_ridge": {constant}, "was": ', 1)
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr("exact_cntk._support.stated_files._verify", lambda document: None)
    with pytest.raises(UserError, match=r"it has -?(NaN|Infinity), which is no number|inf is not allowed"):
        results.load(tmp_path, [tmp_path / path.name])


def test_a_key_given_twice(study, tmp_path):
    (path,) = (study / "metrics").iterdir()
    text = path.read_text(encoding="utf-8").replace('"depth": 3', '"depth": 4, "depth": 3', 1)
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="it gives the key 'depth' twice"):
        results.load(tmp_path, [tmp_path / path.name])


def test_a_file_of_another_name(study, tmp_path):
    (path,) = (study / "metrics").iterdir()
    (tmp_path / "cntk-v-depth-04.json").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"cntk-v-depth-04\.json: its content is of cntk-v-depth-03; solve"):
        results.load(tmp_path, [tmp_path / "cntk-v-depth-04.json"])
    (tmp_path / "metrics.json").write_bytes(path.read_bytes())  # a name of the user's own
    assert results.load(tmp_path, [tmp_path / "metrics.json"]).name == "made-up"


def test_a_file_of_another_study(tmp_path):
    write_study(tmp_path, depths=(3,), subsets=((20, 1),), families={"cntk-v": ("flatten", "all")})
    (other,) = write_study(
        tmp_path / "other", depths=(4,), subsets=((20, 1),), families={"cntk-v": ("flatten", "all")}
    )[:1]
    (tmp_path / "metrics" / other.name).write_bytes(other.read_bytes())
    with pytest.raises(UserError, match=r"cntk-v-depth-04\.json is of the study 'other', .*-03\.json of '.*'; remove"):
        results.load(tmp_path)


def test_what_is_written_passes(study, tmp_path):
    assert load_changed(study, tmp_path, "results.0.selection", "held-out tenth").name == "made-up"
    for folder in sorted((ROOT / "docs/results").glob("*/metrics")):
        assert results.load(folder.parent).is_paper_data


@pytest.mark.parametrize("key", [key for key in KEYS if plan(key).SECTION.steps])
def test_every_section_has_a_form_of_its_results(tmp_path, key):
    schema = schema_file(key).with_name("results.schema.yaml")
    Draft202012Validator.check_schema(read_yaml(schema))
    write_result(tmp_path / "a.json", {"format_version": 1, "study": "a", "data": {}, "family": 5, "method": "rbf"})
    with pytest.raises(UserError, match=r"a\.json is not as results are written, .*; compute this file again"):
        read_document(tmp_path / "a.json", "results", schema=schema)
