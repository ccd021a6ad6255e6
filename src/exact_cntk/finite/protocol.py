"""The paper's protocol of training: when a run ends, and which test accuracy it reports."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from exact_cntk.finite._descent import CurveRow


@dataclass(frozen=True)
class Outcome:
    """The result of a run by stochastic gradient descent.

    Attributes
    ----------
    epochs : int
        Number of epochs trained.
    full_accuracy_epoch : int or None
        The first one after which every training image is classified correctly; None if there is none.
    train_accuracy : float or None
        At the end; None where training diverged.
    test_accuracy : float or None
        Mean over the last `averaged_epochs` epochs, which are those after full training accuracy where it was reached
        in time; None where training diverged, and without test images.
    diverged : bool
        Whether the loss became infinite or NaN.
    """

    epochs: int
    full_accuracy_epoch: int | None
    train_accuracy: float | None
    test_accuracy: float | None
    diverged: bool


def outcome(rows: Sequence[CurveRow], averaged_epochs: int) -> Outcome:
    """Summarise a learning curve of `train_sgd`.

    Parameters
    ----------
    rows : sequence of CurveRow
        Of the epochs 0 (the initial weights), 1, 2, …
    averaged_epochs : int ≥ 1
        As `train_sgd` was given it.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, appendix A: test accuracies of ten epochs after full training accuracy are averaged.
    """
    diverged = not math.isfinite(rows[-1].loss)
    counted = [row.test_accuracy for row in rows[1:][-averaged_epochs:]] or [rows[0].test_accuracy]
    mean = sum(counted) / len(counted)
    return Outcome(
        epochs=len(rows) - 1,
        full_accuracy_epoch=full_accuracy_epoch(rows),
        train_accuracy=None if diverged else rows[-1].train_accuracy,
        test_accuracy=None if diverged or math.isnan(mean) else mean,
        diverged=diverged,
    )


def full_accuracy_epoch(rows: Sequence[CurveRow]) -> int | None:
    """The first epoch after which every training image is classified correctly."""
    return next((epoch for epoch, row in enumerate(rows) if row.train_accuracy == 1), None)
