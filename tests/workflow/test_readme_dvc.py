"""The README's commands of DVC, all in one checkout: the longest test, in a file of its own that starts first."""

import re

from checkouts import NUMBERS, await_queue, cut_down, empty_notebooks, from_scratch, numbers
from test_readme import commands, run


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
