"""Full-batch gradient descent on the paper's quadratic loss, which goes on where it was interrupted."""

import hashlib
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from exact_cntk import _validation as check
from exact_cntk._atomic import replacing
from exact_cntk._progress import Progress, reporting
from exact_cntk._regression import OTHER_CLASSES
from exact_cntk.errors import InputError
from exact_cntk.finite._signals import in_blocks
from exact_cntk.finite._torch import torch
from exact_cntk.finite.empirical import exact_arithmetic
from exact_cntk.finite.networks import CNN


class CurveRow(NamedTuple):
    """A row of a learning curve: the network after `step` steps.

    Attributes
    ----------
    step : int
    loss : float
        On the training images.
    train_accuracy : float
        In [0, 1].
    test_accuracy : float
        NaN without test images.
    """

    step: int
    loss: float
    train_accuracy: float
    test_accuracy: float


class LabelledImages(NamedTuple):
    """Images of shape (n, P, Q, C₀), in the network's dtype, and their classes, of shape (n,)."""

    images: torch.Tensor
    labels: torch.Tensor


def train_full_batch(
    network: CNN,
    x: Any,
    labels: Any,
    *,
    rate: float,
    steps: int,
    x_test: Any = None,
    labels_test: Any = None,
    every: int = 1,
    images_at_once: int = 256,
    checkpoint: Path | None = None,
    checkpoint_every: int = 100,
    progress: bool | Progress = False,
) -> list[CurveRow]:
    r"""Train a network, in place, by gradient descent with a fixed rate on all images at every step.

    The loss is that of the paper, averaged over images::

        ℓ(θ) = 1/(2n) Σ_i ‖f(x_i) − y_i‖²,    y_i = −0.1·1 + e_c for class c,    θ ← θ − rate · ∂ℓ/∂θ

    without momentum, decay or augmentation; weights that the network does not train stay as they are. Under it, the
    outputs u of an infinitely wide network follow Δu = −rate κ²/n · K (u − y), with K the NTK of `cntk`: it converges
    for rates below 2n/(κ² λ_max(K)).

    Parameters
    ----------
    network : CNN
        With one output for each class; its weights are those after the last step when this returns. It computes on
        the device that they are on.
    x : array of shape (n, P, Q, C₀)
    labels : array of shape (n,), int
        Classes, from 0 to the network's outputs less one.
    rate : float ≥ 0
    steps : int ≥ 0
        Counted from the initial weights, those of earlier, interrupted calls included.
    x_test, labels_test : arrays, optional
        Images to report the accuracy on.
    every : int ≥ 1
        Steps from one row to the next.
    images_at_once : int ≥ 1
        Images whose activations are in memory at a time. It changes the result by rounding.
    checkpoint : Path, optional
        A file that holds weights and rows so far. If it is one of the same initial weights, data, rate, `every`,
        images_at_once, version and threads of torch, training goes on from it; any other is replaced.
    checkpoint_every : int ≥ 1
        Steps from one checkpoint to the next; the last step has one too.
    progress : bool or callable
        True shows a bar on stderr; a callable is called with (done, total), in steps.

    Returns
    -------
    list of CurveRow
        Of the steps 0, every, 2·every, … and of the last one. Where the loss is no longer finite, the rate being too
        high, training ends and that row is the last.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed.
    UserError
        The checkpoint cannot be written.

    Notes
    -----
    On one machine, weights and rows are the same bytes at every call, interrupted and resumed or not.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, section 3, lemma 3.1, and appendix A.
    """
    step_size = check.as_number("rate", rate)
    last = check.as_integer("steps", steps, at_least=0)
    stride = check.as_integer("every", every, at_least=1)
    at_once = check.as_integer("images_at_once", images_at_once, at_least=1)
    save_every = check.as_integer("checkpoint_every", checkpoint_every, at_least=1)
    train = _as_labelled(network, "x", x, "labels", labels)
    if (x_test is None) != (labels_test is None):
        raise InputError("x_test and labels_test belong together; allowed are both or neither")
    test = None if x_test is None else _as_labelled(network, "x_test", x_test, "labels_test", labels_test)
    bar = reporting(check.as_progress("progress", progress), "training", "steps")

    file = (
        None if checkpoint is None else _Checkpoint(Path(checkpoint), network, train, test, step_size, stride, at_once)
    )
    first, rows = (0, []) if file is None else file.restore(network, last)
    with bar as report, exact_arithmetic():
        for step in range(first, last + 1):
            loss, right = _loss_and_gradients(network, train, at_once)
            if step % stride == 0 or step == last or not math.isfinite(loss):
                rows.append(
                    CurveRow(step, loss, right, math.nan if test is None else _accuracy(network, test, at_once))
                )
            if step == last or not math.isfinite(loss):
                break
            _descend(network, step_size)
            if file is not None and ((step + 1) % save_every == 0 or step + 1 == last):
                file.save(network, step + 1, rows)
            if report is not None:
                report(step + 1, last)
    network.zero_grad(set_to_none=True)
    return rows


