"""DVC runs the same DAG: its stages agree with the rules, and its runs with Snakemake's."""

import csv
import io
import shutil

import pytest
import yaml
from checkouts import PRESETS, ROOT, Checkout, copy_of_sources, cut_down, numbers

from exact_cntk.study.sections import KEYS, has_parameters

WITH_PARAMETERS = [key for key in KEYS if has_parameters(key)]
# Made by earlier stages or by nobody but the user: what differs from rule to rule is the code and notebooks.
WRITTEN = ("src/", "notebooks/", "workflow/")


def stages(checkout):
    """The stages with the study's name filled in, and those of sections written out."""
    text = (checkout / "dvc.yaml").read_text(encoding="utf-8").replace("${study}", "ci")
    written = yaml.safe_load(text)["stages"]
    for name in [name for name, stage in written.items() if "foreach" in stage]:
        stage = written.pop(name)
        for item in stage["foreach"]:
            written[f"{name}@{item}"] = yaml.safe_load(yaml.safe_dump(stage["do"]).replace("${item}", item))
    return written


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


def test_every_section_that_computes_is_a_stage(finished_once):
    assert {name for name in stages(finished_once) if "@" in name} == {f"section@{key}" for key in WITH_PARAMETERS}


def test_dependencies_are_inputs_of_rules(finished_once, rules):
    # DVC deletes what is not persistent before it runs a stage: where that costs time, an edit that does not concern
    # the stage must not make it run.
    inputs = set().union(*rules.values())
    written = stages(finished_once)
    for name in ("prepare", "solve"):
        dependencies = [path for path in paths(written[name]["deps"]) if not path.endswith("__init__.py")]
        known = {name for path in dependencies for name in contents(finished_once, path)}
        assert {name for name in known if not name.endswith("__init__.py")} <= inputs
    # And the other way round, for DVC to see every edit that Snakemake sees.
    dependencies = [path for stage in written.values() for path in paths(stage["deps"])]
    known = {name for path in dependencies for name in contents(finished_once, path)}
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


def test_only_what_costs_time_is_persistent(finished_once):
    persistent = [
        path
        for stage in stages(finished_once).values()
        for entry in stage["outs"]
        if isinstance(entry, dict)
        for path, options in entry.items()
        if options.get("persist")
    ]
    assert persistent == [f"results/ci/{name}" for name in ["blocks", "kernels", *WITH_PARAMETERS]]


def test_no_parameter_is_unseen(finished_once):
    seen = {name for stage in stages(finished_once).values() for name in stage.get("params", [])}
    assert seen == set(yaml.safe_load((finished_once / "params.yaml").read_text(encoding="utf-8")))


def recorded_by_dvc(path):
    """A small study, run and committed."""
    checkout = copy_of_sources(path)
    cut_down(checkout, random_features=None)
    checkout.run("dvc", "repro", "show")
    checkout.run("git", "add", "--all")
    checkout.run("git", "commit", "--quiet", "--message", "Run the study")
    return checkout


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory):
    return recorded_by_dvc(tmp_path_factory.mktemp("recorded") / "checkout")


