"""DVC runs the same DAG: its stages agree with the rules, and its runs with Snakemake's."""

import csv
import io

import pytest
import yaml

from exact_cntk.study.sections import ALWAYS, SECTIONS

# Made by earlier stages or by nobody but the user: what differs from rule to rule is the code and notebooks.
WRITTEN = ("src/", "notebooks/", "workflow/")


def stages(checkout):
    """The stages with the study's name filled in."""
    text = (checkout / "dvc.yaml").read_text(encoding="utf-8").replace("${study}", "ci")
    return yaml.safe_load(text)["stages"]


def paths(entries):
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def contents(checkout, path):
    """The file itself, or the files of a folder as DVC sees them."""
    if not (checkout / path).is_dir():
        return {path}
    files = [file for file in (checkout / path).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return {str(file.relative_to(checkout.path)) for file in files}


@pytest.fixture(scope="module")
def rules(finished_once):
    """Inputs of each output of the study, as Snakemake lists them."""
    table = finished_once.run("snakemake", "--quiet", "all", "--detailed-summary")
    rows = csv.DictReader(io.StringIO(table[table.index("output_file\t") :]), delimiter="\t")
    return {row["output_file"]: {name for name in row["input-file(s)"].split(",") if name} for row in rows}


def test_stages_are_few():
    from conftest import ROOT, Checkout

    assert len(stages(Checkout(ROOT))) <= 6


def test_dependencies_are_inputs_of_rules(finished_once, rules):
    # A dependency that Snakemake does not know makes DVC run a stage, Snakemake do nothing, and DVC record the stale
    # output as current.
    inputs = set().union(*rules.values())
    dependencies = [path for stage in stages(finished_once).values() for path in paths(stage["deps"])]
    known = {name for path in dependencies for name in contents(finished_once, path)}
    assert known <= inputs
    # And the other way round, for DVC to see every edit that Snakemake sees.
    assert {name for name in inputs if name.startswith(WRITTEN)} <= known


def test_stage_of_the_kernels_sees_every_source_of_theirs(finished_once, rules):
    made_of = [
        inputs for output, inputs in rules.items() if output.startswith(("results/ci/blocks", "results/ci/kernels"))
    ]
    sources = {name for inputs in made_of for name in inputs if name.startswith("src/")}
    dependencies = paths(stages(finished_once)["kernels"]["deps"])
    assert sources and sources <= {name for path in dependencies for name in contents(finished_once, path)}


def test_outputs_are_produced_by_rules(finished_once, rules):
    outputs = set(rules)
    declared = [
        path for stage in stages(finished_once).values() for path in paths(stage["outs"] + stage.get("metrics", []))
    ]
    assert {name for path in declared for name in contents(finished_once, path)} <= outputs
    assert not any("blocks" in path for path in declared)


def test_only_what_costs_time_is_persistent(finished_once):
    persistent = [
        path
        for stage in stages(finished_once).values()
        for entry in stage["outs"]
        if isinstance(entry, dict)
        for path, options in entry.items()
        if options.get("persist")
    ]
    assert persistent == [f"results/ci/{name}" for name in ["kernels", *(key for key in SECTIONS if key not in ALWAYS)]]


def test_no_parameter_is_unseen(finished_once):
    seen = {name for stage in stages(finished_once).values() for name in stage.get("params", [])}
    assert seen == set(yaml.safe_load((finished_once / "params.yaml").read_text(encoding="utf-8")))


def test_repro_twice_then_a_later_stage(finished):
    # Up to the tables, to save the time of notebooks; the README's test runs all stages.
    kernels = finished.ages("blocks", "kernels")
    made = finished.files("metrics")
    assert "Job stats" in finished.run("dvc", "repro", "tables")
    assert finished.files("metrics") == made
    assert "Data and pipelines are up to date." in finished.run("dvc", "repro", "tables")
    assert finished.planned("tables", "figures") == {}

    # A parameter of the last stages: what comes before is not even looked at.
    finished.edit("params.yaml", "resamples: 100", "resamples: 50")
    assert "report.resamples" in finished.run("dvc", "params", "diff")
    said = finished.run("dvc", "repro", "tables")
    for stage in ("prepare", "kernels", "solve", "baselines"):
        assert f"Stage '{stage}' didn't change, skipping" in said
    assert finished.ages("blocks", "kernels") == kernels


def test_preset_is_all_changes(fresh):
    fresh.run("make", "preset", "STUDY=review")
    said = fresh.run("dvc", "params", "diff")
    for name in ("study", "prepare.dataset", "prepare.resolution", "kernels.block_images", "solve.subsets"):
        assert name in said