def _loss_and_gradients(network: CNN, train: LabelledImages, at_once: int) -> tuple[float, float]:
    """Loss and accuracy at the present weights; the loss's gradients are added up in the weights' `grad`."""
    network.zero_grad(set_to_none=True)
    n, loss, right = len(train.labels), 0.0, 0
    device = network.readout_weight.device
    for block in in_blocks(n, at_once):
        labels = train.labels[block].to(device)
        with torch.enable_grad():  # whatever the caller's context
            outputs = network(train.images[block].to(device))
            part = ((outputs - _targets(labels, outputs)) ** 2).sum() / (2 * n)
        if part.requires_grad:  # not where both layers of a network of depth 2 are fixed
            part.backward()
        loss += part.item()
        right += int((outputs.argmax(dim=1) == labels).sum())
    return loss, right / n


def _accuracy(network: CNN, data: LabelledImages, at_once: int) -> float:
    device = network.readout_weight.device
    with torch.no_grad():
        return sum(
            int((network(data.images[block].to(device)).argmax(dim=1) == data.labels[block].to(device)).sum())
            for block in in_blocks(len(data.labels), at_once)
        ) / len(data.labels)


def _targets(labels: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """−0.1, and 0.9 for the image's class; of the outputs' shape and dtype."""
    targets = torch.full_like(outputs.detach(), OTHER_CLASSES)
    targets[torch.arange(len(labels), device=labels.device), labels] += 1
    return targets


def _descend(network: CNN, rate: float) -> None:
    with torch.no_grad():
        for weight in network.parameters():
            if weight.grad is not None:
                weight.sub_(rate * weight.grad)


def _as_labelled(network: CNN, x_name: str, x: Any, labels_name: str, labels: Any) -> LabelledImages:
    images = check.as_images(x_name, x)
    if images.shape[1:] != network.image_shape:
        raise InputError(
            f"{x_name} has images of shape {images.shape[1:]}; allowed is the network's, {network.image_shape}"
        )
    classes = check.as_array(labels_name, labels)
    outputs = len(network.readout_weight)
    if classes.shape != (len(images),):
        raise InputError(f"{labels_name} has shape {classes.shape}; allowed is ({len(images)},), one for each image")
    wrong = classes[(classes != np.floor(classes)) | (classes < 0) | (classes >= outputs)]
    if len(wrong):
        raise InputError(f"{labels_name} has {wrong[0]:g}; allowed are integers from 0 to {outputs - 1}, one an output")
    tensor = torch.from_numpy(images).to(network.readout_weight.dtype)
    return LabelledImages(tensor, torch.from_numpy(classes.astype(np.int64)))


class _Checkpoint:
    """Weights and rows after some steps, in a file that counts for the very run that it was written by alone."""

    def __init__(
        self,
        file: Path,
        network: CNN,
        train: LabelledImages,
        test: LabelledImages | None,
        *numbers: float,
    ) -> None:
        """Take the initial weights as the run's."""
        self._file = file
        identity = hashlib.sha256(repr((torch.__version__, torch.get_num_threads(), numbers)).encode())
        architecture = (network.readout, network.output_scale, str(network.readout_weight.device))
        identity.update(repr(architecture).encode())
        for name, weight in network.named_parameters():
            identity.update(f"{name} {weight.requires_grad} {weight.dtype} {tuple(weight.shape)}".encode())
            identity.update(_bytes(weight))
        for part in train if test is None else (*train, *test):
            identity.update(repr(tuple(part.shape)).encode())
            identity.update(_bytes(part))
        self._identity = identity.hexdigest()

    def restore(self, network: CNN, last: int) -> tuple[int, list[CurveRow]]:
        """Set the network's weights to those of the file; its step and rows, or none if it is not of this run."""
        names = [name for name, _ in network.named_parameters()]
        try:
            with np.load(self._file, allow_pickle=False) as saved:
                if str(saved["identity"]) != self._identity or int(saved["step"]) > last:
                    return 0, []
                step, rows = int(saved["step"]), saved["rows"]
                weights = [saved[f"weights.{name}"] for name in names]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # missing, or not of ours
            return 0, []
        with torch.no_grad():
            for weight, values in zip(network.parameters(), weights, strict=True):
                weight.copy_(torch.from_numpy(values))
        return step, [CurveRow(int(row[0]), *map(float, row[1:])) for row in rows]

    def save(self, network: CNN, step: int, rows: list[CurveRow]) -> None:
        """Replace the file."""
        contents: dict[str, Any] = {"identity": self._identity, "step": step, "rows": np.array(rows, dtype=np.float64)}
        contents |= {f"weights.{name}": weight.detach().cpu().numpy() for name, weight in network.named_parameters()}
        with replacing(self._file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **contents)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
