"""neural-tangents' side of the comparison. Runs in its own environment, so it imports nothing of this project.

    neural_tangents_worker.py time    IN.npz OUT.npz --dtype float32 --layers 10
    neural_tangents_worker.py kernels IN.npz OUT.npz --depths 3,6,11
    neural_tangents_worker.py networks IN.npz OUT.npz --networks '[[["conv", {"size": 3, …}], …], …]'

IN.npz holds sets of images. `time` reads "<readout> <size>" and writes the seconds of each repeat under the same name;
`kernels` reads "x1" and "x2" and writes float64 kernels under "<readout> <kind> <depth>"; `networks` reads them too,
and writes the kernels of networks, each a list of layers with their attributes, under "<kind> <number>".
"""

import argparse
import json
import time

import jax
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

MAX_REPEATS = 7
ENOUGH_SECONDS = 10.0  # a block of gap 32×32 takes this long by itself, the others are repeated


def kernel_function(readout: str, layers: int):
    """The analytic kernel of `layers` 3×3 convolutions with ReLU, the readout and one linear output.

    The readout is "flatten", "gap" or "lap" with its window's size behind it.
    """
    hidden = [part for _ in range(layers) for part in (stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5), stax.Relu())]
    pool = [stax.GlobalAvgPool() if readout == "gap" else stax.Flatten()]
    if readout.startswith("lap"):
        window = int(readout.removeprefix("lap"))
        # At the edge, too, the sum of a window is divided by all of its pixels.
        local = stax.AvgPool((window, window), strides=(1, 1), padding="SAME", normalize_edges=False)
        pool = [local, stax.Flatten()]
    return stax.serial(*hidden, *pool, stax.Dense(1, W_std=2**0.5))[2]


def stax_layers(layers: list) -> list:
    """The layers of neural-tangents for a network's, each a word with its attributes."""
    parts = []
    for word, values in layers:
        scales = {name: value**0.5 for name, value in values.items() if name in ("weight", "bias")}
        weights = {"W_std": scales.get("weight"), "b_std": scales.get("bias") or None}
        if word == "conv":
            padding = {"zero": "SAME", "valid": "VALID", "circular": "CIRCULAR"}[values["padding"]]
            q, s = values["size"], values["stride"]
            parts.append(stax.Conv(1, (q, q), strides=(s, s), padding=padding, **weights))
        elif word == "pool":
            w, s = values["window"], values["stride"] or values["window"]
            parts.append(stax.AvgPool((w, w), strides=(s, s), padding="VALID"))
        elif word == "gap":
            s = values["stride"]
            parts += [stax.AvgPool((1, 1), strides=(s, s), padding="VALID"), stax.GlobalAvgPool()]
        elif word == "lap":
            w = values["window"]
            # At the edge, too, the sum of a window is divided by all of its pixels.
            parts += [stax.AvgPool((w, w), strides=(1, 1), padding="SAME", normalize_edges=False), stax.Flatten()]
        elif word == "residual":
            chain = stax.serial(*stax_layers(values["layers"]))
            parts.append(stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), chain), stax.FanInSum()))
        else:
            plain = {
                "dense": lambda weights=weights: stax.Dense(1, **weights),
                "flatten": stax.Flatten,
                "relu": stax.Relu,
                "leaky": lambda values=values: stax.LeakyRelu(values["slope"]),
                "abs": stax.Abs,
                "erf": stax.Erf,
                "gauss": lambda: stax.ExpNormalized(gamma=1, shift=-1),
                "gabor": stax.Gabor,
                "identity": stax.Identity,
            }
            parts.append(plain[word]())
    return parts


def compute_networks(images: dict, options: argparse.Namespace) -> dict:
    """NTK and CNN-GP of x1 with x2, in float64, for each network."""
    kernels = {}
    for number, layers in enumerate(json.loads(options.networks)):
        result = stax.serial(*stax_layers(layers))[2](images["x1"], images["x2"], ("ntk", "nngp"))
        for kind in ("ntk", "nngp"):
            kernels[f"{kind} {number}"] = np.asarray(getattr(result, kind))
    return kernels


def time_blocks(images: dict, options: argparse.Namespace) -> dict:
    """Seconds that one square block of NTK entries takes, each repeat; the first call compiles and is left out."""
    seconds = {}
    for name, x in images.items():
        half = len(x) // 2
        kernel = nt.batch(kernel_function(name.split()[0], options.layers), batch_size=half)
        x1, x2 = x[:half].astype(options.dtype), x[half:].astype(options.dtype)
        times = []
        while len(times) < 2 or (len(times) <= MAX_REPEATS and sum(times[1:]) < ENOUGH_SECONDS):
            start = time.perf_counter()
            result = np.asarray(kernel(x1, x2, "ntk"))
            times.append(time.perf_counter() - start)
        assert result.dtype == options.dtype, result.dtype
        seconds[name] = np.array(times[1:])
    return seconds


def compute_kernels(images: dict, options: argparse.Namespace) -> dict:
    """NTK and CNN-GP of x1 with x2, in float64, for each readout and depth."""
    kernels = {}
    for readout in ("flatten", "lap3", "lap5", "gap"):
        for depth in (int(d) for d in options.depths.split(",")):
            result = kernel_function(readout, depth - 1)(images["x1"], images["x2"], ("ntk", "nngp"))
            for kind in ("ntk", "nngp"):
                kernels[f"{readout} {kind} {depth}"] = np.asarray(getattr(result, kind))
    return kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["time", "kernels", "networks"])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--depths", default="3")
    parser.add_argument("--networks", default="[]")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    with np.load(options.input) as file:
        images = dict(file)
    actions = {"time": time_blocks, "kernels": compute_kernels, "networks": compute_networks}
    np.savez(options.output, **actions[options.action](images, options))


if __name__ == "__main__":
    main()
