"""The result of kernel regression: a solved ridge path, its predictions, and the ridge that is chosen from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError
from exact_cntk.regression.inputs import as_labels, require_comparable

LEAVE_ONE_OUT, HELD_OUT_TENTH = "leave-one-out", "held-out tenth"


@dataclass(frozen=True)
class KernelRegression:
    """A solved ridge path: r ridges, n training and m test points, k targets (for labels: classes).

    Arrays with an axis of targets lack it where `y` was one-dimensional numbers. Where K + λI is singular to working
    precision, `solved` is False and the results are NaN.

    Attributes
    ----------
    ridges : array of shape (r,)
        Relative to `scale`.
    scale : float
        mean(diag K); λ = ridge · scale.
    classes : array of shape (k,) or None
        Sorted labels that occur in `y`; None for numeric targets.
    dual : array of shape (r, n, k)
        α = (K + λI)⁻¹ Y; predictions are K_test α.
    predictions : array of shape (r, m, k) or None
        None without `K_test`.
    loo_predictions : array of shape (r, n, k)
        Prediction of each training point from the others at the same λ. From "cg", which has no leave-one-out, of every
        tenth point from the other nine tenths; NaN for the others.
    loo_error : array of shape (r,)
        Mean squared error of `loo_predictions`, over points and targets.
    loo_accuracy : array of shape (r,) or None
        Fraction of training points whose label `loo_predictions` gives; None for numeric targets.
    residual_norm : array of shape (r,)
        ‖(K + λI)α − Y‖ / ‖Y‖.
    condition_number : array of shape (r,)
        Of K + λI: exact in the 2-norm ("eigh"), a lower bound in the 2-norm ("cg"), or an estimate in the 1-norm (all
        others); inf where not solved.
    solved : bool array of shape (r,)
    best : int
        Index of the ridge chosen on the training set alone: highest `loo_accuracy` (labels only), then lowest
        `loo_error`, then the larger ridge.
    eigenvalues : array of shape (n,) or None
        Of K, largest first; None unless from "eigh".
    selection : {"leave-one-out", "held-out tenth"}
        What `best` was chosen by.
    method : {"eigh", "cholesky", "cuda", "blocked", "cg"}
    reason : str
        Why this method.
    """

    ridges: np.ndarray
    scale: float
    classes: np.ndarray | None
    dual: np.ndarray
    predictions: np.ndarray | None
    loo_predictions: np.ndarray
    loo_error: np.ndarray
    loo_accuracy: np.ndarray | None
    residual_norm: np.ndarray
    condition_number: np.ndarray
    solved: np.ndarray
    best: int
    eigenvalues: np.ndarray | None
    selection: str
    method: str
    reason: str

    @property
    def best_ridge(self) -> float:
        """The ridge at `best`."""
        return float(self.ridges[self.best])

    def predict(self, K_test: Any) -> np.ndarray:
        """Predictions K_test α of shape (r, m, k) for a kernel of shape (m, n) of test with training points."""
        r, n = self.dual.shape[:2]
        kernel = as_test_kernel(K_test, n)
        flat = np.moveaxis(self.dual, 1, 0).reshape(n, -1)
        predictions = (kernel @ flat).reshape(len(kernel), r, *self.dual.shape[2:])
        return np.ascontiguousarray(np.moveaxis(predictions, 1, 0))

    def predicted_labels(self, index: int | None = None, K_test: Any = None) -> np.ndarray:
        """Labels of shape (m,), for new points or those of `predictions`.

        Parameters
        ----------
        index : int, optional
            Which ridge, from the end if negative; by default `best`.
        K_test : array of shape (m, n), optional
            Kernel of new points with training points; by default the one that `predictions` were made from.

        Raises
        ------
        InputError
            There are no labels or no predictions, or that ridge was not solved.
        """
        if self.classes is None:
            raise InputError(
                "predicted labels need class labels as y: integers, booleans or texts of shape (n,); of one-hot "
                "numbers, np.argmax(y, axis=1)"
            )
        r = len(self.ridges)
        index = self.best if index is None else check.as_integer("index", index, at_least=-r, at_most=r - 1)
        if not self.solved[index]:
            raise InputError(f"ridge {self.ridges[index]:g} was not solved: {self.why_unsolved(index)}")
        if K_test is not None:
            scores = as_test_kernel(K_test, self.dual.shape[1]) @ self.dual[index]
        elif self.predictions is not None:
            scores = self.predictions[index]
        else:
            raise InputError("predicted labels need K_test, the kernel of the points with the training points")
        return self.classes[scores.argmax(axis=1)]

    def why_unsolved(self, index: int) -> str:
        """Why a ridge has no solution, as a clause; by "cg" where it did not converge, else since there is none."""
        if self.method == "cg" and np.isfinite(rest := self.residual_norm[index]):
            return f'"cg" reached a residual of {rest:.2g}, which is too large; method "direct" needs no convergence'
        return "K + λI is singular to working precision"

    def test_accuracy(self, labels: Any) -> np.ndarray:
        """Fraction of the m test points whose label is predicted, of shape (r,); NaN where not solved."""
        if self.predictions is None:
            raise InputError("test_accuracy needs predictions: pass K_test to kernel_regression")
        truth = as_labels("labels", labels)
        if truth.shape != (m := self.predictions.shape[1],):
            hint = "; pass np.ravel(labels)" if truth.shape == (m, 1) else ""
            raise InputError(f"labels has shape {truth.shape}; allowed is one label for each of {m} test points{hint}")
        if self.classes is not None:
            require_comparable("labels", truth, self.classes)
        return np.array(
            [np.mean(self.predicted_labels(i) == truth) if self.solved[i] else np.nan for i in range(len(self.ridges))]
        )


def choose(
    ridges: np.ndarray, loo_error: np.ndarray, loo_accuracy: np.ndarray | None, solved: np.ndarray
) -> tuple[int, tuple[float, float, float]]:
    """Index of the best solved ridge and its score, the smaller the better: (−accuracy, squared error, −ridge).

    By leave-one-out on the training points. Accuracy counts points and so ties often; the squared error then decides,
    and the larger, better conditioned ridge if even that is equal.
    """
    accuracy = np.zeros(len(ridges)) if loo_accuracy is None else loo_accuracy
    scores = {int(i): (-float(accuracy[i]), float(loo_error[i]), -float(ridges[i])) for i in np.flatnonzero(solved)}
    best = min(scores, key=scores.__getitem__)
    return best, scores[best]


def as_test_kernel(K_test: Any, n: int) -> np.ndarray:
    """Kernel of shape (m, n) of test with training points, checked, float64."""
    kernel = check.as_array("K_test", K_test).astype(np.float64, copy=False)
    if kernel.ndim != 2 or kernel.shape[1] != n:
        raise InputError(f"K_test has shape {kernel.shape}; allowed is (test points, {n} training points)")
    return kernel
