"""YAML files: what has one meaning is read, everything else is refused by its key, in one line and at once."""

import re

import pytest

from exact_cntk.errors import InputError
from exact_cntk.study.params import load_params
from exact_cntk.study.yaml_files import LARGEST_BYTES, read_yaml


def written(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [60, -3, 0, 1.5, .5, 1., 1.0e-6, .inf, '060', \"1:00\", x-1]",
         {"a": [60, -3, 0, 1.5, 0.5, 1.0, 1e-6, float("inf"), "060", "1:00", "x-1"]}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]",
         {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}),
        ('{"a": true, "b": null}', {"a": True, "b": None}),
        ("2: x", {2: "x"}),
    ],
)  # fmt: skip
def test_read(tmp_path, text, value):
    assert read_yaml(written(tmp_path, text)) == value


@pytest.mark.parametrize("number", ["060", "-01", "1:00", "1:00.5", "1_000", "0b11", "0x1f", "1_0.5", "0x_"])
@pytest.mark.parametrize(("text", "key"), [("prepare: {{train_images: {}}}", "prepare.train_images"),
                                           ("a:\n- b:\n  - {}", "a[0].b[0]")])  # fmt: skip
def test_numbers_with_two_meanings(tmp_path, number, text, key):
    """By YAML 1.1 and 1.2; 060 would be 48."""
    with pytest.raises(InputError, match=rf"a\.yaml: {re.escape(key)}: '{number}' is a number .* write it in decimal"):
        read_yaml(written(tmp_path, text.format(number)))


@pytest.mark.parametrize(
    "value", ['!!int ""', '!!int "-"', '!!float ""', '!!bool "x"', '!!timestamp "x"', "!!set {a}", "!!str 5", "!x 5"]
)
def test_tags(tmp_path, value):
    with pytest.raises(InputError, match=r"a\.yaml: solve\.ridges: the tag '!.* is not allowed; leave it out"):
        read_yaml(written(tmp_path, f"solve: {{ridges: {value}}}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; give a parameter file"),
        ("# nothing\n", "is empty; give a parameter file"),
        ("a: {<<: {x: 1}, <<: {y: 2}}", "a.<<: given twice, again in line 1"),
        ("a: {[1]: 2}", "a: one of its keys is a list or a mapping"),
        ("a: =", "is not YAML: "),
        ("a: [", "is not YAML: "),
        ("a: 2001-99-99", "is not YAML: "),
        ("a: " + "[" * 3000, "the file: a value holds itself, is nested without end"),
        ("a: &a [*a]", "the file: a value holds itself"),
        ("# comment\n" * LARGEST_BYTES, f"has {10 * LARGEST_BYTES} bytes, more than {LARGEST_BYTES}"),
    ],
)
def test_refused(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        read_yaml(written(tmp_path, text))
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.yaml'}: {words}") and "\n" not in message


def test_merged_keys_are_counted(tmp_path):
    """Before they are merged, which would not end."""
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(30)) + "}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 11)]
    with pytest.raises(InputError, match=r"there are more than \d+; write it out"):
        load_params(written(tmp_path, "\n".join(lines)))


def test_no_name_of_a_file():
    with pytest.raises(InputError, match=r"cannot be read .*null byte"):
        load_params("a\0.yaml")
