"""Kernel regression with the study's merged kernels on small random training sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import Kernel, open_kernel
from exact_cntk.data import ProcessedData
from exact_cntk.errors import InputError, UserError
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.study.documents import rounded
from exact_cntk.study.fits import KERNEL_ERROR
from exact_cntk.study.sections.small_data.subsets import Draw, one_a_class
from exact_cntk.study.solve import TEST_ROWS

RIDGES = ("none", "loo")  # the paper's protocol; and the ridge chosen by leave-one-out on the training images


class _Fit(NamedTuple):
    """Dual coefficients of shape (n, k) by name of the ridge, with that ridge; those not solved are left out."""

    draw: Draw
    classes: np.ndarray
    duals: dict[str, tuple[float, np.ndarray]]


def kernel_results(
    kernel_file: Path,
    data_file: Path,
    data: ProcessedData,
    draws: Sequence[Draw],
    *,
    ridges: Sequence[float],
    progress: bool | Progress = False,
) -> tuple[Kernel, list[dict[str, Any]]]:
    """Test accuracy of every kind of kernel in a file, on every training set, on all test images.

    The kernel of each training set with itself is read from the file; those with the test images are read once, a few
    rows at a time.

    Parameters
    ----------
    kernel_file, data_file : Path
        Of a merged kernel, and of `data`, for messages.
    data : ProcessedData
    draws : sequence of Draw
    ridges : sequence of float
        Relative to the mean of the kernel's diagonal, 0 among them; leave-one-out chooses from them, but on a training
        set with one image of a class, where it can say nothing: none is taken there.
    progress : bool or callable(done, total)
        Counts fits.

    Returns
    -------
    Kernel
        Attributes of the file.
    list of dict
        By kind, size, repeat and ridge (`RIDGES`): `kind`, `ridge`, `train_images`, `repeat`, `correct` (number of test
        images; None where K + λI is singular to working precision), `accuracy`, `chosen`.

    Raises
    ------
    UserError
        A file is missing or damaged, or kernel and data do not belong together.
    """
    if 0 not in ridges:
        raise InputError(f"ridges are {list(ridges)}, but must hold 0, the paper's protocol, besides any others")
    with open_kernel(kernel_file) as (kernel, file):
        if kernel.data_digest != data.digest:
            raise UserError(
                f"kernel {kernel_file} was computed from other images (digest {kernel.data_digest[:12]}…) than those "
                f"in {data_file} (digest {data.digest[:12]}…): compute its blocks again"
            )
        results = []
        with reporting(progress, f"{kernel.name}, depth {kernel.depth}", "fits") as report:
            for i, kind in enumerate(kernel.kinds):
                fits = []
                for j, draw in enumerate(draws, start=1):
                    try:
                        fits.append(_fit(file[kind], data, draw, ridges, KERNEL_ERROR[kernel.dtype]))
                    except InputError as error:
                        where = f"{kind} on {draw.train_images} images, repeat {draw.repeat}"
                        raise UserError(f"{kernel_file}: {where}: {error}") from error
                    if report is not None:
                        report(i * len(draws) + j, len(kernel.kinds) * len(draws))
                results += _rows(kind, fits, _count_correct(file[kind], data, fits), len(data.test_labels))
    return kernel, results


def fitting_bytes(n: int, pool: int) -> int:
    """Memory for a fit to n of a pool of images, and for its predictions: K, its eigenvectors, a copy; test rows."""
    return 8 * (4 * n**2 + 2 * TEST_ROWS * pool)


def _fit(dataset: h5py.Dataset, data: ProcessedData, draw: Draw, ridges: Sequence[float], tolerance: float) -> _Fit:
    # row by row: a selection of thousands of points takes h5py quadratic time
    K = np.stack([dataset[row][draw.positions] for row in draw.positions])
    fit = kernel_regression(K, data.train_labels[draw.positions], ridges=ridges, tolerance=tolerance, method="eigh")
    assert fit.classes is not None  # labels have classes
    plain = list(ridges).index(0)
    best = plain if fit.solved[plain] and one_a_class(data.train_labels[draw.positions]) else fit.best
    duals = {"loo": (float(fit.ridges[best]), fit.dual[best])}
    if fit.solved[plain]:
        duals["none"] = (0.0, fit.dual[plain])
    return _Fit(draw, fit.classes, duals)


def _count_correct(dataset: h5py.Dataset, data: ProcessedData, fits: Sequence[_Fit]) -> list[dict[str, int]]:
    """For each fit, the number of test images that each ridge gets right."""
    n_train, n_test = dataset.shape[1], len(data.test_labels)
    counts = [dict.fromkeys(fit.duals, 0) for fit in fits]
    for start in range(0, n_test, TEST_ROWS):
        stop = min(start + TEST_ROWS, n_test)
        rows, labels = dataset[n_train + start : n_train + stop], data.test_labels[start:stop]
        for fit, count in zip(fits, counts, strict=True):
            kernel = rows[:, fit.draw.positions]
            for name, (_, dual) in fit.duals.items():
                count[name] += int((fit.classes[(kernel @ dual).argmax(axis=1)] == labels).sum())
    return counts


def _rows(kind: str, fits: Sequence[_Fit], counts: Sequence[dict[str, int]], n_test: int) -> list[dict[str, Any]]:
    rows = []
    for fit, count in zip(fits, counts, strict=True):
        for name in RIDGES:
            correct = count.get(name)
            rows.append(
                {
                    "kind": kind,
                    "ridge": name,
                    "train_images": fit.draw.train_images,
                    "repeat": fit.draw.repeat,
                    "correct": correct,
                    "accuracy": None if correct is None else correct / n_test,
                    "chosen": {"ridge": rounded(fit.duals[name][0])} if name in fit.duals else {},
                }
            )
    return rows
