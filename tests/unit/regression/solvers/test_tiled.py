"""Solving by tiles: the same results as LAPACK's in memory, and the same refusals."""

import numpy as np
import pytest
from problems import RIDGES, make_kernel, store, use_tiles, with_smallest
from scipy.linalg import lapack

from exact_cntk import kernel_regression
from exact_cntk.errors import InputError
from exact_cntk.regression import ridge_path
from exact_cntk.regression.solvers import stores, tiled
from exact_cntk.regression.solvers.arrays import NumPyArrays, TorchArrays
from exact_cntk.regression.solvers.choice import Problem, blocked_bytes
from exact_cntk.regression.solvers.stores import StoredKernel


def agree(ours, theirs):
    """To the rounding of a condition number of 1e4."""
    np.testing.assert_array_equal(ours.solved, theirs.solved)
    for name in ("dual", "loo_predictions"):
        expected = getattr(theirs, name)
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-8, atol=1e-9 * np.nanmax(abs(expected)))
    np.testing.assert_allclose(ours.loo_error, theirs.loo_error, rtol=1e-8)
    np.testing.assert_array_equal(ours.loo_accuracy, theirs.loo_accuracy)
    assert np.nanmax(ours.residual_norm) < 1e-12
    assert (ours.best, ours.scale) == (theirs.best, pytest.approx(theirs.scale, rel=1e-14))


@pytest.mark.parametrize("tile", [37, 64, 329, 330])
def test_agrees_with_lapack(tmp_path, monkeypatch, K, labels, method, tile):
    """Many small tiles with a smaller last one; a last one of one row; a single one."""
    use_tiles(monkeypatch, tile)
    result = kernel_regression(store(tmp_path / "K.h5", K), labels, ridges=RIDGES, method=method)
    assert result.method == method and result.eigenvalues is None
    cholesky, eigh = (kernel_regression(K, labels, ridges=RIDGES, method=name) for name in ("cholesky", "eigh"))
    agree(result, cholesky)
    agree(result, eigh)
    # The estimate of condition is LAPACK's algorithm, step by step.
    np.testing.assert_allclose(result.condition_number, cholesky.condition_number, rtol=1e-9)


