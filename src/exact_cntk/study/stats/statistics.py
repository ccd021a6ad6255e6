"""Association of two sets of accuracies over the same architectures: coefficients, regret, permutation tests.

Every statistic works along the last axis, so that thousands of resamples are one call, and is NaN where it is not
defined; `undefined_reason` says why in words.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

COVERAGE = 0.95
# Two points always lie on a line: a coefficient of fewer architectures says nothing.
FEWEST = 3
# All reassignments are tried up to this many (8! = 40,320; two families of five: 5!² = 14,400), else a sample of them.
MOST_EXACT = 50_000
SAMPLED = 9_999
# Numbers at a time in pairwise signs: 2²² of 8 bytes are 32 MiB.
_CHUNK = 2**22

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

    Without ties it is the share of pairs ranked alike less the share ranked the other way round.
    """
    x, y = np.broadcast_arrays(x, y)
    first, second = np.triu_indices(x.shape[-1], 1)
    flat_x, flat_y = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
    step = max(1, _CHUNK // max(1, len(first)))
    parts = [np.empty(0)]
    for start in range(0, len(flat_x), step):
        a, b = flat_x[start : start + step], flat_y[start : start + step]
        a, b = np.sign(a[:, first] - a[:, second]), np.sign(b[:, first] - b[:, second])
        norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(np.where(norm > 0, (a * b).sum(axis=-1) / norm, np.nan))
    return np.concatenate(parts).reshape(x.shape[:-1])[()]


def regret(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What choosing by the proxy costs, max y − y[argmax x] along the last axis; a tie goes to the first (shallowest).

    In the unit of y; 0 when the proxy picks the best architecture.
    """
    chosen = np.take_along_axis(y, x.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return y.max(axis=-1) - chosen


COEFFICIENTS: dict[str, Statistic] = {"pearson": pearson, "spearman": spearman, "kendall": kendall}


def remove_means(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Values less the mean of their group, along the last axis: what is left is the effect within groups.

    Pearson's r of two sides so treated is their partial correlation given the group.
    """
    values = np.array(values, dtype=float)
    for members in _members(groups):
        values[..., members] -= values[..., members].mean(axis=-1, keepdims=True)
    return values


def undefined_reason(x: np.ndarray, y: np.ndarray) -> str:
    """Why a coefficient of x and y, of shape (n,), is not defined; empty where it is."""
    if len(x) < FEWEST:
        return f"fewer than {FEWEST} architectures"
    constant = [side for side, values in (("proxy", x), ("target", y)) if np.ptp(values) <= _noise(values)]
    return f"{' and '.join(constant)} constant" if constant else ""


def interval(value: float, resampled: np.ndarray, bound: float = 1.0) -> tuple[float, float]:
    """Interval of `COVERAGE` for a coefficient from its bootstrap: v − bias ± z·sd, bias = mean of the resamples − v.

    Noise in two accuracies pulls their correlation towards 0, and resampling adds the same noise once more: the
    resamples lie below v by about as much as v lies below the coefficient of the noiseless accuracies. Percentiles of
    the resamples repeat that bias, and for dozens of architectures miss the true coefficient in four of five
    simulated studies; this interval (Davison and Hinkley 1997, section 5.2) corrects it. It may lie above v.

    Parameters
    ----------
    value : float
        The coefficient of the measured accuracies.
    resampled : array of shape (resamples,)
    bound : float
        The largest absolute value there is; ends beyond are cut.

    Returns
    -------
    low, high : float
        NaN when most of the resamples leave the coefficient undefined.
    """
    finite = _enough(resampled)
    if not finite.size:
        return math.nan, math.nan
    centre = 2 * value - finite.mean()
    half = float(ndtri((1 + COVERAGE) / 2)) * finite.std(ddof=1)
    low, high = np.clip([centre - half, centre + half], -bound, bound)
    if low == high:  # all of it beyond the bound: at least it reaches what was measured
        low, high = min(low, value), max(high, value)
    return float(low), float(high)


def percentiles(resampled: np.ndarray) -> tuple[float, float]:
    """Percentile interval of `COVERAGE`, for a regret: it is never negative and jumps from one pick to the next."""
    finite = _enough(resampled)
    if not finite.size:
        return math.nan, math.nan
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def _enough(resampled: np.ndarray) -> np.ndarray:
    """The finite resamples; none where they are less than half."""
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
    """One-sided p-value of a positive association: how often chance gives at least the observed coefficient.

    The values of y are reassigned to the architectures, within their group where groups are given. Up to `MOST_EXACT`
    reassignments all are tried and p is exact; else `SAMPLED` random ones, p = (1 + hits) / (1 + draws) (Phipson and
    Smyth 2010). With n architectures in one group p cannot be less than 1/n!.

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
        NaN where the coefficient is undefined.
    """
    if undefined_reason(x, y):
        return math.nan
    orders, exact = _orders(tuple(map(tuple, _members([None] * len(x) if groups is None else groups))), seed)
    reassigned = statistic(np.broadcast_to(x, orders.shape), np.asarray(y)[orders])
    # the same coefficient differs in its last digits from order to order
    hits = int((reassigned >= statistic(x, y) - 1e-9).sum())
    return hits / len(orders) if exact else (1 + hits) / (1 + len(orders))


@lru_cache(maxsize=8)  # one for all coefficients of a comparison
def _orders(members: tuple[tuple[int, ...], ...], seed: int) -> tuple[np.ndarray, bool]:
    """Reassignments within groups, of shape (orders, n), and whether they are all there are."""
    n = sum(map(len, members))
    if math.prod(math.factorial(len(one)) for one in members) > MOST_EXACT:
        rng = np.random.default_rng(seed)
        orders = np.empty((SAMPLED, n), dtype=np.intp)
        for one in members:
            orders[:, list(one)] = rng.permuted(np.broadcast_to(one, (SAMPLED, len(one))), axis=1)
        return orders, False
    each = [np.array(list(itertools.permutations(one))) for one in members]
    places = np.indices([len(one) for one in each]).reshape(len(each), -1)
    orders = np.empty((places.shape[1], n), dtype=np.intp)
    for one, permuted, place in zip(members, each, places, strict=True):
        orders[:, list(one)] = permuted[place]
    return orders, True


def _members(groups: Sequence[Hashable]) -> list[list[int]]:
    """Indices of each group, groups in order of appearance."""
    places: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    return list(places.values())


def _noise(values: np.ndarray) -> float:
    """Differences below this are rounding: subtracting a mean leaves it."""
    return 1e-12 * max(1.0, float(np.abs(values).max()))
