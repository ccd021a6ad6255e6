"""Gradient descent on the paper's quadratic loss, full-batch and stochastic; interrupted runs resume."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError, UserError
from exact_cntk.finite._checkpoint import RunCheckpoint
from exact_cntk.finite._descent import (
    Computation,
    CurveRow,
    LabelledImages,
    as_labelled,
    classes_of,
    descend,
    every_seconds,
)
from exact_cntk.finite._torch import torch
from exact_cntk.finite.empirical import exact_arithmetic
from exact_cntk.finite.networks import CNN, check_seed
from exact_cntk.finite.protocol import full_accuracy_epoch


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
        With one output for each class; afterwards its weights are those of the last step. Training takes place on their
        device, which needs memory for the images as well.
    x : array of shape (n, P, Q, C₀)
    labels : array of shape (n,), int
        Classes, from 0 to the number of outputs − 1.
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
        images_at_once, version of torch, and device (of a CPU: and threads), training continues from it; any other is
        replaced.
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
    stride = check.as_integer("every", every, at_least=1)
    plan = _AllImages(check.as_integer("steps", steps, at_least=0), stride)
    at_once = check.as_integer("images_at_once", images_at_once, at_least=1)
    save_every = check.as_integer("checkpoint_every", checkpoint_every, at_least=1)
    train, test = _as_sets(network, x, labels, x_test, labels_test)
    bar = reporting(check.as_progress("progress", progress), "training", "steps")
    file = _checkpoint(checkpoint, network, train, test, (step_size, stride, at_once))
    with bar as report, exact_arithmetic():
        return descend(
            network,
            train,
            test,
            step_size,
            plan,
            Computation(at_once, network),
            checkpoint=file,
            save_due=lambda step: step % save_every == 0 or step == plan.last,
            report=report,
        )


def train_sgd(
    network: CNN,
    x: Any,
    labels: Any,
    *,
    rate: float,
    max_epochs: int,
    batch_images: int,
    seed: int | Sequence[int] = 0,
    averaged_epochs: int | None = None,
    x_test: Any = None,
    labels_test: Any = None,
    images_at_once: int = 256,
    tf32: bool = False,
    compiled: bool | None = None,
    channels_last: bool | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    progress: bool | Progress = False,
) -> list[CurveRow]:
    r"""Train a network, in place, by stochastic gradient descent with a fixed rate, as the paper trains its CNNs.

    An epoch takes all images once, in an order drawn anew, in batches; a step descends the loss of `train_full_batch`
    on the images of its batch B::

        θ ← θ − rate · ∂/∂θ 1/(2|B|) Σ_{i ∈ B} ‖f(x_i) − y_i‖²

    Parameters
    ----------
    network, x, labels, rate, x_test, labels_test
        As `train_full_batch` takes them.
    max_epochs : int ≥ 0
        Counted from the initial weights, those of earlier, interrupted calls included.
    batch_images : int ≥ 1
        At most n; the last batch of an epoch has what is left.
    seed : int ≥ 0 or sequence of them
        The order of the images in an epoch is a function of seed, epoch and n alone.
    averaged_epochs : int ≥ 1, optional
        The paper's stop rule: training ends this many epochs after the first one that classifies all of `x`
        correctly, or after `max_epochs`; see `exact_cntk.finite.outcome`. By default there is no such rule.
    images_at_once : int ≥ 1
        Images whose activations are in memory at a time, in rows and in large batches. It changes the result by
        rounding.
    tf32 : bool
        On a GPU: let products of float32 be rounded to TF32, 10 bits of mantissa, which is several times faster.
    compiled : bool, optional
        Whether steps go through torch.compile. By default on a GPU; `compiles` says whether it works there.
    channels_last : bool, optional
        Whether filters lie in memory with their channels last. By default on a GPU.
    checkpoint : Path, optional
        As `train_full_batch` takes it; another seed, size of batches or `averaged_epochs` makes another run as well.
    checkpoint_seconds : float ≥ 0
        From one checkpoint to the next.
    progress : bool or callable
        True shows a bar on stderr; a callable is called with (done, total), in steps of `max_epochs` epochs.

    Returns
    -------
    list of CurveRow
        Of the epochs 0, 1, 2, …; their `step` counts batches. Where the loss is no longer finite at the end of an
        epoch, the rate being too high, training ends and that row is the last.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed.
    UserError
        The checkpoint cannot be written, or torch.compile fails.

    Notes
    -----
    On one machine, weights and rows are the same bytes at every call, interrupted and resumed or not; compiled or not,
    with channels last or not, and with another size of `images_at_once` they differ by rounding.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, appendix A. Neither the size of batches nor whether there is momentum is stated there.
    """
    step_size = check.as_number("rate", rate)
    epochs = check.as_integer("max_epochs", max_epochs, at_least=0)
    size = check.as_integer("batch_images", batch_images, at_least=1)
    averaged = None if averaged_epochs is None else check.as_integer("averaged_epochs", averaged_epochs, at_least=1)
    at_once = check.as_integer("images_at_once", images_at_once, at_least=1)
    pause = check.as_number("checkpoint_seconds", checkpoint_seconds)
    entropy = check_seed(seed)
    train, test = _as_sets(network, x, labels, x_test, labels_test)
    if size > len(train.labels):
        raise InputError(
            f"batch_images is {size}; allowed are integers up to the number of images, {len(train.labels)}"
        )
    plan = _Epochs(epochs, size, len(train.labels), entropy, averaged)
    bar = reporting(check.as_progress("progress", progress), "training", "steps")

    on_gpu = network.readout_weight.is_cuda
    last = on_gpu if channels_last is None else channels_last
    if last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with bar as report, exact_arithmetic(tf32=tf32):
        forward: Callable[[torch.Tensor], torch.Tensor] = network
        if on_gpu if compiled is None else compiled:
            forward = _compile(network, train.images[: min(size, at_once)])
        how = Computation(at_once, forward)
        options = (*("sgd", step_size, size, entropy, averaged, at_once), tf32, forward is network, last)
        file = _checkpoint(checkpoint, network, train, test, options)
        return descend(network, train, test, step_size, plan, how, file, every_seconds(pause), report)


def predict_classes(network: CNN, x: Any, *, images_at_once: int = 256, tf32: bool = False) -> np.ndarray:
    """Class of each image: the output that is largest.

    Parameters
    ----------
    network : CNN
    x : array of shape (n, P, Q, C₀)
    images_at_once, tf32
        As `train_sgd` takes them.

    Returns
    -------
    array of shape (n,), int
    """
    pixels = check.as_images("x", x)
    check.require_image_shape("x", pixels, network.image_shape, "the network's, ")
    images = torch.from_numpy(pixels).to(network.readout_weight.dtype)
    with exact_arithmetic(tf32=tf32):
        return classes_of(network, images, check.as_integer("images_at_once", images_at_once, at_least=1)).cpu().numpy()


def compiles(network: CNN, images: int, log: Callable[[str], object] | None = None) -> bool:
    """Whether torch.compile works here for this network; finding out takes up to a minute.

    Parameters
    ----------
    network : CNN
        Its weights are left as they are.
    images : int
        In a batch.
    log : callable(line), optional
        Is called with the reason if not.
    """
    try:
        with exact_arithmetic():
            probe = copy.deepcopy(network)
            if network.readout_weight.is_cuda:  # as `train_sgd` has it by default
                probe.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            _compile(probe, torch.zeros(images, *network.image_shape).to(network.readout_weight))
    except UserError as error:
        if log is not None:
            log(f"training without torch.compile: {error}")
        return False
    return True


class _AllImages:
    """All images at each step, and a row after every `every` steps."""

    def __init__(self, steps: int, every: int) -> None:
        self.last, self._every = steps, every

    def batch(self, step: int) -> None:
        return None

    def has_row(self, step: int) -> bool:
        return step % self._every == 0 or step == self.last

    def ends(self, rows: list[CurveRow]) -> bool:
        return False


class _Epochs:
    """Batches of a permutation of the images, one row per epoch, and the paper's stop rule."""

    def __init__(self, epochs: int, size: int, n: int, entropy: list[int], averaged: int | None) -> None:
        self._steps = math.ceil(n / size)  # of an epoch
        self.last = epochs * self._steps
        self._size, self._n, self._entropy, self._averaged = size, n, entropy, averaged
        self._epoch, self._order = -1, np.arange(0)

    def batch(self, step: int) -> np.ndarray:
        epoch, position = divmod(step, self._steps)
        if epoch != self._epoch:
            # A key of three numbers: those of the weights, which may have the same seed, are shorter.
            rng = np.random.default_rng(np.random.SeedSequence(self._entropy, spawn_key=(epoch, 0, 0)))
            self._epoch, self._order = epoch, rng.permutation(self._n)
        return self._order[position * self._size : (position + 1) * self._size]

    def has_row(self, step: int) -> bool:
        return step % self._steps == 0

    def ends(self, rows: list[CurveRow]) -> bool:
        full = full_accuracy_epoch(rows)
        return self._averaged is not None and full is not None and len(rows) - 1 >= full + self._averaged


