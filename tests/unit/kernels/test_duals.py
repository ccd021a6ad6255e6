"""Activations' expectations against quadrature, and their derivatives by the covariance (Price's theorem)."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from numpy.polynomial.hermite_e import hermegauss

from exact_cntk.kernels.duals import dual_of
from exact_cntk.networks import Abs, Erf, Gabor, Gauss, Identity, Leaky, Relu

FUNCTIONS = {
    Relu(): lambda u: np.maximum(u, 0),
    Leaky(0.3): lambda u: np.where(u > 0, u, 0.3 * u),
    Leaky(-0.5): lambda u: np.where(u > 0, u, -0.5 * u),
    Abs(): np.abs,
    Erf(): scipy.special.erf,
    Gabor(): lambda u: np.exp(-(u**2)) * np.sin(u),
    Identity(): lambda u: u,
}
SMOOTH = (Erf(), Gabor(), Identity())
# Variances of both, and their correlation.
CASES = [(1.0, 1.0, 0.3), (0.5, 2.0, -0.7), (3.0, 0.2, 0.95), (1.5, 1.5, 0.0), (0.7, 0.7, -0.2)]


@pytest.mark.parametrize("layer", FUNCTIONS, ids=str)
@pytest.mark.parametrize(("a", "b", "rho"), CASES)
def test_expectation_is_that_of_quadrature(layer, a, b, rho):
    nodes, weights = hermegauss(250)
    weights = weights / weights.sum()
    u = np.sqrt(a) * nodes[:, None]
    v = np.sqrt(b) * (rho * nodes[:, None] + np.sqrt(1 - rho**2) * nodes)
    phi = FUNCTIONS[layer]
    expected = (weights[:, None] * weights * phi(u) * phi(v)).sum()
    value, _ = dual_of(layer)(*map(np.asarray, (rho * np.sqrt(a * b), a, b)))
    # A kink costs quadrature its speed of convergence.
    assert value == pytest.approx(
        expected, rel=1e-9 if layer in SMOOTH else 2e-2, abs=1e-12 if layer in SMOOTH else 5e-3
    )


@pytest.mark.parametrize("layer", [*FUNCTIONS, Gauss()], ids=str)
@pytest.mark.parametrize(("a", "b", "rho"), CASES)
def test_second_expectation_is_the_derivative_by_the_covariance(layer, a, b, rho):
    c, step = rho * np.sqrt(a * b), 1e-5
    dual = dual_of(layer)
    above, below = (dual(*map(np.asarray, (c + d, a, b)))[0] for d in (step, -step))
    assert dual(*map(np.asarray, (c, a, b)))[1] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("variance", [1e-3, 0.3, 7.0])
@pytest.mark.parametrize("layer", FUNCTIONS, ids=str)
def test_equal_pixels_have_the_variance_of_the_next_layer(layer, variance):
    def square(z):
        return FUNCTIONS[layer](np.sqrt(variance) * z) ** 2 * scipy.stats.norm.pdf(z)

    expected = scipy.integrate.quad(square, -40, 0)[0] + scipy.integrate.quad(square, 0, 40)[0]
    value, _ = dual_of(layer)(*[np.asarray(variance)] * 3)
    assert value == pytest.approx(expected, rel=1e-9)


def test_gauss_is_1_at_equal_pixels_and_black_ones_have_no_correlation():
    value, derivative = dual_of(Gauss())(np.array([2.0, 0.0]), np.array([2.0, 0.0]), np.array([2.0, 3.0]))
    assert value.tolist() == [2.0, 0.0]
    assert derivative.tolist() == [1.0, np.exp(-1)]
    value, derivative = dual_of(Relu())(*[np.zeros(1)] * 3)
    assert (value.item(), derivative.item()) == (0.0, 0.25)