@pytest.fixture
def recorded(recorded_once, tmp_path):
    shutil.copytree(recorded_once.path, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")


def test_repro_twice_then_a_later_stage(recorded):
    kernels = recorded.ages("kernels")
    assert "Data and pipelines are up to date." in recorded.run("dvc", "repro", "show")
    assert recorded.planned("summary", "sections") == {}

    # A parameter of the last stages: what comes before is not even looked at.
    recorded.edit("params.yaml", "resamples: 100", "resamples: 50")
    assert "report.resamples" in recorded.run("dvc", "params", "diff")
    said = recorded.run("dvc", "repro", "show")
    for stage in ("prepare", "kernels", "solve", "section@small_data"):
        assert f"Stage '{stage}' didn't change, skipping" in said
    assert recorded.ages("kernels") == kernels


def test_results_of_make_study_are_recorded_without_computing(finished):
    before = finished.files("")
    finished.run("dvc", "commit", "--force", "dvc.yaml")
    assert "Data and pipelines are up to date." in finished.run("dvc", "status", "dvc.yaml")
    assert "Data and pipelines are up to date." in finished.run("dvc", "repro")
    assert finished.files("") == before


def test_clone_goes_on_from_pulled_results(recorded, tmp_path):
    recorded.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    recorded.run("git", "commit", "--quiet", "--all", "--message", "Keep results")
    recorded.run("dvc", "push")
    recorded.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone")
    clone.run("dvc", "pull", "--with-deps", "show")
    assert clone.planned("summary", "sections") == {}
    clone.edit("params.yaml", "- 0.0001", "- 0.001")
    assert set(clone.planned("summary")) == {
        *("summary", "solve", "small_data_kernel", "small_data_baseline"),
        *("show_accuracy", "show_correlation", "show_small_data"),
    }
    clone.run("dvc", "repro", "show")
    recorded.edit("params.yaml", "- 0.0001", "- 0.001")
    recorded.snakemake("summary")
    assert numbers(clone) == numbers(recorded)


def test_preset_is_all_changes(fresh):
    fresh.run("make", "preset", "STUDY=review")
    said = fresh.run("dvc", "params", "diff")
    for name in ("study", "prepare.dataset", "prepare.resolution", "kernels.block_images", "solve.subsets"):
        assert name in said


def in_small(params):
    """A preset with few images, the least depth, and narrow networks; it has the sections that it has."""
    params["prepare"] |= {"dataset": "digits", "source": None, "resolution": 8, "classes": []}
    params["prepare"] |= {"train_images": 40, "test_images": 20}
    kernels, section = params["kernels"], params["random_features"] or params["small_data"] or {}
    used = section.get("families") or [one["family"] for one in section.get("kernels", ())]
    families = [one for one in kernels["families"] if one["name"] in used] or kernels["families"]
    kernels |= {"backend": "auto", "block_images": 40, "families": [families[0] | {"depth_passes": [[3]]}]}
    params["solve"] |= {"subsets": [{"train_images": 20, "repeats": 2}], "ridges": [0, 1.0e-3], "max_memory_gib": 2}
    if cnns := params["cnns"]:
        cnns |= {"families": [cnns["families"][0] | {"depths": [3]}], "rates": [10], "width": 2, "seeds": 1}
        cnns |= {"batch_images": 10, "max_epochs": 1, "averaged_epochs": 1, "validation_images": 10}
    if features := params["random_features"]:
        features |= {"families": [families[0]["name"]], "depths": [3], "width": 2, "draws": 1}
        features |= {"train_images": 20, "test_images": 20, "sweep": None}
    if grid := params["architectures"]:
        grid |= {"depths": [3], "readouts": ["flatten"], "pooling_windows": [], "filter_sizes": [3]}
        grid |= {"train_images": 40, "small_train_images": [20], "small_repeats": 2, "flips": grid["flips"][:1]}
    if small := params["small_data"]:
        small |= {"train_images": [20], "subsets": 2, "kernels": [{"family": families[0]["name"], "depth": 3}]}
        small |= {"baselines": ["rbf"], "bandwidths": [1], "cnns": None}
    return params


def sections_of(preset):
    params = yaml.safe_load((ROOT / f"config/{preset}.yaml").read_text(encoding="utf-8"))
    return params, tuple(key for key in WITH_PARAMETERS if params.get(key))


def test_every_preset_is_planned_in_small(fresh):
    for preset in PRESETS:
        params, keys = sections_of(preset)
        (fresh / "params.yaml").write_text(yaml.safe_dump(in_small(params)), encoding="utf-8")
        assert set(fresh.planned("sections")) >= {f"show_{key}" for key in keys}, preset


@pytest.mark.parametrize("sections", [(), ("architectures",)], ids=["none", "one"])
def test_stages_of_sections_that_are_left_out_run_by_dvc(fresh, sections):
    # All sections by DVC are in tests of the README, and of results that `make study` has made.
    preset = next(preset for preset in PRESETS if sections_of(preset)[1] == sections)
    (fresh / "params.yaml").write_text(yaml.safe_dump(in_small(sections_of(preset)[0])), encoding="utf-8")
    fresh.run("dvc", "repro", *(f"section@{key}" for key in WITH_PARAMETERS))
    for name in ("kernels", "section_provenance", *WITH_PARAMETERS):
        assert (fresh / f"results/{preset}/{name}").is_dir()
