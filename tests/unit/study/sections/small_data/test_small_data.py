"""Small training sets: dealt fairly, and every method tested on them as by hand, from training images alone."""

from functools import partial

import numpy as np
import pytest
from kernel_files import make_data, make_kernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from threadpoolctl import threadpool_limits

from exact_cntk._support.stated_files import read_stated
from exact_cntk.data import ProcessedData
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study import resume
from exact_cntk.study.sections.small_data import jobs as small_data_jobs
from exact_cntk.study.sections.small_data.baselines import Predictions, baseline
from exact_cntk.study.sections.small_data.jobs import (
    Design,
    JobOptions,
    baseline_to_file,
    kernel_to_file,
    method_to_file,
    network_to_file,
)
from exact_cntk.study.sections.small_data.subsets import describe_subsets, draw_subsets

RIDGES = [0.0, 1e-3, 1e-1]
DESIGN = Design([6, 11], 3, 4)
OPTIONS = {"ridges": RIDGES, "bandwidths": [0.5, 1, 2], "penalties": [0.01, 1], "trees": 5}


@pytest.fixture(autouse=True)
def one_thread():
    """Problems are too small for threads, which would only wait for each other."""
    with threadpool_limits(1):
        yield


def test_sets_are_balanced_and_disjoint_while_the_pool_lasts():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 20))
    draws = draw_subsets(labels, [6, 15, 31], 5, 0)
    assert [(draw.train_images, draw.repeat) for draw in draws] == [(n, r) for n in (6, 15, 31) for r in range(5)]
    for draw in draws:
        assert (np.diff(draw.positions) > 0).all()
        counts = np.bincount(labels[draw.positions])
        assert counts.max() - counts.min() == (draw.train_images % 3 > 0)
    six, fifteen, many = ([draw.positions for draw in draws if draw.train_images == n] for n in (6, 15, 31))
    assert len(set(np.concatenate(six))) == 30
    assert len(set(np.concatenate(fifteen[:4]))) == 60
    shared = describe_subsets(draws, 0)["shared"]
    assert shared[0] == 0
    for value, sets in zip(shared[1:], (fifteen, many), strict=True):
        pairs = [len(set(a) & set(b)) / len(a) for i, a in enumerate(sets) for b in sets[:i]]
        assert value == pytest.approx(np.mean(pairs), abs=1e-6)


def test_sets_of_a_size_are_a_function_of_the_seed_alone():
    labels = np.arange(60) % 3
    one, same, other = (draw_subsets(labels, sizes, 2, seed) for sizes, seed in (([6, 9], 1), ([9], 1), ([9], 2)))
    np.testing.assert_array_equal(one[2].positions, same[0].positions)
    assert describe_subsets(same, 1)["digest"] != describe_subsets(other, 2)["digest"]


@pytest.mark.parametrize(("size", "words"), [(2, "3 and more"), (13, "5 images of a class.*at most 12")])
def test_impossible_sizes(size, words):
    with pytest.raises(InputError, match=f"train_images is {size}.*{words}"):
        draw_subsets(np.repeat([0, 1, 2], [4, 9, 9]), [size], 1, 0)


def test_kernels_agree_with_solving_by_hand(tmp_path, data, data_file, full):
    document = kernel_to_file(make_kernel(tmp_path, data, full), data_file, tmp_path / "k.json", DESIGN, ridges=RIDGES)
    assert document == read_stated(tmp_path / "k.json")
    rows = {(r["kind"], r["train_images"], r["repeat"], r["ridge"]): r for r in document["results"]}
    assert len(rows) == 2 * 6 * 2
    for draw in draw_subsets(data.train_labels, *DESIGN):
        chosen = draw.positions
        K, Y = full[np.ix_(chosen, chosen)], (np.eye(3) - 0.1)[data.train_labels[chosen]]
        for kind in ("ntk", "nngp"):
            for name in ("none", "loo"):
                row = rows[kind, draw.train_images, draw.repeat, name]
                shifted = K + row["chosen"]["ridge"] * K.diagonal().mean() * np.eye(len(K))
                right = (full[24:, chosen] @ np.linalg.solve(shifted, Y)).argmax(axis=1) == data.test_labels
                assert (row["correct"], row["accuracy"]) == (right.sum(), right.mean())
            assert rows[kind, draw.train_images, draw.repeat, "none"]["chosen"] == {"ridge": 0}


