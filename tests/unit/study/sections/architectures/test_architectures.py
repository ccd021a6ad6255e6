"""The grid of architectures: its passes and names, solving them, and what beginners' mistakes say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from exact_cntk import cntk, kernel_regression
from exact_cntk.blocks import _sizes, compute_block
from exact_cntk.cli import app
from exact_cntk.data import prepare
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study.documents import write_result
from exact_cntk.study.params import check_params
from exact_cntk.study.passes import kernel_blocks, kernel_passes
from exact_cntk.study.sections._collect import all_passes
from exact_cntk.study.sections.architectures import jobs as architecture_jobs
from exact_cntk.study.sections.architectures.cost import (
    count_architectures,
    expected_disk,
    expected_memory,
    expected_work,
)
from exact_cntk.study.sections.architectures.jobs import solve_pass
from exact_cntk.study.sections.architectures.plan import jobs
from exact_cntk.study.sections.architectures.plan import passes as architecture_passes
from exact_cntk.study.subsets import Subset
from exact_cntk.study.work import Fits

ROOT = Path(__file__).parents[5]
PASS = {"readout": "lap", "pooling_window": 3, "flips": True, "filter_size": 3}
RIDGES = [0.0, 1e-3, 1e-1]
POOL, TEST, N = 40, 30, 24


def params(**grid):
    """The tiny study, whose grid has other values where given."""
    study = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
    return check_params(study | {"architectures": study["architectures"] | grid})


def test_default_study_has_sixty_architectures():
    study = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert count_architectures(study) >= 60


def test_grid_is_a_product_and_every_pass_has_a_name_of_its_own():
    grid = {"filter_sizes": [1, 3], "readouts": ["flatten", "lap", "gap"], "pooling_windows": [3, 5]}
    study = params(**grid, flips=[False, True], depths=[2, 3, 5])
    passes = architecture_passes(study)
    assert len(passes) == len({one.name for one in passes}) == len({one.kernel_id for one in passes}) == 2 * 4 * 2
    assert {(one.network.readout, one.network.pooling_window) for one in passes} == {
        ("flatten", None),
        ("lap", 3),
        ("lap", 5),
        ("gap", None),
    }
    assert passes[0].name == "arch-f1-flatten" and passes[5].name == "arch-f1-lap5-flips"
    # at depth 2 no layer is hidden, which leaves 2 + 3 + 3 kernels
    assert count_architectures(study) == len(passes) * 8
    assert all_passes(study) == kernel_passes(study) + passes


def test_without_a_grid_there_is_nothing():
    study = params() | {"architectures": None}
    assert architecture_passes(study) == ()


def test_costs_are_positive():
    assert expected_memory(params()) > 0 and expected_disk(params()) > 0


def test_work_is_every_fit_of_the_grid():
    study = params(train_images=N, small_train_images=[4, 8], small_repeats=3)
    (work,) = expected_work(study)
    passes, ridges = len(architecture_passes(study)), len(study["solve"]["ridges"])
    architectures = count_architectures(study) // passes
    assert work.jobs == passes and not work.all_cores
    sizes = [(4, 3 * architectures), (8, 3 * architectures), (N, architectures)]
    assert work.fits == tuple(Fits(n, ridges, times) for n, times in sizes)


def test_blocks_hold_the_full_set_and_the_test_images():
    study = params()
    one = architecture_passes(study)[0]
    n, pool = study["architectures"]["train_images"], study["prepare"]["train_images"]
    positions = kernel_blocks(study, one)
    assert max(position.cols.stop for position in positions) == n
    assert {position.rows.start for position in positions} == {0, pool}  # one block each, whatever block_images is


def test_grid_that_no_blocks_hold(monkeypatch):
    monkeypatch.setattr(_sizes, "BLOCK_BYTES", 8)
    with pytest.raises(InputError, match=r"architectures\.depths: no blocks suit arch-f3-lap3-d2"):
        params()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "digits.h5"
    return file, prepare("digits", file, train_images=POOL, test_images=TEST)


@pytest.fixture(scope="module")
def blocks(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    study = params(train_images=N, small_train_images=[8])
    study["prepare"] |= {"train_images": POOL, "test_images": TEST}
    one = architecture_passes(study)[1]
    for rows, cols in kernel_blocks(study, one):
        compute_block(
            data[0],
            folder / f"{rows.start}-{cols.start}.h5",
            name=one.name,
            network=one.network,
            kinds=one.kinds,
            depths=one.depths,
            rows=rows,
            cols=cols,
        )
    return sorted(folder.glob("*.h5"))


def solved(blocks, data, out, **changes):
    options = {"train_images": N, "subsets": [Subset(8, 3)], "ridges": RIDGES} | changes
    return solve_pass(blocks, data[0], out, **options)


def test_solve_is_kernel_regression_on_the_public_kernel(blocks, data, tmp_path):
    document = solved(blocks, data, tmp_path / "a.json")
    x, labels, x_test, test_labels = (
        data[1].train_images[:N],
        data[1].train_labels,
        data[1].test_images,
        data[1].test_labels,
    )
    options = {"depths": [2, 3], "trained": ["all", "hidden"], "get": ("ntk", "nngp"), "dtype": "float64"}
    K, K_test = cntk(x, **options, **PASS), cntk(x_test, x, **options, **PASS)
    assert len(document["results"]) == 5 * 4  # architectures × fits
    for one in document["results"]:
        key = (one["kind"], one["depth"], *([one["trained"]] if one["trained"] else []))
        chunk = slice(one["repeat"] * one["train_images"], (one["repeat"] + 1) * one["train_images"])
        fit = kernel_regression(K[key][chunk, chunk], labels[chunk], K_test[key][:, chunk], ridges=RIDGES)
        accuracy = fit.test_accuracy(test_labels)
        # float32 in the recursion may turn a test image that lies between two classes
        assert one["accuracy"] == pytest.approx(accuracy[0], abs=1.01 / TEST)
        assert one["accuracy_loo_ridge"] == pytest.approx(accuracy[RIDGES.index(one["loo_ridge"])], abs=1.01 / TEST)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(one["test_correct_hex"]), np.uint8), count=TEST)
        assert bits.mean() == pytest.approx(one["accuracy"])


def test_same_blocks_same_bytes(blocks, data, tmp_path):
    for name in ("a.json", "b.json"):
        solved(blocks, data, tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_seconds_are_those_of_all_blocks(blocks, tmp_path):
    for block in blocks:
        assert architecture_jobs.measured_seconds(blocks, tmp_path) is None
        write_result(tmp_path / f"{block.stem}.json", {"kernel_seconds": 1.5})
    assert architecture_jobs.measured_seconds(blocks, tmp_path) == 1.5 * len(blocks)
    write_result(tmp_path / f"{blocks[0].stem}.json", {"kernel_seconds": None})
    assert architecture_jobs.measured_seconds(blocks, tmp_path) is None


def test_interrupted_solve_goes_on_with_the_next_architecture(blocks, data, tmp_path, monkeypatch):
    expected = solved(blocks, data, tmp_path / "a.json")
    calls = []

    def interrupted(done, total):
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solved(blocks, data, tmp_path / "b.json", progress=interrupted)
    assert not (tmp_path / "b.json").exists()
    solves = []
    solve = architecture_jobs._Problem.solve
    monkeypatch.setattr(architecture_jobs._Problem, "solve", lambda *a: solves.append(a) or solve(*a))
    assert solved(blocks, data, tmp_path / "b.json") == expected
    assert len(solves) == 5 - 2 and not list(tmp_path.glob(".b.json*"))
    # other ridges: nothing of it counts
    with pytest.raises(KeyboardInterrupt):
        calls.clear()
        solved(blocks, data, tmp_path / "c.json", progress=interrupted)
    solves.clear()
    solved(blocks, data, tmp_path / "c.json", ridges=[0.0])
    assert len(solves) == 5


def test_singular_kernel_has_no_answer_without_ridge(data, tmp_path):
    # filters of one pixel and global pooling see a grey image as two numbers
    out = {}
    for rows, cols in kernel_blocks(
        study := params(train_images=N, small_train_images=[8]), architecture_passes(study)[0]
    ):
        rows = rows if rows.start == 0 else type(rows)(POOL, POOL + TEST)
        out[rows] = tmp_path / f"{rows.start}.h5"
        how = {"network": Family("gap", filter_size=1), "depths": [3], "kinds": ["ntk"], "rows": rows, "cols": cols}
        compute_block(data[0], out[rows], name="a", **how)
    document = solved(list(out.values()), data, tmp_path / "a.json")
    full = document["results"][-1]
    assert full["accuracy"] is full["test_correct_hex"] is None
    assert full["accuracy_loo_ridge"] >= 0 and full["test_correct_loo_ridge_hex"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ridges": [1e-3]}, "must include 0"),
        ({"subsets": []}, "for example 100x5"),
        ({"subsets": [Subset(9, 3)]}, "9x3 needs 27 images, but the full training set has 24: at most 2 repeats of 9"),
        ({"subsets": [Subset(24, 1)]}, "24x1 must be of fewer than the 24"),
    ],
)
def test_wrong_options(blocks, data, tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        solved(blocks, data, tmp_path / "a.json", **changes)


def test_blocks_of_other_images(blocks, data, tmp_path):
    other = tmp_path / "other.h5"
    prepare("digits", other, train_images=POOL, test_images=TEST, selection="stratified")
    with pytest.raises(UserError, match="the pass arch-f3-lap3-flips was made from other images"):
        solve_pass(blocks, other, tmp_path / "a.json", train_images=N, subsets=[Subset(8, 3)], ridges=RIDGES)


def test_job(blocks, data, tmp_path):
    """From the study's parameters alone, and the blocks where the study has them."""
    study = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
    study["prepare"] |= {"train_images": POOL, "test_images": TEST}
    study["solve"] |= {"subsets": [{"train_images": POOL, "repeats": 1}], "ridges": RIDGES}
    study["architectures"] |= {"train_images": N, "small_train_images": [8]}
    study |= dict.fromkeys(["cnns", "random_features", "small_data"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    job = jobs(check_params(study))["arch-f3-lap3-flips"]
    command = ["section", "run", "architectures", "arch-f3-lap3-flips", "--params", str(tmp_path / "params.yaml")]
    command += ["--study-dir", str(tmp_path), "--data", str(data[0])]
    missing = CliRunner().invoke(app, command)
    assert missing.exit_code == 2 and f"{job.inputs[0]} is missing" in missing.output
    assert [Path(path).name for path in sorted(job.inputs)] == [path.name for path in blocks]
    (tmp_path / job.inputs[0]).parent.mkdir(parents=True)
    for block in blocks:
        shutil.copy(block, (tmp_path / job.inputs[0]).parent)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / job.files[0]).read_text(encoding="utf-8"))
    assert document["pooling_window"] == 3
    assert document["results"] == solved(blocks, data, tmp_path / "a.json", study="ci")["results"]
