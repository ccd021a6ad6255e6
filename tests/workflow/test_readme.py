"""Every command of the README is run here, in the tiny study ci; what takes hours or installs is run as far as it goes.

A command of a kind that no test below knows fails `test_every_command_is_run`.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest
from checkouts import NUMBERS, await_queue, cut_down, empty_notebooks, from_scratch, numbers

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def commands(*programs: str) -> list[str]:
    """The commands of all pages' bash blocks, without comments, that start one of these programs."""
    lines = [line for page in PAGES for block in blocks("bash", page) for line in block.splitlines()]
    found = [shlex.join(words) for words in (shlex.split(line, comments=True) for line in lines) if words]
    return [command for command in found if not programs or Path(command.split()[0]).name in programs]


def run(checkout, command: str, *more: str) -> str:
    """Run a README command in a copy of the checkout whose study is ci."""
    return checkout.run(*shlex.split(command), *more)


def test_every_command_is_run():
    # The command for machines with a GPU is tried out in tests/unit/benchmarks/test_gpu_check.py.
    elsewhere = {command for command in commands() if "benchmarks/gpu_check.sh" in command}
    assert set(commands()) - elsewhere == set(commands("make", "snakemake", "dvc", "git", "exact-cntk", "python"))
    assert not elsewhere or (ROOT / "tests/unit/benchmarks/test_gpu_check.py").is_file()
    assert len(commands("make")) > 3


@pytest.mark.parametrize("command", [c for c in commands("make") if "preset" not in c])
def test_make_target_exists(fresh, command):
    # Without the variables through which a make that runs the tests would speak to this one.
    fresh.env = {name: value for name, value in fresh.env.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run(fresh, command, "--dry-run")


@pytest.mark.parametrize("command", [c for c in commands("make") if "preset" in c])
def test_make_preset(fresh, command):
    run(fresh, command)
    preset = command.partition("STUDY=")[2]
    assert (fresh / "params.yaml").read_text() == (fresh / f"config/{preset}.yaml").read_text()


def test_make_preset_lists_the_studies(fresh):
    message = fresh.run("make", "preset", "STUDY=reviev", code=2)
    assert "'reviev'" in message
    listed = message.partition("choose one of:")[2].splitlines()[0].split()
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize("command", [c for c in commands("snakemake") if "--report" not in c])
def test_snakemake_plans(finished, command):
    program, _, options = command.partition(" ")
    if "--configfile" in command:  # another study
        assert "kernel_block" in run(finished, f"{program} --dry-run {options}")
    else:
        assert "Nothing to be done" in run(finished, command)


@pytest.mark.parametrize("command", [c for c in commands("snakemake") if "--report" in c])
def test_snakemake_report(finished, command):
    run(finished, command)
    page = (finished / command.split()[-1]).read_text(encoding="utf-8")
    assert "table1.csv" in page and "accuracy.svg" in page


def test_dvc_commands(fresh, tmp_path):
    """In the README's order: a study, its commit, experiments, and what compares them.

    The experiments of the queue differ from the study in a kernel's parameter, in the choice of images and in the
    ridges, and so do their numbers; where the images and the ridges are others, they are those of a run of these
    parameters in which nothing was computed before, to the byte.
    """
    cut_down(fresh, random_features=None)
    empty_notebooks(fresh)
    fresh.run("git", "commit", "--quiet", "--all", "--message", "Small")
    fresh.env["COLUMNS"] = "1000"  # a terminal scrolls wide tables instead
    printed = {}
    for command in commands("dvc", "git"):
        printed[command] = run(fresh, command)
        if command == "dvc queue start":
            await_queue(fresh)
    assert printed["dvc queue status"].count("Success") == 2
    assert "solve.ridges" in printed["dvc params diff"]
    assert "accuracy_loo_ridge" in printed["dvc metrics diff"]
    assert (fresh / "dvc_plots/index.html").exists()
    (shown,) = (output for command, output in printed.items() if command.startswith("dvc exp show"))
    for name in ("solve.ridges", "kernels.dtype", "prepare.selection", "accuracy_loo_ridge"):
        assert name in shown
    assert fresh.planned() == {}, "Snakemake would do again what DVC has done"
    assert "Data and pipelines are up to date." in fresh.run("dvc", "repro")

    fresh.run("git", "stash")
    fresh.run("dvc", "checkout", "dvc.yaml")
    study = numbers(fresh)
    for name in re.findall(r"--name (\S+)", "\n".join(printed)):
        fresh.run("git", "reset", "--hard")
        fresh.run("dvc", "exp", "apply", name)
        found = numbers(fresh)
        assert name == "precise" or found == numbers(from_scratch(fresh, tmp_path / name))
        concerned = ("kernels/", "metrics/") if name == "precise" else NUMBERS  # pixels and networks have no such dtype
        same = [file for file in found if found[file] == study[file] and file.endswith((".h5", ".json"))]
        assert not [file for file in same if file.startswith(tuple(f"results/ci/{part}" for part in concerned))]
        # What DVC brought is what the parameters make.
        assert fresh.planned() == {}


@pytest.mark.parametrize("command", commands("exact-cntk"))
def test_command_line(fresh, command):
    assert run(fresh, command)


@pytest.mark.parametrize("command", commands("python"))
def test_python_commands(fresh, command):
    assert "usage:" in run(fresh, command.replace(".venv/bin/", ""), "--help")


def test_library_example_gives_the_score_it_states():
    (example,) = blocks("python")
    *statements, last = ast.parse(example).body
    names: dict = {}
    exec(compile(ast.Module(statements, []), "README.md", "exec"), names)
    score = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    stated = float(re.search(r"#\s*(0\.\d+)\s*$", example)[1])
    assert score == pytest.approx(stated, abs=0.011)  # two of 200 images: rounding differs between instruction sets
