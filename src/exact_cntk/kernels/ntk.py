"""Neural tangent and Gaussian process kernels of infinitely wide fully connected ReLU networks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError
from exact_cntk.networks import KINDS

# Below, 1 ∓ ρ is taken from the vectors' difference or sum: out of a Gram matrix it has an absolute error of 1e-16.
NEARLY_PARALLEL = 1e-3
# Below, sin a − a cos a loses digits and its series, cut off after a¹³, has them all.
SMALL_ANGLE = 0.3
PAIRS_AT_ONCE = 4096


def ntk(
    x1: Any, x2: Any = None, *, depth: int, get: str | Sequence[str] = ("ntk",), diagonal: bool = False
) -> dict[str, np.ndarray]:
    """Exact kernels of an infinitely wide fully connected ReLU network.

    With L = depth − 1, Σ⁰ = xᵀx′ and c_σ = 2, layers h = 1 … L do::

        ρ    = Σ^{h−1}(x, x′) / √(Σ^{h−1}(x, x) Σ^{h−1}(x′, x′))
        Σ^h  = c_σ · |x| |x′| · (ρ (π − arccos ρ) + √(1 − ρ²)) / 2π
        Σ̇^h  = c_σ · (π − arccos ρ) / 2π

    and Θ = Σ_{h=1…L+1} Σ^{h−1} Π_{h′=h…L} Σ̇^{h′}, that is Θ⁰ = Σ⁰ and Θ^h = Θ^{h−1} Σ̇^h + Σ^h. As c_σ = 2 keeps the
    norms, Σ^h(x, x) = |x|² and Θ(x, x) = depth · |x|².

    Parameters
    ----------
    x1 : array of shape (n, d)
        Vectors; NumPy array, torch tensor or nested sequence of real, finite numbers.
    x2 : array of shape (m, d), optional
        Further vectors. Without, the kernel of x1 with itself, exactly symmetric.
    depth : int from 1 to 1000
        Number of weight layers, L + 1 in the paper, as in `cntk`: depth 2 has one hidden layer, depth 1 is linear.
        All of them are trained, none has a bias.
    get : {"ntk", "nngp"} or sequence of both
        "nngp" is the covariance of the network's output at initialisation, Σ^L.
    diagonal : bool
        Compute K(x, x) alone, the diagonal of the kernel of x1 with itself, without the matrix.

    Returns
    -------
    dict of arrays of shape (n, m), float64
        One for each requested kind, also for a single one; of shape (n,) with `diagonal`. Relative error about 1e-14,
        near-duplicates and opposite vectors included.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, equations 7–9.

    Examples
    --------
    >>> ntk([[3.0, 4.0], [4.0, -3.0]], depth=2)["ntk"].round(4)
    array([[50.    ,  7.9577],
           [ 7.9577, 50.    ]])
    """
    left = check.as_vectors("x1", x1)
    right = left if x2 is None else check.as_vectors("x2", x2)
    if right.shape[1] != left.shape[1]:
        raise InputError(f"x2 has {right.shape[1]} features; allowed is x1's number of features, {left.shape[1]}")
    depth = check.as_depth("depth", depth, at_least=1)
    kinds = check.as_choices("get", get, KINDS)
    if check.as_diagonal(diagonal, x2):
        ones = np.ones(len(left))
        kernels = _recursion(np.linalg.norm(left, axis=1) ** 2, ones, 0 * ones, 2 * ones, depth)
        return {kind: kernels[kind] for kind in kinds}

    norm_left, norm_right = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
    rho, one_minus, one_plus = _correlations(_directions(left, norm_left), _directions(right, norm_right))
    kernels = _recursion(norm_left[:, None] * norm_right, rho, one_minus, one_plus, depth)
    # The mean with the transpose: exact symmetry then does not depend on how BLAS orders its sums.
    return {kind: (kernels[kind] + kernels[kind].T) / 2 if x2 is None else kernels[kind] for kind in kinds}


def _recursion(
    norms: np.ndarray, rho: np.ndarray, one_minus: np.ndarray, one_plus: np.ndarray, depth: int
) -> dict[str, np.ndarray]:
    """Both kernels of pairs, from |x| |x′|, ρ, 1 − ρ and 1 + ρ; arrays of one shape, which the kernels have."""
    Sigma = norms * rho
    Theta = Sigma
    for _ in range(depth - 1):
        # θ = arccos ρ and π − θ, each with full relative precision at its own end
        theta = 2 * np.arctan2(np.sqrt(one_minus), np.sqrt(one_plus))
        supplement = 2 * np.arctan2(np.sqrt(one_plus), np.sqrt(one_minus))
        rho = _sin_minus_a_cos(supplement) / math.pi
        one_minus = np.maximum(one_minus - _sin_minus_a_cos(theta) / math.pi, 0.0)
        one_plus = 1 + rho
        Sigma = norms * rho
        Theta = Theta * supplement / math.pi + Sigma
    return {"ntk": Theta, "nngp": Sigma}


def _directions(vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Vectors divided by their norms; a zero vector stays 0, so that its correlations are 0."""
    return vectors / np.where(norms > 0, norms, 1.0)[:, None]


def _correlations(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ = uᵀv of unit vectors, 1 − ρ = |u − v|²/2 and 1 + ρ = |u + v|²/2; exactly 0 for equal and opposite vectors."""
    rho = np.clip(u @ v.T, -1.0, 1.0)
    one_minus, one_plus = 1 - rho, 1 + rho
    for complement, sign in ((one_minus, -1), (one_plus, 1)):
        rows, columns = np.nonzero(complement < NEARLY_PARALLEL)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            i, j = rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]
            complement[i, j] = ((u[i] + sign * v[j]) ** 2).sum(axis=1) / 2
    rho = np.where(one_minus < NEARLY_PARALLEL, 1 - one_minus, rho)
    return np.where(one_plus < NEARLY_PARALLEL, one_plus - 1, rho), one_minus, one_plus


def _sin_minus_a_cos(a: np.ndarray) -> np.ndarray:
    """The function sin a − a cos a for a in [0, π]; for small a, its series Σ_k (−1)^{k+1} 2k/(2k+1)! a^{2k+1}.

    With θ = arccos ρ, the next layer's ρ is this of π − θ, over π; and its 1 − ρ is 1 − cos θ minus this of θ over π.
    """
    square = a * a
    series = np.zeros_like(a)
    for k in range(6, 0, -1):
        series = 2 * k / math.factorial(2 * k + 1) - square * series
    return np.where(a < SMALL_ANGLE, a * square * series, np.sin(a) - a * np.cos(a))
