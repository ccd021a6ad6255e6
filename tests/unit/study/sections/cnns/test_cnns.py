"""Runs of finite CNNs: what they see, what they write, how the rate is chosen; and what they cost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from cnn_files import RATES, write_cnns, write_run
from kernel_files import make_data

from exact_cntk._support.stated_files import read_stated
from exact_cntk.errors import InputError, UserError
from exact_cntk.finite import CNN, outcome, train_sgd
from exact_cntk.networks import Family
from exact_cntk.study.params import find_schema, load_params
from exact_cntk.study.sections.cnns import cost as cnns_cost
from exact_cntk.study.sections.cnns.gather import gather
from exact_cntk.study.sections.cnns.plan import jobs, run_name, runs
from exact_cntk.study.sections.cnns.train import Run, split_data, train

RUN = Run(
    name="cnn-v",
    network=Family("flatten"),
    depth=3,
    width=4,
    output_scale=0.05,
    rate=3.0,
    seed=1,
    split="test",
    batch_images=5,
    max_epochs=4,
    averaged_epochs=2,
    validation_images=7,
)
# With checkpoints after every five steps, and waiting after fifty for whoever is to kill it.
SLOW_COMMAND = """
import signal
from exact_cntk.cli import main
from exact_cntk.finite import training
training.every_seconds = lambda _: lambda step: signal.pause() if step == 50 else step % 5 == 0
main()
"""
DATA = {"digest": "5" * 64, "dataset": "made up"}
ROOT = find_schema().parents[2]


@pytest.fixture
def study(data_file, data, tmp_path):
    """Name of the data file, its content, and where a run goes."""
    return data_file, data, tmp_path / "run.json"


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_run_is_training_on_its_split(study, split):
    data_file, data, out = study
    run = replace(RUN, split=split)
    found = train(data_file, out, run, study="tiny")
    assert read_stated(out) == json.loads(json.dumps(found)) and found["study"] == "tiny"
    pool = len(data.train_labels) - (0 if split == "test" else 7)
    held_out = (data.test_images, data.test_labels)
    if split == "validation":
        held_out = (data.train_images[pool:], data.train_labels[pool:])
    network = CNN(
        data.train_images.shape[1:], depth=3, width=4, readout="flatten", outputs=3, output_scale=0.05, seed=1
    )
    rows = train_sgd(
        network,
        data.train_images[:pool],
        data.train_labels[:pool],
        **{"rate": 3, "max_epochs": 4, "batch_images": 5, "seed": 1, "averaged_epochs": 2},
        x_test=held_out[0],
        labels_test=held_out[1],
    )
    expected = outcome(rows, 2)
    assert (found["train_images"], found["held_out_images"]) == (pool, len(held_out[1]))
    assert (found["epochs"], found["accuracy"], found["diverged"]) == (expected.epochs, expected.test_accuracy, False)
    assert found["curve"]["accuracy"] == [row.test_accuracy for row in rows]
    np.testing.assert_allclose(found["curve"]["loss"], [row.loss for row in rows], rtol=1e-5)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(found["correct_hex"]), np.uint8), count=len(held_out[1]))
    assert bits.mean() == rows[-1].test_accuracy
    assert found["computed"]["device"] == "cpu" and found["computed"]["tf32"] is False
    assert [path.name for path in out.parent.iterdir() if "checkpoint" in path.name] == []


def test_what_chooses_a_rate_and_what_is_tested_never_meet(study):
    """No validation run sees a test image, and none trains on an image by which it is judged."""
    _, data, _ = study
    (chosen_x, _), (validation_x, _) = split_data(data, replace(RUN, split="validation"))
    (train_x, _), (test_x, _) = split_data(data, RUN)
    images = [{image.tobytes() for image in part} for part in (chosen_x, validation_x, train_x, test_x)]
    assert not images[0] & images[1] and not images[2] & images[3]
    assert not (images[0] | images[1]) & images[3]
    assert images[0] | images[1] == images[2]


def test_a_job_that_was_killed_goes_on_to_the_same_bytes(study, tmp_path):
    """SIGKILL to the command itself; the checkpoint goes when the run is over."""
    data_file, data, _ = study
    run = replace(RUN, max_epochs=40, averaged_epochs=40, validation_images=0)
    params = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"train_images": len(data.train_labels), "test_images": len(data.test_labels)}
    params["solve"]["subsets"] = [{"train_images": len(data.train_labels), "repeats": 1}]
    params["cnns"] |= {name: getattr(run, name) for name in ("width", "batch_images", "max_epochs", "averaged_epochs")}
    params["cnns"] |= {"families": [{"name": run.name, "depths": [run.depth]} | run.network.stated_parts()]}
    params["cnns"] |= {"rates": [run.rate], "seeds": run.seed + 1, "validation_images": 7}
    params |= dict.fromkeys(["random_features", "architectures", "small_data"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    name = f"cnn-v-depth-03/{run_name(run.rate, run.seed, run.split)}"
    folder = tmp_path / "results"
    out, checkpoint = folder / f"training/{name}.json", folder / f"checkpoints/cnns/{name}.npz"
    arguments = ["section", "run", "cnns", name, "--params", tmp_path / "params.yaml"]
    arguments += ["--study-dir", folder, "--data", data_file, "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_COMMAND, *map(str, arguments)], stderr=subprocess.DEVNULL
    ) as child:
        while not checkpoint.exists() and child.poll() is None:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL and not out.exists()
    seen = []
    options = {"study": params["study"], "threads": 1}
    train(data_file, out, run, **options, checkpoint=checkpoint, progress=lambda done, _: seen.append(done))
    assert 5 < seen[0] <= 50 and not checkpoint.exists()
    whole = out.with_name("whole.json")
    train(data_file, whole, run, **options)
    assert out.read_bytes() == whole.read_bytes()


def test_a_rate_too_high_is_recorded_as_diverged(study):
    data_file, _, out = study
    found = train(data_file, out, replace(RUN, rate=1e25))
    assert found["diverged"] and found["epochs"] == 1
    assert found["accuracy"] is None and found["correct_hex"] is None and found["train_accuracy"] is None
    assert found["curve"]["loss"][1] is None and found["curve"]["accuracy"][1] is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"split": "train"}, "split is 'train'; allowed are 'validation', 'test'"),
        ({"split": "validation", "validation_images": 24}, "validation_images is 24; allowed are integers below .* 24"),
        ({"split": "validation", "validation_images": 0}, "validation_images is 0"),
        ({"batch_images": 25}, "batch_images is 25"),
        ({"network": Family("gab")}, "did you mean 'gap'"),
    ],
)
def test_wrong_runs_are_refused(study, options, reason):
    with pytest.raises(InputError, match=reason):
        train(*study[::2], replace(RUN, **options))


def test_a_gpu_that_is_asked_for_must_be_there(study, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"device is 'cuda', but torch .* can use no GPU here"):
        train(*study[::2], RUN, device="cuda")
    with pytest.raises(InputError, match="device is 'tpu'"):
        train(*study[::2], RUN, device="tpu")


def write_runs(folder, levels, diverged=(), seeds=3):
    """Runs of one architecture, whose accuracy is about `levels[rate, split]`."""
    return [
        write_run(
            folder, data=DATA, rate=rate, seed=seed, split=split, level=level, diverged=(rate, split, seed) in diverged
        )
        for (rate, split), level in levels.items()
        for seed in range(seeds if split == "test" else 1)
    ]


def test_the_rate_is_chosen_on_validation_images(tmp_path):
    """The paper's choice, on the test images, stands beside it, and changes nothing else."""
    levels = {(1.0, "validation"): 1.0, (10.0, "validation"): 0.3, (1.0, "test"): 0.4, (10.0, "test"): 0.9}
    files = write_runs(tmp_path, levels)
    found = gather(files[::-1], tmp_path / "out.json", tmp_path / "out.csv")
    of_rate = {rate: [one["test_accuracy"] for one in found["runs"] if one["rate"] == rate] for rate in RATES}
    assert (found["rate"], found["rate_test_chosen"]) == (1.0, 10.0)
    assert found["accuracy"] == np.mean(of_rate[1.0]) and found["accuracy_sd"] == pytest.approx(
        np.std(of_rate[1.0], ddof=1)
    )
    assert found["accuracy_test_chosen"] == np.mean(of_rate[10.0]) > found["accuracy"]
    assert [entry["rate"] for entry in found["validation"]] == [1.0, 10.0]
    assert len(found["test_correct_hex"]) == 3 and found["diverged_seeds"] == 0
    expected = {"batch_images", "max_epochs", "averaged_epochs", "tf32", "rates", "seeds", "validation_images"}
    assert set(found["protocol"]) == expected | {"validation_seeds"} and found["protocol"]["validation_images"] == 20
    curves = pd.read_csv(tmp_path / "out.csv")
    assert len(curves) == 8 * 13 and list(curves.split.unique()) == ["validation", "test"]
    assert curves[curves.split == "test"].validation_accuracy.isna().all()
    assert curves[curves.split == "validation"].test_accuracy.isna().all()
    before = (tmp_path / "out.json").read_bytes(), (tmp_path / "out.csv").read_bytes()
    gather(files, tmp_path / "out.json", tmp_path / "out.csv")
    assert before == ((tmp_path / "out.json").read_bytes(), (tmp_path / "out.csv").read_bytes())