def test_a_tiny_budget_forces_tiles(tmp_path, labels, K):
    problem = Problem(330, 5, 4)
    budget = blocked_bytes(problem, 64)
    seen = []
    result = kernel_regression(
        store(tmp_path / "K.h5", K),
        labels,
        ridges=RIDGES,
        method="blocked",
        max_memory_gib=budget / 2**30,
        progress=lambda *numbers: seen.append(numbers),
    )
    T = 6  # tiles of 64, the last of 10
    total = 4 * 2 * (T * (T**2 - 1) // 6 + T * (T + 1) // 2)
    assert seen == [(done, total) for done in range(1, total + 1)]
    agree(result, kernel_regression(K, labels, ridges=RIDGES, method="cholesky"))


def test_part_of_a_dataset(tmp_path, monkeypatch, labels, method):
    """As a study solves chunks of its pool."""
    use_tiles(monkeypatch, 50)
    K = make_kernel(400)
    points = slice(70, 400)
    part = StoredKernel(store(tmp_path / "K.h5", np.vstack([K, K[:30]])), points)
    result = kernel_regression(part, labels, ridges=RIDGES, method=method)
    expected = kernel_regression(K[points, points], labels, ridges=RIDGES, method="cholesky")
    agree(result, expected)
    for name in ("eigh", "cholesky"):
        agree(kernel_regression(part, labels, ridges=RIDGES, method=name), expected)


def test_an_array_is_left_alone(monkeypatch, labels, K, method):
    use_tiles(monkeypatch, 100)
    agree(
        kernel_regression(K, labels, ridges=RIDGES, method=method, overwrite=True),  # K is read-only
        kernel_regression(K, labels, ridges=RIDGES, method="cholesky"),
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_points(monkeypatch, n, method):
    use_tiles(monkeypatch, 2)
    K, y = make_kernel(n), np.arange(float(n)) + 1
    result = kernel_regression(K, y, ridges=[0.1, 1], method=method)
    expected = kernel_regression(K, y, ridges=[0.1, 1], method="cholesky")
    np.testing.assert_allclose(result.dual, expected.dual)
    np.testing.assert_allclose(result.condition_number, expected.condition_number)


def test_duplicates_leave_ridge_zero_unsolved(tmp_path, monkeypatch, K, labels, method):
    use_tiles(monkeypatch, 100)
    again = np.r_[np.arange(330), 4]
    dataset = store(tmp_path / "K.h5", K[np.ix_(again, again)])
    result = kernel_regression(dataset, labels[again], ridges=RIDGES, method=method)
    np.testing.assert_array_equal(result.solved, [False, True, True, True])
    agree(result, kernel_regression(dataset[()], labels[again], ridges=RIDGES, method="cholesky"))
    with pytest.raises(InputError, match="singular to working precision for each of them"):
        kernel_regression(dataset, labels[again], method=method)


@pytest.mark.parametrize(("smallest", "text"), [(-0.01, "-0.01"), (-1.5, "-1.5"), (-3e-9, "-3e-09")])
@pytest.mark.parametrize("ridges", [(0.0,), (0.0, 1.0), (1e-12, 0.3)])
def test_a_negative_eigenvalue_is_named(monkeypatch, method, smallest, text, ridges):
    use_tiles(monkeypatch, 70)
    K = with_smallest(200, smallest)
    with pytest.raises(ridge_path.NotPositiveSemidefiniteError, match=f"smallest eigenvalue is {text},"):
        kernel_regression(K, np.arange(200.0), ridges=ridges, method=method, tolerance=0)


def test_rounding_is_no_negative_eigenvalue(monkeypatch, method):
    use_tiles(monkeypatch, 70)
    K, y = with_smallest(200, -1e-8), np.arange(200.0)
    result = kernel_regression(K, y, ridges=[0, 1e-7, 1], method=method, tolerance=1e-7)
    np.testing.assert_array_equal(result.solved, [False, True, True])
    with pytest.raises(ridge_path.NotPositiveSemidefiniteError):
        kernel_regression(K, y, ridges=[0, 1e-7, 1], method=method, tolerance=1e-10)


def test_a_failed_factorisation_is_only_a_hint():
    """An eigenvalue within what is allowed is no error, wherever the factorisation broke down."""

    class Unlucky:
        norm, units = 1.0, 1

        def factorise(self, shift, tick):
            return shift > 0.5

        def solution(self, shift, Y, tick):
            return ridge_path.RidgeSolution(Y, Y[:, 0], 0.0, 1.0)

        def smallest_eigenvalue(self, allowed):
            return self.smallest

    factors, Y = Unlucky(), np.ones((3, 1))
    factors.smallest = -1e-20
    path = ridge_path.solve_path(factors, Y, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(path.condition_number, [1, np.inf])
    factors.smallest = -1e-10
    with pytest.raises(ridge_path.NotPositiveSemidefiniteError):
        ridge_path.solve_path(factors, Y, np.array([1.0, 0.0]))


@pytest.mark.parametrize(
    ("i", "j", "value", "message"),
    [
        (300, 5, np.nan, r"K must be finite, but K\[300, 5\] is nan"),
        (5, 300, -np.inf, r"K must be finite, but K\[5, 300\] is -inf"),
        (300, 5, 9.0, r"K is not symmetric: \|K − Kᵀ\| reaches .* where \|K\| reaches 9"),
        (slice(None), slice(None), 0.0, "K is 0 everywhere"),
    ],
)
def test_bad_entries_are_found_first(tmp_path, monkeypatch, K, labels, method, i, j, value, message):
    """Before definiteness is blamed: this kernel has a negative eigenvalue as well."""
    use_tiles(monkeypatch, 100)
    bad = K - np.eye(330)
    bad[i, j] = value
    with pytest.raises(InputError, match=message):
        kernel_regression(store(tmp_path / "K.h5", bad), labels, method=method)


def test_a_dataset_that_is_not_square(tmp_path, labels):
    with pytest.raises(InputError, match=r"K has shape \(330, 20\); allowed is \(n, n\)"):
        kernel_regression(store(tmp_path / "K.h5", np.ones((330, 20))), labels, method="blocked")


@pytest.mark.parametrize("arrays", [NumPyArrays(), TorchArrays("cpu")], ids=["numpy", "torch"])
def test_operations_on_tiles(arrays):
    rng = np.random.default_rng(0)

    def tile(*shape):
        values = rng.standard_normal(shape)
        return values, arrays.from_host(values.copy())

    (C, c), (A, a), (B, b), (D, d) = tile(5, 3), tile(5, 4), tile(4, 3), tile(3, 4)
    arrays.add_product(c, a, b, -2.0)
    np.testing.assert_allclose(arrays.to_host(c), C - 2 * A @ B)
    arrays.add_product(c, a, d.T)
    np.testing.assert_allclose(arrays.to_host(c), C - 2 * A @ B + A @ D.T)
    S, s = tile(5, 5)
    arrays.subtract_gram(s, a)
    np.testing.assert_allclose(np.tril(arrays.to_host(s)), np.tril(S - A @ A.T))
    arrays.add_to_diagonal(s, 9.0)
    np.testing.assert_allclose(arrays.to_host(s).diagonal(), (S - A @ A.T).diagonal() + 9)
    full = A @ A.T + np.eye(5)
    L = arrays.cholesky(arrays.from_host(full.copy()))
    np.testing.assert_allclose(arrays.to_host(L), np.linalg.cholesky(full), atol=1e-15)
    assert arrays.cholesky(arrays.from_host(-full)) is None
    for solve, expected in (
        (arrays.solve, np.linalg.solve(arrays.to_host(L), A)),
        (arrays.solve_transposed, np.linalg.solve(arrays.to_host(L).T, A)),
    ):
        right = arrays.from_host(A.copy())
        solve(L, right)
        np.testing.assert_allclose(arrays.to_host(right), expected)
    right = arrays.from_host(A.T.copy())
    arrays.solve_right(L, right)
    np.testing.assert_allclose(arrays.to_host(right), np.linalg.solve(arrays.to_host(L), A).T)


def test_the_norm_of_the_inverse_is_lapack_s_estimate():
    for seed in range(20):
        n = 1 + seed
        K = make_kernel(n, seed) + 1e-3 * np.eye(n)
        inverse = np.linalg.inv(K)
        estimate = tiled.inverse_one_norm(
            lambda v, inverse=inverse: inverse @ v, *(inverse @ v for v in tiled._start_vectors(n))
        )
        reciprocal, _ = lapack.dpocon(np.linalg.cholesky(K).T.copy(order="F"), np.linalg.norm(K, 1), uplo="U")
        assert 1 / (estimate * np.linalg.norm(K, 1)) == pytest.approx(reciprocal, rel=1e-8)
        assert estimate <= np.linalg.norm(inverse, 1) * (1 + 1e-12)


def test_device_memory_that_is_not_enough(monkeypatch, K):
    import torch

    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with (
        pytest.raises(stores.UserError, match=r"the memory of cpu is not enough.*CUDA out of memory"),
        monkeypatch.context() as patch,
    ):
        patch.setattr(torch, "zeros", refuse)
        stores.Device(30, 10, "cpu").__enter__()
    with pytest.raises(stores.UserError, match="is not enough"), stores.Device(30, 10, "cpu"):
        refuse()
