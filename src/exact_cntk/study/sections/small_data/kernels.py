"""Kernel regression with the study's merged kernels on small random training sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import Kernel, KernelMatrix, open_kernel
from exact_cntk.data import ProcessedData
from exact_cntk.study.documents import check_images, rounded
from exact_cntk.study.fits import TEST_ROWS, check_ridges, fit_labels, right_answers
from exact_cntk.study.sections.small_data.subsets import Draw, one_a_class

RIDGES = ("none", "loo")  # the paper's protocol, and the ridge chosen by leave-one-out on the training images


class _Fit(NamedTuple):
    """By name of the ridge: the ridge and dual coefficients of shape (n, k); without those not solved."""

    draw: Draw
    classes: np.ndarray | None
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

    The rows of the test images are read once, a few at a time. Leave-one-out chooses from `ridges`, which include 0; a
    training set with one image of a class, which cannot be left out, gets no ridge.

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
    check_ridges(ridges)
    with open_kernel(kernel_file) as (kernel, matrices):
        check_images(f"kernel {kernel_file}", kernel.data_digest, data_file, data.digest, "compute its blocks again")
        results = []
        with reporting(progress, f"{kernel.name}, depth {kernel.depth}", "fits") as report:
            for i, kind in enumerate(kernel.kinds):
                fits = []
                for j, draw in enumerate(draws, start=1):
                    name = f"{kernel_file}: {kind} on {draw.train_images} images, repeat {draw.repeat}"
                    options = {"name": name, "ridges": ridges, "dtype": kernel.precision}
                    fits.append(_fit(matrices[kind], data, draw, options))
                    if report is not None:
                        report(i * len(draws) + j, len(kernel.kinds) * len(draws))
                results += _rows(kind, fits, _count_correct(matrices[kind], data, fits), len(data.test_labels))
    return kernel, results


def fitting_bytes(n: int, pool: int) -> int:
    """Memory for a fit of n images from a pool, and its predictions: K, its eigenvectors, a copy; test rows."""
    return 8 * (4 * n**2 + 2 * TEST_ROWS * pool)


def _fit(matrix: KernelMatrix, data: ProcessedData, draw: Draw, options: dict[str, Any]) -> _Fit:
    K = matrix[draw.positions, draw.positions]
    labels = data.train_labels[draw.positions]
    fit = fit_labels(K, labels, method="eigh", **options)
    plain = fit.ridges.tolist().index(0)
    best = plain if fit.solved[plain] and one_a_class(labels) else fit.best
    duals = {"loo": (float(fit.ridges[best]), fit.dual[best])}
    if fit.solved[plain]:
        duals["none"] = (0.0, fit.dual[plain])
    return _Fit(draw, fit.classes, duals)


def _count_correct(matrix: KernelMatrix, data: ProcessedData, fits: Sequence[_Fit]) -> list[dict[str, int]]:
    """For each fit, the number of test images that each ridge classifies correctly."""
    n_train, n_test = matrix.shape[1], len(data.test_labels)
    counts = [dict.fromkeys(fit.duals, 0) for fit in fits]
    for start in range(0, n_test, TEST_ROWS):
        stop = min(start + TEST_ROWS, n_test)
        rows, labels = matrix[n_train + start : n_train + stop], data.test_labels[start:stop]
        for fit, count in zip(fits, counts, strict=True):
            kernel = rows[:, fit.draw.positions]
            for name, (_, dual) in fit.duals.items():
                count[name] += int(right_answers(kernel @ dual, fit.classes, labels).sum())
    return counts


def _rows(kind: str, fits: Sequence[_Fit], counts: Sequence[dict[str, int]], n_test: int) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "ridge": name,
            "train_images": fit.draw.train_images,
            "repeat": fit.draw.repeat,
            "correct": count.get(name),
            "accuracy": count[name] / n_test if name in count else None,
            "chosen": {"ridge": rounded(fit.duals[name][0])} if name in fit.duals else {},
        }
        for fit, count in zip(fits, counts, strict=True)
        for name in RIDGES
    ]
