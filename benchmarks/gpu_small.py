"""A problem small enough for compute-sanitizer that goes through every kernel of a backend, checked at the end."""

import argparse
import sys

import numpy as np

from benchmarks.images import cifar_like
from exact_cntk import cntk

# readout, height, width, filter size, depths, dtype, images a side: the tuned kernels, then the general one with planes
# in shared memory and in global memory.
PROBLEMS = (
    ("gap", 32, 32, 3, (3,), "float32", 1),
    ("gap", 8, 8, 3, (3, 4), "float32", 2),
    ("flatten", 32, 32, 3, (3, 4), "float32", 5),
    ("gap", 7, 9, 5, (3,), "float32", 1),
    ("flatten", 9, 9, 3, (3,), "float64", 2),
    ("flatten", 80, 72, 3, (3,), "float32", 1),
)
TOLERANCE = 1e-6


def main(arguments: list[str] | None = None) -> int:
    """Compute and compare; exit status 1 where a kernel is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_small", description=__doc__)
    parser.add_argument("--backend", default="cuda")
    backend = parser.parse_args(arguments).backend
    worst = 0.0
    for readout, height, width, filter_size, depths, dtype, n in PROBLEMS:
        images = cifar_like(2 * n, height, width)
        options = {"depths": depths, "readout": readout, "filter_size": filter_size, "trained": ("all", "hidden")}
        options |= {"get": ("ntk", "nngp")}
        kernels = cntk(images[:n], images[n:], **options, backend=backend, dtype=dtype)
        # Within 1e-12 of the reference, and faster.
        expected = cntk(images[:n], images[n:], **options, backend="cpu", dtype="float64")
        for key, values in expected.items():
            worst = max(worst, float(np.max(np.abs(kernels[key] / values - 1))))
    print(f"largest relative difference to the CPU in float64: {worst:.1e}, allowed {TOLERANCE:g}")
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
