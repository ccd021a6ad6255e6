import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from exact_cntk import CNTKClassifier, CNTKRegressor, Network, cntk, estimators, kernel, kernel_regression
from exact_cntk.errors import InputError, LayoutWarning

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:100], y[:100], X[1000:1100], y[1000:1100]


@pytest.fixture
def passes(monkeypatch):
    """The depths of every kernel pass that is made."""
    made = []

    def counting(*args, **kwargs):
        made.append(kwargs["depths"])
        return cntk(*args, **kwargs)

    monkeypatch.setattr(estimators, "cntk", counting)
    return made


@pytest.mark.filterwarnings("ignore::exact_cntk.errors.LayoutWarning")
@parametrize_with_checks([CNTKClassifier(), CNTKRegressor(), CNTKClassifier(dtype="float64", depth=(2, 4))])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_classifier_is_kernel_regression_with_the_cntk(digits):
    X, y, X_test, y_test = digits
    model = CNTKClassifier(readout="gap", trained="hidden", depth=4, ridge=1e-3, image_shape=SHAPE).fit(X, y)
    images, tests = X.reshape(-1, *SHAPE), X_test.reshape(-1, *SHAPE)
    options = {"depths": 4, "readout": "gap", "trained": "hidden"}
    K, K_test = cntk(images, **options)["ntk", 4], cntk(tests, images, **options)["ntk", 4]
    expected = kernel_regression(K, y, K_test, ridges=1e-3)
    np.testing.assert_array_equal(model.decision_function(X_test), expected.predictions[0])
    assert model.score(X_test, y_test) == expected.test_accuracy(y_test)[0] > 0.8
    assert (model.depth_, model.ridge_) == (4, 1e-3)


def test_a_network_of_any_layers(digits):
    X, y, X_test, _ = (part[:40] for part in digits)
    text = "conv3 relu pool2 conv3[bias=0.1] erf gap dense"
    model = CNTKClassifier(network=text, ridge=1e-3, image_shape=SHAPE).fit(X, y)
    images, tests = X.reshape(-1, *SHAPE), X_test.reshape(-1, *SHAPE)
    expected = kernel_regression(kernel(text, images)["ntk"], y, kernel(text, tests, images)["ntk"], ridges=1e-3)
    np.testing.assert_allclose(model.decision_function(X_test), expected.predictions[0], atol=1e-12)
    assert model.depth_ is None and model.loo_accuracy_.shape == (1, 1)
    assert clone(model).network == text
    same = CNTKClassifier(network=Network(text), ridge=1e-3, image_shape=SHAPE).fit(X, y)
    np.testing.assert_array_equal(same.predict(X_test), model.predict(X_test))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"depth": 4}, "depth is 4 beside network"),
        ({"readout": "gap"}, "readout is 'gap' beside network"),
        ({"flips": True}, "flips is True beside network"),
        ({"network": "conv3 relu gap"}, "must be dense"),
        ({"network": 3}, "network is 3"),
    ],
)
def test_a_network_states_all_of_its_layers(digits, parameters, said):
    X, y, _, _ = digits
    with pytest.raises(InputError, match=said):
        CNTKClassifier(**({"network": "conv3 relu gap dense", "image_shape": SHAPE} | parameters)).fit(X, y)


def test_local_pooling_and_flips_reach_the_kernel(digits):
    X, y, X_test, _ = digits
    architecture = {"readout": "lap", "pooling_window": 3, "flips": True}
    model = CNTKClassifier(depth=3, ridge=1e-3, image_shape=SHAPE, **architecture).fit(X, y)
    images, tests = X.reshape(-1, *SHAPE), X_test.reshape(-1, *SHAPE)
    K = cntk(images, depths=3, **architecture)["ntk", 3]
    K_test = cntk(tests, images, depths=3, **architecture)["ntk", 3]
    expected = kernel_regression(K, y, K_test, ridges=1e-3).predictions[0]
    np.testing.assert_array_equal(model.decision_function(X_test), expected)
    mirrored = tests[:, :, ::-1].reshape(X_test.shape)
    np.testing.assert_allclose(model.decision_function(mirrored), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="pooling_window is None with readout 'lap'"):
        CNTKClassifier(readout="lap", image_shape=SHAPE).fit(X, y)