def test_kernels_of_other_data_are_refused(tmp_path, data, full):
    make_data(tmp_path / "other.h5", seed=1)
    with pytest.raises(UserError, match="made from other images"):
        kernel_to_file(
            make_kernel(tmp_path, data, full), tmp_path / "other.h5", tmp_path / "k.json", DESIGN, ridges=RIDGES
        )


def pixels(data: ProcessedData, n: int = 12):
    x, x_test = (images.reshape(len(images), -1).astype(float) for images in (data.train_images, data.test_images))
    return x[:n], data.train_labels[:n], x_test


def test_gaussian_kernel_is_tuned_by_leaving_out_one_by_one(data):
    x, labels, x_test = pixels(data)
    found = baseline("rbf", **OPTIONS)(x, labels, x_test, [0])
    median = np.median([((a - b) ** 2).sum() for i, a in enumerate(x) for b in x[:i]])
    coded, scores = (np.eye(3) - 0.1)[labels], []
    for bandwidth in OPTIONS["bandwidths"]:
        for ridge in RIDGES:
            model = KernelRidge(alpha=ridge, kernel="rbf", gamma=1 / (2 * bandwidth**2 * median))
            left_out = cross_val_predict(model, x, coded, cv=LeaveOneOut())
            right = (left_out.argmax(axis=1) == labels).mean()
            scores.append((-right, ((left_out - coded) ** 2).mean(), -ridge, -bandwidth, model))
    best = min(scores, key=lambda score: score[:4])
    assert found.chosen == {"bandwidth": -best[3], "ridge": -best[2]}
    np.testing.assert_array_equal(found.labels, best[4].fit(x, coded).predict(x_test).argmax(axis=1))


def test_logistic_regression_is_that_on_the_pixels(data):
    x, labels, x_test = pixels(data)
    found = baseline("logistic", **OPTIONS)(x, labels, x_test, [0])
    model = LogisticRegression(C=found.chosen["inverse_penalty"], max_iter=1000, tol=1e-8).fit(x, labels)
    np.testing.assert_array_equal(found.labels, model.predict(x_test))
    one_a_class = baseline("logistic", **OPTIONS)(x[:3], labels[:3], x_test, [0])
    assert one_a_class.chosen == {"inverse_penalty": 1}


def test_methods_see_no_test_label(tmp_path, data, data_file):
    """Changing the labels of the test images changes what is counted, and nothing that is chosen or predicted."""
    document = baseline_to_file("rbf", data_file, tmp_path / "a.json", DESIGN, **OPTIONS)
    found = {r["repeat"]: r for r in document["results"] if r["train_images"] == 11}
    for draw in draw_subsets(data.train_labels, *DESIGN)[3:]:
        x, _, x_test = pixels(data, 24)
        alone = baseline("rbf", **OPTIONS)(x[draw.positions], data.train_labels[draw.positions], x_test, [0])
        assert found[draw.repeat]["chosen"] == alone.chosen
        assert found[draw.repeat]["correct"] == (alone.labels == data.test_labels).sum()


@pytest.mark.parametrize("name", ["logistic", "forest"])
def test_same_files_same_bytes(tmp_path, data, data_file, name):
    for file in "ab":
        baseline_to_file(name, data_file, tmp_path / file, DESIGN, **OPTIONS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unknown_method(data_file, tmp_path):
    with pytest.raises(InputError, match="method is 'svm'; allowed are rbf, logistic, forest"):
        baseline_to_file("svm", data_file, tmp_path / "a.json", DESIGN, **OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bandwidths": [1, 0]}, r"bandwidths are \[1, 0\]; allowed are numbers > 0"),
        ({"bandwidths": [float("nan")]}, "bandwidths are"),
        ({"penalties": [-1]}, "penalties are"),
        ({"trees": 0}, "trees is 0"),
    ],
)
def test_settings_that_are_not_allowed(data_file, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        baseline_to_file("rbf", data_file, tmp_path / "a.json", DESIGN, **OPTIONS | change)
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"max_train_images": 1}, "max_train_images is 1"), ({"network_subsets": 0}, "network_subsets is 0")],
)
def test_a_network_is_trained_on_one_set_at_least(data, data_file, tmp_path, change, message):
    options = {"max_train_images": 6, "network_subsets": 2, **NETWORK, **TRAINING}
    with pytest.raises(InputError, match=message):
        network_to_file("cnn-v", Family("flatten"), data_file, tmp_path / "a.json", DESIGN, **options | change)


