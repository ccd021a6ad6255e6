"""The fit of one kernel to one training set, its test, and its entries in result files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_cntk.errors import InputError, UserError
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.result import LEAVE_ONE_OUT, KernelRegression
from exact_cntk.regression.solvers.choice import Problem
from exact_cntk.study.documents import RESIDUAL_DECIMALS, pack_answers, rounded

SPECTRUM_RANKS = 200
TEST_ROWS = 1000  # of a stored kernel with the test set, in memory at a time


@dataclass(frozen=True)
class Fit:
    """A path of r ridges, including 0, fitted to the class labels of one training set.

    `correct`, bool of shape (r, test images), marks test images classified correctly; undefined for ridges not solved.
    """

    regression: KernelRegression
    correct: np.ndarray

    @property
    def plain(self) -> int:
        """Index of the ridge 0, the paper's protocol."""
        return self.regression.ridges.tolist().index(0)

    def accuracy(self, index: int) -> float | None:
        """Fraction of test images classified correctly with a ridge; None where it was not solved."""
        return float(self.correct[index].mean()) if self.regression.solved[index] else None

    def answers(self, index: int) -> str | None:
        """Test images classified correctly with a ridge, in hexadecimal; None where it was not solved."""
        return pack_answers(self.correct[index]) if self.regression.solved[index] else None

    def whole_path(self) -> dict[str, Any]:
        """The entry with all ridges and the spectrum; `selection` where all that is named loo is not leave-one-out."""
        path, best = self.regression, self.regression.best
        assert path.loo_accuracy is not None  # class labels have one
        accuracy = [self.accuracy(index) for index in range(len(path.ridges))]
        return {
            "ridges": path.ridges.tolist(),
            "test_accuracy": accuracy,
            "loo_accuracy": [rounded(value, 17) for value in path.loo_accuracy],
            "loo_error": [rounded(value) for value in path.loo_error],
            "residual_norm": [rounded(value, decimals=RESIDUAL_DECIMALS) for value in path.residual_norm],
            "condition_number": [rounded(value) for value in path.condition_number],
            "accuracy": accuracy[self.plain],
            "loo_ridge": path.best_ridge,
            "accuracy_loo_ridge": accuracy[best],
            **self._selection(),
            "eigenvalues": _spectrum(path.eigenvalues),
            "test_correct_hex": self.answers(self.plain),
        }

    def both_protocols(self) -> dict[str, Any]:
        """The entry without a ridge and with the chosen ridge; `selection` as in `whole_path`."""
        path, best = self.regression, self.regression.best
        assert path.loo_accuracy is not None  # class labels have one
        return {
            "accuracy": self.accuracy(self.plain),
            "accuracy_loo_ridge": self.accuracy(best),
            "loo_ridge": path.best_ridge,
            "loo_accuracy": float(path.loo_accuracy[best]),
            **self._selection(),
            "test_correct_hex": self.answers(self.plain),
            "test_correct_loo_ridge_hex": self.answers(best),
        }

    def _selection(self) -> dict[str, str]:
        """What chose the ridge, unless it was leave-one-out: files without it are those of earlier versions."""
        selection = self.regression.selection
        return {} if selection == LEAVE_ONE_OUT else {"selection": selection}

    def unsolved(self) -> list[str]:
        """Ridges without a solution, and why, for a log."""
        path = self.regression
        return [
            f"ridge {ridge:g} has no answer: {path.why_unsolved(index)}"
            for index, (ridge, solved) in enumerate(zip(path.ridges, path.solved, strict=True))
            if not solved
        ]


def fit_and_test(
    K: Any, labels: np.ndarray, K_test: Iterable[np.ndarray], test_labels: np.ndarray, *, name: str, **options: Any
) -> Fit:
    """Fit one training set along a ridge path as `fit_labels`, and test every ridge on all test images.

    `K_test`, the kernel of the test images with the training images, comes in one or several arrays of shape (some, n).
    """
    regression = fit_labels(K, labels, name=name, **options)
    return score_fits([(regression, slice(None))], K_test, test_labels, name=name)[0]


def score_fits(
    regressions: Sequence[tuple[KernelRegression, slice]],
    K_test: Iterable[np.ndarray],
    test_labels: np.ndarray,
    *,
    name: str,
) -> list[Fit]:
    """Test fits to slices of a training pool on the same test images, all of them before more of `K_test` is made.

    `K_test`, the kernel of the test images with the pool's n images, comes in one or several arrays of shape (some, n).
    """
    correct: list[list[np.ndarray]] = [[] for _ in regressions]
    done = 0
    for rows in K_test:
        labels = test_labels[done : done + len(rows)]
        done += len(rows)
        for (regression, chunk), parts in zip(regressions, correct, strict=True):
            parts.append(score_rows(regression, rows[:, chunk], labels, name=name))
    return [
        Fit(regression, np.concatenate(parts, axis=1))
        for (regression, _), parts in zip(regressions, correct, strict=True)
    ]


def score_rows(regression: KernelRegression, K_test: np.ndarray, labels: np.ndarray, *, name: str) -> np.ndarray:
    """Which test images each ridge classifies correctly: of rows (m, n) of the kernel, bool of shape (r, m)."""
    try:
        with np.errstate(invalid="ignore"):  # NaN where a ridge was not solved
            scores = regression.predict(K_test)
    except InputError as error:
        raise UserError(f"{name}: {error}") from error
    return right_answers(scores, regression.classes, labels)


def fit_labels(K: Any, labels: np.ndarray, *, name: str, **options: Any) -> KernelRegression:
    """Kernel regression on class labels; errors are UserErrors that name the kernel and training set, `name`."""
    try:
        return kernel_regression(K, labels, **options)
    except InputError as error:
        raise UserError(f"{name}: {error}") from error


def right_answers(scores: np.ndarray, classes: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    """Where the class of the highest score is the label: of scores of shape (..., m, k), bool of shape (..., m)."""
    assert classes is not None  # labels have classes
    return classes[scores.argmax(axis=-1)] == labels


def testing_bytes(problem: Problem) -> int:
    """Memory for the predictions on the test images, in bytes."""
    return 8 * 2 * TEST_ROWS * (problem.n + problem.targets * problem.ridges)


def check_ridges(ridges: Sequence[float]) -> None:
    """Raise InputError if 0, the paper's protocol, is not among the ridges."""
    if 0 not in ridges:
        raise InputError(f"ridges are {list(ridges)}, but must include 0, the paper's protocol")


def _spectrum(eigenvalues: np.ndarray | None) -> dict[str, list] | None:
    """At most `SPECTRUM_RANKS` eigenvalues, at ranks spaced evenly on a logarithmic axis; rank 1 is the largest."""
    if eigenvalues is None:
        return None
    ranks = np.unique(np.geomspace(1, len(eigenvalues), SPECTRUM_RANKS).round().astype(int))
    return {"rank": ranks.tolist(), "value": [rounded(value) for value in eigenvalues[ranks - 1]]}
