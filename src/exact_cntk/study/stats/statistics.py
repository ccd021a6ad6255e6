"""Association of two sets of accuracies over the same architectures: coefficients, regret, permutation tests.

Every statistic works along the last axis, so that thousands of resamples are one call, and is NaN where it is not
defined; `undefined_reason` says why in words.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

COVERAGE = 0.95
# Two points always lie on a line: a coefficient of fewer architectures says nothing.
FEWEST = 3
# All reassignments are tried up to this many (8! = 40,320; two families of five: 5!² = 14,400), else a sample of them.
MOST_EXACT = 50_000
SAMPLED = 9_999

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis; NaN where one side is constant.

    Parameters
    ----------
    x, y : arrays of shape (…, n)

    Returns
    -------
    array of shape (…,)
    """
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    norm = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (x * y).sum(axis=-1) / norm, np.nan)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's ρ along the last axis: Pearson's r of the ranks, ties at their mean rank."""
    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's τ_b along the last axis, Σ sign Δx · sign Δy / √(Σ sign² Δx · Σ sign² Δy) over all pairs.

    Without ties it is the share of pairs ranked alike minus the share ranked the other way round.
    """
    x, y = np.broadcast_arrays(x, y)
    both, in_x, in_y = np.zeros((3, *x.shape[:-1]))
    for lag in range(1, x.shape[-1]):  # the pairs at one distance at a time: all together take n times the memory
        a, b = np.sign(x[..., lag:] - x[..., :-lag]), np.sign(y[..., lag:] - y[..., :-lag])
        both, in_x, in_y = both + (a * b).sum(axis=-1), in_x + (a * a).sum(axis=-1), in_y + (b * b).sum(axis=-1)
    norm = np.sqrt(in_x * in_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, both / norm, np.nan)


def regret(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Loss from choosing by the proxy, max y − y[argmax x] along the last axis, in the unit of y.

    A tie goes to the first (shallowest) architecture; 0 when the proxy picks the best.
    """
    chosen = np.take_along_axis(y, x.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return y.max(axis=-1) - chosen


COEFFICIENTS: dict[str, Statistic] = {"pearson": pearson, "spearman": spearman, "kendall": kendall}
STATISTICS = COEFFICIENTS | {"regret": regret}


def remove_means(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Subtract the mean of their group from values, along the last axis: the effect within groups remains.

    Pearson's r of two such sides is their partial correlation given the group.
    """
    values = np.array(values, dtype=float)
    for members in _members(groups):
        values[..., members] -= values[..., members].mean(axis=-1, keepdims=True)
    return values


def undefined_reason(x: np.ndarray, y: np.ndarray) -> str:
    """Why a coefficient of x and y, of shape (n,), is not defined; empty if it is."""
    if len(x) < FEWEST:
        return f"fewer than {FEWEST} architectures"
    constant = [side for side, values in (("proxy", x), ("target", y)) if np.ptp(values) <= _noise(values)]
    return f"{' and '.join(constant)} constant" if constant else ""


def interval(value: float, resampled: np.ndarray, bound: float = 1.0) -> tuple[float, float]:
    """Interval of `COVERAGE` for a coefficient from its bootstrap: v − bias ± z·sd, bias = mean of the resamples − v.

    Noise attenuates a correlation, and resampling adds the same noise once more: the resamples lie below v by about as
    much as v lies below the coefficient of the noiseless accuracies. Percentile intervals repeat that bias, and for
    dozens of architectures miss the true coefficient in four of five simulated studies; this interval (Davison and
    Hinkley 1997, section 5.2) corrects it. It may lie above v.

    Parameters
    ----------
    value : float
        The coefficient of the measured accuracies.
    resampled : array of shape (resamples,)
    bound : float
        The largest possible absolute value, at which the interval is cut.

    Returns
    -------
    low, high : float
        NaN if the coefficient is undefined in most of the resamples.
    """
    finite = _enough(resampled)
    if not finite.size:
        return math.nan, math.nan
    centre = 2 * value - finite.mean()
    half = float(ndtri((1 + COVERAGE) / 2)) * finite.std(ddof=1)
    low, high = np.clip([centre - half, centre + half], -bound, bound)
    if low == high:  # all of it lies beyond the bound: extend it to the measured value
        low, high = min(low, value), max(high, value)
    return float(low), float(high)


def percentiles(resampled: np.ndarray) -> tuple[float, float]:
    """Percentile interval of `COVERAGE`, for regrets: these are never negative and jump from one pick to the next."""
    finite = _enough(resampled)
    if not finite.size:
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _enough(resampled: np.ndarray) -> np.ndarray:
    """The finite resamples; none if they are less than half."""
    finite = resampled[np.isfinite(resampled)]
    return finite if finite.size > max(1, resampled.size / 2) else finite[:0]


def permutation_p(
    x: np.ndarray,
    y: np.ndarray,
    statistic: Statistic,
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> float:
    """P-value of a one-sided permutation test for a positive association.

    The values of y are permuted over the architectures, within groups if these are given. Up to `MOST_EXACT`
    permutations, all are tried and p is exact; otherwise `SAMPLED` random ones, p = (1 + hits) / (1 + draws) (Phipson
    and Smyth 2010). With n architectures in one group p cannot be less than 1/n!.

    Parameters
    ----------
    x, y : arrays of shape (n,)
    statistic : function of arrays of shape (…, n), one of `COEFFICIENTS`
    groups : sequence of n labels, optional
    seed : int
        Of the sample.

    Returns
    -------
    float
        NaN if the coefficient is undefined.
    """
    if undefined_reason(x, y):
        return math.nan
    orders, exact = _orders(tuple(map(tuple, _members([None] * len(x) if groups is None else groups))), seed)
    permuted = statistic(np.broadcast_to(x, orders.shape), np.asarray(y)[orders])
    # the same coefficient differs in its last digits from order to order
    hits = int((permuted >= statistic(x, y) - 1e-9).sum())
    return hits / len(orders) if exact else (1 + hits) / (1 + len(orders))


@lru_cache(maxsize=8)  # one for all coefficients of a comparison
def _orders(groups: tuple[tuple[int, ...], ...], seed: int) -> tuple[np.ndarray, bool]:
    """Permutations within groups of indices, of shape (orders, n), and whether these are all of them."""
    exact = math.prod(math.factorial(len(group)) for group in groups) <= MOST_EXACT
    if exact:
        permuted = np.array([sum(parts, ()) for parts in itertools.product(*map(itertools.permutations, groups))])
    else:
        rng = np.random.default_rng(seed)
        drawn = [rng.permuted(np.broadcast_to(group, (SAMPLED, len(group))), axis=1) for group in groups]
        permuted = np.concatenate(drawn, axis=1)
    orders = np.empty_like(permuted)
    orders[:, sum(groups, ())] = permuted
    return orders, exact


def _members(groups: Sequence[Hashable]) -> list[list[int]]:
    """Indices of each group, groups in order of appearance."""
    return [[i for i, label in enumerate(groups) if label == group] for group in dict.fromkeys(groups)]


def _noise(values: np.ndarray) -> float:
    """Differences below this are rounding, which subtracting a mean leaves."""
    return 1e-12 * max(1.0, float(np.abs(values).max()))
