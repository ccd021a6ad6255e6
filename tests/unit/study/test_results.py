import json

import numpy as np
import pytest
from synthetic import write_study

from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.study import results
from exact_cntk.study.documents import write_result


def _edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    write_result(path, document)


def test_frames_hold_every_problem(tmp_path):
    write_study(tmp_path / "made-up")
    study = results.load(tmp_path / "made-up")
    assert study.name == "made-up"
    assert study.verified and not study.is_paper_data
    assert study.train_sizes == [200, 1000]
    assert study.depths == [3, 4, 6, 11, 21]
    problems = 2 * 2 * 5 * 6  # families, kinds, depths, subsets
    assert len(study.accuracy) == len(study.correct) == problems
    assert len(study.ridge_path) == problems * 10
    assert set(study.spectra["rank"][study.spectra.train_images == 200]) <= set(range(1, 201))
    assert not study.accuracy.duplicated(results.PROBLEM).any()


def test_vanilla_comes_before_gap_and_ntk_before_nngp(tmp_path):
    write_study(tmp_path)
    kernels = results.load(tmp_path).accuracy.kernel
    assert list(dict.fromkeys(kernels)) == ["CNTK-V", "CNN-GP-V", "CNTK-GAP", "CNN-GP-GAP"]


def test_bits_add_up_to_the_accuracy(tmp_path):
    write_study(tmp_path, n_test=13)
    study = results.load(tmp_path)
    for row in study.accuracy.itertuples():
        bits = study.correct[tuple(getattr(row, name) for name in results.PROBLEM)]
        assert bits.shape == (13,)
        assert bits.mean() == pytest.approx(row.accuracy)


def test_condition_number_is_the_one_without_ridge(tmp_path):
    write_study(tmp_path)
    study = results.load(tmp_path)
    path = study.ridge_path[study.ridge_path.ridge == 0].set_index(results.PROBLEM).condition_number
    np.testing.assert_array_equal(study.accuracy.set_index(results.PROBLEM).condition_number, path)


def test_a_singular_kernel_has_no_accuracy_without_ridge(tmp_path):
    path = write_study(tmp_path)[0]

    def make_singular(document):
        result = document["results"][0]
        result["accuracy"] = result["test_correct_hex"] = None
        for name in ("test_accuracy", "loo_accuracy", "loo_error", "residual_norm", "condition_number"):
            result[name][0] = None

    _edit(path, make_singular)
    study = results.load(tmp_path)
    assert study.accuracy.accuracy.isna().sum() == 1
    assert study.accuracy.accuracy.dtype == float
    assert len(study.correct) == len(study.accuracy) - 1


def test_what_has_no_answer_is_counted_and_explained(tmp_path):
    write_study(tmp_path / "all")
    assert results.load(tmp_path / "all").unsolved == ""
    write_study(tmp_path / "some", singular=lambda family, depth, result: result["train_images"] == 1000)
    text = results.load(tmp_path / "some").unsolved
    assert text.startswith("No answer in 20 of 120 fits: without ridge, the kernel matrix is singular")
    assert "after a number" not in text  # there are no averages of some


def test_median_of_condition_numbers_counts_singular_kernels(tmp_path):
    write_study(tmp_path, subsets=((200, 3),), singular=lambda family, depth, result: result["repeat"] < 1)
    frame = results.load(tmp_path).accuracy
    assert results.median_conditions(frame, ["kernel", "depth"]).notna().all()
    assert results.median_conditions(frame[frame.repeat < 2], ["kernel", "depth"]).isna().all()


def test_only_the_files_named_are_read(tmp_path):
    paths = write_study(tmp_path)
    study = results.load(tmp_path, [path for path in paths if "depth-21" not in path.name])
    assert study.depths == [3, 4, 6, 11]


@pytest.mark.parametrize(
    ("dataset", "shape", "expected"),
    [
        ("CIFAR-10", (32, 32, 3), True),
        ("CIFAR-10 (unverified source, sha256 1234abcd1234)", (32, 32, 3), True),
        ("CIFAR-10", (16, 16, 3), False),
        ("CIFAR-100", (32, 32, 3), False),
        ("Digits", (8, 8, 1), False),
    ],
)
def test_which_data_are_the_paper_s(tmp_path, dataset, shape, expected):
    write_study(tmp_path, dataset=dataset, image_shape=shape)
    assert results.load(tmp_path).is_paper_data is expected


