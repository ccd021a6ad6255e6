import math

import numpy as np
import pytest

from exact_cntk import cntk, ntk
from exact_cntk.errors import InputError


def vectors(n=6, d=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_one_hidden_layer_has_its_closed_form():
    x, y = vectors(4), vectors(3, seed=1)
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    rho = x @ y.T / norms
    angle = np.arccos(rho)
    nngp = norms * (rho * (np.pi - angle) + np.sin(angle)) / np.pi
    kernels = ntk(x, y, depth=2, get=("ntk", "nngp"))
    np.testing.assert_allclose(kernels["nngp"], nngp, rtol=1e-13)
    np.testing.assert_allclose(kernels["ntk"], nngp + x @ y.T * (np.pi - angle) / np.pi, rtol=1e-12)


@pytest.mark.parametrize("readout", ["flatten", "gap"])
@pytest.mark.parametrize("depth", [2, 3, 8])
def test_is_the_cntk_of_one_pixel_images(readout, depth):
    x, y = vectors(5), vectors(4, seed=1)
    kinds = ("ntk", "nngp")
    dense = ntk(x, y, depth=depth, get=kinds)
    pixels = cntk(
        x[:, None, None], y[:, None, None], depths=depth, readout=readout, filter_size=1, get=kinds, backend="reference"
    )
    for kind in kinds:
        np.testing.assert_allclose(dense[kind], pixels[kind, depth], rtol=1e-12)


def test_wide_random_nets_have_these_kernels():
    """Gradients of f = W³ x², x^h = √(2/width) relu(W^h x^{h−1}), written out by hand."""
    x = vectors(3, 4)
    width, draws, rng = 512, 24, np.random.default_rng(1)
    samples = {"ntk": [], "nngp": []}
    for _ in range(draws):
        W1, W2, w3 = (rng.standard_normal(shape) for shape in ((width, 4), (width, width), (width,)))
        z1 = x @ W1.T
        x1 = math.sqrt(2 / width) * np.maximum(z1, 0)
        z2 = x1 @ W2.T
        x2 = math.sqrt(2 / width) * np.maximum(z2, 0)
        back2 = w3 * math.sqrt(2 / width) * (z2 > 0)
        back1 = (back2 @ W2) * math.sqrt(2 / width) * (z1 > 0)
        samples["nngp"].append(x2 @ x2.T)
        samples["ntk"].append(x2 @ x2.T + (back2 @ back2.T) * (x1 @ x1.T) + (back1 @ back1.T) * (x @ x.T))
    for kind, exact in ntk(x, depth=3, get=("ntk", "nngp")).items():
        error = np.std(samples[kind], axis=0, ddof=1) / math.sqrt(draws)
        size = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
        # 4 standard errors, and 1/width for the finite nets' bias
        assert (np.abs(np.mean(samples[kind], axis=0) - exact) < 4 * error + 2 * size / width).all()
        assert (error < 0.05 * size).all()


@pytest.mark.parametrize("depth", [1, 2, 21])
def test_diagonal_is_exact_and_the_matrix_symmetric(depth):
    x = vectors(40, 30)
    kernels = ntk(x, depth=depth, get=("ntk", "nngp"))
    squares = (x**2).sum(axis=1)
    np.testing.assert_allclose(kernels["ntk"].diagonal(), depth * squares, rtol=1e-14)
    np.testing.assert_allclose(kernels["nngp"].diagonal(), squares, rtol=1e-14)
    for kernel in kernels.values():
        np.testing.assert_array_equal(kernel, kernel.T)


def test_depth_one_is_linear():
    x, y = vectors(), vectors(3, seed=1)
    for kernel in ntk(x, y, depth=1, get=("ntk", "nngp")).values():
        np.testing.assert_allclose(kernel, x @ y.T, rtol=1e-13, atol=1e-15)


def test_nearly_parallel_vectors_keep_their_digits():
    """At an angle of 1e-9, arccos of a Gram matrix would see 0 or 2e-8; depth 2 is (2 (π − θ) cos θ + sin θ)/π."""
    angle = 1e-9
    x, y = np.array([[1.0, 0.0]]), np.array([[math.cos(angle), math.sin(angle)]])
    exact = (math.cos(angle) * 2 * (math.pi - angle) + math.sin(angle)) / math.pi
    np.testing.assert_allclose(2 - ntk(x, y, depth=2)["ntk"].item(), 2 - exact, rtol=1e-6)
    assert ntk(x, -x, depth=2, get="nngp")["nngp"].item() == 0


def test_zero_vectors_have_kernel_zero():
    x = vectors()
    x[2] = 0
    for kernel in ntk(x, depth=4, get=("ntk", "nngp")).values():
        assert np.isfinite(kernel).all()
        assert (kernel[2] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x1": np.zeros((2, 3, 4))}, r"x1 has shape \(2, 3, 4\); allowed are 2 dimensions"),
        ({"x2": np.zeros((2, 3))}, "x2 has 3 features; allowed is x1's number of features, 5"),
        ({"depth": 0}, "depth is 0; allowed are integers ≥ 1"),
        ({"depth": 2.0}, r"depth is 2.0; allowed are integers"),
        ({"get": "nntk"}, "get is 'nntk'; allowed are 'ntk', 'nngp'; did you mean 'ntk'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        ntk(**{"x1": vectors(), "depth": 3} | arguments)


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_the_diagonal_alone_is_that_of_the_matrix(depth):
    x = np.random.default_rng(0).standard_normal((20, 5))
    x[3] = 0
    matrices, diagonals = (ntk(x, depth=depth, get=("ntk", "nngp"), diagonal=alone) for alone in (False, True))
    for kind, matrix in matrices.items():
        np.testing.assert_array_equal(diagonals[kind], matrix.diagonal())
    with pytest.raises(InputError, match="x2 is given, but diagonal is True"):
        ntk(x, x, depth=depth, diagonal=True)
