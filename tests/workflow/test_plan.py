"""What Snakemake plans: lint, dry runs, presets, and errors in the parameters. Nothing is computed here."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import yaml

from exact_cntk.study.names import RESERVED_NAMES
from exact_cntk.study.params import load_params
from exact_cntk.study.passes import kernel_blocks
from exact_cntk.study.sections import ALWAYS, SECTIONS
from exact_cntk.study.sections._collect import all_passes

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))


def keys(value, prefix=""):
    """All keys of nested mappings; those inside lists, and those of sections, which may be null, are the schema's."""
    if not isinstance(value, dict) or prefix.rstrip(".") in SECTIONS:
        return set()
    return {f"{prefix}{key}" for key in value} | {
        inner for key in value for inner in keys(value[key], f"{prefix}{key}.")
    }


def test_lint(fresh):
    assert "good condition" in fresh.run("snakemake", "--lint")


def test_default_study(fresh):
    shutil.copy2(ROOT / "config/digits.yaml", fresh / "params.yaml")
    # No flags: the profile beside the Snakefile loads by itself.
    planned = fresh.planned("--cores", "2", "--resources", "gpu=1")
    params = load_params(ROOT / "params.yaml")
    passes = [(one, len(kernel_blocks(params, one))) for one in all_passes(params)]
    networks = [family["depths"] for family in params["cnns"]["families"]]
    assert planned == {
        "all": 1,
        "preprocess": 1,
        "kernel_block": 14 + sum(blocks for one, blocks in passes if one.pool_images is not None),
        "merge_kernel": 10,
        "solve": 10,
        # for each rate one validation run and the seeds
        "train_cnn": sum(map(len, networks)) * len(params["cnns"]["rates"]) * (1 + params["cnns"]["seeds"]),
        "gather_cnn": sum(map(len, networks)),
        "random_features_draw": 2 * params["random_features"]["draws"],
        "random_features_exact": 2,
        "random_features_sweep": 2,
        "solve_architectures": sum(one.pool_images is not None for one, _ in passes),
        "small_data_kernel": 2,
        "small_data_baseline": 3,
        "small_data_cnn": 1,
        "section_parameters": 4,
        "section_provenance": 4,
        "tables": 1,
        "figures": 1,
        "notebook": 7,
        "report": 1,
    } | {f"section_{key}": 1 for key in SECTIONS}


def test_without_sections(fresh):
    params = yaml.safe_load((fresh / "params.yaml").read_text(encoding="utf-8"))
    params |= {key: None for key in SECTIONS if key not in ALWAYS}
    (fresh / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    assert fresh.planned() == {
        "all": 1,
        "preprocess": 1,
        "kernel_block": 10,
        "merge_kernel": 4,
        "solve": 4,
        "section_parameters": 4,
        "section_provenance": 4,
        "section_correlation": 1,
        "tables": 1,
        "figures": 1,
        "notebook": 3,
        "report": 1,
    }
    # DVC's outputs are there all the same; what they were made from depends on the images.
    assert fresh.planned("baselines") == {
        "baselines": 1,
        "preprocess": 1,
        "section_parameters": 4,
        "section_provenance": 4,
    }


def test_one_family_of_a_preset(fresh):
    planned = fresh.planned("cntk_v", "--configfile", "config/cifar10-2k.yaml")
    assert planned == {
        "cntk_v": 1,
        "fetch_data": 1,
        "preprocess": 1,
        "kernel_block": 4,
        "merge_kernel": 5,
        "solve": 5,
    }


def test_default_parameters_are_the_preset_digits():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "config/digits.yaml").read_bytes()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_is_complete(path):
    # Snakemake lays a preset over params.yaml: with the same keys in both, nothing of params.yaml shows through.
    preset = load_params(path)
    assert preset["study"] == path.stem
    assert keys(preset) == keys(load_params(ROOT / "params.yaml"))


def test_all_presets_are_there():
    assert {path.stem for path in PRESETS} == {
        *("digits", "review", "cifar10-2k", "cifar10-full", "ci"),
        *("cnns", "cifar2", "cifar2-cpu", "cifar2-condition", "architectures", "architectures-32", "small-data"),
        "small-data-16",
    }


def test_preset_replaces_lists(fresh):
    # The default's depths, subsets and ridges are more than the preset's; none may be left of them.
    shutil.copy2(ROOT / "config/digits.yaml", fresh / "params.yaml")
    by_file = fresh.planned("--configfile", "config/ci.yaml")
    shutil.copy2(ROOT / "config/ci.yaml", fresh / "params.yaml")
    assert by_file == fresh.planned()
    assert by_file["merge_kernel"] == 4


def test_typo_is_one_line_from_every_command(fresh):
    fresh.edit("params.yaml", "test_images:", "tset_images:")
    for code, command in [
        (1, ["snakemake", "--cores", "1"]),
        (2, ["python", "workflow/scripts/run_study.py"]),
        (2, ["exact-cntk", "estimate"]),
    ]:
        output = fresh.run(*command, code=code)
        assert "prepare.tset_images: unknown key, did you mean 'test_images'?" in output
        assert "Traceback" not in output


