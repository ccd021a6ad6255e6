"""General networks beside neural-tangents: agreement of the reference backend, in float64.

    python -m benchmarks.networks

Exit status 1 beyond the tolerance.
"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.against_neural_tangents import NoEnvironmentError, run_worker, versions
from benchmarks.images import cifar_like
from exact_cntk import Network, kernel
from exact_cntk.networks import Layer, Residual
from exact_cntk.study.show.markup import to_markdown

TOLERANCE = 1e-12  # rounding of some hundred float64 operations
HEIGHT, WIDTH, CHANNELS = 12, 10, 3
NETWORKS = (
    "(conv3 relu)*5 flatten dense",
    "conv3 relu conv3 relu pool2 conv3 relu pool2 conv3 relu gap dense",
    "(conv3 relu)*3 pool2 (conv3 relu)*3 pool2 (conv3 relu)*3 gap dense",
    "conv3 relu pool3[stride=2] conv3 relu flatten dense",
    "conv5[stride=2] relu conv3[stride=2,padding=valid] relu flatten dense",
    "conv3[padding=circular,bias=0.09] relu conv3[padding=circular,stride=2] leaky gap dense[weight=1,bias=0.1]",
    "conv3[padding=valid,weight=1.44,bias=0.3] erf conv3[weight=1.44] abs pool2 flatten dense",
    "conv3[bias=0.1] gabor conv3 gauss conv3 identity gap dense",
    "conv3 relu conv3 relu lap5 dense[bias=0.2]",
    "conv3 relu conv3 relu gap[stride=3] dense",
    "conv3 residual(relu conv3 relu conv3) relu conv3[stride=2] residual(relu conv3) relu gap dense",
    "conv3[bias=0.01] relu conv3 pool2 residual(erf conv1 abs conv3) flatten dense relu dense",
)


def layers_of(layers: tuple[Layer, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Words and attributes, as the worker takes them."""
    return [
        (layer.word, {"layers": layers_of(layer.layers)} if isinstance(layer, Residual) else asdict(layer))
        for layer in layers
    ]


def agreement() -> dict[str, dict[str, float]]:
    """Largest relative difference to neural-tangents' float64 kernels, by network and kind."""
    images = cifar_like(9, HEIGHT, WIDTH, CHANNELS).astype(np.float64)
    x1, x2 = images[:5], images[3:]
    x2[1] = 0.25  # a grey image
    described = json.dumps([layers_of(Network(text).layers) for text in NETWORKS])
    rival = run_worker("networks", {"x1": x1, "x2": x2}, f"--networks={described}")
    differences = {}
    for number, text in enumerate(NETWORKS):
        kernels = kernel(text, x1, x2, get=("ntk", "nngp"), backend="reference")
        differences[text] = {
            kind: float(np.max(np.abs(K / rival[f"{kind} {number}"] - 1))) for kind, K in kernels.items()
        }
    return differences


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__.partition("\n")[0]).parse_args()
    try:
        print(f"Against {versions()}, float64, {HEIGHT}×{WIDTH} images; largest relative difference.\n")
    except NoEnvironmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    differences = agreement()
    rows = [
        {"network": text, **{kind: f"{value:.1e}" for kind, value in kinds.items()}}
        for text, kinds in differences.items()
    ]
    print(to_markdown(pd.DataFrame(rows)))
    return int(any(value > TOLERANCE for kinds in differences.values() for value in kinds.values()))


if __name__ == "__main__":
    sys.exit(main())
