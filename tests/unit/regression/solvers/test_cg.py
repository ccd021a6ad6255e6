"""Block conjugate gradients: the direct solvers' numbers, honest residuals, refusals, and going on after a kill."""

import re

import numpy as np
import pytest
from problems import RIDGES, make_kernel, store, use_tiles, with_smallest
from threadpoolctl import threadpool_limits

from exact_cntk import kernel_regression
from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk.errors import InputError, UserError
from exact_cntk.regression.ridge_path import NotPositiveSemidefiniteError
from exact_cntk.regression.solvers import cg, choice, krylov, triangle
from exact_cntk.regression.solvers.cg import HELD_OUT
from exact_cntk.regression.solvers.stores import StoredKernel
from exact_cntk.regression.solvers.triangle import Triangle

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
    monkeypatch.setattr(cg, "Krylov", None)
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


OPTIONS = {"ridges": RIDGES, "method": "cg"}


def stopped(K, labels, folder, stop, **options):
    """Run with files of steps in a folder, up to a product."""

    def report(done, total):
        if done == stop:
            raise StopError

    return kernel_regression(K, labels, **OPTIONS, **options, checkpoint=folder / "fit.npz", progress=report)


def counted(monkeypatch):
    """Shapes of the products that steps are made of."""
    calls, extend = [], krylov.Krylov.extend
    monkeypatch.setattr(
        krylov.Krylov, "extend", lambda self, product: calls.append(product.shape) or extend(self, product)
    )
    return calls


@pytest.mark.parametrize("stored", [False, True])
def test_goes_on_after_a_kill_at_any_product(tmp_path, monkeypatch, smooth, labels, stored):
    use_tiles(monkeypatch, 64)
    K = store(tmp_path / "K.h5", smooth[0]) if stored else smooth[0]
    counts = []
    undisturbed = kernel_regression(K, labels, **OPTIONS, progress=lambda *count: counts.append(count))
    assert [done for done, _ in counts] == list(range(1, len(counts) + 1))
    assert counts[-1][0] == counts[-1][1]
    multiplied = counted(monkeypatch)
    for stop in range(1, len(counts) + 1):  # the last: all is solved, but nothing is checked yet
        with pytest.raises(StopError):
            stopped(K, labels, tmp_path, stop)
    assert len(multiplied) <= 2 * len(counts)  # both fits of a step once
    (tmp_path / "fit-0003.npz").write_bytes(b"damaged")
    multiplied.clear()
    resumed = stopped(K, labels, tmp_path, None)
    assert len(multiplied) == 2
    for name in ("dual", "loo_predictions", "residual_norm", "condition_number"):
        assert getattr(resumed, name).tobytes() == getattr(undisturbed, name).tobytes(), name
    # Another problem does not take these steps up.
    other = stopped(K, (labels + 1) % 5, tmp_path, None)
    assert other.dual.tobytes() == kernel_regression(K, (labels + 1) % 5, **OPTIONS).dual.tobytes()


