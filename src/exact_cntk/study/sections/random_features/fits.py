"""Kernel regression on nested training sets, with the effect of rounding on the kernel and its solution."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import eigsh

from exact_cntk.data import ProcessedData
from exact_cntk.regression.inputs import as_targets
from exact_cntk.regression.result import KernelRegression
from exact_cntk.study.documents import rounded
from exact_cntk.study.fits import Fit, fit_labels, right_answers, score_rows
from exact_cntk.study.sections.random_features.plan import train_sizes


@dataclass(frozen=True)
class Images:
    """The first training and test images of a study, with their labels."""

    data: ProcessedData
    train: int
    test: int

    @property
    def train_labels(self) -> np.ndarray:
        """Of shape (train,)."""
        return self.data.train_labels[: self.train]

    @property
    def test_labels(self) -> np.ndarray:
        """Of shape (test,)."""
        return self.data.test_labels[: self.test]


class NestedFits:
    """Fits of one kernel to nested training sets, tested on one batch of test images after the other.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Of the training images.
    images : Images
    exact : ndarray, optional
        K in float64, if K is in float32.
    dtype : {"float32", "float64"}
        The kernel's precision.
    solving : mapping
        Arguments of `exact_cntk.kernel_regression`.
    where : str
        Names the kernel in errors.
    """

    def __init__(
        self,
        K: np.ndarray,
        images: Images,
        exact: np.ndarray | None,
        dtype: str,
        solving: Mapping[str, Any],
        where: str,
    ) -> None:
        self.images, self.where = images, f"{where}, {dtype}"
        self._fits = [self._fit(K, exact, n, dtype, solving) for n in train_sizes(images.train)]
        self._tested = 0

    def _fit(
        self, K: np.ndarray, exact: np.ndarray | None, n: int, dtype: str, solving: Mapping[str, Any]
    ) -> "_NestedFit":
        part, labels = K[:n, :n], self.images.train_labels[:n]
        regression = fit_labels(part, labels, name=self._name(n), **solving)
        said = {
            "rank": _rank(regression.eigenvalues, dtype),
            "rounding": None if exact is None else rounded(_norm(part - exact[:n, :n]) / _norm(exact[:n, :n])),
        }
        return _NestedFit(n, regression, _unchecked_dual(part, labels), said)

    def test(self, K_test: np.ndarray) -> None:
        """Test all fits on the next test images: their kernel with the training images, of shape (m, n)."""
        labels = self.images.test_labels[self._tested : self._tested + len(K_test)]
        self._tested += len(K_test)
        for fit in self._fits:
            rows, path = K_test[:, : fit.n], fit.regression
            fit.correct.append(score_rows(path, rows, labels, name=self._name(fit.n)))
            if fit.unchecked_dual is not None:
                fit.unchecked_correct.append(right_answers(rows @ fit.unchecked_dual, path.classes, labels))

    def results(self) -> Iterator[dict[str, Any]]:
        """One entry per number of training images, the largest first.

        In addition to the entries of metrics files: `unchecked_accuracy`, by Gaussian elimination without a ridge,
        however badly conditioned K is, as in the paper's code; `rank`, the number of eigenvalues above n·ε·λ_max, with
        ε of the kernel's precision; and `rounding`, ‖K − K₆₄‖ / ‖K₆₄‖ in the 2-norm, against the same kernel in
        float64.
        """
        for fit in self._fits:
            unchecked = fit.unchecked_correct
            entry = {
                "train_images": fit.n,
                "test_images": self._tested,
                **fit.said,
                "unchecked_accuracy": float(np.concatenate(unchecked).mean()) if unchecked else None,
            } | Fit(fit.regression, np.concatenate(fit.correct, axis=1)).whole_path()
            if fit.n < self.images.train:
                del entry["eigenvalues"]
            yield entry

    def _name(self, n: int) -> str:
        return f"{self.where}, {n} training images"


@dataclass(frozen=True, eq=False)
class _NestedFit:
    """A fit to the first n training images; the lists gain an array with each batch of test images."""

    n: int
    regression: KernelRegression
    unchecked_dual: np.ndarray | None
    said: dict[str, Any]
    correct: list[np.ndarray] = field(default_factory=list)
    unchecked_correct: list[np.ndarray] = field(default_factory=list)


def _rank(eigenvalues: np.ndarray | None, dtype: str) -> int | None:
    if eigenvalues is None:
        return None
    return int((eigenvalues > len(eigenvalues) * np.finfo(dtype).eps * eigenvalues[0]).sum())


def _norm(A: np.ndarray) -> float:
    """The largest |eigenvalue| of a symmetric matrix."""
    if not A.any():
        return 0.0
    if len(A) < 100:  # ARPACK needs more rows than vectors
        return float(np.abs(np.linalg.eigvalsh(A)).max())
    return float(np.abs(eigsh(A, k=1, which="LM", v0=np.ones(len(A)), return_eigenvectors=False)[0]))


def _unchecked_dual(K: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """K⁻¹ Y by LU factors, without checking K's condition; None where a pivot is 0."""
    Y, _ = as_targets(labels, len(labels))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            return scipy.linalg.solve(K, Y, assume_a="gen")
    except scipy.linalg.LinAlgError:
        return None
