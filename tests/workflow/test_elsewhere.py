"""The workflow is used from outside of its checkout, and as a module of another workflow; nothing is written to it."""

import shutil

import yaml
from checkouts import Checkout, copy_of_sources, cut_down

MODULE = """
configfile: "mine.yaml"


module cntk:
    snakefile:
        "{checkout}/workflow/Snakefile"
    config:
        config


use rule * from cntk as cntk_*


rule mine:
    default_target: True
    input:
        rules.cntk_summary.output,
    output:
        "mine.txt",
    shell:
        "cp {{input[0]}} {{output}}"
"""


def state(checkout: Checkout) -> dict[str, tuple[int, int]]:
    """Size and age of all files of a checkout, but for what Python compiles."""
    files = [path for path in checkout.path.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_directory_elsewhere_and_as_a_module(tmp_path):
    source = copy_of_sources(tmp_path / "checkout")
    before = state(source)
    elsewhere, other = Checkout(tmp_path / "elsewhere"), Checkout(tmp_path / "other")
    for folder in (elsewhere, other):
        folder.path.mkdir()
    cut_down(elsewhere, random_features=None, small_data=None)
    (elsewhere / "params.yaml").rename(other / "mine.yaml")
    shutil.copy2(other / "mine.yaml", elsewhere / "params.yaml")

    run = ["snakemake", "--snakefile", str(source / "Snakefile"), "--directory", str(elsewhere.path), "--cores", "2"]
    targets = ["summary", "results/ci/notebooks/ridge.html"]
    source.run(*run, *targets)
    assert "Nothing to be done" in source.run(*run, "--dry-run", *targets)
    elsewhere.edit("params.yaml", "- 0.0001", "- 0.001")
    assert "solve" in source.run(*run, "--dry-run", "metrics")

    (other / "Snakefile").write_text(MODULE.format(checkout=source.path), encoding="utf-8")
    other.snakemake()
    assert (other / "mine.txt").read_bytes() == (elsewhere / "results/ci/summary.json").read_bytes()
    assert state(source) == before


def test_a_given_file_is_the_whole_study(fresh):
    # params.yaml has all sections; the file that is given leaves most out, and so does the run.
    params = yaml.safe_load((fresh / "params.yaml").read_text(encoding="utf-8"))
    del params["cnns"], params["architectures"]
    (fresh / "mine.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    given = fresh.planned("--configfile", "mine.yaml")
    assert {"small_data_baseline", "random_features_draw", "show_small_data"} <= set(given)
    assert not {"train_cnn", "solve_architectures", "show_cnns", "show_architectures"} & set(given)

    fresh.edit("mine.yaml", "report:\n", "reports:\n")
    assert "reports: unknown key, did you mean 'report'?" in fresh.run(
        "snakemake", "-n", "--configfile", "mine.yaml", code=1
    )
