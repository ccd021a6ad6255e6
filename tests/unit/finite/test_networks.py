import math

import numpy as np
import pytest

from exact_cntk.errors import InputError
from exact_cntk.finite import CNN
from exact_cntk.finite._torch import torch
from exact_cntk.kernels.reference import box_image


def images(n=2, shape=(5, 4, 3), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, *shape)))


def square_norms(x, draws, **architecture):
    """‖x^h‖² of every layer, network and image: mean over networks and its standard error, shape (layers, n)."""
    found = []
    for draw in range(draws):
        network = CNN(x.shape[1:], readout="gap", seed=draw, dtype="float64", **architecture)
        with torch.no_grad():
            found.append([(layer**2).sum(dim=(1, 2, 3)).numpy() for layer in network.activations(x)[1:]])
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / math.sqrt(draws)


def assert_within_four_errors(mean, error, expected):
    assert (error < 0.06 * expected).all()
    assert (np.abs(mean - expected) < 4 * error).all()


def test_layers_keep_the_norm_with_filters_of_one_pixel():
    x = images()
    mean, error = square_norms(x, draws=200, depth=4, width=32, filter_size=1)
    assert_within_four_errors(mean, error, np.broadcast_to((x**2).sum(dim=(1, 2, 3)).numpy(), mean.shape))


def test_layers_keep_the_norm_of_images_inside_of_a_border():
    x = torch.nn.functional.pad(images(shape=(3, 2, 3)), (0, 0, 3, 3, 3, 3))  # three layers of 3×3 filters
    mean, error = square_norms(x, draws=200, depth=4, width=32)
    assert_within_four_errors(mean, error, np.broadcast_to((x**2).sum(dim=(1, 2, 3)).numpy(), mean.shape))


