"""Local average pooling: its definition pixel by pixel, its two ends, and what is refused."""

import itertools

import numpy as np
import pytest

from exact_cntk import cntk
from exact_cntk.errors import InputError
from exact_cntk.kernels import reference
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

OPTIONS = {"depths": (2, 4), "trained": ("all", "hidden"), "get": ("ntk", "nngp"), "backend": "reference"}


def images(n, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def pooled_by_pixels(tensor, window):
    """w⁻⁴ Σ_a Σ_{p, p′ ∈ window(a)} T[p, p′] of one tensor T, one entry after the other."""
    P, Q = tensor.shape[:2]
    inside = list(itertools.product(range(P), range(Q)))
    total = 0.0
    for a in inside:
        near = [p for p in inside if max(abs(p[0] - a[0]), abs(p[1] - a[1])) <= window // 2]
        total += sum(tensor[p + other] for p in near for other in near)
    return total / window**4


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("shape", [(4, 3), (1, 4), (2, 2)])
def test_reads_out_as_defined(window, shape):
    tensor = np.random.default_rng(0).standard_normal((2, *shape, *shape))
    expected = [pooled_by_pixels(one, window) for one in tensor]
    np.testing.assert_allclose(reference.read_out(tensor, "lap", window), expected, rtol=1e-13)


@pytest.mark.parametrize("filter_size", [1, 3])
def test_is_the_kernel_of_a_pooled_last_layer(filter_size):
    """The NNGP kernel is linear in the last layer's covariances: pooling them is pooling the features."""
    x, y = images(2, (3, 4, 2)), images(2, (3, 4, 2), seed=1)
    spec = KernelSpec(Family("lap", filter_size=filter_size, pooling_window=3), (3,), ("nngp",))
    *_, (_, K, _) = reference.covariances(x, y, filter_size, layers=2)
    expected = [pooled_by_pixels(one, 3) for one in K]
    np.testing.assert_allclose(reference.kernels_of_pairs(x, y, spec)[0], expected, rtol=1e-13)


@pytest.mark.parametrize("filter_size", [1, 3, 5])
def test_window_of_one_pixel_is_flatten(filter_size):
    x, y = images(3, (4, 5, 2)), images(2, (4, 5, 2), seed=1)
    local = cntk(x, y, readout="lap", pooling_window=1, filter_size=filter_size, **OPTIONS)
    flat = cntk(x, y, readout="flatten", filter_size=filter_size, **OPTIONS)
    for key, kernel in flat.items():
        np.testing.assert_array_equal(local[key], kernel)


@pytest.mark.parametrize("window", [9, 11, 1001])
@pytest.mark.parametrize("shape", [(4, 5, 2), (5, 1, 1)])
def test_window_beyond_the_image_is_gap(window, shape):
    x, y = images(3, shape), images(2, shape, seed=1)
    local = cntk(x, y, readout="lap", pooling_window=window, **OPTIONS)
    pooled = cntk(x, y, readout="gap", **OPTIONS)
    factor = (shape[0] * shape[1]) ** 3 / window**4
    for key, kernel in pooled.items():
        np.testing.assert_allclose(local[key], factor * kernel, rtol=1e-12)


def test_window_beyond_one_side_only():
    """A window as high as the image: what is left of it is pooling along the rows."""
    tensor = np.random.default_rng(0).standard_normal((1, 2, 6, 2, 6))
    rows = tensor.sum(axis=(1, 3))[:, None, :, None, :]
    # Each of the two rows of the pooled image is the same mean over both.
    expected = 2 * reference.read_out(rows, "lap", 5)
    np.testing.assert_allclose(reference.read_out(tensor, "lap", 5), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"readout": "lap"}, "pooling_window is None with readout 'lap'; allowed are odd integers ≥ 1"),
        ({"readout": "gap", "pooling_window": 3}, "pooling_window is 3 with readout 'gap'; allowed is None"),
        ({"readout": "lap", "pooling_window": 4}, "pooling_window is 4; allowed are odd.*nearest: 3 and 5"),
        ({"readout": "lap", "pooling_window": 0}, "pooling_window is 0; allowed are integers ≥ 1"),
        ({"readout": "lap", "pooling_window": 3.0}, "pooling_window is 3.0; allowed are integers"),
        ({"readout": "lap", "pooling_window": 2**31 + 1}, f"allowed are odd integers from 1 to {2**31 - 1}"),
        ({"readout": "pool"}, "readout is 'pool'; allowed are 'flatten', 'lap', 'gap'"),
        ({"readout": "gap", "flips": 1}, "flips is 1; allowed are False and True"),
        ({"readout": "gap", "flips": "yes"}, "flips is 'yes'; allowed are False and True"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        cntk(images(2, (3, 3, 1)), depths=3, **arguments)
