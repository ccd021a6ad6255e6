"""A tiny study from end to end, what a second run and small changes cost, and blocks that must not be merged."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from checkouts import ROOT, result_files
from kernel_files import edit

from exact_cntk._support.stated_files import read_stated
from exact_cntk._support.statement import digest_sources
from exact_cntk.blocks import open_kernel
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_result
from exact_cntk.study.params import load_params
from exact_cntk.study.passes import kernel_blocks, kernel_depths
from exact_cntk.study.sections import plan, present
from exact_cntk.study.sections._collect import all_passes, costly_sections

NOTHING = "Nothing to be done"
PARAMS = load_params(ROOT / "config/ci.yaml")
LATER = {"all", "summary", "notebook", "report", *(f"show_{key}" for key in present(PARAMS))}
# Of sections, what solves along the ridge path.
SOLVED = {"random_features_draw", "random_features_exact", "solve_architectures", "small_data_kernel"}
SOLVED |= {"small_data_baseline", "section_provenance"}
GPU_SOURCES = [
    f"src/exact_cntk/{name}"
    for name in (
        "kernels/cpu.py",
        "kernels/core/*",
        "kernels/cuda/*.py",
        "kernels/cuda/kernels/*.cu",
        "kernels/cuda/kernels/*.cuh",
    )
]
BLOCKS = sum(len(kernel_blocks(PARAMS, one)) for one in all_passes(PARAMS))


def test_finished_study(finished_once):
    results = finished_once / "results/ci"
    assert (results / "report.html").is_file()
    for name in (notebook for key in present(PARAMS) for notebook in plan(key).SECTION.notebooks):
        assert (results / f"notebooks/{name}.ipynb").is_file()
    metrics = json.loads((results / "metrics/cntk-gap-depth-03.json").read_text(encoding="utf-8"))
    assert metrics["results"][0]["accuracy"] > 0.5  # ten classes
    log = (results / "logs/kernel_block/cntk-gap-d3-4/0-0.log").read_text(encoding="utf-8")
    assert "backend cpu" in log
    assert "% of the job's" in log
    assert len(log.splitlines()) == 1
    timing = json.loads((results / "benchmarks/kernel_block/cntk-gap-d3-4/0-0.json").read_text(encoding="utf-8"))
    assert 0 < timing["kernel_seconds"] < timing["job_seconds"]
    assert timing["block"] == {"rows": [0, 40], "cols": [0, 40], "pairs": 820}
    said = (finished_once / "run.txt").read_text(encoding="utf-8")
    assert re.search(rf"^ci: .* pairs of images in {BLOCKS} blocks, about .* on backend cpu$", said, re.MULTILINE)
    assert re.findall(r"^ci: \d+ jobs of (\w+), about ", said, re.MULTILINE) == costly_sections(PARAMS)
    assert len(re.findall(r"kernel_block: cntk-gap-d3-4, rows 0:40, columns 0:40$", said, re.MULTILINE)) == 1


def test_no_result_depends_on_the_clock(finished):
    results = finished / "results/ci"
    before, page = result_files(finished), (results / "sections/architectures.json").read_bytes()
    for path in (results / "benchmarks/kernel_block").rglob("*.json"):
        timing = read_stated(path)
        write_result(path, timing | {"kernel_seconds": 100 * timing["kernel_seconds"]})
    # Of the sections, only the search: what the others make is compared after kills.
    for path in [results / "metrics/cntk-v-depth-03.json", results / "sections/architectures.json"]:
        path.unlink()
    shutil.rmtree(results / "architectures")
    seconds = results / "benchmarks/architectures/arch-f3-lap3.json"
    measured = read_stated(seconds)["seconds"]
    finished.snakemake("sections", "summary", "results/ci/report.html")
    assert read_stated(seconds)["seconds"] == pytest.approx(100 * measured, rel=0.01)
    assert result_files(finished) == before
    assert (results / "sections/architectures.json").read_bytes() == page
    assert "Measured: seconds of the kernels" in (results / "report.html").read_text(encoding="utf-8")


def test_pages_open_offline(finished_once):
    results = finished_once / "results/ci"
    for page in [results / "report.html", *(results / "notebooks").glob("*.html")]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?(?:https?:)?//", text), page.name
        assert "@import" not in text, page.name


def test_second_run_does_nothing(finished):
    before = finished.ages("")
    assert NOTHING in finished.snakemake("--resources", "gpu=1")
    # Without a GPU it is the same study.
    assert NOTHING in finished.snakemake("--resources", "gpu=0")
    assert finished.ages("") == before


def test_no_gpu_means_the_cpu(finished):
    block = "results/ci/blocks/cntk-v-d3-4/0-0.h5"
    before = (finished / block).read_bytes()
    (finished / block).unlink()
    finished.snakemake("--resources", "gpu=0", "--printshellcmds", block)
    assert (finished / block).read_bytes() == before
    log = (finished / "results/ci/logs/kernel_block/cntk-v-d3-4/0-0.log").read_text(encoding="utf-8")
    assert "backend cpu" in log


def test_edit_of_a_plot_or_a_later_stage_computes_no_kernel(finished):
    for name, rules in [
        ("src/exact_cntk/study/templates/report.css", {"all", "report"}),
        (
            "src/exact_cntk/study/sections/small_data/page.py",
            {"show_small_data", "summary", "notebook", "report", "all"},
        ),
        (
            "src/exact_cntk/study/sections/accuracy/results.py",
            {"show_small_data", "show_accuracy", "summary", "notebook", "report", "all"},
        ),
        ("src/exact_cntk/study/results.py", LATER),
        ("src/exact_cntk/regression/kernel_regression.py", LATER | SOLVED | {"solve", "random_features_sweep"}),
    ]:
        with (finished / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        assert set(finished.planned()) == rules, name


def test_edit_of_the_environment_computes_nothing(finished):
    finished.edit("environment.yml", "dependencies:", "dependencies:  # edited")
    assert finished.planned() == {}


def test_edit_of_the_kernel_computes_every_block(finished):
    finished.edit("src/exact_cntk/kernels/cpu.py", '"""', '""" ')
    assert finished.planned()["kernel_block"] == BLOCKS


def stated_by_gpu(checkout, path):
    """Let an HDF5 file state that a GPU has computed it."""

    def change(file):
        statement = json.loads(file.attrs["made_from"])
        statement["backends"] = {"cuda": digest_sources(GPU_SOURCES, checkout.path)}
        file.attrs["made_from"] = json.dumps(statement)

    edit(checkout / path, change)


def test_edit_of_the_gpu_s_kernel_computes_what_a_gpu_has_computed(finished):
    source = "src/exact_cntk/kernels/cuda/kernels/torus.cu"
    blocks = sorted(finished.files("blocks/cntk-v-d3-4"))
    for name in blocks:
        stated_by_gpu(finished, name)
    finished.snakemake("kernels", "--forcerun", "merge_kernel")
    assert finished.planned("kernels") == {}
    (finished / source).open("a", encoding="utf-8").write("\n")
    planned = finished.planned("kernels")
    assert planned["kernel_block"] == len(blocks)
    assert planned["merge_kernel"] == len([depth for family, depth in kernel_depths(PARAMS) if family == "cntk-v"])


def test_data_prepared_again_computes_no_kernel(finished):
    before = finished.ages("blocks", "kernels", "metrics")
    finished.edit("params.yaml", "allow_unverified: false", "allow_unverified: true")
    said = finished.snakemake()
    assert re.findall(r"(\w+): data/processed/ci.h5", said) == ["preprocess"]
    assert "ci: no kernel to compute" in said
    assert finished.ages("blocks", "kernels", "metrics") == before
    assert NOTHING in finished.snakemake()


def test_other_data_computes_kernels_again(finished):
    before = finished.ages("blocks/cntk-v-d3-4")
    finished.edit("params.yaml", "test_images: 40", "test_images: 39")
    metrics = "results/ci/metrics/cntk-v-depth-03.json"
    finished.snakemake(metrics)
    after = finished.ages("blocks/cntk-v-d3-4")
    assert before.keys() == after.keys()
    assert all(before[name] < after[name] for name in before)
    digest = json.loads((finished / "data/processed/ci.json").read_text(encoding="utf-8"))["digest"]
    assert json.loads((finished / metrics).read_text(encoding="utf-8"))["data"]["digest"] == digest


def test_depth_added_later_costs_only_itself(finished):
    finished.edit(
        "params.yaml",
        "trained: all, filter_size: 3, depth_passes: [[3, 4]]",
        "trained: all, filter_size: 3, depth_passes: [[3, 4], [5]]",
    )
    planned = finished.planned()
    params = load_params(finished / "params.yaml")
    (blocks,) = [kernel_blocks(params, one) for one in all_passes(params) if one.kernel_id == "cntk-v-d5"]
    assert (planned["kernel_block"], planned["merge_kernel"], planned["solve"]) == (len(blocks), 1, 1)
    assert set(planned) == LATER | {"kernel_block", "merge_kernel", "solve"}


def test_depth_removed_leaves_the_tables(finished):
    text = (finished / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("[[3, 4]]", "[[3]]").replace("family: cntk-v, depth: 4", "family: cntk-v, depth: 3")
    (finished / "params.yaml").write_text(text, encoding="utf-8")
    params, planned = load_params(finished / "params.yaml"), finished.planned()
    assert planned["solve"] == len(kernel_depths(params)) < len(kernel_depths(PARAMS))
    # The passes are others, but for those of the grid.
    own = [one for one in all_passes(params) if one.pool_images is None]
    assert planned["kernel_block"] == sum(len(kernel_blocks(params, one)) for one in own)


def test_ridge_added_later_costs_only_solving(finished):
    finished.edit("params.yaml", "ridges: [0, ", "ridges: [0, 1.0e-6, ")
    planned = finished.planned()
    assert planned["solve"] == len(kernel_depths(PARAMS))
    assert set(planned) == LATER | SOLVED | {"solve"}


def test_section_left_out_leaves_the_others(finished):
    params = yaml.safe_load((finished / "params.yaml").read_text(encoding="utf-8")) | {"small_data": None}
    (finished / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    planned = finished.planned()
    assert set(planned) == {"section_parameters", "section_provenance", "summary", "report", "all"}
    finished.snakemake()
    page = (finished / "results/ci/report.html").read_text(encoding="utf-8")
    assert 'id="small_data"' not in page and 'id="cnns"' in page
    assert "small_data" not in json.loads((finished / "results/ci/summary.json").read_text(encoding="utf-8"))


def test_other_grid_makes_the_same_kernel(finished):
    finished.edit("params.yaml", "block_images: 40", "block_images: 32")
    assert finished.planned() == {}  # the numbers are the same
    kernel, other = ("results/ci/kernels/cntk-v-depth-03.h5", "results/ci/kernels/cntk-v-depth-04.h5")
    before = numbers_of(finished / kernel)
    (finished / kernel).unlink()
    said = finished.snakemake(kernel)
    assert "blocks/cntk-v-d3-4/0-0.h5 is made again" in said
    after = numbers_of(finished / kernel)
    assert all(np.array_equal(before[kind], after[kind]) for kind in before)
    # The other depth has lost blocks of the same names: it is merged again for whoever is to read it.
    assert finished.planned() == {}
    with pytest.raises(UserError, match="is not the one that"):
        numbers_of(finished / other)
    (finished / "results/ci/metrics/cntk-v-depth-04.json").unlink()
    assert finished.planned("metrics") == {"metrics": 1, "merge_kernel": 1, "solve": 1}


def numbers_of(kernel):
    with open_kernel(kernel) as (_, matrices):
        return {kind: matrix[:] for kind, matrix in matrices.items()}


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_damaged_block_is_made_again(finished, damage):
    block, kernel = "results/ci/blocks/cntk-v-d3-4/40-0.h5", "results/ci/kernels/cntk-v-depth-03.h5"
    content = (finished / block).read_bytes()
    if damage == "truncated":
        (finished / block).write_bytes(content[: len(content) // 2])
    else:
        shutil.copyfile(finished / "results/ci/blocks/cntk-gap-d3-4/40-0.h5", finished / block)
    assert NOTHING in finished.snakemake(kernel)  # which has been made from it when it was whole
    (finished / kernel).unlink()
    said = finished.snakemake(kernel)
    assert f"{block} is made again" in said
    assert ("cannot be read" if damage == "truncated" else 'family was "cntk-gap" and is "cntk-v"') in said
    assert (finished / block).read_bytes() == content
