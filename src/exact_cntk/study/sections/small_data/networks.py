"""Finite CNNs on small training sets, their learning rate chosen on the training images."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_cntk.finite import CNN, predict_classes, train_sgd
from exact_cntk.finite._torch import torch
from exact_cntk.networks import Family
from exact_cntk.study.sections.small_data.baselines import Predictions

VALIDATION_PART = 5  # one in five images of each class, and at least one, chooses the rate
AFTER_FULL_ACCURACY = 10  # epochs, as in the paper's protocol


@dataclass(frozen=True)
class Network:
    """A network and how it is trained: a method for `exact_cntk.study.sections.small_data.jobs.method_to_file`.

    Attributes
    ----------
    family : Family
    depth, width, output_scale
        As `exact_cntk.finite.CNN` takes them.
    rates : sequence of float
        Learning rates.
    batch_images, epochs : int
        Of stochastic gradient descent; a smaller training set is one batch. Training ends `AFTER_FULL_ACCURACY` epochs
        after the first one that classifies all training images correctly.

    Notes
    -----
    Every rate is tried with one in `VALIDATION_PART` images of each class left out for validation. The highest
    validation accuracy wins, of equals the lowest training loss, then the smallest rate. With one image of a class
    nothing can be left out, and the loss decides. The network is then trained again on all training images. Weights
    and order of images are a function of the seed.
    """

    family: Family
    depth: int
    width: int
    output_scale: float
    rates: Sequence[float]
    batch_images: int
    epochs: int

    def __call__(self, x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, seed: list[int]) -> Predictions:
        """Train on images of shape (n, P, Q, C) and predict."""
        with _one_thread():
            rate = self._choose(x, labels, seed) if len(self.rates) > 1 else self.rates[0]
            network, loss = self._train(x, labels, rate, seed)
            predicted = predict_classes(network, x_test)
        return Predictions(predicted, {"rate": rate, "diverged": int(not math.isfinite(loss))})

    def _choose(self, x: np.ndarray, labels: np.ndarray, seed: list[int]) -> float:
        validation = validation_images(labels, seed)
        scores = []
        for rate in sorted(self.rates):
            network, loss = self._train(x[~validation], labels[~validation], rate, seed)
            correct = 0
            if validation.any():
                correct = int((predict_classes(network, x[validation]) == labels[validation]).sum())
            finite = math.isfinite(loss)
            scores.append((not finite, -correct if finite else 0, loss if finite else 0.0, rate))
        return min(scores)[-1]

    def _train(self, x: np.ndarray, labels: np.ndarray, rate: float, seed: list[int]) -> tuple[CNN, float]:
        """The trained network and its loss, which is not finite if training diverged."""
        options: dict[str, Any] = {"depth": self.depth, "width": self.width, "output_scale": self.output_scale}
        options |= self.family.arguments()
        network = CNN(x.shape[1:], outputs=int(labels.max()) + 1, seed=seed, **options)
        rows = train_sgd(
            network,
            x,
            labels,
            rate=rate,
            max_epochs=self.epochs,
            batch_images=min(self.batch_images, len(x)),
            averaged_epochs=AFTER_FULL_ACCURACY,
            seed=seed,
        )
        return network, rows[-1].loss


def validation_images(labels: np.ndarray, seed: list[int]) -> np.ndarray:
    """Images that choose the rate, bool of shape (n,): one in `VALIDATION_PART` of each class; none if one has one."""
    # A separate stream: weights have (layer,) and (depth − 1, 1), the order of images (epoch, 0, 0).
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0)))
    chosen = np.zeros(len(labels), dtype=bool)
    counts = np.unique(labels, return_counts=True)[1]
    if counts.min() < 2:
        return chosen
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[: max(1, len(members) // VALIDATION_PART)]] = True
    return chosen


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, because the last digits of torch's sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