def test_several_depths_cost_one_pass_and_the_best_is_taken(digits, passes):
    X, y, X_test, _ = digits
    model = CNTKClassifier(depth=[6, 2, 3], ridges=[0, 1e-2, 1], image_shape=SHAPE).fit(X, y)
    assert passes == [(2, 3, 6)]
    assert model.loo_accuracy_.shape == model.loo_error_.shape == (3, 3)
    best = model.loo_accuracy_ == model.loo_accuracy_.max()
    depth, ridge = model.depths_.index(model.depth_), list(model.ridges_).index(model.ridge_)
    assert best[depth, ridge]
    assert model.loo_error_[depth, ridge] == model.loo_error_[best].min()
    model.predict(X_test)
    assert passes[1:] == [(model.depth_,)]
    same = CNTKClassifier(depth=model.depth_, ridge=model.ridge_, image_shape=SHAPE).fit(X, y)
    np.testing.assert_array_equal(model.decision_function(X_test), same.decision_function(X_test))


def test_regressor_takes_one_target_or_several(digits):
    X, y, X_test, _ = digits
    one = CNTKRegressor(depth=3, ridge=1e-4, image_shape=SHAPE).fit(X, y)
    several = CNTKRegressor(depth=3, ridge=1e-4, image_shape=SHAPE).fit(X, np.c_[y, -y, X[:, 20]])
    assert one.predict(X_test).shape == (100,)
    assert several.predict(X_test).shape == (100, 3)
    np.testing.assert_allclose(several.predict(X_test)[:, :2], np.c_[one.predict(X_test), -one.predict(X_test)])
    chosen = CNTKRegressor(depth=(2, 3), image_shape=SHAPE).fit(X, y)
    assert chosen.loo_error_[chosen.depths_.index(chosen.depth_)].min() == np.nanmin(chosen.loo_error_)
    assert not hasattr(chosen, "loo_accuracy_")


def test_rows_and_images_are_the_same_thing(digits):
    X, y, X_test, _ = digits
    rows = CNTKClassifier(image_shape=SHAPE).fit(X, y)
    images = CNTKClassifier().fit(X.reshape(-1, *SHAPE), y)
    np.testing.assert_array_equal(rows.decision_function(X_test), images.decision_function(X_test.reshape(-1, *SHAPE)))
    assert images.X_fit_.shape == (100, *SHAPE)
    with pytest.warns(LayoutWarning):
        assert CNTKClassifier().fit(X, y).X_fit_.shape == (100, 1, 64, 1)


def test_works_inside_of_scikit_learns_tools(digits):
    X, y, X_test, y_test = digits
    pipeline = make_pipeline(StandardScaler(), CNTKClassifier(image_shape=SHAPE, depth=2))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.6
    search = GridSearchCV(pipeline, {"cntkclassifier__depth": [2, [2, 3]]}, cv=2).fit(X, y)
    assert search.score(X_test, y_test) > 0.75
    loaded = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(loaded.predict(X_test), search.predict(X_test))
    images = X.reshape(-1, *SHAPE)
    assert cross_val_score(CNTKClassifier(depth=2), images, y, cv=3).mean() > 0.6


def test_two_classes_have_one_decision(digits):
    X, y, X_test, _ = digits
    model = CNTKClassifier(image_shape=SHAPE).fit(X, np.where(y < 5, "low", "high"))
    decision = model.decision_function(X_test)
    assert decision.shape == (100,)
    np.testing.assert_array_equal(model.predict(X_test), np.where(decision > 0, "low", "high"))


def test_parameters_survive_cloning():
    model = CNTKRegressor(depth=(3, 5), ridge=0.5, image_shape=SHAPE, threads=1)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ridge": "cv"}, "ridge is 'cv'; allowed are 'loo'"),
        ({"ridge": -1.0}, "ridge is -1.0; allowed are"),
        ({"ridge": [1.0, 2.0]}, r"ridge is \[1.0, 2.0\]; allowed are one number ≥ 0"),
        ({"ridges": []}, "ridges is"),
        ({"depth": 1}, "depth is 1; allowed are integers ≥ 2"),
        ({"trained": ("all", "hidden")}, r"trained is \('all', 'hidden'\); allowed are"),
        ({"trained": "hidden", "depth": [2, 3]}, "depth 2 has no hidden layer"),
        ({"readout": "mean"}, "readout is 'mean'"),
        ({"dtype": "half"}, "dtype is 'half'"),
        ({"image_shape": (8, 8, 3)}, r"image_shape is \(8, 8, 3\), 192 numbers, but X has rows of 64"),
        ({"image_shape": (8, 8)}, r"image_shape is \(8, 8\); allowed are three integers: \(rows, columns, channels\)"),
        ({"channels_first": "yes"}, "channels_first is 'yes'; allowed are None, False and True"),
        ({"get": "nnpg"}, "get is 'nnpg'; .* did you mean 'nngp'"),
        ({"get": ("ntk", "nngp")}, r"get is \('ntk', 'nngp'\); allowed are"),
        ({"progress": 3}, "progress is 3"),
        ({"image_shape": 64}, "image_shape is 64; allowed are three integers"),
    ],
)
def test_bad_parameters_are_named(digits, parameters, message):
    X, y, _, _ = digits
    with pytest.raises(InputError, match=message):
        CNTKClassifier(**{"image_shape": SHAPE} | parameters).fit(X, y)


