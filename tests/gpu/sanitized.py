"""A small problem for every kernel, for compute-sanitizer to watch; test_sanitizer.py runs it."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "kernels" / "cuda"))

from pictures import photographs

from exact_cntk import cntk

# Tuned kernels with a plane in one warp and in a part of one, general ones in shared and in global memory.
SHAPES = ((32, 32), (8, 8), (7, 11), (80, 72))


def main() -> None:
    for shape in SHAPES:
        x1, x2 = photographs(3, *shape), photographs(2, *shape, seed=1)
        for readout in ("flatten", "gap") if shape[0] < 80 else ("flatten",):
            for trained in ("hidden", ["all", "hidden"]):
                options = {"depths": [2, 3], "readout": readout, "trained": trained, "get": ["ntk", "nngp"]}
                kernels = cntk(x1, x2, backend="cuda", **options)
                expected = cntk(x1, x2, backend="cpu", **options)
                for key, kernel in kernels.items():
                    np.testing.assert_allclose(kernel, expected[key], rtol=1e-6, err_msg=f"{shape} {readout} {key}")
    print("all kernels agree with the cpu")


if __name__ == "__main__":
    main()
