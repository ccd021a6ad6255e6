"""No number under parameters that did not make it: what files state is held against the study, whoever put them there.

The study is finished; then ages and Snakemake's records are taken away, or files are exchanged, or parameters edited.
"""

import json
import os
import random
import re
import shutil

import h5py
import pytest
import yaml
from checkouts import Checkout
from cifar10_files import IMAGES_PER_BATCH, make_batches, python2_dumps
from kernel_files import damage, edit

from exact_cntk._support.hdf5 import list_chunks
from exact_cntk.study.sections import KEYS

PAGES = {f"show_{key}" for key in KEYS}
SHOWN = {"all", "summary", "notebook", "report", *PAGES}


def forget(checkout):
    """What a clone with pulled results has: no records of Snakemake, no training runs, and any ages."""
    shutil.rmtree(checkout / ".snakemake")
    shutil.rmtree(checkout / "results/ci/training")
    rng = random.Random(0)
    for path in [*(checkout / "results").rglob("*"), *(checkout / "data/processed").rglob("*")]:
        age = 1_500_000_000 + rng.randrange(10**8)
        os.utime(path, (age, age))
    return checkout


@pytest.fixture(scope="module")
def clone_once(finished_once, tmp_path_factory):
    path = tmp_path_factory.mktemp("clone") / "checkout"
    shutil.copytree(finished_once.path, path, symlinks=True)
    return forget(Checkout(path))


