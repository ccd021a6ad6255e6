"""Conjugate gradients against factorisations: agreement on kernels of real images, and seconds by their number.

`python -m benchmarks.solvers agreement IMAGES` compares on one kernel (`--readout`, `--points`, `--pixels`), and
`python -m benchmarks.solvers scaling IMAGES FOLDER` times kernels of several sizes, which lie in files in FOLDER (20 GB
for 50,000 images, and about ten minutes to compute); IMAGES is the folder, or archive, of CIFAR-10. Both print JSON.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.linalg

from benchmarks.machine import describe
from exact_cntk import cntk, kernel_regression, ntk
from exact_cntk._support.cut import cut
from exact_cntk.data import load_cifar10
from exact_cntk.regression.inputs import as_ridges, as_targets

RIDGES = as_ridges("ridges", "loo")
DEPTH = 6
DENSE_DEPTH = 3  # of the fully connected network, whose kernels of 50,000 images take minutes
TEST_IMAGES = 2000
DUPLICATES = 20  # one of so many images is a copy of another, changed by noise as large as the rounding of its pixels
ROWS = 1000  # of a kernel that are computed at a time


def images(source: Path, points: int, tests: int, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images, standardised and averaged down to `pixels` a side, and their labels."""
    data = load_cifar10(source, allow_unverified=True)
    train, test = data.train_images[:points] / 255.0, data.test_images[:tests] / 255.0
    box = train.shape[1] // pixels
    mean, spread = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))
    small = [
        ((x - mean) / spread).reshape(len(x), pixels, box, pixels, box, -1).mean(axis=(2, 4)).astype(np.float32)
        for x in (train, test)
    ]
    return small[0], data.train_labels[:points], small[1], data.test_labels[:tests]


def add_duplicates(x: np.ndarray, labels: np.ndarray) -> None:
    """Put near-copies of the first images in place of others."""
    copies = np.arange(DUPLICATES - 1, len(x), DUPLICATES)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, x[copies].shape) / 255
    x[copies], labels[copies] = x[copies - 1] + noise, labels[copies - 1]


def agreement(source: Path, *, readout: str, points: int, pixels: int, duplicates: bool) -> dict[str, Any]:
    """Products and seconds of "cg", its difference from "direct", and the ridges that both choose."""
    x, labels, x_test, test_labels = images(source, points, TEST_IMAGES, pixels)
    if duplicates:
        add_duplicates(x, labels)
    options: dict[str, Any] = {"depths": DEPTH, "readout": readout, "trained": "hidden" if readout == "gap" else "all"}
    K, K_test = (cntk(*pair, **options)["ntk", DEPTH] for pair in ((x,), (x_test, x)))
    fits, seconds, products = {}, {}, []
    for method in ("cg", "direct"):
        start = time.perf_counter()
        fits[method] = kernel_regression(
            *(K, labels, K_test),
            ridges=RIDGES,
            method=method,
            progress=lambda done, _, method=method: method == "cg" and products.append(done),
        )
        seconds[method] = time.perf_counter() - start
    ours, exact = fits["cg"], fits["direct"]
    largest = np.abs(exact.predictions).max(axis=(1, 2))
    return {
        "kernel": f"{readout}, depth {DEPTH}, {points} images of {pixels}×{pixels}, duplicates: {duplicates}",
        "ridges": RIDGES.tolist(),
        "products": products[-1],
        "seconds": seconds,
        "condition_number": exact.condition_number.tolist(),
        "residual_norm": ours.residual_norm.tolist(),
        "solved": ours.solved.tolist(),
        "difference": (np.abs(ours.predictions - exact.predictions).max(axis=(1, 2)) / largest).tolist(),
        "accuracy": {method: fit.test_accuracy(test_labels).tolist() for method, fit in fits.items()},
        "chosen": {method: [fit.best_ridge, fit.test_accuracy(test_labels)[fit.best]] for method, fit in fits.items()},
    }


