"""Block conjugate gradients: the direct solvers' numbers, honest residuals, refusals, and going on after a kill."""

import re

import numpy as np
import pytest
from problems import RIDGES, make_kernel, store, use_tiles, with_smallest

from exact_cntk import kernel_regression
from exact_cntk.errors import InputError
from exact_cntk.regression.ridge_path import NotPositiveSemidefiniteError
from exact_cntk.regression.solvers import choice, krylov
from exact_cntk.regression.solvers.cg import HELD_OUT

HELD = np.arange(HELD_OUT - 1, 330, HELD_OUT)
KEPT = np.setdiff1d(np.arange(330), HELD)


@pytest.fixture(scope="module")
def smooth():
    """A kernel whose spectrum decays over six decades, as those of images do, and its test rows."""
    x = np.sort(np.random.default_rng(3).uniform(0, 1, 400))[np.random.default_rng(4).permutation(400)]
    K = np.exp(-np.abs(x[:, None] - x)) + 1e-4 * np.eye(400)
    return K[:330, :330].copy(), K[330:, :330].copy()


@pytest.mark.parametrize("stored", [False, True])
def test_agrees_with_the_direct_solver(tmp_path, monkeypatch, smooth, labels, stored):
    K, K_test = smooth
    use_tiles(monkeypatch, 64)
    source = store(tmp_path / "K.h5", K) if stored else K
    result = kernel_regression(source, labels, K_test, ridges=RIDGES, method="cg")
    direct = kernel_regression(K, labels, K_test, ridges=RIDGES, method="eigh")
    assert (result.method, result.selection, result.scale) == ("cg", "held-out tenth", direct.scale)
    assert result.solved.all()
    largest = np.abs(direct.predictions).max()
    np.testing.assert_allclose(result.predictions, direct.predictions, rtol=0, atol=1e-6 * largest)
    assert (result.residual_norm <= 1e-8).all()
    rest = K @ result.dual[0] - (np.eye(5)[labels] - 0.1)
    assert np.linalg.norm(rest) / np.linalg.norm(np.eye(5)[labels] - 0.1) == pytest.approx(result.residual_norm[0])
    # Eigenvalues of T lie between those of K.
    assert (result.condition_number <= direct.condition_number * (1 + 1e-9)).all()
    assert (result.condition_number > 0.5 * direct.condition_number).all()


def test_ridge_is_chosen_on_a_tenth_that_the_fit_does_not_see(smooth, labels):
    K, _ = smooth
    result = kernel_regression(K, labels, ridges=RIDGES, method="cg")
    scale = result.scale
    Y = np.eye(5)[labels] - 0.1
    for index, ridge in enumerate(RIDGES):
        alpha = np.linalg.solve(K[np.ix_(KEPT, KEPT)] + ridge * scale * np.eye(len(KEPT)), Y[KEPT])
        expected = K[np.ix_(HELD, KEPT)] @ alpha
        np.testing.assert_allclose(result.loo_predictions[index, HELD], expected, atol=1e-6)
        assert result.loo_accuracy[index] == (expected.argmax(axis=1) == labels[HELD]).mean()
        assert result.loo_error[index] == pytest.approx(((expected - Y[HELD]) ** 2).mean(), rel=1e-5)
    assert np.isnan(result.loo_predictions[:, KEPT]).all()
    assert result.loo_accuracy[result.best] == result.loo_accuracy.max()


def test_numeric_targets_and_dependent_ones(K):
    y = np.random.default_rng(0).standard_normal((330, 2))
    result = kernel_regression(K, np.c_[y, y[:, 0], np.zeros(330)], ridges=[0.1], method="cg")
    direct = kernel_regression(K, y, ridges=[0.1], method="cholesky")
    np.testing.assert_allclose(result.dual[0, :, :2], direct.dual[0], atol=1e-6)
    np.testing.assert_allclose(result.dual[0, :, 2], direct.dual[0, :, 0], atol=1e-6)
    assert not result.dual[0, :, 3].any()
    assert kernel_regression(K, y[:, 0], ridges=[0.1], method="cg").dual.shape == (1, 330)


def test_duplicates_leave_ridge_zero_unsolved(smooth, labels):
    again = np.r_[np.arange(330), 4]
    K = (smooth[0] - 1e-4 * np.eye(330))[np.ix_(again, again)]
    other = (labels[again] + (again == 4) * (np.arange(331) == 330)) % 5  # the same image with another label
    result = kernel_regression(K, other, ridges=RIDGES, method="cg")
    np.testing.assert_array_equal(result.solved, [False, True, True, True])
    assert np.isnan(result.dual[0]).all()
    with pytest.raises(InputError, match=r"residual 1e-08 is not reached in \d+ products with K, by ridge: 0 to "):
        kernel_regression(K, other, method="cg")


