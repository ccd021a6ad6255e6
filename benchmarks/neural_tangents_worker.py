"""neural-tangents' side of the comparison. Runs in its own environment, so it imports nothing of this project.

    neural_tangents_worker.py time    IN.npz OUT.npz --dtype float32 --layers 10
    neural_tangents_worker.py kernels IN.npz OUT.npz --depths 3,6,11

IN.npz holds sets of images. `time` reads "<readout> <size>" and writes the seconds of each repeat under the same name;
`kernels` reads "x1" and "x2" and writes float64 kernels under "<readout> <kind> <depth>".
"""

import argparse
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
    parser.add_argument("action", choices=["time", "kernels"])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--depths", default="3")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    with np.load(options.input) as file:
        images = dict(file)
    action = time_blocks if options.action == "time" else compute_kernels
    np.savez(options.output, **action(images, options))


if __name__ == "__main__":
    main()