def write_kernel(source: Path, file: Path, points: int) -> None:
    """The NTK of a fully connected network, and the labels, in a file."""
    x, labels, *_ = images(source, points, 1, 32)
    x = x.reshape(points, -1)
    unfinished = file.with_suffix(".part")
    with h5py.File(unfinished, "w") as stream:
        stream["labels"] = labels
        K = stream.create_dataset("K", (points, points), dtype=np.float64)
        for rows in cut(points, ROWS):
            for columns in cut(rows.stop, ROWS):
                block = ntk(x[rows], x[columns], depth=DENSE_DEPTH)["ntk"]
                K[columns, rows] = block.T
                K[rows, columns] = (block + block.T) / 2 if rows == columns else block
    unfinished.rename(file)


def solve_file(file: Path, method: str) -> dict[str, Any]:
    """Seconds, products and the peak of memory of one path; "scipy" is `cho_factor` and `cho_solve` for every ridge."""
    products: list[int] = []
    with h5py.File(file) as stream:
        labels = stream["labels"][:]
        start = time.perf_counter()
        if method == "scipy":
            K, (Y, _) = stream["K"][:], as_targets(labels, len(labels))
            diagonal = K.diagonal().copy()
            for ridge in RIDGES:
                shifted = K.copy()
                np.fill_diagonal(shifted, diagonal + ridge * diagonal.mean())
                scipy.linalg.cho_solve(scipy.linalg.cho_factor(shifted, overwrite_a=True, check_finite=False), Y)
            fit = None
        else:
            fit = kernel_regression(
                *(stream["K"], labels),
                ridges=RIDGES,
                method=method,
                max_memory_gib=16,
                dtype="float64",
                progress=lambda done, _: products.append(done),
            )
        seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    return {
        "points": len(labels),
        "method": method,
        "seconds": round(seconds, 1),
        "products": products[-1] if method == "cg" else None,
        "peak_gib": round(int(status.partition("VmHWM:")[2].split()[0]) / 2**20, 2),
        "condition_number": None if fit is None else float(fit.condition_number[0]),
        "residual_norm": None if fit is None else float(np.nanmax(fit.residual_norm)),
        "solved": None if fit is None else fit.solved.tolist(),
    }


def scaling(source: Path, folder: Path, points: list[int], methods: list[str]) -> list[dict[str, Any]]:
    """Each size in a process of its own, so that peaks of memory are its own."""
    results = []
    for n in points:
        file = folder / f"dense-{n}.h5"
        if not file.exists():
            write_kernel(source, file, n)
        for method in methods:
            command = [sys.executable, "-m", "benchmarks.solvers", "solve", str(file), "--method", method]
            results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    if len(points) > 1:
        for method in methods:
            pairs = [(row["points"], row["seconds"]) for row in results if row["method"] == method]
            results.append({"method": method, "power": round(float(np.polyfit(*np.log(pairs).T, 1)[0]), 2)})
    return results


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solvers", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("agreement")
    one.add_argument("images", type=Path)
    one.add_argument("--readout", default="flatten")
    one.add_argument("--points", type=int, default=5000)
    one.add_argument("--pixels", type=int, default=32)
    one.add_argument("--duplicates", action="store_true")
    many = verbs.add_parser("scaling")
    many.add_argument("images", type=Path)
    many.add_argument("folder", type=Path)
    many.add_argument("--points", type=int, nargs="+", default=[6250, 12_500, 25_000, 50_000])
    many.add_argument("--methods", nargs="+", default=["cg"])
    single = verbs.add_parser("solve")
    single.add_argument("file", type=Path)
    single.add_argument("--method", default="cg")
    given = parser.parse_args()
    if given.verb == "solve":
        print(json.dumps(solve_file(given.file, given.method)))
        return
    machine = describe("python -m benchmarks.solvers")  # the load, before it is ours
    if given.verb == "agreement":
        options = {name: getattr(given, name) for name in ("readout", "points", "pixels", "duplicates")}
        result: Any = agreement(given.images, **options)
    else:
        result = scaling(given.images, given.folder, given.points, given.methods)
    print(json.dumps({"machine": machine, "result": result}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