def test_two_classes_are_not_the_paper_s_data(tmp_path):
    for path in write_study(tmp_path, dataset="CIFAR-10", image_shape=(32, 32, 3)):
        _edit(path, lambda document: document["data"].update(classes=["airplane", "automobile"]))
    assert not results.load(tmp_path).is_paper_data


@pytest.mark.parametrize(
    ("family", "name", "kind", "label"),
    [
        (Family("gap", ("hidden",)), "any", "nngp", "CNN-GP-GAP"),
        (Family("flatten", filter_size=5), "wide", "ntk", "wide NTK"),
        (Family("flatten", flips=True), "v-flips", "ntk", "v-flips NTK"),  # which has no name in the paper
    ],
)
def test_kernel_columns(family, name, kind, label):
    columns = results.kernel_columns({"family": name, "study": "a", **family.stated_parts(depth=3)}, kind)
    assert (columns["family"], columns["kind"], columns["kernel"]) == (name, kind, label)
    assert set(columns) == {"family", "kind", "kernel", "readout", "trained", "filter_size"}


def test_binomial_error():
    assert results.binomial_error(0.37, 100) == pytest.approx(0.0483, abs=1e-4)


class TestErrors:
    def test_no_such_study(self, tmp_path):
        with pytest.raises(UserError, match=r"study_dir = .*nowhere: no such folder"):
            results.load(tmp_path / "nowhere")

    def test_no_metrics(self, tmp_path):
        with pytest.raises(UserError, match="holds no metrics: run the workflow"):
            results.load(tmp_path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(UserError, match=r"gone\.json cannot be read as metrics"):
            results.load(tmp_path, [tmp_path / "gone.json"])

    def test_truncated_file(self, tmp_path):
        path = write_study(tmp_path)[0]
        path.write_text(path.read_text()[:100])
        with pytest.raises(UserError, match=f"{path.name} cannot be read as metrics"):
            results.load(tmp_path)

    def test_unknown_format(self, tmp_path):
        path = write_study(tmp_path)[0]
        _edit(path, lambda document: document.update(format_version=99))
        with pytest.raises(UserError, match="format_version = 99; allowed: 1"):
            results.load(tmp_path)

    def test_missing_key(self, tmp_path):
        path = write_study(tmp_path)[0]
        _edit(path, lambda document: document.pop("depth"))
        with pytest.raises(UserError, match="depth: this key is missing"):
            results.load(tmp_path)

    def test_no_results(self, tmp_path):
        path = write_study(tmp_path)[0]
        _edit(path, lambda document: document.update(results=[]))
        with pytest.raises(UserError, match=r"results: \[\] should be non-empty; solve this kernel again"):
            results.load(tmp_path)

    def test_other_data(self, tmp_path):
        path = write_study(tmp_path)[-1]
        _edit(path, lambda document: document["data"].update(digest="6" * 64))
        with pytest.raises(UserError, match=f"{path.name} was made from other images"):
            results.load(tmp_path)

    def test_the_same_problem_twice(self, tmp_path):
        path = write_study(tmp_path)[0]
        twin = path.with_name("twin.json")
        twin.write_text(path.read_text())
        with pytest.raises(UserError, match=r"cntk-v ntk, depth 3, n = 1000, repeat 0 is in .* too"):
            results.load(tmp_path)

    def test_bits_that_contradict_the_accuracy(self, tmp_path):
        path = write_study(tmp_path)[0]
        _edit(path, lambda document: document["results"][0].update(test_correct_hex="00" * 100))
        with pytest.raises(UserError, match=r"repeat 0: its answers give an accuracy of 0\.000000"):
            results.load(tmp_path)

    def test_bits_of_another_length(self, tmp_path):
        path = write_study(tmp_path)[0]
        _edit(path, lambda document: document["results"][0].update(test_correct_hex="00"))
        with pytest.raises(UserError, match="its answers are 1 bytes for 797 test images"):
            results.load(tmp_path)


def test_a_study_is_found_from_the_folders_below(tmp_path, monkeypatch):
    study, below = tmp_path / "results" / "made-up", tmp_path / "notebooks" / "drafts"
    study.mkdir(parents=True)
    below.mkdir(parents=True)
    for folder in (tmp_path, below.parent, below):
        monkeypatch.chdir(folder)
        assert results.find_study("results/made-up").samefile(study)
        assert results.find_study(study) == study
    nearer = below / "results" / "made-up"
    nearer.mkdir(parents=True)
    assert results.find_study("results/made-up").samefile(nearer)
    with pytest.raises(UserError, match=r"study_dir is results/other, which neither .*drafts nor a folder above it"):
        results.find_study("results/other")