def test_diverged_runs_choose_and_count_for_nothing(tmp_path):
    levels = {(1.0, "validation"): 0.5, (10.0, "validation"): 1.0, (1.0, "test"): 0.5, (10.0, "test"): 0.9}
    out = tmp_path / "out.json", tmp_path / "out.csv"
    found = gather(write_runs(tmp_path, levels, {(10.0, "validation", 0), (1.0, "test", 2), (10.0, "test", 1)}), *out)
    assert found["rate"] == 1.0 and found["validation"][1]["accuracy"] is None
    known = [one["test_accuracy"] for one in found["runs"] if one["rate"] == 1.0 and not one["diverged"]]
    assert found["accuracy"] == np.mean(known) and found["diverged_seeds"] == 1
    assert found["test_correct_hex"][2] is None
    assert found["rate_test_chosen"] is None  # a seed diverged at either rate
    every = {(rate, split, seed) for rate, split in levels for seed in range(3)}
    found = gather(write_runs(tmp_path, levels, every), *out)
    assert (found["rate"], found["accuracy"], found["accuracy_sd"], found["test_correct_hex"]) == (None, None, None, [])


def test_of_equal_rates_the_lower_one_is_chosen(tmp_path):
    levels = {(rate, split): 1.0 for rate in RATES for split in ("validation", "test")}
    found = gather(write_runs(tmp_path, levels, seeds=1), tmp_path / "out.json", tmp_path / "out.csv")
    assert (found["rate"], found["rate_test_chosen"], found["accuracy_sd"]) == (1.0, 1.0, None)


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    files = write_runs(tmp_path, {(1.0, "validation"): 1.0, (1.0, "test"): 1.0})
    out = tmp_path / "out.json", tmp_path / "out.csv"
    other = write_run(tmp_path / "other", data=DATA, depth=4)
    with pytest.raises(UserError, match=r"other/.* differs in depth from"):
        gather([*files, other], *out)
    with pytest.raises(UserError, match="differs in data"):
        gather([*files, write_run(tmp_path / "other", data=DATA | {"digest": "6" * 64})], *out)
    with pytest.raises(UserError, match="is the same run as"):
        gather([*files, files[0]], *out)
    with pytest.raises(UserError, match="no run of split 'validation' at rate 1"):
        gather(files[1:], *out)
    with pytest.raises(InputError, match="there are no runs"):
        gather([], *out)
    for content in ("{", "{}", '{"format_version": 1}'):
        files[0].write_text(content)
        words = r"rate-1-seed-0-validation\.json( cannot be read| lacks curve|: format_version = None)"
        with pytest.raises(UserError, match=words):
            gather(files, *out)


