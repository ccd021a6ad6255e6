"""What activations do to covariances: E[φ(u) φ(v)] and E[φ′(u) φ′(v)] for (u, v) ~ N(0, [[a, c], [c, b]]).

Both come from c and the variances a and b alone, so that a = b = c gives the next layer's variance. The second is the
derivative of the first by c (Price's theorem).
"""

import math
from collections.abc import Callable

import numpy as np

from exact_cntk.networks.layers import Abs, Activation, Erf, Gabor, Gauss, Identity, Leaky, Relu

Dual = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Nearer to 1 than this, float64 cannot tell a correlation from 1; arccos would make 1e-8 of a rounding error.
_ONE = 1 - 4 * np.finfo(np.float64).eps


def dual_of(layer: Activation) -> Dual:
    """The function of (c, a, b), arrays that broadcast, that gives both expectations of an activation."""
    if isinstance(layer, Relu | Leaky | Abs):
        below = {Relu: 0.0, Abs: -1.0}.get(type(layer), getattr(layer, "slope", 0.0))
        return lambda c, a, b: _piecewise_linear(c, a, b, below)
    return {Erf: _erf, Gauss: _gauss, Gabor: _gabor, Identity: _identity}[type(layer)]


def _identity(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return c, np.ones_like(c)


def _piecewise_linear(c: np.ndarray, a: np.ndarray, b: np.ndarray, below: float) -> tuple[np.ndarray, np.ndarray]:
    """φ(u) = s u + (1 − s) max(u, 0), s the slope below 0.

    With θ = arccos ρ: E[max(u, 0) max(v, 0)] = √(ab) (sin θ + ρ (π − θ)) / 2π and, as u |v| has mean 0,
    E[u max(v, 0)] = c/2. Source: Cho and Saul 2009.
    """
    norms, rho = _correlation(c, a, b)
    supplement = math.pi - np.arccos(rho)
    rectified = norms * (np.sqrt((1 - rho) * (1 + rho)) + rho * supplement) / (2 * math.pi)
    above = 1 - below
    value = below * c + above**2 * rectified  # s² c + s (1 − s) c = s c
    return value, below + above**2 * supplement / (2 * math.pi)


def _erf(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2/π) arcsin(2c / √((1 + 2a)(1 + 2b))). Source: Williams 1996."""
    product = np.sqrt(1 + 2 * a) * np.sqrt(1 + 2 * b)
    value = (2 / math.pi) * np.arcsin(np.clip(2 * c / product, -1.0, 1.0))
    return value, (4 / math.pi) / np.sqrt(_determinant(c, a, b))


def _gauss(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√(ab) exp(ρ − 1), whose derivative by c is exp(ρ − 1)."""
    norms, rho = _correlation(c, a, b)
    derivative = np.exp(rho - 1)
    return norms * derivative, derivative


def _gabor(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """φ(u) = exp(−u²) sin u, through E[exp(−|z|²) cos(tᵀz)] = |I + 2Λ|^(−1/2) exp(−½ tᵀ Λ (I + 2Λ)⁻¹ t).

    With D = |I + 2Λ|, m = c / D and S = (a + b + 4ab − 4c²) / D, of which 2m is the part that changes its sign between
    t = (1, −1) and (1, 1), the value is D^(−1/2) exp(−S/2) sinh m.
    """
    D = _determinant(c, a, b)
    m, S = c / D, 1 - (1 + a + b) / D
    scale = np.exp(-S / 2) / np.sqrt(D)
    value = scale * np.sinh(m)
    slope_m = (D + 8 * c**2) / D**2
    return value, value * (4 * c / D + 4 * c * (1 + a + b) / D**2) + scale * np.cosh(m) * slope_m


def _determinant(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|I + 2Λ| = (1 + 2a)(1 + 2b) − 4c², without the cancellation of its largest terms."""
    norms = np.where(a == b, a, np.sqrt(a) * np.sqrt(b))
    return 1 + 2 * (a + b) + 4 * np.maximum((norms - c) * (norms + c), 0.0)


def _correlation(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√(ab) and ρ in [−1, 1], which is 0 where a variance is 0."""
    norms = np.where(a == b, a, np.sqrt(a) * np.sqrt(b))  # so that equal pixels have no rounding
    rho = np.divide(c, norms, out=np.zeros(np.broadcast(c, norms).shape), where=norms > 0)
    rho = np.where(np.abs(rho) >= _ONE, np.sign(rho), rho)
    return norms, rho