def test_a_full_disk_at_a_checkpoint_loses_no_step_before(tmp_path, monkeypatch, smooth, labels):
    save, saved = Checkpoint.save, []

    def full(self, **arrays):
        if len(saved) == 4:
            raise UserError("cannot write: No space left on device")
        saved.append(arrays)
        save(self, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", full)
        with pytest.raises(UserError, match="No space left on device"):
            stopped(smooth[0], labels, tmp_path, None)
    assert len(list(tmp_path.glob("fit-*.npz"))) == 4
    multiplied = counted(monkeypatch)
    undisturbed, all_steps = kernel_regression(smooth[0], labels, **OPTIONS), len(multiplied)
    resumed = stopped(smooth[0], labels, tmp_path, None)
    assert resumed.dual.tobytes() == undisturbed.dual.tobytes()
    assert len(multiplied) - all_steps == all_steps - 2 * 4


def test_a_product_that_is_not_finite_is_said(tmp_path, monkeypatch, smooth, labels):
    """As from memory that fails, after some steps; these are kept."""
    use_tiles(monkeypatch, 64)
    multiply, calls = Triangle.multiply, []

    def broken(self, right):
        calls.append(right.shape)
        return multiply(self, right) * (np.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(Triangle, "multiply", broken)
    with pytest.raises(InputError, match="product number 4 with vectors of length 1 is not: its entries are too large"):
        stopped(store(tmp_path / "K.h5", smooth[0]), labels, tmp_path, None)
    assert len(list(tmp_path.glob("fit-*.npz"))) == 3


def test_a_source_that_fails_while_it_is_read(tmp_path, smooth, labels):
    class Failing(StoredKernel):
        def __getitem__(self, ranges):
            raise OSError("Can't read data")

    source = Failing(store(tmp_path / "K.h5", smooth[0]), slice(0, 330))
    with pytest.raises(UserError, match="K cannot be read: Can't read data"):
        kernel_regression(source, labels, **OPTIONS)


def test_all_is_checked_in_one_sweep(tmp_path, monkeypatch, smooth, labels):
    use_tiles(monkeypatch, 64)
    multiply, columns, counts = Triangle.multiply, [], []
    monkeypatch.setattr(Triangle, "multiply", lambda self, B: columns.append(B.shape[1]) or multiply(self, B))
    kernel_regression(
        store(tmp_path / "K.h5", smooth[0]), labels, **OPTIONS, progress=lambda *count: counts.append(count)
    )
    assert columns[0] == 2 * 5  # both fits
    assert columns[len(counts) :] == [2 * len(RIDGES) * 5]


def test_threads_have_products_of_their_own(monkeypatch):
    K, B = make_kernel(70), np.random.default_rng(0).standard_normal((70, 3))
    parts, multiply = [], Triangle._multiply
    monkeypatch.setattr(
        Triangle, "_multiply", lambda self, places, B: parts.append(places) or multiply(self, places, B)
    )
    with threadpool_limits(3):
        lower = Triangle.of(K, 16)
        once, again = lower.multiply(B), lower.multiply(B)
    np.testing.assert_allclose(once, K @ B, rtol=1e-13, atol=1e-13)
    assert once.tobytes() == again.tobytes()
    assert len(parts) == 2 * 3 and len({place for places in parts for place in places}) == 15


def test_the_triangle_in_float32_multiplies_in_float64(tmp_path, monkeypatch, smooth, labels):
    use_tiles(monkeypatch, 64)
    K = smooth[0].astype(np.float32)
    single, double = (
        kernel_regression(store(tmp_path / f"{dtype}.h5", K.astype(dtype)), labels, **OPTIONS)
        for dtype in ("float32", "float64")
    )
    assert single.dual.tobytes() == double.dual.tobytes()
    assert (single.residual_norm <= 1e-8).all()


@pytest.mark.parametrize(("n", "tile", "dtype"), [(1, 1, "float64"), (70, 16, "float64"), (64, 64, "float32")])
def test_triangle(n, tile, dtype, monkeypatch):
    monkeypatch.setattr(triangle, "STRIP", 5)
    K, B = make_kernel(n).astype(dtype), np.random.default_rng(0).standard_normal((n, 3))
    lower = Triangle(n, tile, dtype)
    for i, rows in enumerate(lower.bounds):
        for j, columns in enumerate(lower.bounds[: i + 1]):
            lower.load(i, j, K[columns, rows])
    np.testing.assert_allclose(lower.multiply(B), K.astype(float) @ B, rtol=1e-13, atol=1e-13)


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
    K, Y, ridges = np.eye(n) + 0.1, np.arange(1.0, n + 1)[:, None], np.array([0.1])
    problem = krylov.Krylov(Y, ridges, residual=1e-10, capacity=20)
    assert krylov.advance([problem], lambda block: K @ block) <= 2
    np.testing.assert_allclose(problem.path().dual[0], np.linalg.solve(K + 0.1 * np.eye(n), Y))


def test_part_of_the_points(smooth):
    K, _ = smooth
    Y, ridges = np.random.default_rng(0).standard_normal((330, 2)), np.array([1e-2, 1.0])
    points = np.arange(330) % 3 > 0
    whole = krylov.Krylov(Y, ridges, residual=1e-10, capacity=300)
    part = krylov.Krylov(Y, ridges, points=points, residual=1e-10, capacity=300)
    krylov.advance([whole, part], lambda block: K @ block)
    for index, ridge in enumerate(ridges):
        alpha = np.linalg.solve(K[np.ix_(points, points)] + ridge * np.eye(points.sum()), Y[points])
        np.testing.assert_allclose(part.path().dual[index, points], alpha, atol=1e-8 * abs(alpha).max())
        assert not part.path().dual[index, ~points].any()


def test_residuals_are_those_of_the_solutions(smooth):
    """At every step, not only the last."""
    K, _ = smooth
    Y, ridges = np.random.default_rng(0).standard_normal((330, 3)), np.array([1e-3, 1.0])
    problem = krylov.Krylov(Y, ridges, residual=1e-9, capacity=200)

    def compare(step):
        for alpha, ridge, said in zip(problem.path().dual, ridges, problem.residuals, strict=True):
            rest = np.linalg.norm(Y - K @ alpha - ridge * alpha, axis=0) / np.linalg.norm(Y, axis=0)
            assert said == pytest.approx(rest.max(), rel=1e-5, abs=1e-12)

    assert krylov.advance([problem], lambda block: K @ block, report=compare) > 3


def test_targets_that_are_all_zero(K):
    result = kernel_regression(K, np.zeros(330), ridges=[0.1], method="cg")
    assert not result.dual.any() and result.solved.all()


def test_the_bar_shows_the_residual(smooth, labels, capsys):
    kernel_regression(smooth[0], labels, **OPTIONS, progress=True)
    assert re.search(r"cg: .* products.*residual \d\.\de-", capsys.readouterr().err)


def test_a_ridge_without_an_answer_names_the_method_that_has_one(monkeypatch, smooth, labels):
    monkeypatch.setattr(choice, "STEPS", 4)
    monkeypatch.setattr(choice, "FEWEST_STEPS", 4)
    result = kernel_regression(smooth[0], labels, smooth[1], ridges=[0, 1e3], method="cg")
    with pytest.raises(
        InputError, match=r'ridge 0 was not solved: "cg" reached a residual of .*; method "direct" needs'
    ):
        result.predicted_labels(0)
    with pytest.raises(InputError, match='or take method "direct", whose factorisation needs no convergence'):
        kernel_regression(smooth[0], labels, method="cg")
