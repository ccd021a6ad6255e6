"""Standard methods on the pixels of small training sets, all of their settings chosen on the training images."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.result import choose
from exact_cntk.study.documents import rounded
from exact_cntk.study.sections.small_data.subsets import one_a_class

FOLDS = 3  # of the inner cross-validation, or as many as the rarest class has images
WITHOUT_FOLDS = 1.0  # inverse penalty where a class has one image, scikit-learn's default
MAX_STEPS = 1000  # of L-BFGS
TEST_ROWS = 1000  # rows of the kernel with the training images in memory at a time


class Predictions(NamedTuple):
    """Predicted labels of the test images, of shape (m,), and the settings chosen on the training images."""

    labels: np.ndarray
    chosen: dict[str, float | int | None]


Baseline = Callable[[np.ndarray, np.ndarray, np.ndarray, list[int]], Predictions]


def baseline(
    name: str, *, ridges: Sequence[float], bandwidths: Sequence[float], penalties: Sequence[float], trees: int
) -> Baseline:
    """A method as a function (x, labels, x_test, seed) → `Predictions`, for pixels of shape (n, features).

    Parameters
    ----------
    name : {"rbf", "logistic", "forest"}
        See `gaussian_kernel`, `logistic_regression`, `random_forest`, which take the other parameters.

    Raises
    ------
    InputError
        There is no such method, or a setting is not allowed.
    """
    for setting, values in (("bandwidths", bandwidths), ("penalties", penalties)):
        if not all(value > 0 for value in values):
            raise InputError(f"{setting} are {list(values)}; allowed are numbers > 0")
    check.as_integer("trees", trees, at_least=1)
    methods: dict[str, Baseline] = {
        "rbf": partial(gaussian_kernel, ridges=ridges, bandwidths=bandwidths),
        "logistic": partial(logistic_regression, penalties=penalties),
        "forest": partial(random_forest, trees=trees),
    }
    if name not in methods:
        raise InputError(f"method is {name!r}; allowed are {', '.join(methods)}")
    return methods[name]


def gaussian_kernel(
    x: np.ndarray,
    labels: np.ndarray,
    x_test: np.ndarray,
    _seed: Any = None,
    *,
    ridges: Sequence[float],
    bandwidths: Sequence[float],
) -> Predictions:
    """Kernel ridge regression with k(x, x′) = exp(−‖x − x′‖²/(2b²m²)), m the median distance of training images.

    Bandwidth b and ridge are chosen together by leave-one-out on the training images, as `kernel_regression` chooses a
    ridge: highest accuracy, then lowest squared error; of equals, the larger ridge, then the larger bandwidth. With one
    image of a class, which cannot be left out, they are the smallest ridge and the bandwidth nearest to the median.
    """
    if one_a_class(labels):
        ridges, bandwidths = [min(ridges)], [min(bandwidths, key=lambda b: abs(np.log(b)))]
    squares = _square_distances(x, x)
    np.fill_diagonal(squares, 0)
    median = float(np.median(squares[np.triu_indices(len(x), 1)])) or 1.0  # all images equal
    fits: list[tuple[Any, ...]] = []
    for bandwidth in bandwidths:
        K = np.exp(-squares / (2 * bandwidth**2 * median))
        fit = kernel_regression(K, labels, ridges=ridges, dtype="float64", method="eigh")
        score = choose(fit.ridges, fit.loo_error, fit.loo_accuracy, fit.solved)[1]
        fits.append((*score, -bandwidth, fit.dual[fit.best], fit.classes))
    _, _, ridge, minus_bandwidth, dual, classes = min(fits, key=lambda entry: entry[:4])
    scores = np.empty((len(x_test), dual.shape[1]))
    for start in range(0, len(x_test), TEST_ROWS):
        rows = slice(start, start + TEST_ROWS)
        scores[rows] = np.exp(-_square_distances(x_test[rows], x) / (2 * minus_bandwidth**2 * median)) @ dual
    return Predictions(
        classes[scores.argmax(axis=1)], {"bandwidth": rounded(-minus_bandwidth), "ridge": rounded(-ridge)}
    )


def _square_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """‖a_i − b_j‖² as a matrix product, tens of times faster than pair by pair; at least 0."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(squares, 0, out=squares)


def logistic_regression(
    x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, seed: list[int], *, penalties: Sequence[float]
) -> Predictions:
    """Multinomial logistic regression with an L2 penalty, chosen by stratified cross-validation on training images.

    With fewer images than pixels, coordinates are those of an orthonormal basis of the training images' span: a smaller
    problem with the same penalised optimum. Without two images of each class the inverse penalty is `WITHOUT_FOLDS`.
    """
    inside, outside = x, x_test
    if len(x) < x.shape[1]:
        basis, triangle = scipy.linalg.qr(x.T, mode="economic", check_finite=False)
        inside, outside = np.ascontiguousarray(triangle.T), x_test @ basis
    folds = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    penalty = WITHOUT_FOLDS if folds < 2 else _cross_validated(inside, labels, seed, sorted(penalties), folds)
    (model,) = _logistic_path(inside, labels, [penalty])
    return Predictions(model.predict(outside), {"inverse_penalty": rounded(penalty)})


def _cross_validated(x: np.ndarray, labels: np.ndarray, seed: list[int], penalties: list[float], folds: int) -> float:
    """The inverse penalty with the most validation images correct over all folds; of equals, the smallest."""
    from sklearn.model_selection import StratifiedKFold

    correct = np.zeros(len(penalties), dtype=int)
    for inner, outer in StratifiedKFold(folds, shuffle=True, random_state=_random_state(seed)).split(x, labels):
        for i, model in enumerate(_logistic_path(x[inner], labels[inner], penalties)):
            correct[i] += (model.predict(x[outer]) == labels[outer]).sum()
    return penalties[int(correct.argmax())]


def _logistic_path(x: np.ndarray, labels: np.ndarray, penalties: list[float]) -> Iterator[Any]:
    """Yield the model at each inverse penalty, started from the one before; it is the same object."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=MAX_STEPS, warm_start=True)
    for penalty in penalties:
        yield model.set_params(C=penalty).fit(x, labels)


def random_forest(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, seed: list[int], *, trees: int) -> Predictions:
    """Random forest with scikit-learn's default settings except the number of trees; nothing is tuned."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=trees, random_state=_random_state(seed), n_jobs=1).fit(x, labels)
    return Predictions(model.predict(x_test), {})


def _random_state(seed: list[int]) -> int:
    """One number of scikit-learn's range out of several."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
