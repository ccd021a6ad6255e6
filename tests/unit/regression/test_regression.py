import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from exact_cntk import cntk, kernel_regression
from exact_cntk._support import machine
from exact_cntk.errors import InputError, UserError
from exact_cntk.regression import kernel_regression as regression_module
from exact_cntk.regression import ridge_path
from exact_cntk.regression.solvers import choice, tiled

RIDGES = (0.0, 1e-6, 1e-2, 1.0)


def problem(n=30, m=12, features=40, seed=0):
    """A kernel of full rank, its test part, targets and labels."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + m, features))
    K = X @ X.T / features
    K = (K + K.T) / 2
    labels = (X[:, 0] + 0.3 * rng.standard_normal(n + m) > 0) + (X[:, 1] > 0.5).astype(int) + 3
    return K[:n, :n].copy(), K[n:, :n].copy(), rng.standard_normal((n, 2)), labels[:n], labels[n:]


@pytest.fixture(params=["eigh", "cholesky", "blocked", "cuda"])
def method(request, monkeypatch):
    """All of them, in tiles of 7 points; "cuda" runs torch on the CPU."""
    monkeypatch.setattr(choice, "LARGEST_TILE", 7)
    monkeypatch.setattr(choice, "SMALLEST_TILE", 7)
    monkeypatch.setattr(choice, "DEVICE_TILE", 7)
    monkeypatch.setattr(choice, "usable_device", lambda problem: ("torch's CPU", None))
    monkeypatch.setattr(tiled, "DEVICE", "cpu")
    if request.param == "cuda":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # tiles so small only wait for each other
        request.addfinalizer(lambda: torch.set_num_threads(threads))
    return request.param


def test_predictions_are_those_of_scikit_learn(method):
    K, K_test, Y, _, _ = problem()
    result = kernel_regression(K, Y, K_test, ridges=RIDGES, method=method)
    assert result.method == method
    assert result.scale == K.diagonal().mean()
    for ridge, predictions, dual in zip(RIDGES, result.predictions, result.dual, strict=True):
        expected = KernelRidge(kernel="precomputed", alpha=ridge * result.scale).fit(K, Y)
        np.testing.assert_allclose(dual, expected.dual_coef_, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(predictions, expected.predict(K_test), rtol=1e-9, atol=1e-11)


def test_leave_one_out_is_a_refit_without_the_point(method):
    K, _, Y, _, _ = problem()
    result = kernel_regression(K, Y, ridges=RIDGES, method=method)
    for r, ridge in enumerate(RIDGES):
        for i in range(len(K)):
            rest = np.delete(np.arange(len(K)), i)
            A = K[np.ix_(rest, rest)] + ridge * result.scale * np.eye(len(rest))
            refit = K[i, rest] @ np.linalg.solve(A, Y[rest])
            np.testing.assert_allclose(result.loo_predictions[r, i], refit, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.loo_error, ((result.loo_predictions - Y) ** 2).mean(axis=(1, 2)))
    assert result.best == result.loo_error.argmin()


def test_labels_are_coded_as_in_the_paper(method):
    K, K_test, _, labels, test_labels = problem()
    result = kernel_regression(K, labels, K_test, ridges=RIDGES, method=method)
    coded = np.where(labels[:, None] == [3, 4, 5], 0.9, -0.1)
    targets = kernel_regression(K, coded, K_test, ridges=RIDGES, method=method)
    np.testing.assert_array_equal(result.classes, [3, 4, 5])
    np.testing.assert_allclose(result.predictions, targets.predictions, rtol=1e-12)
    predicted = np.array([3, 4, 5])[result.predictions.argmax(axis=2)]
    np.testing.assert_array_equal(result.test_accuracy(test_labels), (predicted == test_labels).mean(axis=1))
    np.testing.assert_array_equal(result.predicted_labels(2), predicted[2])
    left_out = np.array([3, 4, 5])[result.loo_predictions.argmax(axis=2)]
    np.testing.assert_array_equal(result.loo_accuracy, (left_out == labels).mean(axis=1))
    assert result.best_ridge == RIDGES[result.best]
    assert targets.loo_accuracy is targets.classes is None


@pytest.mark.parametrize("kind", [str, bool, np.uint8])
def test_labels_may_be_of_any_discrete_type(kind):
    K, K_test, *_ = problem()
    labels = (np.arange(30) % 2).astype(kind)
    result = kernel_regression(K, labels, K_test)
    assert set(result.predicted_labels(0)) <= set(labels)
    assert result.predictions.shape == (1, 12, 2)


def test_one_dimensional_targets_stay_so(method):
    K, K_test, Y, _, _ = problem()
    result = kernel_regression(K, Y[:, 0], K_test, ridges=RIDGES, method=method)
    assert result.predictions.shape == (4, 12)
    assert result.loo_predictions.shape == result.dual.shape == (4, 30)
    assert result.classes is None


def test_residuals_and_condition_numbers():
    K, _, Y, _, _ = problem()
    eigh, cholesky = (kernel_regression(K, Y, ridges=RIDGES, method=name) for name in ("eigh", "cholesky"))
    for r, ridge in enumerate(RIDGES):
        A = K + ridge * eigh.scale * np.eye(30)
        residual = np.linalg.norm(A @ eigh.dual[r] - Y) / np.linalg.norm(Y)
        np.testing.assert_allclose(eigh.residual_norm[r], residual, rtol=0.5)
        np.testing.assert_allclose(eigh.condition_number[r], np.linalg.cond(A), rtol=1e-9)
        # LAPACK's estimate bounds the 1-norm's condition number from below, rarely by more than a factor of 3
        assert np.linalg.cond(A, 1) / 3 <= cholesky.condition_number[r] <= np.linalg.cond(A, 1) * (1 + 1e-9)
    assert (np.maximum(eigh.residual_norm, cholesky.residual_norm) < 1e-12).all()
    np.testing.assert_allclose(eigh.eigenvalues, np.linalg.eigvalsh(K)[::-1], rtol=1e-10)
    assert cholesky.eigenvalues is None


def test_methods_agree_across_block_edges(monkeypatch):
    monkeypatch.setattr(ridge_path, "ROWS_AT_ONCE", 7)
    K, K_test, _, labels, _ = problem()
    eigh, cholesky = (kernel_regression(K, labels, K_test, ridges=RIDGES, method=m) for m in ("eigh", "cholesky"))
    for name in ("dual", "predictions", "loo_predictions", "loo_error", "loo_accuracy"):
        np.testing.assert_allclose(getattr(eigh, name), getattr(cholesky, name), rtol=1e-8, atol=1e-11)
    assert eigh.best == cholesky.best


def test_auto_changes_to_cholesky_for_many_points(monkeypatch):
    K, _, Y, _, _ = problem()
    assert kernel_regression(K, Y).method == "eigh"
    monkeypatch.setattr(choice, "EIGH_LIMIT", 29)
    monkeypatch.setattr(choice, "gpu_present", lambda: False)
    result = kernel_regression(K, Y)
    assert (result.method, result.reason) == ("cholesky", "no GPU present; K fits in memory")


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_kernel_is_left_alone_unless_it_may_be_overwritten(method, order):
    K, _, Y, _, _ = problem()
    K = np.array(K, order=order)
    before = K.copy()
    first = kernel_regression(K, Y, ridges=RIDGES, method=method)
    np.testing.assert_array_equal(K, before)
    second = kernel_regression(K, Y, ridges=RIDGES, method=method, overwrite=True)
    np.testing.assert_array_equal(first.loo_predictions, second.loo_predictions)
    if method == "cholesky" and order == "C":
        assert not np.array_equal(K, before)


def test_duplicates_make_ridge_zero_unsolved_and_nothing_else(method):
    K, K_test, _, labels, test_labels = problem()
    again = np.r_[np.arange(30), 4]
    K, K_test, labels = K[np.ix_(again, again)], K_test[:, again], labels[again]
    result = kernel_regression(K, labels, K_test, ridges=RIDGES, method=method)
    np.testing.assert_array_equal(result.solved, [False, True, True, True])
    assert result.best > 0
    assert result.condition_number[0] == np.inf
    for values in (
        result.predictions,
        result.loo_predictions,
        result.loo_error[:, None],
        result.loo_accuracy[:, None],
        result.residual_norm[:, None],
        result.test_accuracy(test_labels)[:, None],
    ):
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1:]).all()
    with pytest.raises(InputError, match="ridge 0 was not solved"):
        result.predicted_labels(0)
    with pytest.raises(InputError, match=r"ridges is \[0.0\]; K \+ λI is singular .* near-duplicates among the 31"):
        kernel_regression(K, labels, K_test, method=method)


def indefinite(n=30, smallest=-0.01):
    V = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    values = np.linspace(0.1, 2, n)
    values[0] = smallest
    K = V * values @ V.T
    return (K + K.T) / 2


@pytest.mark.parametrize("ridges", [(0.0,), (0.0, 1.0), (1.0,)])
def test_a_negative_eigenvalue_is_an_error_that_names_it(method, ridges):
    with pytest.raises(regression_module.NotPositiveSemidefiniteError, match=r"smallest eigenvalue is -0\.01,"):
        kernel_regression(indefinite(), np.arange(30.0), ridges=ridges, method=method)


def test_tolerance_is_the_kernels_own_rounding(method):
    K = indefinite(smallest=-1e-8)
    result = kernel_regression(K, np.arange(30.0), ridges=RIDGES, method=method, tolerance=1e-7)
    np.testing.assert_array_equal(result.solved, [False, True, True, True])
    with pytest.raises(regression_module.NotPositiveSemidefiniteError):
        kernel_regression(K, np.arange(30.0), ridges=RIDGES, method=method, tolerance=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_follows_from_the_dtype_of_the_kernel(method, dtype):
    bound = ridge_path.ROUNDING[dtype]
    inside, outside = indefinite(smallest=-bound), indefinite(smallest=-20 * bound)  # of λ_max = 2; of ‖K‖₁ up to 8
    result = kernel_regression(inside, np.arange(30.0), ridges=RIDGES, method=method, dtype=dtype)
    assert not result.solved[0] and result.solved[2:].all()
    with pytest.raises(regression_module.NotPositiveSemidefiniteError, match="Rounding explains eigenvalues down to -"):
        kernel_regression(outside, np.arange(30.0), ridges=RIDGES, method=method, dtype=dtype)


@pytest.mark.parametrize(("readout", "depth"), [("flatten", 21), ("gap", 3), ("gap", 21)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_of_near_duplicates_need_no_argument(readout, depth, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((14, 8, 8, 3))
    x = np.concatenate([x, x * (1 + 1e-6), x + 1e-6 * rng.standard_normal(x.shape)])
    K = cntk(x, depths=depth, readout=readout, dtype=dtype)["ntk", depth]
    eigenvalues = np.linalg.eigvalsh(K)
    assert eigenvalues[0] > -0.2 * ridge_path.ROUNDING[dtype] * eigenvalues[-1]
    result = kernel_regression(K, np.arange(42) % 14, ridges=[0, 1e-4, 1e-2], dtype=dtype)
    assert result.solved[1:].all()
    assert result.loo_accuracy[result.best] == 1


def test_a_float32_kernel_with_the_asymmetry_of_its_rounding_is_taken(method, monkeypatch):
    monkeypatch.setattr(regression_module, "ROWS_AT_ONCE", 7)
    K, K_test, _, labels, _ = problem()
    noise = np.random.default_rng(2).uniform(-1e-7, 1e-7, K.shape)
    rounded = (K * (1 + noise)).astype(np.float32)
    assert 1e-8 < np.abs(rounded - rounded.T).max() / rounded.max() < 1e-6
    before = rounded.copy()
    found = kernel_regression(rounded, labels, K_test, ridges=RIDGES, method=method)
    np.testing.assert_array_equal(rounded, before)
    lower = np.tril(rounded.astype(float))
    for same in (lower + np.tril(lower, -1).T, torch.tensor(rounded), rounded.astype(float)):
        expected = kernel_regression(same, labels, K_test, ridges=RIDGES, method=method)
        np.testing.assert_array_equal(found.predictions, expected.predictions)
        np.testing.assert_array_equal(found.loo_predictions, expected.loo_predictions)
        np.testing.assert_array_equal(found.residual_norm, expected.residual_norm)
    with pytest.raises(InputError, match=r"K is not symmetric: .* allowed are 1e-08 of that"):
        kernel_regression(rounded, labels, method=method, tolerance=1e-9)
    with pytest.raises(InputError, match=r"K is not symmetric: .* say so by tolerance"):
        kernel_regression(rounded * (1 + 100 * noise), labels, method=method)
    assert kernel_regression(rounded * (1 + 100 * noise), labels, method=method, tolerance=1e-4).solved.all()


def test_labels_of_new_points():
    K, K_test, Y, labels, _ = problem()
    fit = kernel_regression(K, labels, ridges=RIDGES)
    known = kernel_regression(K, labels, K_test, ridges=RIDGES)
    np.testing.assert_array_equal(fit.predicted_labels(K_test=K_test), known.predicted_labels(known.best))
    np.testing.assert_array_equal(known.predicted_labels(), known.predicted_labels(known.best))
    np.testing.assert_array_equal(fit.predicted_labels(3, K_test[:5]), known.predicted_labels(3)[:5])
    with pytest.raises(InputError, match="need K_test"):
        fit.predicted_labels()
    with pytest.raises(InputError, match=r"need class labels as y.*argmax"):
        kernel_regression(K, Y, K_test).predicted_labels(0)


def test_ties_go_to_the_smaller_error_and_then_to_the_larger_ridge():
    ridges, solved = np.array([0.0, 0.1, 0.2, 1.0]), np.array([True, True, True, True])

    def best(*scores):
        return regression_module.choose(ridges, *scores)[0]

    assert best(np.array([3.0, 2, 2, 1]), np.array([0.9, 0.9, 0.9, 0.5]), solved) == 2
    assert best(np.array([1.0, 2, 2, 1]), None, solved) == 3
    assert best(np.array([1.0, 2, 2, np.nan]), None, np.array([True, True, True, False])) == 0


def test_the_choice_uses_no_test_data():
    K, K_test, _, labels, _ = problem()
    with_tests = kernel_regression(K, labels, K_test, ridges=RIDGES)
    assert with_tests.best == kernel_regression(K, labels, -K_test, ridges=RIDGES).best
    assert with_tests.best == kernel_regression(K, labels, ridges=RIDGES).best


def test_progress_counts_ridges(method):
    K, _, Y, _, _ = problem()
    seen = []
    kernel_regression(K, Y, ridges=RIDGES, method=method, progress=lambda done, total: seen.append((done, total)))
    total = {"eigh": 4, "cholesky": 4}.get(method, 4 * 2 * (5 * 24 // 6 + 5 * 6 // 2))  # products of 5 × 5 tiles
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == (list(range(1, total + 1)) if method != "eigh" else [4])


def spoiled(i, j, value):
    K = problem()[0]
    K[i, j] = value
    return K


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": spoiled(3, 5, np.nan)}, r"K must be finite, but K\[3, 5\] is nan"),
        ({"K": spoiled(3, 5, 1.0)}, "K is not symmetric: .* reaches"),
        ({"K": np.zeros((30, 29))}, r"K has shape \(30, 29\); allowed is \(n, n\)"),
        ({"K": np.zeros((30, 30))}, "K is 0 everywhere"),
        ({"y": np.zeros(29)}, r"y has shape \(29,\); allowed are \(30,\) and \(30, targets\), as K has 30 rows"),
        ({"y": np.full(30, np.inf)}, "y must be finite"),
        ({"y": np.array([None] * 30)}, "y has dtype object"),
        ({"K_test": np.zeros((5, 29))}, r"K_test has shape \(5, 29\); allowed is \(test points, 30 training points\)"),
        ({"K_test": np.full((5, 30), np.nan)}, "K_test must be finite"),
        ({"ridges": -1.0}, "ridges is -1.0; allowed are one number ≥ 0 or a sequence"),
        ({"ridges": []}, "ridges is"),
        ({"ridges": [np.nan]}, "ridges must be finite"),
        ({"method": "lu"}, "method is 'lu'; allowed are 'auto', 'direct', 'eigh', 'cholesky', 'cuda'"),
        ({"tolerance": -1}, "tolerance is -1; allowed is a number ≥ 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    K, _, Y, _, _ = problem()
    with pytest.raises(InputError, match=message):
        kernel_regression(**{"K": K, "y": Y} | arguments)


def test_too_little_memory_is_a_refusal(monkeypatch):
    K, _, Y, _, _ = problem(500, 1, 600)
    monkeypatch.setattr(choice, "available_memory", lambda: 12 * 500**2)
    monkeypatch.setattr(machine, "available_memory", lambda: 12 * 500**2)
    with pytest.raises(UserError, match=r"method='eigh', needs 0\.0038 GiB of memory, 0\.0028 GiB avail"):
        kernel_regression(K, Y, method="eigh")
    assert kernel_regression(K, Y).method == "cholesky"
    with pytest.raises(UserError, match=r"method='auto', needs .* but --max-memory-gib allows 0\.0001 GiB"):
        kernel_regression(K, Y, max_memory_gib=1e-4)


@pytest.mark.parametrize(("method", "overwrite"), [("eigh", False), ("cholesky", False), ("cholesky", True)])
def test_memory_stays_within_what_is_stated(monkeypatch, method, overwrite):
    monkeypatch.setattr(ridge_path, "ROWS_AT_ONCE", 16)  # blocks as small beside K as at full scale
    monkeypatch.setattr(regression_module, "ROWS_AT_ONCE", 16)
    n = 500
    K = problem(n, 1, features=600)[0]
    y = np.arange(float(n))
    tracemalloc.start()
    kernel_regression(K, y, ridges=[0, 1e-3], method=method, overwrite=overwrite)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 0.35 n² numbers for what is linear in n: blocks, vectors, LAPACK's workspaces, and the bytes of isfinite(K)
    assert peak <= ridge_path.required_bytes(n, method, overwrite=overwrite) + 0.35 * 8 * n**2


def test_accuracy_needs_predictions_and_as_many_labels():
    K, K_test, _, labels, test_labels = problem()
    with pytest.raises(InputError, match="pass K_test"):
        kernel_regression(K, labels).test_accuracy(test_labels)
    with pytest.raises(InputError, match="one label for each of 12 test points"):
        kernel_regression(K, labels, K_test).test_accuracy(test_labels[1:])


@pytest.mark.parametrize("method", ["eigh", "cg"])
def test_rounding_explains_nothing_where_no_eigenvalue_is_positive(method):
    K = -np.diag(np.arange(1.0, 21.0))
    with pytest.raises(
        regression_module.NotPositiveSemidefiniteError, match=r"Rounding explains none of these, as none"
    ):
        kernel_regression(K, np.arange(20) % 4, ridges=1.0, method=method)