def _as_sets(
    network: CNN, x: Any, labels: Any, x_test: Any, labels_test: Any
) -> tuple[LabelledImages, LabelledImages | None]:
    train = as_labelled(network, "x", x, "labels", labels)
    if (x_test is None) != (labels_test is None):
        raise InputError("x_test and labels_test belong together; allowed are both or neither")
    return train, None if x_test is None else as_labelled(network, "x_test", x_test, "labels_test", labels_test)


def _checkpoint(
    file: Path | None, network: CNN, train: LabelledImages, test: LabelledImages | None, options: tuple
) -> RunCheckpoint | None:
    data = [train.images, train.labels, *(() if test is None else (test.images, test.labels))]
    return None if file is None else RunCheckpoint(Path(file), network, data, options)


def _compile(network: CNN, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The compiled network, tried out on images.

    Raises
    ------
    UserError
        torch.compile fails: it needs a compiler of the machine, and its errors are of many types.
    """
    # Earlier compilations count against a limit, beyond which torch continues without compiling, and says nothing.
    torch.compiler.reset()
    forward = torch.compile(network, dynamic=False)
    try:
        forward(images).sum().backward()
    except Exception as error:
        raise UserError(f"torch.compile fails here: {_first_line(error)}; compiled=False trains without it") from error
    finally:
        network.zero_grad(set_to_none=True)
    return forward


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