@pytest.mark.parametrize("filter_size", [3, 5])
def test_padding_takes_its_part_of_the_norm_at_the_border(filter_size):
    x = images()
    mean, error = square_norms(x, draws=200, depth=4, width=32, filter_size=filter_size)
    expected, pixels = [], (x**2).sum(dim=3).numpy()
    for _ in range(3):
        pixels = box_image(pixels, filter_size) / filter_size**2
        expected.append(pixels.sum(axis=(1, 2)))
    assert_within_four_errors(mean, error, np.array(expected))


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_is_the_formula(readout):
    """One image, pixel by pixel and filter by filter."""
    P, Q, C0, C, kappa = 3, 4, 2, 3, 0.05
    x = images(1, (P, Q, C0))
    network = CNN((P, Q, C0), depth=3, width=C, readout=readout, outputs=2, output_scale=kappa, dtype="float64")
    layer = x[0].numpy().transpose(2, 0, 1)
    for weight in network.filters:
        W = weight.detach().numpy()
        padded = np.pad(layer, ((0, 0), (1, 1), (1, 1)))
        z = np.array(
            [[[(W[c] * padded[:, i : i + 3, j : j + 3]).sum() for j in range(Q)] for i in range(P)] for c in range(C)]
        )
        layer = math.sqrt(2 / (C * 9)) * np.maximum(z, 0)
    W = network.readout_weight.detach().numpy()
    expected = kappa * ((W * layer).sum(axis=(1, 2, 3)) if readout == "flatten" else W @ layer.mean(axis=(1, 2)))
    np.testing.assert_allclose(network(x).detach().numpy()[0], expected, rtol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_local_pooling_is_a_mean_over_a_window(window):
    P, Q, C = 3, 4, 3
    network = CNN((P, Q, 2), depth=3, width=C, readout="lap", pooling_window=window, dtype="float64")
    x = images(1, (P, Q, 2))
    layer = network.activations(x)[-1][0].detach().numpy()
    padded = np.pad(layer, ((0, 0), (window // 2,) * 2, (window // 2,) * 2))
    expected = [[padded[:, i : i + window, j : j + window].sum(axis=(1, 2)) for j in range(Q)] for i in range(P)]
    found = network.features(x).detach().numpy().reshape(C, P, Q)
    np.testing.assert_allclose(found, np.array(expected).transpose(2, 0, 1) / window**2, rtol=1e-12)
    output = (network.readout_weight[0] * network.features(x).reshape(C, P, Q)).sum().item()
    assert network(x).item() == pytest.approx(output, rel=1e-12)


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_gradients_are_finite_differences(readout):
    x = images(1)
    network = CNN(x.shape[1:], depth=4, width=3, readout=readout, filter_size=3, dtype="float64")
    network(x).sum().backward()
    rng = np.random.default_rng(1)
    for weight in network.parameters():
        direction = torch.from_numpy(rng.standard_normal(weight.shape))
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                weight += step * direction
                values.append(network(x).item())
            weight += 1e-6 * direction
        # ReLUs that change sign within the step would show; by central differences the rest is 1e-10.
        assert (weight.grad * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_trained_layers_are_those_that_take_gradients():
    def trained(which):
        network = CNN((4, 4, 1), depth=4, width=2, readout="gap", trained=which)
        return {name: weight.requires_grad for name, weight in network.named_parameters()}

    assert trained("all") == {"readout_weight": True, "filters.0": True, "filters.1": True, "filters.2": True}
    assert trained("hidden") == {"readout_weight": False, "filters.0": False, "filters.1": True, "filters.2": True}


def test_a_seed_is_one_network_in_both_dtypes():
    def weights(**options):
        network = CNN((4, 4, 1), width=8, readout="flatten", **{"depth": 3, "seed": 5} | options)
        return [weight.detach().numpy() for weight in network.filters] + [network.readout_weight.detach().numpy()]

    for first, again, double, other in zip(
        weights(), weights(), weights(dtype="float64"), weights(seed=[5, 1]), strict=True
    ):
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, double)
        assert not np.isclose(first, other).any()
    deeper = weights(depth=4)
    for shallow, deep in zip(weights()[:2], deeper, strict=False):
        np.testing.assert_array_equal(shallow, deep)
    # The last layer of one is not the next filter of another.
    assert not np.isclose(weights()[-1].ravel()[:64], deeper[2].ravel()[:64]).any()


def test_weights_are_standard_normal():
    from scipy.stats import kstest

    network = CNN((4, 4, 3), depth=3, width=64, readout="flatten", outputs=10)
    for weight in network.parameters():
        assert kstest(weight.detach().numpy().ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (4, 4)}, r"image_shape is \(4, 4\); allowed are three integers"),
        ({"image_shape": (4, 0, 1)}, "image_shape is 0; allowed are integers ≥ 1"),
        ({"depth": 1}, "depth is 1; allowed are integers ≥ 2"),
        ({"width": 0}, "width is 0; allowed are integers ≥ 1"),
        ({"filter_size": 2}, "filter_size is 2; allowed are odd integers"),
        ({"readout": "gab"}, "did you mean 'gap'"),
        ({"readout": "lap"}, "pooling_window is None with readout 'lap'"),
        ({"pooling_window": 3}, "pooling_window is 3 with readout 'gap'"),
        ({"trained": "none"}, "trained is 'none'; allowed are 'all', 'hidden'"),
        ({"outputs": 0}, "outputs is 0"),
        ({"output_scale": -1}, "output_scale is -1"),
        ({"seed": -1}, "seed is -1; allowed are integers ≥ 0"),
        ({"seed": "one"}, "seed is 'one'; allowed are integers ≥ 0"),
        ({"width": 10**6}, "width is 1000000 and depth 3, whose weights take 33528 GiB; this machine has"),
        ({"dtype": "float16"}, "dtype is 'float16'; allowed are 'float32', 'float64'"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    shape = options.pop("image_shape", (4, 4, 1))
    with pytest.raises(InputError, match=message):
        CNN(shape, **{"depth": 3, "width": 4, "readout": "gap"} | options)


def test_wrong_images_are_named():
    network = CNN((4, 4, 1), depth=3, width=4, readout="gap")
    with pytest.raises(InputError, match=r"images have shape \(2, 4, 5, 1\); allowed is \(n, 4, 4, 1\)"):
        network(torch.zeros(2, 4, 5, 1))


def test_image_shapes_with_channels_first_are_refused_unless_meant():
    options = {"depth": 3, "width": 4, "readout": "gap"}
    with pytest.raises(InputError, match=r"image_shape is \(3, 8, 6\), which looks like .* here \(8, 6, 3\)"):
        CNN((3, 8, 6), **options)
    assert CNN((3, 8, 6), channels_first=True, **options).image_shape == (8, 6, 3)
    assert CNN((3, 8, 6), channels_first=False, **options).image_shape == (3, 8, 6)
