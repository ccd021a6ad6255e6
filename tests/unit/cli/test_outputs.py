"""No verb loses what it reads, nor starts what it cannot write."""

import subprocess
import sys
from pathlib import Path

import pytest
from kernel_files import environment, make_blocks
from typer.testing import CliRunner
from verbs import parameters

from exact_cntk._support.outputs import check_outputs, is_same_file
from exact_cntk.cli import app
from exact_cntk.cli.verb import OUTPUTS
from exact_cntk.errors import InputError, UserError

# Options that name files and folders that a verb reads, or the folder that it works in.
READ = {"data", "blocks", "listed", "params", "kernel", "checkpoints", "source", "study_dir", "files", "metrics"}
READ |= {"parameters", "sections", "made_from"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments):
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_every_option_of_a_file_is_known():
    files = {one.name for one in parameters(app) if Path in one.kinds}
    assert files == READ | set(OUTPUTS)


@pytest.fixture
def kernel(tmp_path, data, full):
    blocks = make_blocks(tmp_path / "blocks", data, full)
    assert run("merge", "--depth", 3, "--out", tmp_path / "kernel.h5", *blocks).exit_code == 0
    return tmp_path / "kernel.h5"


def test_merge_keeps_its_blocks(tmp_path, data, full):
    blocks = make_blocks(tmp_path / "blocks", data, full)
    content = blocks[0].read_bytes()
    line = refusal("merge", "--depth", 3, "--out", blocks[0], *blocks)
    assert line.endswith(f"--out is {blocks[0]}, the file that BLOCK names; it would be lost: choose another")
    (tmp_path / "list").write_text("\n".join(map(str, blocks)), encoding="utf-8")
    (tmp_path / "link.h5").symlink_to(blocks[0])
    for out in (blocks[0], tmp_path / "blocks/../blocks" / blocks[0].name, tmp_path / "link.h5", tmp_path / "list"):
        assert "the file that --blocks names" in refusal(
            "merge", "--depth", 3, "--out", out, "--blocks", tmp_path / "list"
        )
    assert blocks[0].read_bytes() == content


def test_solve_keeps_what_it_reads(tmp_path, data_file, data, kernel):
    contents = {path: path.read_bytes() for path in (kernel, data_file)}
    for taken, option in ((kernel, "--kernel"), (data_file, "--data")):
        for output in ("--out", "--timing", "--provenance"):
            files = {"--kernel": kernel, "--data": data_file, "--out": tmp_path / "m.json"} | {output: taken}
            line = refusal("solve", *(word for pair in files.items() for word in pair), "--subset", "20x1")
            assert f"{output} is {taken}, the file that {option} names" in line
    assert {path: path.read_bytes() for path in contents} == contents


def test_outputs_differ(tmp_path, data_file, data, kernel):
    solve = ["solve", "--kernel", kernel, "--data", data_file, "--subset", "20x1", "--out", tmp_path / "a.json"]
    assert "--timing is" in refusal(*solve, "--timing", tmp_path / "a.json")
    assert "--timing is" in refusal(*solve, "--provenance", tmp_path / "b.json", "--timing", tmp_path / "b.json")
    assert not (tmp_path / "a.json").exists()


def test_a_report_keeps_the_study(tmp_path):
    page = tmp_path / "sections/accuracy.json"
    page.parent.mkdir()
    page.write_text("{}", encoding="utf-8")
    assert "--out is" in refusal("report", "--study-dir", tmp_path, "--section", page, "--out", page)
    assert "cannot be read as a section" in refusal("report", "--study-dir", tmp_path, "--out", page)
    assert page.read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize(
    ("name", "words"),
    [("/proc/x.h5", "cannot be written"), ("a" * 300 + ".h5", "File name too long"), ("a\nb.h5", "no line ends"),
     ("a\udcff.h5", "no line ends"), ("file/x.h5", "Not a directory")],
)  # fmt: skip
def test_refused_before_the_work(tmp_path, monkeypatch, data_file, data, kernel, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr("exact_cntk.data.prepare", None)
    monkeypatch.setattr("exact_cntk.blocks.merge_blocks", None)
    monkeypatch.setattr("exact_cntk.study.solve.solve_to_files", None)
    solve = ["solve", "--kernel", kernel, "--data", data_file, "--subset", "20x1"]
    for arguments in (
        ["data", "prepare", "digits", "--out", name],
        ["merge", "--depth", 3, "--out", name, "x.h5"],
        [*solve, "--out", name],
        [*solve, "--out", "m.json", "--timing", name],
        [*solve, "--out", "m.json", "--provenance", name],
    ):
        assert words in refusal(*arguments)


def test_names_of_one_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to("missing")
    (tmp_path / "loop").symlink_to("loop")
    assert all(
        is_same_file(tmp_path / name, tmp_path / "a") for name in ("a", "link", "hard", "../" + tmp_path.name + "/a")
    )
    assert is_same_file(tmp_path / "dangling", tmp_path / "missing")
    assert not is_same_file(tmp_path / "loop", tmp_path / "a")
    with pytest.raises(InputError, match=r"--timing is .*missing, the file that --out names"):
        check_outputs({"--out": tmp_path / "dangling", "--timing": tmp_path / "missing"}, [])
    with pytest.raises(UserError, match="Too many levels of symbolic links"):
        check_outputs({"--out": tmp_path / "loop" / "x"}, [])


@pytest.mark.parametrize("arguments", ["estimate --calibration 0", "--help", "--version", "section run small_data"])
def test_a_full_output(arguments):
    command = [sys.executable, "-c", "from exact_cntk.cli import main; main()", *arguments.split()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "exact-cntk: error: cannot write the standard output: No space left on device; name another place for it\n"
    )


def test_a_study_that_is_not_there(tmp_path):
    for verb in ("summary", "report"):
        assert "nope/sections holds no section: run the workflow" in refusal(verb, "--study-dir", tmp_path / "nope")
    assert not (tmp_path / "nope").exists()
