"""Descriptions of networks, which everything else takes: what to compute, store, name, and what it costs.

`Network` is any sequence of layers; `Family` is the paper's, of one design and any depth.
"""

from exact_cntk.networks.family import KINDS, TRAINED, Family, Output, contradictions, kernel_key
from exact_cntk.networks.layers import (
    Abs,
    Conv,
    Dense,
    Erf,
    Flatten,
    Gabor,
    Gap,
    Gauss,
    Identity,
    Lap,
    Layer,
    Leaky,
    Pool,
    Relu,
    Residual,
)
from exact_cntk.networks.network import Network

__all__ = [
    "KINDS",
    "TRAINED",
    "Abs",
    "Conv",
    "Dense",
    "Erf",
    "Family",
    "Flatten",
    "Gabor",
    "Gap",
    "Gauss",
    "Identity",
    "Lap",
    "Layer",
    "Leaky",
    "Network",
    "Output",
    "Pool",
    "Relu",
    "Residual",
    "contradictions",
    "kernel_key",
]
