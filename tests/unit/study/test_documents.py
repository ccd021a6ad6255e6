"""Documents: written for people, read back, and refused where they do not belong."""

import json
from fractions import Fraction

import numpy as np
import pytest

from exact_cntk._support.stated_files import stated
from exact_cntk.errors import UserError
from exact_cntk.study.documents import (
    check_images,
    describe_data,
    pack_answers,
    plain_numbers,
    read_document,
    read_documents,
    rounded,
    unpack_answers,
    write_json,
    write_result,
)

DATA = {"digest": "5" * 64}


def test_one_key_a_line_and_plain_lists_on_one(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2.5, None], "b": {"c": [[1], [2]]}, "d": {}})
    text = (tmp_path / "a.json").read_text()
    assert text == (
        '{\n  "a": [1, 2.5, null],\n  "b": {\n    "c": [\n      [1],\n      [2]\n    ]\n  },\n  "d": {}\n}\n'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text() == text


def test_rounding():
    assert rounded(1.23456789) == 1.23457 and rounded(1.23456789e-12) == 1.23457e-12
    assert rounded(1.5e-10, decimals=9) == 0.0
    assert rounded(float("nan")) is rounded(float("inf")) is None


def test_plain_numbers():
    value = {1: (np.int64(2), np.float32(0.5), float("inf")), "a": [True, None, "b", Fraction(1, 4)]}
    assert plain_numbers(value) == {"1": [2, 0.5, None], "a": [True, None, "b", 0.25]}
    with pytest.raises(TypeError, match="is no number"):
        plain_numbers({"a": object()})


def test_what_is_said_of_the_images(data):
    described = describe_data(data)
    assert (described["digest"], described["image_shape"]) == (data.digest, [4, 4, 1])
    assert described["classes"] == ["dark", "grey", "bright"]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64])
def test_answers_and_back(n):
    correct = np.random.default_rng(n).random(n) < 0.5
    text = pack_answers(correct)
    assert len(text) == 2 * -(-n // 8) and int(text, 16) >> (-n % 8) == int("".join(map(str, correct.astype(int))), 2)
    unpacked = unpack_answers(text, n, "a", correct.mean())
    assert unpacked.dtype == bool
    np.testing.assert_array_equal(unpacked, correct)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ff", "a.json: its answers are 1 bytes for 9 test images"),
        ("ff8000", "a.json: its answers are 3 bytes for 9 test images"),
        ("ff8", "a.json: its answers are not hexadecimal"),
        (None, "a.json: its answers are not hexadecimal"),
        ("0000", "a.json: its answers give an accuracy of 0.000000, the file says 1.000000"),
    ],
)
def test_damaged_answers(text, words):
    with pytest.raises(UserError, match=words):
        unpack_answers(text, 9, "a.json", 1.0)


def test_images_of_another_digest():
    check_images("kernel a.h5", "12", "b.h5", "12", "compute it again")
    with pytest.raises(UserError) as error:
        check_images("kernel a.h5", "1" * 64, "b.h5", "2" * 64, "compute it again")
    assert str(error.value) == (
        f"kernel a.h5 was made from other images (digest {'1' * 12}) than b.h5 (digest {'2' * 12}); compute it again"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read as metrics"),
        ("{", "cannot be read as metrics"),
        ("[]", "cannot be read as metrics: it is no JSON object"),
        ("[" * 10_000, "cannot be read as metrics: its values are nested too deep"),
        ('{"format_version": 2, "a": 1}', "it states no checksum of its content"),
        ('{"format_version": 2, "a": 1, "sha256": "0"}', "its content does not have the checksum that it states"),
        (json.dumps(stated({"format_version": 1, "a": 1})), "format_version = 1; allowed: 2"),
        (json.dumps(stated({"format_version": 2, "a": 1})), "lacks b, c"),
    ],
)
def test_a_document_that_is_none(tmp_path, content, words):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"a\.json.*{words}.*; solve it again"):
        read_document(path, "metrics", 2, keys=("a", "b", "c"), remedy="solve it again")


def test_documents_of_a_section(tmp_path):
    for name in ("b", "a"):
        write_result(tmp_path / f"{name}.json", {"format_version": 1, "data": DATA, "name": name})
    files = [tmp_path / "b.json", tmp_path / "b.csv", str(tmp_path / "a.json")]
    found = read_documents(DATA, files, keys=["name"])
    assert [(path.name, document["name"]) for path, document in found.items()] == [("b.json", "b"), ("a.json", "a")]
    write_result(tmp_path / "a.json", {"format_version": 1, "data": {"digest": "6"}, "name": "a"})
    with pytest.raises(UserError, match=r"a\.json was made from other images \(digest 6\) than the metrics"):
        read_documents(DATA, files)
    write_result(tmp_path / "a.json", {"format_version": 1, "data": []})
    with pytest.raises(UserError, match=r"a\.json was made from other images \(digest None\)"):
        read_documents(DATA, files)
