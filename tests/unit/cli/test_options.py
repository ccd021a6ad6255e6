"""Numbers and names of the command line have the limits of the parameters' schema, and no other notation."""

import re

import pytest
import typer
import yaml
from typer.testing import CliRunner
from verbs import parameters

from exact_cntk._support import console
from exact_cntk.cli import app
from exact_cntk.errors import InputError
from exact_cntk.study.params import find_schema

SCHEMA = yaml.safe_load(find_schema().read_text(encoding="utf-8"))


def test_limits_are_those_of_the_schema():
    names, parts = SCHEMA["$defs"], SCHEMA["properties"]
    solve, report = parts["solve"]["properties"], parts["report"]["properties"]
    assert names["depth"]["maximum"] == console.LARGEST_DEPTH
    assert names["filter_size"]["maximum"] == console.LARGEST_SIZE
    assert console.LARGEST_SEED == parts["prepare"]["properties"]["seed"]["maximum"] == report["seed"]["maximum"]
    assert report["resamples"]["maximum"] == console.MOST_RESAMPLES
    assert solve["ridges"]["items"]["maximum"] == console.LARGEST_RIDGE
    assert solve["max_memory_gib"]["maximum"] == console.MOST_GIB
    for schema, pattern in ((names["name"], console.FAMILY), (parts["study"], console.STUDY)):
        assert schema["pattern"] == rf"^{pattern}$(?!\n)"
        assert schema["maxLength"] == console.LONGEST_NAME


def test_no_number_is_read_otherwise():
    """Every option that takes a number has a reader with limits."""
    found = [one for one in parameters(app) if {int, float} & one.kinds]
    assert len(found) > 10 and all(one.option.parser for one in found)


@pytest.mark.parametrize("text", ["1_0", "٣", " 3", "3 ", "3.0", "", "0x3", "1", "1001", "-3", "9" * 5000])
def test_whole_numbers(text):
    read = console.whole(2, 1000)
    assert read("3") == read(3) == read("+3") == 3
    with pytest.raises(typer.BadParameter, match="is no whole number from 2 to 1000"):
        read(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1_0", "-1", "0", "", "x", "1000001", "1e"])
def test_numbers(text):
    read = console.number(0, 1e6, above=True)
    assert [read(good) for good in ("1e-06", ".5", "3", "3.", 2.5, "1E6")] == [1e-6, 0.5, 3, 3, 2.5, 1e6]
    with pytest.raises(typer.BadParameter, match=r"is no number above 0 up to 1e\+06"):
        read(text)


@pytest.mark.parametrize("text", ["", "a\n", "a\nb", "A", "a_b", "a\udcff", "-a", "a" * 101, "a--b", "1a"])
def test_names_of_families(text):
    assert console.family_name("cntk-v2") == "cntk-v2"
    with pytest.raises(typer.BadParameter, match="is not allowed; give words of lower-case letters and digits"):
        console.family_name(text)


def test_lists():
    assert console.parse_list("--ridges", "0,1e-06", console.number(0, 1)) == [0, 1e-6]
    with pytest.raises(InputError, match=re.escape("--ridges is '0,': '' is no number from 0 to 1; separate several")):
        console.parse_list("--ridges", "0,", console.number(0, 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("merge --depth 3 --out m.h5 --max-memory-gib nan a.h5", "'--max-memory-gib': 'nan' is no number above 0"),
        ("solve --kernel k --data d --subset 2x1 --out m --max-memory-gib inf", "'inf' is no number above 0"),
        ("solve --kernel k --data d.h5 --subset 2x1 --out m --study A", "'--study': 'A' is not allowed"),
        ("solve --kernel k --data D_1.h5 --subset 2x1 --out m", "--study is not given, and --data's name 'D_1'"),
        ("solve --kernel k --data d.h5 --subset 2x1 --out m --ridges nan", "--ridges is 'nan': 'nan' is no number"),
        (f"solve --kernel k --data d.h5 --subset 2x{'9' * 5000} --out m", "subset is "),
        ("estimate --calibration nan", "'--calibration': 'nan' is no number from 0 to 10000"),
        ("estimate --calibration -1", "'--calibration': '-1' is no number from 0 to 10000"),
        ("estimate --calibration inf", "'--calibration': 'inf' is no number from 0 to 10000"),
        ("data prepare digits --out d.h5 --seed 999999999999999999999999", "whole number from 0 to 4294967295"),
        ("data prepare digits --out d.h5 --options []", "--options: '[]' is no JSON object such as {}"),
        ("data prepare digits --out d.h5 --options " + "[" * 100_000, "its values are nested too deep"),
        ('data prepare digits --out d.h5 --options {"a":1,"a":2}', "it gives the key 'a' twice"),
        ("data prepare digits --out d.h5 --options " + '{"a":NaN}', "it has NaN, which is no number of JSON"),
        ("section show accuracy --study-dir s --resamples 0", "'0' is no whole number from 1 to 100000"),
    ],
)
def test_refused_before_anything_is_read(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments.split(" "))
    assert done.exit_code == 2 and words in done.stderr
    assert len(done.stderr.splitlines()) == 1 and len(done.stderr) < 1000
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_one_line_for_a_line(capsys):
    console.log("a\nb\u2028\x1b[1m é ü: 3×3\udcff")
    assert capsys.readouterr().err == "a\\nb\\u2028\\x1b[1m é ü: 3×3\\udcff\n"
