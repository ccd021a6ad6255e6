import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from exact_cntk import CNTKClassifier, CNTKRegressor, cntk, estimators, kernel_regression
from exact_cntk.errors import InputError

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
        ({"image_shape": (8, 8)}, r"image_shape is \(8, 8\); allowed are None and \(rows, columns, channels\)"),
        ({"image_shape": 64}, "image_shape is 64; allowed are None"),
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
    with pytest.raises(InputError, match=r"X has images of shape \(8, 4, 2\); allowed is \(8, 8, 1\)"):
        model.predict(images.reshape(-1, 8, 4, 2))