def test_a_folder_is_no_checkpoint(data, data_file, tmp_path):
    with pytest.raises(UserError, match="is a folder; name a file"):
        baseline_to_file(
            "forest", data_file, tmp_path / "a.json", DESIGN, options=JobOptions(checkpoint=tmp_path), **OPTIONS
        )
    assert not (tmp_path / "a.json").exists()


def test_resumes_where_it_was_interrupted(tmp_path, data, data_file, monkeypatch):
    monkeypatch.setattr(small_data_jobs, "FinishedParts", partial(resume.FinishedParts, save_seconds=0))
    calls = []

    def method(x, labels, x_test, seed):
        calls.append(seed)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return Predictions(np.resize(labels, len(x_test)), {"first": int(labels[0])})

    def run(file, **changes):
        parameters = {"a": 1} | changes
        options = JobOptions(checkpoint=tmp_path / "saved" / "m.json")
        method_to_file("m", method, parameters, data_file, file, DESIGN, options=options)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.json")
    run(tmp_path / "a.json")
    assert len(calls) == 4 + 3 and not (tmp_path / "saved" / "m.json").exists()
    run(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.json")
    run(tmp_path / "a.json", a=2)  # of other parameters nothing is taken
    assert len(calls) == 4 + 6
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.json")
    monkeypatch.setattr(resume, "code_identity", lambda: "other code")  # nor of other code
    run(tmp_path / "a.json")
    assert len(calls) == 4 + 6


def test_another_seed_takes_nothing_even_of_the_same_sets(tmp_path, data, data_file, monkeypatch):
    monkeypatch.setattr(small_data_jobs, "FinishedParts", partial(resume.FinishedParts, save_seconds=0))
    drawn = draw_subsets(data.train_labels, *DESIGN)
    monkeypatch.setattr(small_data_jobs, "draw_subsets", lambda *_: drawn)
    seeds = []

    def method(x, labels, x_test, seed):
        seeds.append(seed[0])
        if len(seeds) == 4:
            raise KeyboardInterrupt
        return Predictions(np.resize(labels, len(x_test)), {})

    def run(seed):
        method_to_file(
            "m",
            method,
            {},
            data_file,
            tmp_path / "a.json",
            DESIGN._replace(seed=seed),
            options=JobOptions(checkpoint=tmp_path / "saved.json"),
        )

    with pytest.raises(KeyboardInterrupt):
        run(4)
    run(5)
    assert seeds == [4] * 4 + [5] * 6


NETWORK = {"depth": 3, "width": 4, "output_scale": 0.05}
TRAINING = {"rates": [1.0, 1e6], "batch_images": 4, "epochs": 2}


def test_networks(tmp_path, data, data_file):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        options = {"max_train_images": 6, "network_subsets": 2, **NETWORK, **TRAINING}
        document = network_to_file("cnn-v", Family("flatten"), data_file, file, DESIGN, **options)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [(row["train_images"], row["repeat"]) for row in document["results"]] == [(6, 0), (6, 1)]
    assert document["sets"] == describe_subsets(draw_subsets(data.train_labels, *DESIGN), DESIGN.seed)
    # the high rate diverges
    assert all(row["chosen"] == {"rate": 1.0, "diverged": 0} for row in document["results"])


def test_the_rate_is_chosen_on_images_of_every_class():
    from exact_cntk.study.sections.small_data.networks import validation_images

    labels = np.repeat([0, 1, 2], [2, 5, 11])
    held = validation_images(labels, [0, 18, 1])
    assert np.bincount(labels[held]).tolist() == [1, 1, 2]
    assert not validation_images(np.array([0, 0, 1]), [0]).any()
