"""Kernel regression on nested training sets, with the effect of rounding on the kernel and its solution."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import eigsh

from exact_cntk.data import ProcessedData
from exact_cntk.regression.inputs import as_targets
from exact_cntk.study.documents import rounded
from exact_cntk.study.fits import fit_and_test, right_answers
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


def nested_results(
    K: np.ndarray,
    K_test: np.ndarray,
    images: Images,
    exact: np.ndarray | None,
    dtype: str,
    solving: Mapping[str, Any],
    where: str,
) -> Iterator[dict[str, Any]]:
    """One entry per number of training images, the largest first; `exact` is K in float64, if K is in float32.

    In addition to the entries of metrics files: `unchecked_accuracy`, by Gaussian elimination without a ridge, however
    badly conditioned K is, as in the paper's code; `rank`, the number of eigenvalues above n·ε·λ_max, with ε of the
    kernel's precision; and `rounding`, ‖K − K₆₄‖ / ‖K₆₄‖ in the 2-norm, against the same kernel in float64.
    """
    for n in train_sizes(images.train):
        part, labels = K[:n, :n], images.train_labels[:n]
        name = f"{where}, {dtype}, {n} training images"
        fit = fit_and_test(part, labels, [K_test[:, :n]], images.test_labels, name=name, **solving)
        entry = {
            "train_images": n,
            "test_images": images.test,
            "rank": _rank(fit.regression.eigenvalues, dtype),
            "rounding": None if exact is None else rounded(_norm(part - exact[:n, :n]) / _norm(exact[:n, :n])),
            "unchecked_accuracy": _unchecked_accuracy(part, K_test[:, :n], labels, images.test_labels),
        } | fit.whole_path()
        if n < images.train:
            del entry["eigenvalues"]
        yield entry


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


def _unchecked_accuracy(K: np.ndarray, K_test: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> float | None:
    """Accuracy of K_test K⁻¹ Y by LU factors, without checking K's condition; None where a pivot is 0."""
    Y, classes = as_targets(labels, len(labels))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            dual = scipy.linalg.solve(K, Y, assume_a="gen")
    except scipy.linalg.LinAlgError:
        return None
    return float(right_answers(K_test @ dual, classes, truth).mean())
