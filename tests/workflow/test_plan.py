"""What Snakemake plans: lint, dry runs, presets, and errors in the parameters. Nothing is computed here."""

import ast
import importlib.util
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from exact_cntk.study.names import RESERVED_NAMES
from exact_cntk.study.params import load_params
from exact_cntk.study.passes import kernel_blocks, kernel_depths, kernel_passes
from exact_cntk.study.sections import KEYS, has_parameters, plan, present
from exact_cntk.study.sections._collect import all_passes
from exact_cntk.study.sections._run import section_jobs

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))
WITH_PARAMETERS = list(filter(has_parameters, KEYS))


def whole_study(params):
    """Count the jobs of a study by rule: each block, kernel, job, section and notebook once."""
    sections = present(params)
    return {
        **dict.fromkeys(["all", "preprocess", "summary", "report"], 1),
        "kernel_block": sum(len(kernel_blocks(params, one)) for one in all_passes(params)),
        **dict.fromkeys(["merge_kernel", "solve"], len(kernel_depths(params))),
        **dict.fromkeys(["section_parameters", "section_provenance"], len(WITH_PARAMETERS)),
        **Counter(job.step for key in KEYS for job in section_jobs(key, params).values()),
        **{f"show_{key}": 1 for key in sections},
        "notebook": sum(len(plan(key).SECTION.notebooks) for key in sections),
    }


def test_lint(fresh):
    assert "good condition" in fresh.run("snakemake", "--lint")


def test_default_study(fresh):
    shutil.copy2(ROOT / "config/digits.yaml", fresh / "params.yaml")
    # No flags: the profile beside the Snakefile loads by itself.
    planned = fresh.planned("--cores", "2", "--resources", "gpu=1")
    assert planned == whole_study(load_params(ROOT / "params.yaml"))
    assert set(planned) > {f"show_{key}" for key in KEYS}


def test_without_sections(fresh):
    params = yaml.safe_load((fresh / "params.yaml").read_text(encoding="utf-8")) | dict.fromkeys(WITH_PARAMETERS)
    (fresh / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    planned = fresh.planned()
    assert planned == whole_study(load_params(fresh / "params.yaml"))
    assert {"show_accuracy", "show_correlation"} < set(planned)
    # DVC's outputs are there all the same; what they were made from depends on the images.
    marks = ("preprocess", "section_parameters", "section_provenance")
    assert fresh.planned("baselines") == {"baselines": 1} | {name: planned[name] for name in marks}


def test_one_family_of_a_preset(fresh):
    preset = "config/cifar10-2k.yaml"
    params = load_params(ROOT / preset)
    (blocks,) = [kernel_blocks(params, one) for one in kernel_passes(params) if one.name == "cntk-v"]
    depths = [depth for family, depth in kernel_depths(params) if family == "cntk-v"]
    assert fresh.planned("cntk_v", "--configfile", preset) == {
        **dict.fromkeys(["cntk_v", "fetch_data", "preprocess"], 1),
        "kernel_block": len(blocks),
        **dict.fromkeys(["merge_kernel", "solve"], len(depths)),
    }


def test_default_parameters_are_the_preset_digits():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "config/digits.yaml").read_bytes()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_is_a_study_of_its_name(path):
    assert load_params(path)["study"] == path.stem


def test_preset_replaces_the_default(fresh):
    # The default's depths, subsets and ridges are more than the preset's; none may be left of them.
    shutil.copy2(ROOT / "config/digits.yaml", fresh / "params.yaml")
    by_file = fresh.planned("--configfile", "config/ci.yaml")
    shutil.copy2(ROOT / "config/ci.yaml", fresh / "params.yaml")
    assert by_file == fresh.planned()
    assert by_file == whole_study(load_params(ROOT / "config/ci.yaml"))


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


