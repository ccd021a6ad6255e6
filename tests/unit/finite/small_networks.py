"""A small problem, and small networks for it."""

import numpy as np

from exact_cntk.finite import CNN

SHAPE = (4, 4, 2)
CLASSES = 3


def problem(n=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *SHAPE)), np.arange(n) % CLASSES


def draw(**options):
    return CNN(SHAPE, **{"depth": 3, "width": 6, "readout": "gap", "outputs": CLASSES, "dtype": "float64"} | options)


def state(network):
    return [weight.detach().numpy().copy() for weight in network.parameters()]