def test_images_of_another_shape_are_refused(digits):
    X, y, _, _ = digits
    images = X.reshape(-1, *SHAPE)
    with pytest.raises(InputError, match=r"X has images of shape \(8, 8, 1\); allowed is \(4, 16, 1\)"):
        CNTKClassifier(image_shape=(4, 16, 1)).fit(images, y)
    with pytest.raises(InputError, match=r"X has shape \(100, 8, 8\); allowed are rows"):
        CNTKClassifier().fit(X.reshape(-1, 8, 8), y)
    model = CNTKClassifier().fit(images, y)
    with pytest.raises(InputError, match=r"X has images of shape \(8, 4, 2\); allowed are images of shape \(8, 8, 1\)"):
        model.predict(images.reshape(-1, 8, 4, 2))


@pytest.mark.parametrize(
    ("features", "example"), [(64, r"images, such as \(8, 8, 1\), or \(1, 1, 64\)"), (60, r"images, or \(1, ")]
)
def test_rows_without_a_shape_are_warned_of_once(digits, features, example):
    X, y, _, _ = digits
    with pytest.warns(LayoutWarning, match=rf"rows of {features} numbers.*one row of pixels.*{example}") as caught:
        model = CNTKClassifier(depth=2, ridge=1.0).fit(X[:, :features], y)
        model.predict(X[:5, :features])
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 64, 1), (1, 1, 64), SHAPE])
def test_a_shape_is_no_reason_to_warn(digits, shape):
    X, y, _, _ = digits
    assert CNTKClassifier(depth=2, ridge=1.0, image_shape=shape).fit(X, y).X_fit_.shape == (100, *shape)


def test_channels_first_in_rows_and_in_images():
    rng = np.random.default_rng(0)
    planes, y = rng.standard_normal((30, 3, 5, 6)), np.arange(30) % 3
    last = planes.transpose(0, 2, 3, 1)
    expected = CNTKClassifier(ridge=1e-2).fit(last[:20], y[:20]).decision_function(last[20:])
    by_planes = CNTKClassifier(ridge=1e-2, image_shape=(5, 6, 3), channels_first=True)
    for X in (planes, planes.reshape(30, -1), torch.tensor(planes, requires_grad=True)):
        model = clone(by_planes).fit(X[:20], y[:20])
        np.testing.assert_array_equal(model.decision_function(X[20:]), expected)
        assert model.X_fit_.shape == (20, 5, 6, 3)
    by_pixels = CNTKClassifier(ridge=1e-2, image_shape=(5, 6, 3)).fit(last[:20].reshape(20, -1), y[:20])
    np.testing.assert_array_equal(by_pixels.decision_function(last[20:].reshape(10, -1)), expected)
    with pytest.raises(InputError, match=r"X has shape \(30, 3, 5, 6\), which looks like .* channels_first=True"):
        CNTKClassifier().fit(planes, y)
    for first in (None, True):
        with pytest.raises(InputError, match=r"image_shape is \(3, 5, 6\), which looks like .* here \(5, 6, 3\)"):
            CNTKClassifier(image_shape=(3, 5, 6), channels_first=first).fit(planes.reshape(30, -1), y)
    assert CNTKClassifier(channels_first=False).fit(planes, y).X_fit_.shape == (30, 3, 5, 6)


