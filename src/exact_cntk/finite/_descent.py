"""The loop of all training: gradient descent on the paper's quadratic loss, each step on all images or on a batch."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress
from exact_cntk.errors import InputError
from exact_cntk.finite._checkpoint import RunCheckpoint
from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN
from exact_cntk.regression.inputs import OTHER_CLASSES, as_labels, refuse_matrix_of_labels


class CurveRow(NamedTuple):
    """A row of a learning curve: the network after `step` steps.

    Attributes
    ----------
    step : int
    loss : float
        On the training images.
    train_accuracy : float
        In [0, 1]; NaN where the loss is not finite.
    test_accuracy : float
        Likewise; NaN without test images.
    """

    step: int
    loss: float
    train_accuracy: float
    test_accuracy: float


class LabelledImages(NamedTuple):
    """Images of shape (n, P, Q, C₀), their classes, of shape (n,), and the targets of the network.

    Targets, of shape (n, outputs), are −0.1, and 0.9 for the image's class; all lie on the network's device, images
    and targets in its dtype.
    """

    images: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor


class Plan(Protocol):
    """Which images each step uses, and after which steps a row is made."""

    last: int

    def batch(self, step: int) -> np.ndarray | None:
        """Indices of the step's images; None for all, whose loss then serves step and row."""

    def has_row(self, step: int) -> bool:
        """Whether there is a row of the network after `step` steps."""

    def ends(self, rows: list[CurveRow]) -> bool:
        """Whether training ends with the last of these rows, before the plan's last step."""


class Computation(NamedTuple):
    """How a network computes."""

    images_at_once: int  # whose activations are in memory at a time
    forward: Callable[[torch.Tensor], torch.Tensor]  # the network or its compiled form, for steps; not for rows


def descend(
    network: CNN,
    train: LabelledImages,
    test: LabelledImages | None,
    rate: float,
    plan: Plan,
    how: Computation,
    checkpoint: RunCheckpoint | None = None,
    save_due: Callable[[int], bool] = lambda step: False,
    report: Progress | None = None,
) -> list[CurveRow]:
    """Train a network, in place, as planned; θ ← θ − rate · ∂ℓ/∂θ.

    Parameters
    ----------
    save_due : callable(step) -> bool
        Whether to write a checkpoint after so many steps.

    Returns
    -------
    list of CurveRow
        The last row is of the network's final weights. Where its loss is not finite, training ended there.
    """
    first, rows = 0, list[CurveRow]()
    if checkpoint is not None:
        first, saved = checkpoint.restore(network, plan.last)
        rows = [CurveRow(int(row[0]), *row[1:]) for row in saved]
    for step in range(first, plan.last + 1):
        batch = plan.batch(step)
        measured = _pass(network, train, None, how, gradients=True) if batch is None else None
        if plan.has_row(step) or (measured is not None and not math.isfinite(measured[0])):
            rows.append(_row(network, step, measured, train, test, how))
            if not math.isfinite(rows[-1].loss) or plan.ends(rows):
                break
        if step == plan.last:
            break
        if batch is not None:
            _pass(network, train, batch, how, gradients=True, measure=False)
        with torch.no_grad():
            for weight in network.parameters():
                if weight.grad is not None:
                    weight.sub_(rate * weight.grad)
        if checkpoint is not None and save_due(step + 1):
            checkpoint.save(network, step + 1, rows)
        if report is not None:
            report(step + 1, plan.last)
    network.zero_grad(set_to_none=True)
    return rows


def every_seconds(seconds: float) -> Callable[[int], bool]:
    """Say at most once in so many seconds that a checkpoint is due."""
    last = time.monotonic()

    def due(_step: int) -> bool:
        nonlocal last
        if (now := time.monotonic()) - last < seconds:
            return False
        last = now
        return True

    return due


def classes_of(network: CNN, images: torch.Tensor, images_at_once: int) -> torch.Tensor:
    """The class that the network gives each image, of shape (n,), on its device."""
    device = network.readout_weight.device
    with torch.no_grad():
        classes = [network(images[block].to(device)).argmax(dim=1) for block in cut(len(images), images_at_once)]
    return torch.cat(classes)


def as_labelled(network: CNN, x_name: str, x: Any, labels_name: str, labels: Any) -> LabelledImages:
    """Check images and classes against the network, and move them to its device.

    Raises
    ------
    InputError
        Naming the argument.
    """
    images = check.as_images(x_name, x)
    check.require_image_shape(x_name, images, network.image_shape, "the network's, ")
    values = as_labels(labels_name, labels)
    if values.dtype.kind in "US":
        mend = f"np.unique({labels_name}, return_inverse=True)[1]"
        raise InputError(f"{labels_name} has texts, of dtype {values.dtype}; allowed are integers: {mend} numbers them")
    if values.ndim == 2:
        refuse_matrix_of_labels(labels_name, values)
    classes = check.as_array(labels_name, values)
    outputs, like = len(network.readout_weight), network.readout_weight
    if classes.shape != (len(images),):
        raise InputError(f"{labels_name} has shape {classes.shape}; allowed is ({len(images)},), one for each image")
    wrong = classes[(classes != np.floor(classes)) | (classes < 0) | (classes >= outputs)]
    if len(wrong):
        raise InputError(
            f"{labels_name} has {wrong[0]:g}; allowed are integers from 0 to {outputs - 1}, one per output"
        )
    known = torch.from_numpy(classes.astype(np.int64))
    targets = torch.full((len(known), outputs), OTHER_CLASSES, dtype=like.dtype)
    targets[torch.arange(len(known)), known] += 1
    tensor = torch.from_numpy(images).to(like.dtype)
    return LabelledImages(tensor.to(like.device), known.to(like.device), targets.to(like.device))


def _row(
    network: CNN,
    step: int,
    measured: tuple[float, float] | None,
    train: LabelledImages,
    test: LabelledImages | None,
    how: Computation,
) -> CurveRow:
    loss, accuracy = measured or _pass(network, train, None, how, gradients=False)
    if not math.isfinite(loss):
        return CurveRow(step, loss, math.nan, math.nan)
    if test is None:
        return CurveRow(step, loss, accuracy, math.nan)
    correct = classes_of(network, test.images, how.images_at_once) == test.labels
    return CurveRow(step, loss, accuracy, int(correct.sum()) / len(test.labels))


def _pass(
    network: CNN,
    data: LabelledImages,
    indices: np.ndarray | None,
    how: Computation,
    *,
    gradients: bool,
    measure: bool = True,
) -> tuple[float, float]:
    """Loss and accuracy on some images, ℓ = 1/(2n) Σ_i ‖f(x_i) − y_i‖², and its gradients in the weights' `grad`.

    Without `measure` nothing is read back from the device, so that steps on a GPU follow each other without a gap.
    """
    n = len(data.labels) if indices is None else len(indices)
    loss: Any = 0.0
    correct: Any = 0
    if gradients:
        network.zero_grad(set_to_none=True)
    for block in cut(n, how.images_at_once):
        part = block if indices is None else torch.from_numpy(indices[block]).to(data.labels.device)
        with torch.set_grad_enabled(gradients):  # whatever the caller's context
            outputs = (how.forward if gradients else network)(data.images[part])
            error = ((outputs - data.targets[part]) ** 2).sum() / (2 * n)
        if error.requires_grad:  # not where both layers of a network of depth 2 are fixed
            error.backward()
        if measure:
            loss = loss + error.detach().double()
            correct = correct + (outputs.argmax(dim=1) == data.labels[part]).sum()
    return (float(loss), int(correct) / n) if measure else (math.nan, math.nan)
