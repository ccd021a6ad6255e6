"""How empirical kernels approach the exact ones as networks grow wider."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError
from exact_cntk.finite.empirical import empirical_kernel
from exact_cntk.kernels.cntk import cntk
from exact_cntk.networks import KINDS, TRAINED

DTYPE: Literal["float32"] = "float32"  # of the networks: its rounding is far below their deviations


@dataclass(frozen=True)
class WidthSweep:
    """Deviations of empirical kernels from the exact one, and the power of the width at which they fall.

    Attributes
    ----------
    widths : array of shape (number of widths,), int
    deviations : array of shape (number of widths, draws)
        ‖K_width − K‖ / ‖K‖ in the Frobenius norm, one network each.
    slope : float
        Least squares of log deviation on log width, all networks alike; −1/2 is expected.
    interval : (float, float)
        Confidence interval of the slope, by Student's t with two degrees of freedom fewer than networks.
    confidence : float
    """

    widths: np.ndarray
    deviations: np.ndarray
    slope: float
    interval: tuple[float, float]
    confidence: float


def width_sweep(
    x: Any,
    *,
    widths: Sequence[int],
    depth: int,
    readout: Literal["flatten", "lap", "gap"],
    pooling_window: int | None = None,
    trained: Literal["all", "hidden"] = "all",
    filter_size: int = 3,
    get: Literal["ntk", "nngp"] = "ntk",
    channels_first: bool | None = None,
    draws: int = 10,
    seed: int = 0,
    confidence: float = 0.95,
    device: Literal["cpu", "cuda"] = "cpu",
    max_memory_gib: float = 1.0,
    progress: bool | Progress = False,
) -> WidthSweep:
    """Deviation of empirical kernels from the exact one, against width, and the rate fitted to it.

    Parameters
    ----------
    x : array of shape (n, P, Q, C)
        Images; their kernel with themselves is what is compared.
    widths : sequence of int ≥ 1, at least two different ones
    depth, readout, pooling_window, trained, filter_size, channels_first, draws, seed, device, max_memory_gib, progress
        As `empirical_kernel` takes them; one depth, one kind, one choice of trained layers. Networks of different
        widths are independent, and so are draws.
    get : {"ntk", "nngp"}
    confidence : float, in (0, 1)
        Of the slope's interval.

    Returns
    -------
    WidthSweep

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed, or the exact kernel is 0.

    Notes
    -----
    The deviation of a network is about width^−1/2 times a random number whose law does not depend on the width, so
    that the residuals of its logarithm are alike at all widths, as the interval supposes; terms of width^−1 bend the
    line at small widths and deep networks.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, theorem 3.1.
    """
    sizes = _as_widths(widths)
    draws = check.as_integer("draws", draws, at_least=1)
    level = check.as_number("confidence", confidence)
    kind = check.as_choice("get", get, KINDS)
    check.as_choice("trained", trained, TRAINED)
    if len(sizes) < 2 or len(sizes) * draws < 3:
        raise InputError(
            f"widths are {sizes} and draws {draws}; a slope's interval takes two widths and three networks"
        )
    if not 0 < level < 1:
        raise InputError(f"confidence is {confidence!r}; allowed are numbers between 0 and 1")
    depth = check.as_depth("depth", depth)
    architecture: dict[str, Any] = {
        "depths": depth,
        "readout": readout,
        "pooling_window": pooling_window,
        "trained": trained,
        "filter_size": filter_size,
        "get": kind,
        "channels_first": channels_first,
    }
    exact = cntk(x, backend="cpu", dtype="float64", **architecture)[kind, depth]
    if not exact.any():
        raise InputError(f"the {kind} kernel of depth {depth} with trained={trained!r} is 0 on x: nothing to compare")

    options: dict[str, Any] = {"seed": seed, "device": device, "max_memory_gib": max_memory_gib}
    deviations = np.empty((len(sizes), draws))
    with reporting(check.as_progress("progress", progress), "width sweep", "widths") as report:
        for i, width in enumerate(sizes):
            for draw in range(draws):  # one in memory at a time
                kernels = empirical_kernel(x, width=width, draws=[draw], dtype=DTYPE, **architecture, **options)
                difference = kernels[kind, depth] - exact
                deviations[i, draw] = np.linalg.norm(difference, axis=(1, 2))[0] / np.linalg.norm(exact)
            if report is not None:
                report(i + 1, len(sizes))
    slope, interval = fit_slope(np.asarray(sizes), deviations, level)
    return WidthSweep(np.asarray(sizes), deviations, slope, interval, level)


def fit_slope(widths: np.ndarray, deviations: np.ndarray, confidence: float) -> tuple[float, tuple[float, float]]:
    """Slope of log deviation on log width by least squares, and its confidence interval by Student's t."""
    from scipy.stats import linregress, t

    fit = linregress(np.repeat(np.log(widths), deviations.shape[1]), np.log(deviations).ravel())
    half = float(t.ppf((1 + confidence) / 2, deviations.size - 2) * fit.stderr)
    slope = float(fit.slope)
    return slope, (slope - half, slope + half)


def _as_widths(widths: Any) -> list[int]:
    """Different widths in ascending order."""
    values = widths if isinstance(widths, Iterable) and not isinstance(widths, str) else [widths]
    return sorted({check.as_integer("widths", width, at_least=1) for width in values})
