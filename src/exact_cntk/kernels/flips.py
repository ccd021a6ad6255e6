"""Kernels averaged over the group of horizontal flips: K(x, x′) and K(x, flip x′), half of each."""

from collections.abc import Callable

import numpy as np

from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress
from exact_cntk.networks import Family

# Rows of a call for K(x, flip x′): an eighth of all, so that a symmetric kernel takes little more than its triangle
# and the result of one call little memory; but at least so many, since each call makes the columns' norm tables again,
# which costs as much as tens of flatten pairs.
CALLS = 8
FEWEST_ROWS = {"flatten": 512, "lap": 64, "gap": 32}

Compute = Callable[[np.ndarray, np.ndarray | None, Progress | None], np.ndarray]


def flipped(images: np.ndarray) -> np.ndarray:
    """Images of shape (n, P, Q, C) with left and right exchanged."""
    return np.ascontiguousarray(images[:, :, ::-1])


def averaged(
    compute: Compute, images: np.ndarray, others: np.ndarray | None, family: Family, progress: Progress | None
) -> np.ndarray:
    """(K(x, x′) + K(x, flip x′)) / 2 for all kernels of a pass.

    K does not change when both images are flipped, so this is the mean over the flips of either image and of both.
    Without `others` the result is exactly symmetric: pairs below the diagonal are computed, and mirrored.

    Parameters
    ----------
    compute : callable(x1, x2 or None, progress)
        The plain kernels, an array of shape (outputs, n, m).
    images, others : arrays of shape (n, P, Q, C) and (m, P, Q, C)
    family : Family
    progress : callable(done, total) or None
        Called in pairs, of which there are at least twice as many as without flips.
    """
    n, m = len(images), len(images if others is None else others)
    plain = n * (n + 1) // 2 if others is None else n * m
    parts = cut(n, max(-(-n // CALLS), FEWEST_ROWS[family.readout]))
    widths = [rows.stop if others is None else m for rows in parts]
    total = plain + sum((rows.stop - rows.start) * width for rows, width in zip(parts, widths, strict=True))
    done = 0

    def shifted(now: int, _: int) -> None:
        if progress is not None:
            progress(done + now, total)

    report = None if progress is None else shifted
    kernels = compute(images, others, report)
    done = plain
    mirrored = flipped(images if others is None else others)
    for rows, width in zip(parts, widths, strict=True):
        part = compute(images[rows], mirrored[:width], report)
        done += part.shape[1] * width
        if others is None:
            square = part[:, :, rows]
            square[:] = np.tril(square) + np.tril(square, -1).transpose(0, 2, 1)
        kernels[:, rows, :width] += part
        if others is None:
            kernels[:, : rows.start, rows] = kernels[:, rows, : rows.start].transpose(0, 2, 1)
    kernels *= 0.5
    return kernels