def test_no_cores(fresh):
    """Also where nothing is to be done."""
    for cores in ("0", "-1", "two", "1_0"):
        output = fresh.run("python", "workflow/scripts/run_study.py", f"--cores={cores}", code=2)
        assert output == f"run_study: error: --cores is '{cores}'; allowed are all, or a whole number from 1 on\n"


def test_a_key_given_twice_is_one_line(fresh):
    with (fresh / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("study: other\n")
    for code, command in [(1, ["snakemake", "--dry-run"]), (2, ["python", "workflow/scripts/run_study.py"])]:
        output = fresh.run(*command, code=code)
        assert re.search(r"(?m)params\.yaml: study: given twice, again in line \d+; keep one of them$", output)
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
    # Beside them the rule that only other images need, and keys of the summary.
    others = {"fetch-data", *(key.replace("_", "-") for key in KEYS if not plan(key).SECTION.steps)}
    assert steps - families == set(RESERVED_NAMES) - others


def test_profiles_agree():
    profiles = [ROOT / "profiles/default/config.yaml", ROOT / "workflow/profiles/slurm/config.yaml"]
    default, slurm = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in profiles)
    # Checksums that one run records are compared by the next.
    assert default["max-checksum-file-size"] == slurm["max-checksum-file-size"]
    assert default["rerun-triggers"] == slurm["rerun-triggers"]
    assert set(default) <= set(slurm)


def imported(source):
    """The modules of the package that a source file imports, wherever in it, as files."""
    package = source.parents[[parent.name for parent in source.parents].index("exact_cntk")]
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    files = [package.parent / f"{name.replace('.', '/')}.py" for name in names if name.startswith("exact_cntk.")]
    return {str(path.relative_to(package)) for path in files if path.is_file()}


def test_kernel_sources_are_whole(finished_once):
    # Whatever the kernel's own modules import of the package is an input of its rule, or cannot change a number.
    table = finished_once.run("snakemake", "--quiet", "all", "--detailed-summary")
    (row,) = [line for line in table.splitlines() if line.startswith("results/ci/blocks/cntk-v-d3-4/0-0.h5\t")]
    package = finished_once / "src/exact_cntk"
    inputs = {name for cell in row.split("\t") for name in cell.split(",") if name.startswith("src/exact_cntk/")}
    listed = {str((finished_once / name).relative_to(package)) for name in inputs}
    own = {"kernels/cntk.py", "kernels/cpu.py"} | {
        str(path.relative_to(package)) for path in package.glob("kernels/cuda/*.py")
    }
    assert own < listed
    for name in own:
        unlisted = imported(package / name) - listed
        assert {path for path in unlisted if not path.startswith("_support/")} <= {"errors.py", "kernels/backends.py"}


@pytest.mark.parametrize(("backend", "given", "gpus"), [("cpu", 4, 0), ("cuda", 4, 1), ("auto", 4, 1), ("auto", 0, 0)])
def test_blocks_ask_for_all_cores_and_the_gpu_of_the_backend(fresh, backend, given, gpus):
    # Whatever this machine has: the job itself takes a GPU where there is one.
    fresh.edit("params.yaml", "backend: auto", f"backend: {backend}")
    options = ["--cores", "8", "--printshellcmds", "kernels", "--resources", f"gpu={given}"]
    planned = fresh.run("snakemake", "--dry-run", *options)
    params = load_params(fresh / "params.yaml")
    blocks = sum(len(kernel_blocks(params, one)) for one in kernel_passes(params))
    commands = re.findall(r"exact-cntk --made-from \S+ block .*", planned)
    assert len(commands) == blocks
    assert all("--threads 8 " in command for command in commands)
    assert planned.count(f"backend={backend}; if [ $backend = auto ] && [ {gpus} = 0 ]") == blocks


def test_workflow_holds_no_formula():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "workflow").rglob("*.py")]:
        assert not re.search(r"\bimport (numpy|scipy|h5py)|from (numpy|scipy|h5py)", path.read_text(encoding="utf-8"))


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
