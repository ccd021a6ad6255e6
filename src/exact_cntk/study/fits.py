"""One kernel, one training set: the entry that result files have of the fit."""

from typing import Any

import numpy as np

from exact_cntk.regression.kernel_regression import KernelRegression
from exact_cntk.study.documents import RESIDUAL_DECIMALS, rounded

SPECTRUM_RANKS = 200

# Relative error of a kernel by the type that its recursion was computed in (float32: at most 5e-7 an entry, measured
# against float64). An eigenvalue that is negative by no more is rounding: it is left as it is, and a ridge that does
# not outweigh it is recorded as not solved.
KERNEL_ERROR = {"float32": 1e-6, "float64": 0.0}


def describe_fit(fit: KernelRegression, correct: np.ndarray) -> dict[str, Any]:
    """What a metrics file says of one fit to class labels.

    Parameters
    ----------
    fit : KernelRegression
        With r ridges, 0 among them.
    correct : bool array of shape (r, test images)
        Which test images each ridge gets right; whatever where a ridge was not solved.
    """
    assert fit.loo_accuracy is not None  # class labels have one
    at_zero, best = fit.ridges.tolist().index(0), fit.best
    accuracy = [float(hits.mean()) if solved else None for hits, solved in zip(correct, fit.solved, strict=True)]
    return {
        "ridges": fit.ridges.tolist(),
        "test_accuracy": accuracy,
        "loo_accuracy": [rounded(value, 17) for value in fit.loo_accuracy],
        "loo_error": [rounded(value) for value in fit.loo_error],
        "residual_norm": [rounded(value, decimals=RESIDUAL_DECIMALS) for value in fit.residual_norm],
        "condition_number": [rounded(value) for value in fit.condition_number],
        "accuracy": accuracy[at_zero],
        "loo_ridge": float(fit.ridges[best]),
        "accuracy_loo_ridge": accuracy[best],
        "eigenvalues": _spectrum(fit.eigenvalues),
        "test_correct_hex": np.packbits(correct[at_zero]).tobytes().hex() if fit.solved[at_zero] else None,
    }


def _spectrum(eigenvalues: np.ndarray | None) -> dict[str, list] | None:
    """At most `SPECTRUM_RANKS` eigenvalues, at ranks spaced evenly on a logarithmic axis; rank 1 is the largest."""
    if eigenvalues is None:
        return None
    ranks = np.unique(np.geomspace(1, len(eigenvalues), SPECTRUM_RANKS).round().astype(int))
    return {"rank": ranks.tolist(), "value": [rounded(value) for value in eigenvalues[ranks - 1]]}
