"""What kernels in float32 on disk change in predictions: `python -m benchmarks.storage IMAGES.h5 --readout flatten`.

The kernels of the first images of a processed file are computed once; ridge regression with them as they are is
compared with regression with the same numbers rounded to float32, without a ridge and with the one of leave-one-out.
"""

import argparse
from pathlib import Path

import numpy as np

from exact_cntk import cntk
from exact_cntk.data import load_processed
from exact_cntk.errors import UserError
from exact_cntk.regression.kernel_regression import kernel_regression

RIDGES = (0.0, *10.0 ** np.arange(-8, 1))
PAPER = {"flatten": "all", "gap": "hidden"}  # the layers that are trained in its two columns
HEAD = "kernel      depth  ridge    accuracy  changed labels  largest change  condition number"


def compare(K: np.ndarray, K_test: np.ndarray, labels: np.ndarray, test_labels: np.ndarray, dtype: str) -> list[str]:
    """Lines of the table, one for each ridge: none, and the one that leave-one-out chooses.

    The largest change of a prediction is relative to the largest prediction.
    """
    fits = [
        kernel_regression(one, labels, ridges=RIDGES, dtype=name)
        for one, name in ((K, dtype), (K.astype(np.float32).astype(np.float64), "float32"))
    ]
    rounded = K_test.astype(np.float32).astype(np.float64)
    lines = []
    for i in (0, fits[0].best):
        if not all(fit.solved[i] for fit in fits):
            lines.append(f"{RIDGES[i]:<8.0e} not solved")
            continue
        exact, stored = (test @ fit.dual[i] for test, fit in zip((K_test, rounded), fits, strict=True))
        change = np.abs(stored - exact).max() / np.abs(exact).max()
        changed = int((stored.argmax(axis=1) != exact.argmax(axis=1)).sum())
        right = (fits[0].classes[exact.argmax(axis=1)] == test_labels).mean()
        condition = fits[0].condition_number[i]
        lines.append(f"{RIDGES[i]:<8.0e} {right:7.2%} {changed:7d} of {len(exact):5d} {change:13.1e} {condition:14.1e}")
    return lines


def main() -> None:
    """Print the table of one readout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__.partition("\n")[0])
    parser.add_argument("images", type=Path, help="a processed file: exact-cntk data prepare")
    parser.add_argument("--readout", choices=PAPER, default="flatten")
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 21])
    parser.add_argument("--train", type=int, default=1000, help="images (default %(default)s)")
    parser.add_argument("--test", type=int, default=1000, help="images (default %(default)s)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of the recursion")
    options = parser.parse_args()
    try:
        data = load_processed(options.images)
    except UserError as error:
        parser.error(str(error))
    x, x_test = data.train_images[: options.train], data.test_images[: options.test]
    labels, test_labels = data.train_labels[: options.train], data.test_labels[: options.test]
    how = {"depths": options.depths, "readout": options.readout, "trained": PAPER[options.readout]}
    how |= {"get": ("ntk", "nngp"), "dtype": options.dtype, "progress": True}
    K, K_test = cntk(x, **how), cntk(x_test, x, **how)
    print(HEAD)
    for key, kernel in K.items():
        for line in compare(kernel, K_test[key], labels, test_labels, options.dtype):
            print(f"{options.readout:7} {key[0]:4} {key[1]:4}  {line}")


if __name__ == "__main__":
    main()