def test_runs_of_a_study(tmp_path):
    params = load_params(ROOT / "params.yaml")
    keys = runs(params)
    study = params["cnns"]
    depths = sum(len(family["depths"]) for family in study["families"])
    assert len(set(keys)) == len(keys) == depths * len(study["rates"]) * (study["seeds"] + 1)
    assert len({run_name(*key[2:]) for key in keys}) == len(keys) / depths
    trained = [job.parameters for job in jobs(params).values() if job.step == "train_cnn"]
    assert [tuple(one[name] for name in keys[0]._fields) for one in trained] == [tuple(key) for key in keys]
    gathered = [path for job in jobs(params).values() if job.step == "gather_cnn" for path in job.inputs]
    assert sorted(gathered) == sorted(job.files[0] for job in jobs(params).values() if job.step == "train_cnn")
    assert runs({"cnns": None}) == []
    assert jobs({"cnns": None}) == {}
    assert write_cnns(tmp_path, DATA, depths=(3,))


def test_what_a_study_costs(monkeypatch):
    digits, large = (load_params(ROOT / name) for name in ("params.yaml", "config/cnns.yaml"))
    for cost in (cnns_cost.expected_memory, cnns_cost.expected_disk):
        assert 0 < cost(digits) < cost(large)
    assert (cnns_cost.trains_long(digits), cnns_cost.trains_long(large)) == (False, True)
    monkeypatch.setattr(cnns_cost, "gpu_present", lambda: False)
    few, many = cnns_cost.expected_work(digits), cnns_cost.expected_work(large)
    assert sum(work.jobs for work in few) == len(runs(digits)) and sum(work.jobs for work in many) == len(runs(large))
    assert not any(work.all_cores or work.gpu for work in few)
    assert all(work.all_cores and not work.gpu for work in many)
    operations = [sum(work.jobs * work.convolutions.operations for work in works) for works in (few, many)]
    assert operations[0] * 1000 < operations[1]
    monkeypatch.setattr(cnns_cost, "gpu_present", lambda: True)
    assert cnns_cost.expected_work(digits) == few
    assert all(work.gpu for work in cnns_cost.expected_work(large))
    tf32 = large | {"cnns": large["cnns"] | {"tf32": True}}
    assert all(work.convolutions.tf32 for work in cnns_cost.expected_work(tf32))


def test_other_images_are_another_run(study, tmp_path):
    data_file, _, out = study
    first = train(data_file, out, RUN)
    make_data(tmp_path / "other.h5", seed=1)
    assert train(tmp_path / "other.h5", out, RUN)["curve"]["loss"] != first["curve"]["loss"]
