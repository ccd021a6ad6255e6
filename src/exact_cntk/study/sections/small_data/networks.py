"""Finite CNNs on small training sets, their learning rate chosen on the training images alone."""

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

HELD_OUT = 5  # one image in so many of each class, and at least one, chooses the rate
AFTER_FULL_ACCURACY = 10  # epochs, as in the paper's protocol


@dataclass(frozen=True)
class Network:
    """A network and how it is trained: a method of `small_data_jobs.method_to_file`.

    Attributes
    ----------
    family : Family
    depth, width, output_scale
        As `exact_cntk.finite.CNN` takes them.
    rates : sequence of float
        Learning rates.
    batch_images, epochs : int
        Of stochastic gradient descent; a smaller training set is one batch. Training ends `AFTER_FULL_ACCURACY` epochs
        after the first one that classifies all training images rightly.

    Notes
    -----
    Every rate is tried on the training images but for one in `HELD_OUT` of each class, on which the accuracy is
    measured. The highest wins, of equals that with the lowest loss on the images trained on, then the smallest rate.
    With one image of a class nothing can be held out, and the loss alone decides. The network is then trained anew on
    all training images. Weights and order of images are a function of the seed.
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
            found = predict_classes(network, x_test)
        return Predictions(found, {"rate": rate, "diverged": int(not math.isfinite(loss))})

    def _choose(self, x: np.ndarray, labels: np.ndarray, seed: list[int]) -> float:
        held = held_out(labels, seed)
        scores = []
        for rate in sorted(self.rates):
            network, loss = self._train(x[~held], labels[~held], rate, seed)
            right = int((predict_classes(network, x[held]) == labels[held]).sum()) if held.any() else 0
            finite = math.isfinite(loss)
            scores.append((not finite, -right if finite else 0, loss if finite else 0.0, rate))
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


def held_out(labels: np.ndarray, seed: list[int]) -> np.ndarray:
    """Which images choose the rate, bool of shape (n,): one in `HELD_OUT` of each class that has two at least."""
    # A stream of its own: weights have (layer,) and (depth − 1, 1), the order of images (epoch, 0, 0).
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0)))
    chosen = np.zeros(len(labels), dtype=bool)
    counts = np.unique(labels, return_counts=True)[1]
    if counts.min() < 2:
        return chosen
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[: max(1, len(members) // HELD_OUT)]] = True
    return chosen


@contextmanager
def _one_thread() -> Iterator[None]:
    """As torch's sums depend on the number of threads, in their last digits, it is always the same one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
