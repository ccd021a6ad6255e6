"""Parameters and their schema: values in other notations are read alike, and what fits nothing is refused by key."""

import copy
import re
from pathlib import Path

import hostile
import pytest
import yaml

from exact_cntk.errors import InputError
from exact_cntk.study.params import check_params, find_schema, load_params
from exact_cntk.study.schema import fit_schema

ROOT = Path(__file__).parents[3]
SCHEMA = find_schema()
DIGITS = yaml.safe_load((ROOT / "config/digits.yaml").read_text(encoding="utf-8"))


def changed(key, value, params=DIGITS):
    """Copy parameters with one key set; a number in the dotted key is an index."""
    params = copy.deepcopy(params)
    *parents, last = [int(part) if part.isdecimal() else part for part in key.split(".")]
    holder = params
    for part in parents:
        holder = holder[part]
    holder[last] = value
    return params


def read(key, value):
    """What a value becomes."""
    found = fit_schema(changed(key, value), SCHEMA)
    for part in key.split("."):
        found = found[int(part) if part.isdecimal() else part]
    return found


def same(a, b):
    """Equal, and of the same types: 1, 1.0 and True are three values."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("preset", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_of_nothing_but_strings_says_the_same(preset):
    # As Snakemake's --config reads what is nested.
    text = preset.read_text(encoding="utf-8")
    as_strings = yaml.load(text, Loader=yaml.BaseLoader)
    assert as_strings["prepare"]["train_images"] == str(load_params(preset)["prepare"]["train_images"])
    assert same(check_params(as_strings), load_params(preset))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("solve.ridges", ["0", "0.001", "1e-2"], [0, 0.001, 0.01]),  # the last is no number in YAML 1.1
        ("prepare.train_images", "60", 60),
        ("prepare.train_images", 60.0, 60),
        ("prepare.train_images", "6e1", 60),
        ("prepare.train_images", "60.0", 60),
        ("kernels.families.0.depth_passes", [[3.0, "4"]], [[3, 4]]),
        ("kernels.block_images", "500", 500),
        ("kernels.block_images", 5e2, 500),
        ("kernels.block_images", "auto", "auto"),
        ("prepare.resolution", "8", 8),
        ("prepare.resolution", 8.0, 8),
        ("prepare.allow_unverified", "true", True),
        ("prepare.allow_unverified", "no", False),
        ("prepare.source", "null", None),
        ("prepare.source", "~", None),
        ("prepare.source", "./null", "./null"),
        ("prepare.source", "123", "123"),
        ("prepare.source", "1e5", "1e5"),
        ("cnns", "null", None),
        ("random_features.sweep", "~", None),
        ("cnns.rates", [10, 30.0], [10, 30.0]),
        ("study", "123", "123"),
        ("study", "1e5", "1e5"),
        ("study", "null", "null"),
        ("kernels.families.0.name", "no", "no"),
        ("kernels.families.0.name", "e1", "e1"),
    ],
)
def test_a_value_is_what_its_key_wants(key, value, wanted):
    assert same(read(key, value), wanted)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("solve.ridges", ["0", "-1"], ["solve.ridges[1]: -1 ", "minimum of 0"]),
        ("solve.ridges", ["0", "x"], ["solve.ridges[1]: 'x' is not of type 'number'"]),
        ("solve.ridges", ["0", "1 "], ["solve.ridges[1]: '1 '"]),
        ("solve.ridges", ["0", "true"], ["solve.ridges[1]: 'true'"]),
        ("prepare.train_images", "060", ["prepare.train_images: '060' is not of type 'integer'"]),
        ("prepare.train_images", "1:00", ["prepare.train_images: '1:00' is not of type 'integer'"]),
        ("solve.ridges", "0", ["solve.ridges: '0' is not of type 'array'"]),
        ("prepare.train_images", "60.5", ["prepare.train_images: '60.5' is not of type 'integer'"]),
        ("prepare.train_images", 60.5, ["prepare.train_images: 60.5 is not of type 'integer'"]),
        ("prepare.train_images", True, ["prepare.train_images: True is not of type 'integer'"]),
        ("prepare.train_images", 1e300, ["prepare.train_images: 1e+300 is not of type 'integer'"]),
        ("prepare.resolution", "7", ["prepare.resolution: 7 is not possible", "Digits", "allowed: 8"]),
        ("prepare.source", "", ["prepare.source: ''", "null downloads"]),
        ("kernels.block_images", "500.5", ["kernels.block_images: '500.5'", "auto"]),
        ("cnns", "", ["cnns: ''", "'null'"]),
        ("study", 123, ["study: 123 is not of type 'string'; put it in quotes"]),
        ("kernels.families.0.name", False, ["kernels.families[0].name: False", "put it in quotes"]),
        ("kernels.families.0.name", "123", ["kernels.families[0].name: '123'", "beginning with a letter"]),
        ("cnns.rates", [float("nan")], ["cnns.rates[0]: nan is not allowed; give a finite number"]),
        ("cnns.rates", [".nan"], ["cnns.rates[0]: nan is not allowed; give a finite number"]),
        ("cnns.rates", [1, "1e999"], ["cnns.rates[1]: inf is not allowed; give a finite number"]),
        ("cnns.output_scale", float("inf"), ["cnns.output_scale: inf is not"]),
        ("solve.ridges", [0, float("-inf")], ["solve.ridges[1]: -inf is not"]),
        ("small_data.bandwidths", [float("inf")], ["small_data.bandwidths[0]: inf is not"]),
        ("prepare.seed", 10**400, ["prepare.seed", "1329 bits", "2^53"]),
        ("prepare.seed", -(2**53) - 1, ["prepare.seed", "2^53"]),
    ],
)
def test_refused(key, value, words):
    with pytest.raises(InputError) as error:
        check_params(changed(key, value))
    message = str(error.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400], ids=str)
def test_every_number_must_be_finite(number):
    for path in hostile.keys(DIGITS, most=1):
        key = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, path)))
        with pytest.raises(InputError, match=rf"^params\.yaml: {re.escape(key)}: "):
            check_params(hostile.changed(DIGITS, path, number))


def test_parameters_are_left_unchanged():
    params = changed("solve.ridges", ["0", "1e-3"])
    before = copy.deepcopy(params)
    check_params(params)
    assert same(params, before)


def test_a_value_that_holds_itself():
    params = copy.deepcopy(DIGITS)
    params["solve"]["ridges"].append(params["solve"]["ridges"])
    with pytest.raises(InputError, match=r"holds itself.*more than \d+; write it out"):
        check_params(params)


def test_no_pattern_takes_a_line_break():
    # `$` alone also matches before a line break at the end.
    def patterns(schema):
        for name, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if name == "pattern":
                yield value
            elif isinstance(value, dict | list):
                yield from patterns(value)

    found = set(patterns(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))))
    assert len(found) == 3
    for pattern in found:
        assert any(re.search(pattern, text) for text in ("a", "a-1", "auto"))
        for text in ("a", "a-1", "auto"):
            assert not any(re.search(pattern, wrong) for wrong in (f"{text}\n", f"\n{text}", f"{text}\n{text}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study: a\nsolve: {ridges: [0]}\nstudy: b\n", "study: given twice, again in line 3; keep one of them"),
        ("solve:\n  ridges: [0]\n  subsets: []\n  ridges: [0, 1]\n", "solve.ridges: given twice, again in line 4"),
        (
            "solve:\n  subsets:\n    - {repeats: 1, repeats: 2}\n",
            "solve.subsets[0].repeats: given twice, again in line 3",
        ),
        ('{"study": "a", "study": "b"}', "study: given twice, again in line 1"),
    ],
)
def test_a_key_given_twice(tmp_path, text, words):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: {re.escape(words)}"):
        load_params(path)


def test_repeats_of_an_anchor_are_counted(tmp_path):
    # Two lines more make ten times as many values; written out they would fill the memory.
    lines = ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30))]
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.yaml: the file: .* more than \d+; write it out"):
        load_params(path)


def test_a_message_is_short_whatever_was_given():
    for value in (list(range(3000)), "x" * 3000, {str(i): i for i in range(500)}):
        for key in ("study", "prepare.classes", "kernels.kinds", "solve.ridges", "kernels.families.0.name"):
            with pytest.raises(InputError) as error:
                check_params(changed(key, value))
            assert len(str(error.value)) < hostile.LONGEST