@pytest.fixture
def clone(clone_once, tmp_path):
    shutil.copytree(clone_once.path, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")


def test_ages_and_records_do_not_matter(clone):
    assert clone.planned() == {}
    assert clone.planned("kernels", "metrics") == {}


# Each with the rules that it concerns, beside what is shown, and the reason that is said.
EDITS = {
    "kernel": (
        ("trained: all, filter_size: 3, depth_passes", "trained: all, filter_size: 5, depth_passes"),
        {"kernel_block", "merge_kernel", "solve", "small_data_kernel", "section_provenance"},
        "blocks/cntk-v-d3-4/0-0.h5 is made again: filter_size was 3 and is 5.",
    ),
    "dtype": (
        ("dtype: float32", "dtype: float64"),
        {"kernel_block", "merge_kernel", "solve", "small_data_kernel", "random_features_exact", "solve_architectures"}
        | {"section_provenance"},
        'dtype was "float32" and is "float64"',
    ),
    "ridges": (
        ("ridges: [0, 1.0e-4", "ridges: [0, 1.0e-5"),
        {"solve", "random_features_draw", "random_features_exact", "solve_architectures", "small_data_kernel"}
        | {"small_data_baseline", "section_provenance"},
        "ridges was [0, 0.0001, 0.01] and is [0, 1e-05, 0.01]",
    ),
    "resamples": (("resamples: 100", "resamples: 50"), set(), "resamples was 100 and is 50"),
    "networks": (
        ("averaged_epochs: 1", "averaged_epochs: 2"),
        {"train_cnn", "gather_cnn", "section_parameters", "section_provenance"},
        "",
    ),
    "training sets": (
        ("subsets: 3\n  seed: 0", "subsets: 3\n  seed: 1"),
        {"small_data_kernel", "small_data_baseline", "small_data_cnn", "section_parameters", "section_provenance"},
        "seed was 0 and is 1",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_is_noticed_without_records(clone, name):
    (old, new), rules, reason = EDITS[name]
    clone.edit("params.yaml", old, new)
    planned = set(clone.planned())
    assert rules | {"all", "summary", "report"} <= planned <= rules | SHOWN
    assert reason in clone.said


@pytest.mark.parametrize("options", [["--forcerun", "merge_kernel"], ["--forcerun", "kernel_block"]])
def test_whatever_else_runs_hides_no_misfit(finished, options):
    # Snakemake does not look at jobs behind one that runs; those in between, which fit, are not run.
    expected = {"summary", "report", *PAGES}
    finished.edit("params.yaml", "resamples: 100", "resamples: 50")
    planned = finished.planned(*options)
    assert expected < set(planned)
    assert options[1] in planned
    assert "solve" not in planned


def test_numbers_of_another_backend_reach_every_page(finished):
    # In two calls, as of a run that was interrupted between them.
    finished.edit("params.yaml", "backend: auto", "backend: reference")
    finished.snakemake("metrics")
    planned = finished.planned()
    assert {"summary", "report", *PAGES} < set(planned)
    assert "solve" not in planned


def test_wrong_digest_of_the_images_is_mended(finished):
    digest = finished / "data/processed/ci.json"
    content = digest.read_bytes()
    shutil.copyfile(finished / "data/processed/ci.h5", finished / "kept.h5")
    finished.edit("params.yaml", "test_images: 40", "test_images: 39")
    finished.snakemake("data/processed/ci.h5")
    shutil.copyfile(finished / "kept.h5", finished / "data/processed/ci.h5")
    finished.edit("params.yaml", "test_images: 39", "test_images: 40")
    finished.snakemake("metrics")
    assert digest.read_bytes() == content
    assert finished.planned() == {}


@pytest.mark.parametrize(
    "name", ["metrics/cntk-v-depth-03.json", "small_data/rbf.json", "cnns/cnn-v-depth-03.json", "sections/cnns.json"]
)
def test_changed_number_of_a_document_is_noticed(clone, name):
    text = (clone / "results/ci" / name).read_text(encoding="utf-8")
    place = re.search(r"0\.\d+", text)
    (clone / "results/ci" / name).write_text(f"{text[: place.start()]}0.123{text[place.end() :]}", encoding="utf-8")
    assert set(clone.planned()) > {"report"}
    assert f"{name} cannot be read, it is damaged (its content does not have the checksum that it states)" in clone.said


def test_missing_results_are_made_again(finished):
    for name in ("tables/table1.csv", "summary.json", "figures/accuracy.svg", "provenance/cntk-v-depth-03.json"):
        (finished / "results/ci" / name).unlink()
    assert {"show_accuracy", "summary", "solve"} < set(finished.planned())


def test_edited_selection_reaches_every_number(clone):
    clone.edit("params.yaml", "selection: first", "selection: stratified")
    assert clone.planned() == {"preprocess": 1}  # the rest is planned when its digest is known
    metrics = "results/ci/metrics/cntk-v-depth-03.json"
    said = clone.snakemake(metrics)
    assert 'selection was "first" and is "stratified"' in said
    document = json.loads((clone / metrics).read_text(encoding="utf-8"))
    digest = json.loads((clone / "data/processed/ci.json").read_text(encoding="utf-8"))["digest"]
    assert document["data"]["digest"] == document["made_from"]["data"] == digest
    assert clone.planned(metrics) == {}
    assert set(clone.planned()) > {"train_cnn", "random_features_draw", "small_data_baseline", "report"}


def test_emptied_records_are_no_records(finished):
    for path in (finished / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    finished.edit("params.yaml", "ridges: [0, 1.0e-4", "ridges: [0, 1.0e-5")
    assert finished.planned("metrics") == {"metrics": 1, "solve": 4}


def test_file_of_another_kernel_is_made_again(clone):
    kernels, metrics = (clone / "results/ci" / name for name in ("kernels", "metrics"))
    shutil.copyfile(metrics / "cntk-gap-depth-03.json", metrics / "cntk-v-depth-03.json")
    assert clone.planned("metrics") == {"metrics": 1, "solve": 1}
    shutil.copyfile(kernels / "cntk-v-depth-04.h5", kernels / "cntk-v-depth-03.h5")
    said = clone.run("snakemake", "--dry-run", "metrics")
    assert "cntk-v-depth-03.h5 is made again: depth was 4 and is 3." in said
    assert clone.planned("metrics") == {"metrics": 1, "solve": 1, "merge_kernel": 1}


def test_edited_table_is_made_again(clone):
    table = clone / "results/ci/tables/table1.csv"
    content = table.read_bytes()
    table.write_bytes(content.replace(b"ci", b"CI"))
    assert clone.planned("sections") == {"sections": 1, "show_accuracy": 1}
    clone.snakemake("sections")
    assert table.read_bytes() == content


def claims(checkout, step, word=""):
    """The files that told the jobs of a step what to state, when the images were known."""
    found = sorted((checkout / ".snakemake/made_from").glob(f"{step}-*.json"))
    texts = {str(path.relative_to(checkout.path)): path.read_text(encoding="utf-8") for path in found}
    return [path for path, text in texts.items() if word in text and json.loads(text)["statement"].get("data")]


def solve(checkout, kernel, code):
    (claim,) = claims(checkout, "solve", "cntk-v-depth-03")
    options = ["--data", "data/processed/ci.h5", "--subset", "60x1,20x3", "--ridges", "0,0.0001,0.01", "--study", "ci"]
    said = checkout.run(
        "exact-cntk", "--made-from", claim, "solve", "--kernel", kernel, *options, "--out", "metrics.json", code=code
    )
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    return said


def test_job_refuses_what_the_plan_did_not_mean(finished):
    kernel = "results/ci/kernels/cntk-v-depth-03.h5"
    solve(finished, kernel, code=0)
    content = (finished / "results/ci/metrics/cntk-v-depth-03.json").read_bytes()
    assert (finished / "metrics.json").read_bytes() == content

    # Another kernel, and another one's numbers beneath the same statement, since the plan.
    shutil.copyfile(finished / "results/ci/kernels/cntk-v-depth-04.h5", finished / kernel)
    assert f"{kernel} is not what the parameters of this study make" in solve(finished, kernel, code=2)
    shutil.copyfile(finished / "data/processed/ci.h5", finished / kernel)
    assert "not what the parameters of this study make" in solve(finished, kernel, code=2)
    (finished / kernel).unlink()
    assert f"{kernel} is missing" in solve(finished, kernel, code=2)


def test_job_refuses_code_that_was_edited_since_the_plan(finished):
    (finished / "src/exact_cntk/regression/kernel_regression.py").open("a", encoding="utf-8").write("\n")
    said = solve(finished, "results/ci/kernels/cntk-v-depth-03.h5", code=2)
    assert "the code of the step solve has been edited since this run was planned" in said
    # The same edit before the plan: the package that runs is not this checkout's.
    said = finished.snakemake("results/ci/metrics/cntk-v-depth-03.json", code=1)
    assert "is not this checkout's: src/exact_cntk/regression/kernel_regression.py differs" in said


def test_half_of_the_test_rows_are_lost(finished):
    # As of a lost page: the times of the file do not change.
    block = finished / "results/ci/blocks/cntk-v-d3-4/60-0.h5"
    content = block.read_bytes()
    with h5py.File(block) as file:
        ((first, end),) = list_chunks(file["ntk/depth_03"])
    damage(block, first, bytes((end - first) // 2))
    assert finished.planned() == {}
    finished.edit("params.yaml", "1.0e-2]\n  max_memory", "1.0e-2, 1.0e-1]\n  max_memory")
    metrics = "results/ci/metrics/cntk-v-depth-03.json"
    said = finished.snakemake(metrics, code=1)
    assert re.search(r"block results/ci/blocks/cntk-v-d3-4/60-0.h5 cannot be read, it is .* damaged", said)
    assert not (finished / metrics).exists()
    block.unlink()
    finished.snakemake(metrics)
    assert block.read_bytes() == content


def of_cntk_v(checkout):
    """All blocks and kernels of the family, in blocks/ and kernels/."""
    return checkout.files("blocks/cntk-v-d3-4") | {
        name: content for name, content in checkout.files("kernels").items() if "cntk-v" in name
    }


@pytest.mark.parametrize("lost", ["all blocks", "one block", "exchanged"])
def test_blocks_that_are_not_there_are_computed_for_what_reads_their_kernels(finished, lost):
    before, folder = of_cntk_v(finished), finished / "results/ci/blocks/cntk-v-d3-4"
    if lost == "all blocks":
        shutil.rmtree(folder)
    elif lost == "one block":
        (folder / "40-0.h5").unlink()
    else:
        shutil.copyfile(finished / "results/ci/blocks/cntk-gap-d3-4/40-0.h5", folder / "40-0.h5")
    assert finished.planned() == {}  # nothing reads them any more
    finished.edit("params.yaml", "ridges: [0, 1.0e-4", "ridges: [0, 1.0e-5")
    blocks = sum("/blocks/" in name for name in before) if lost == "all blocks" else 1
    metrics = "results/ci/metrics/cntk-v-depth-03.json"
    assert finished.planned(metrics) == {"kernel_block": blocks, "merge_kernel": 1, "solve": 1}
    assert "cntk-v-depth-03.h5 is made again: its block results/ci/blocks/cntk-v-d3-4/" in finished.said
    finished.snakemake(metrics)
    assert of_cntk_v(finished) == before
    assert finished.planned(metrics) == {}


def test_a_study_is_moved_as_a_whole(finished):
    shutil.move(finished.path, finished.path.with_name("moved"))
    moved = Checkout(finished.path.with_name("moved"))
    assert moved.planned() == {}
    before = (moved / "results/ci/metrics/cntk-v-depth-03.json").read_bytes()
    (moved / "results/ci/metrics/cntk-v-depth-03.json").unlink()
    assert moved.planned("metrics") == {"metrics": 1, "solve": 1}
    moved.snakemake("metrics")
    assert (moved / "results/ci/metrics/cntk-v-depth-03.json").read_bytes() == before


def test_statement_of_a_kernel_cannot_be_forged_by_accident(finished):
    # An attribute by hand, without the checksum of all attributes.
    with h5py.File(finished / "results/ci/kernels/cntk-v-depth-03.h5", "r+") as file:
        file.attrs["filter_size"] = 5
    assert finished.planned("kernels") == {"kernels": 1, "merge_kernel": 1}


@pytest.fixture
def cifar10(fresh):
    """A study of a source of images that is no archive but a folder within a folder."""
    folder = fresh / "images/cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, batch in make_batches().items():
        (folder / name).write_bytes(python2_dumps(batch))
    params = yaml.safe_load((fresh / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"dataset": "cifar10", "source": "images", "allow_unverified": True}
    params["prepare"] |= {"train_images": 60, "test_images": IMAGES_PER_BATCH}
    params |= dict.fromkeys(["cnns", "random_features", "architectures", "small_data"])
    (fresh / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    fresh.snakemake("data/processed/ci.h5")
    return fresh


def test_batches_rewritten_in_place_are_noticed(cifar10):
    assert cifar10.planned("data/processed/ci.h5") == {}
    batches = make_batches()
    batches["data_batch_1"][b"data"] = 255 - batches["data_batch_1"][b"data"]
    (cifar10 / "images/cifar-10-batches-py/data_batch_1").write_bytes(python2_dumps(batches["data_batch_1"]))
    assert cifar10.planned("data/processed/ci.h5") == {"preprocess": 1}


def test_source_that_is_not_there_is_refused_unless_the_images_are(cifar10):
    (cifar10 / "images").rename(cifar10 / "elsewhere")
    assert cifar10.planned("data/processed/ci.h5") == {}  # prepared, as of results that were pulled
    cifar10.edit("params.yaml", "resolution: 8", "resolution: 16")
    said = cifar10.run("snakemake", "--dry-run", code=1)
    assert re.search(r"parameters: prepare.source: images: .*", said)
    assert "Traceback" not in said


def test_values_that_no_rule_can_make_are_refused(finished):
    for config, message in [
        ("cnns={'rates': ['.nan']}", "cnns.rates[0]: nan"),
        ("prepare={'dataset': 'cifar10', 'source': '/data/{}/cifar'}", "prepare.source: "),
    ]:
        said = finished.run("snakemake", "--dry-run", "--config", config, code=1)
        assert message in said
        assert "Traceback" not in said


def test_numbers_of_the_command_line_are_numbers(finished):
    assert finished.planned("metrics", "--config", "solve={'ridges': [0, 0.001]}") == {"metrics": 1, "solve": 4}


def test_missing_images_are_prepared_before_anything_is_said(clone):
    (clone / "data/processed/ci.h5").unlink()
    clone.edit("params.yaml", "ridges: [0, 1.0e-4", "ridges: [0, 1.0e-5")
    assert clone.planned("metrics")["preprocess"] == 1


def test_every_result_file_states_what_made_it(finished_once):
    results = finished_once / "results/ci"
    silent = []
    listed = set()
    for path in sorted(results.rglob("*")):
        folder = path.relative_to(results).parts[0]
        if not path.is_file() or folder in ("logs", "benchmarks", "checkpoints"):
            continue
        if path.suffix in (".csv", ".md") or path.name in ("summary.json", "parameters.yaml"):
            silent.append(path.resolve())
            continue
        content = path.read_bytes()
        assert b"made_from" in content or b"<!-- made from {" in content, path
        if path.suffix == ".json":
            listed.update((path.parent / name).resolve() for name in json.loads(content).get("files", {}))
    assert {path for path in silent if path.name != "parameters.yaml"} == {p for p in listed if p.suffix != ".svg"}
    assert {path.resolve() for path in (results / "figures").iterdir()} <= listed


def test_other_statement_is_not_believed(finished):
    # What a block states is held against its own checksum and the plan.
    block = finished / "results/ci/blocks/cntk-v-d3-4/0-0.h5"

    def change(file):
        statement = json.loads(file.attrs["made_from"])
        statement["parameters"]["filter_size"] = 5
        file.attrs["made_from"] = json.dumps(statement)

    edit(block, change)
    (finished / "results/ci/kernels/cntk-v-depth-03.h5").unlink()
    said = finished.run("snakemake", "--dry-run", "results/ci/kernels/cntk-v-depth-03.h5")
    assert "cntk-v-d3-4/0-0.h5 is made again: filter_size was 5 and is 3." in said