@pytest.mark.parametrize("trained", ["all", "hidden"])
def test_the_gaussian_process_of_the_network(digits, trained):
    X, y, X_test, _ = digits
    model = CNTKClassifier(get="nngp", trained=trained, depth=[2, 3], ridge=1e-3, image_shape=SHAPE).fit(X, y)
    depth, images, tests = model.depth_, X.reshape(-1, *SHAPE), X_test.reshape(-1, *SHAPE)
    options = {"depths": depth, "readout": "flatten", "get": "nngp"}
    K, K_test = (cntk(*sets, **options)["nngp", depth] for sets in ((images,), (tests, images)))
    expected = kernel_regression(K, y, K_test, ridges=1e-3).predictions[0]
    np.testing.assert_array_equal(model.decision_function(X_test), expected)


@pytest.mark.parametrize("targets", [None, 1, 2, 10])
def test_predictions_are_made_in_batches(digits, monkeypatch, targets):
    X, y, X_test, _ = digits
    Y = y if targets is None else np.random.default_rng(0).standard_normal((100, targets))
    model = CNTKRegressor(depth=2, ridge=1e-2, image_shape=SHAPE).fit(X, Y)
    whole = model.predict(X_test)
    K = cntk(X_test.reshape(-1, *SHAPE), model.X_fit_, depths=2, readout="flatten")["ntk", 2]
    np.testing.assert_array_equal(whole, K @ model.dual_coef_)
    monkeypatch.setattr(estimators, "ROWS_AT_ONCE", 32)
    # the kernel has the same bits in batches; BLAS rounds products by their number of rows
    by_batches = np.concatenate([K[start : start + 32] @ model.dual_coef_ for start in range(0, 100, 32)])
    np.testing.assert_array_equal(model.predict(X_test), by_batches)
    np.testing.assert_allclose(by_batches, whole, rtol=1e-9, atol=1e-11)


def test_memory_of_predictions_does_not_grow_with_their_number(monkeypatch):
    monkeypatch.setattr(estimators, "ROWS_AT_ONCE", 50)
    rng = np.random.default_rng(0)
    model = CNTKRegressor(depth=2, ridge=1.0).fit(rng.standard_normal((400, 1, 2, 1)), np.arange(400.0))
    peaks = []
    for m in (200, 2000):
        X = rng.standard_normal((m, 1, 2, 1))
        tracemalloc.start()
        model.predict(X)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 8 * 1800 * 400 / 10
    assert peaks[1] < 3 * 8 * 50 * 400


def test_progress_of_fit_and_predictions(digits, monkeypatch):
    monkeypatch.setattr(estimators, "ROWS_AT_ONCE", 40)
    X, y, X_test, _ = digits
    seen = []
    model = CNTKClassifier(depth=2, ridge=1.0, image_shape=SHAPE, progress=lambda *step: seen.append(step)).fit(X, y)
    assert seen[-1] == (5050, 5050)
    seen.clear()
    model.predict(X_test)
    assert [step for step in seen if step[0] in (40, 80, 100)] == [(40, 100), (80, 100), (100, 100)]
    assert seen == sorted(seen)


@pytest.mark.parametrize("estimator", [CNTKClassifier, CNTKRegressor])
def test_masks_are_not_dropped(digits, estimator):
    X, y, X_test, _ = digits
    masked = np.ma.masked_equal(X, 16)
    with pytest.raises(InputError, match=r"X has .* masked entries"):
        estimator(image_shape=SHAPE).fit(masked, y)
    with pytest.raises(InputError, match=r"y has .* masked entries"):
        estimator(image_shape=SHAPE).fit(X, np.ma.masked_equal(y, 3))
    model = estimator(depth=2, ridge=1.0, image_shape=SHAPE).fit(X, y)
    with pytest.raises(InputError, match=r"X has .* masked entries"):
        model.predict(np.ma.masked_equal(X_test, 16))