def test_contradiction_of_a_section_is_one_line(fresh):
    fresh.edit("params.yaml", "families: [cntk-gap]", "families: [cntk-gab]")
    output = fresh.run("snakemake", "--dry-run", code=1)
    assert "random_features.families[0]: 'cntk-gab' is not in kernels.families, did you mean 'cntk-gap'?" in output
    assert "Traceback" not in output


def test_reserved_names_are_the_steps_of_the_workflow(finished_once):
    listed = finished_once.run("snakemake", "--list-rules")
    steps = {name.replace("_", "-") for name in re.findall(r"^(\w+)(?: \(.*\))?$", listed, flags=re.MULTILINE)}
    families = {family["name"] for family in load_params(finished_once / "params.yaml")["kernels"]["families"]}
    assert steps - families == set(RESERVED_NAMES)


def test_profiles_agree():
    profiles = [ROOT / "profiles/default/config.yaml", ROOT / "workflow/profiles/slurm/config.yaml"]
    default, slurm = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in profiles)
    # Checksums that one run records are compared by the next.
    assert default["max-checksum-file-size"] == slurm["max-checksum-file-size"]
    assert default["rerun-triggers"] == slurm["rerun-triggers"]
    assert set(default) <= set(slurm)


def test_kernel_sources_are_whole():
    # Whatever the kernel's own modules import of the package is listed, or cannot change a number.
    text = (ROOT / "workflow/rules/made_from.smk").read_text(encoding="utf-8")
    listed = set(re.findall(r"\"(_\w+)(?:\.py|/\*\.py)\"", text[: text.index("def architecture")]))
    assert {"_cntk", "_cpu", "_cuda"} <= listed
    numberless = {"_backends", "_validation", "_progress", "_machine", "errors"}
    package = ROOT / "src/exact_cntk"
    for name in (package / "kernels/cntk.py", package / "kernels/cpu.py", *package.glob("kernels/cuda/*.py")):
        source = name.read_text(encoding="utf-8")
        imported = set(re.findall(r"^ *(?:from|import) exact_cntk\.(\w+)", source, flags=re.MULTILINE))
        imported |= set(re.findall(r"^ *from exact_cntk import (\w+)", source, flags=re.MULTILINE))
        assert imported <= listed | numberless, name


@pytest.mark.parametrize(("backend", "threads", "gpus"), [("cpu", 8, 0), ("cuda", 4, 1), ("auto", 8, 0)])
def test_threads_and_gpus_follow_the_backend(fresh, backend, threads, gpus):
    fresh.edit("params.yaml", "backend: auto", f"backend: {backend}")
    given = ["--resources", "gpu=4" if backend == "cuda" else "gpu=0"]
    planned = fresh.run("snakemake", "--dry-run", "--cores", "8", "--printshellcmds", "kernels", *given)
    commands = re.findall(r"exact-cntk --made-from \S+ block .*", planned)
    assert len(commands) == 10
    assert all(f"--threads {threads} " in command for command in commands)
    assert len(re.findall(rf"backend={backend}; if \[ \$backend = auto \] && \[ {gpus} = 0 \]", planned)) == 10


def test_workflow_holds_no_formula():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "workflow").rglob("*.py")]:
        assert not re.search(r"\bimport (numpy|scipy|h5py)|from (numpy|scipy|h5py)", path.read_text(encoding="utf-8"))


def test_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()) <= 40


def test_figures_and_tables_of_the_rules_are_the_library_s():
    from exact_cntk.study.sections.accuracy import figures
    from exact_cntk.study.sections.accuracy import results as tables

    text = (ROOT / "workflow/rules/report.smk").read_text(encoding="utf-8")
    lists = {name: re.findall(r"\"([\w.]+)\"", body) for name, body in re.findall(r"^(\w+) = \[([^\]]*)\]", text, re.M)}
    assert lists["FIGURES"] == list(figures.FIGURES)
    assert [*lists["TABLES"], "table1.md"] == list(tables.FILES)


@pytest.mark.parametrize("assignment", ["studydir=results/ci", "resample=3", "study_dir"])
def test_notebook_refuses_a_parameter_that_it_does_not_have(assignment, tmp_path):
    path = ROOT / "workflow/scripts/run_notebook.py"
    spec = importlib.util.spec_from_file_location("run_notebook", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    notebook = ROOT / "notebooks/correlation.ipynb"
    with pytest.raises(ValueError, match=r"did you mean '(study_dir|resamples)'|write NAME=VALUE"):
        module.read_parameters(notebook, [assignment])
    assert module.main([str(notebook), str(tmp_path / "a.ipynb"), str(tmp_path / "a.html"), assignment]) == 2
    assert not list(tmp_path.iterdir())