@pytest.mark.parametrize("smallest", [-0.01, -1e-3])
def test_a_negative_eigenvalue_is_named(smallest):
    K = with_smallest(200, smallest)
    with pytest.raises(NotPositiveSemidefiniteError) as refused:
        kernel_regression(K, np.arange(200.0), method="cg", residual=1e-12)
    named = re.search(r"smallest eigenvalue is at most (-\S+),", str(refused.value))
    assert smallest * (1 + 1e-6) <= float(named[1]) < 0


def test_nan_is_found_before_the_first_product(tmp_path, monkeypatch, K, labels):
    broken = K.copy()
    broken[200, 100] = np.nan
    monkeypatch.setattr(krylov, "_Space", None)
    with pytest.raises(InputError, match=r"K must be finite, but K\[200, 100\] is nan"):
        kernel_regression(store(tmp_path / "K.h5", broken), labels, method="cg")


def test_what_memory_allows_bounds_the_steps(monkeypatch, smooth, labels):
    monkeypatch.setattr(choice, "STEPS", 4)
    monkeypatch.setattr(choice, "FEWEST_STEPS", 4)
    result = kernel_regression(smooth[0], labels, ridges=[0, 1e-6, 1e3], method="cg")
    np.testing.assert_array_equal(result.solved, [False, False, True])
    assert np.isnan(result.predict(smooth[1])[0]).all()
    assert (result.residual_norm[:2] > 1e-8).all()  # as it was found
    assert result.best == 2


class StopError(Exception):
    """In place of a kill."""


def counted(method, calls):
    def wrapped(self, product):
        calls.append(product.shape)
        return method(self, product)

    return wrapped


def test_goes_on_after_a_kill(tmp_path, monkeypatch, smooth, labels):
    K, K_test = smooth
    options = {"ridges": RIDGES, "method": "cg"}
    counts = []
    undisturbed = kernel_regression(K, labels, K_test, **options, progress=lambda *count: counts.append(count))
    assert [done for done, _ in counts] == list(range(1, len(counts) + 1))
    assert counts[-1][0] == counts[-1][1]

    def run(stop):
        def report(done, total):
            if done == stop:
                raise StopError

        return kernel_regression(K, labels, K_test, **options, checkpoint=tmp_path / "fit.npz", progress=report)

    for stop in (5, len(counts) - 2):
        with pytest.raises(StopError):
            run(stop)
    (tmp_path / "fit-all-0003.npz").write_bytes(b"damaged")
    multiplied = []
    monkeypatch.setattr(krylov._Space, "extend", counted(krylov._Space.extend, multiplied))
    resumed = run(None)
    assert len(multiplied) == 3  # the damaged step, and the last two, before whose end it was killed
    for name in ("dual", "predictions", "loo_predictions", "residual_norm", "condition_number"):
        assert getattr(resumed, name).tobytes() == getattr(undisturbed, name).tobytes(), name
    # Another problem does not take these steps up.
    other = kernel_regression(K, (labels + 1) % 5, **options, checkpoint=tmp_path / "fit.npz")
    assert other.dual.tobytes() == kernel_regression(K, (labels + 1) % 5, **options).dual.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"residual": 0}, "residual is 0; allowed are numbers above 0 and below 1"),
        ({"residual": 2}, "residual is 2;"),
        ({"residual": np.nan}, "residual must be finite"),
    ],
)
def test_bad_residual(K, labels, options, message):
    with pytest.raises(InputError, match=message):
        kernel_regression(K, labels, method="cg", **options)


def test_too_few_points():
    with pytest.raises(InputError, match='y has 19 points; "cg" takes 20 or more'):
        kernel_regression(make_kernel(19), np.arange(19.0), method="cg")
    assert kernel_regression(make_kernel(20), np.arange(20.0), method="cg").solved.all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_blocks_end_where_the_space_does(n):
    K = np.eye(n) + 0.1
    Y = np.arange(1.0, n + 1)[:, None]
    path = krylov.solve_krylov(lambda block: K @ block, Y, np.array([0.1]), residual=1e-10, capacity=20)
    np.testing.assert_allclose(path.dual[0], np.linalg.solve(K + 0.1 * np.eye(n), Y))
    assert path.steps <= 2