def test_labels_as_people_have_them(digits):
    X, y, X_test, _ = digits
    names = np.array([f"digit {k}" for k in y])
    expected = CNTKClassifier(depth=2, ridge=1.0, image_shape=SHAPE).fit(X, names).predict(X_test)
    for labels in (names.astype(object), pd.Categorical(names), pd.Series(names), names.tolist()):
        model = CNTKClassifier(depth=2, ridge=1.0, image_shape=SHAPE).fit(X, labels)
        np.testing.assert_array_equal(model.predict(X_test), expected)
    numbers = CNTKClassifier(depth=2, ridge=1.0, image_shape=SHAPE).fit(torch.tensor(X), torch.tensor(y))
    np.testing.assert_array_equal([f"digit {k}" for k in numbers.predict(torch.tensor(X_test))], expected)
    one_hot = np.eye(10, dtype=int)[y]
    for matrix in (np.eye(10)[y], one_hot, torch.eye(10)[y], one_hot.tolist(), 2 * one_hot - 1):
        with pytest.raises(InputError, match=r"y has shape \(100, 10\); .* np\.argmax\(y, axis=1\)"):
            CNTKClassifier(image_shape=SHAPE).fit(X, matrix)
    with pytest.raises(InputError, match=r"y has shape \(1, 100\); .* np\.ravel\(y\)"):
        CNTKClassifier(image_shape=SHAPE).fit(X, y[None])
    with pytest.raises(
        InputError, match=r"y has shape \(100, 3\); allowed are labels of shape \(n,\), one for each image$"
    ):
        CNTKClassifier(image_shape=SHAPE).fit(X, np.tri(100, 3, dtype=int))


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([1, 2] * 10, dtype="Int64"),
        pd.Series([True, False] * 10, dtype="boolean"),
        pd.Categorical([True, False] * 10),
        np.array([np.True_, np.False_] * 10, dtype=object),
        np.array(["a", "b"] * 10, dtype=np.dtypes.StringDType()),
        [b"a", b"b"] * 10,
    ],
)
def test_classes_are_those_of_kernel_regression(labels):
    X = np.random.default_rng(0).standard_normal((20, 2, 2, 3))
    model = CNTKClassifier(depth=2, ridge=1e-3).fit(X, labels)
    expected = kernel_regression(np.eye(20), labels, ridges=1.0).classes
    np.testing.assert_array_equal(model.classes_, expected)
    assert model.classes_.dtype == model.predict(X).dtype == expected.dtype


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (CNTKClassifier, ["a", "b", np.nan, "a"], "y has values of the types float, str"),
        (CNTKClassifier, np.array([0.0, 1.0] * 2, dtype=object), r"types float; .* np\.asarray\(y, dtype=float\)"),
        (CNTKClassifier, np.array(["2020", "NaT"] * 2, dtype="datetime64[D]"), "y has dtype datetime64"),
        (CNTKRegressor, ["1", "2", "3", "4"], "y has dtype <U1; allowed are numbers"),
        (CNTKRegressor, pd.Categorical(list("abab")), "y has dtype object; .* CNTKClassifier"),
    ],
)
def test_what_is_no_target_is_refused(estimator, y, message):
    with pytest.raises(InputError, match=message):
        estimator().fit(np.ones((4, 2, 2, 3)), y)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_predictions_in_another_layout_are_refused_with_what_mends_it(first, rows):
    rng = np.random.default_rng(0)
    last = rng.standard_normal((12, 5, 6, 3))
    planes = last.transpose(0, 3, 1, 2)
    own, other = (planes, last) if first else (last, planes)
    fitted = own.reshape(12, -1) if rows else own
    model = CNTKRegressor(depth=2, ridge=1.0, image_shape=np.array([5, 6, 3]), channels_first=first)
    expected = model.fit(fitted, np.arange(12.0)).predict(fitted)
    for X in (own, other, own.reshape(12, -1)):
        if X.shape == fitted.shape:
            continue
        with pytest.raises(
            InputError, match=r"X has .*; allowed are .*, which is what fit was given: pass X\."
        ) as refused:
            model.predict(X)
        step = str(refused.value).partition(": pass ")[2]
        np.testing.assert_array_equal(model.predict(eval(step, {"X": X})), expected)
    with pytest.raises(InputError, match=r"X has images of shape \(5, 4, 3\); allowed are .* fit was given$"):
        model.predict(np.ones((2, 5, 4, 3)))


def test_arrays_that_scikit_learn_would_print_or_not_explain():
    X = np.ones((4, 2, 2, 3))
    with pytest.raises(InputError, match=r"X has dtype object; .* np\.stack\(list\(X\)\)"):
        CNTKClassifier().fit(pd.Series(list(X)), [0, 1, 0, 1])
    with pytest.raises(InputError, match=r"^X has dtype <U1; allowed are real numbers"):
        CNTKClassifier().fit([["1", "2"], ["3", "4"]], [0, 1])
    with pytest.raises(InputError, match=r"X is a sparse matrix; .* X\.toarray\(\)"):
        CNTKClassifier().fit(scipy.sparse.csr_array(X.reshape(4, -1)), [0, 1, 0, 1])
