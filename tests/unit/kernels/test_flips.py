"""Averaging over flips: what the kernel is, and that regression with it is regression on flipped copies, too."""

import numpy as np
import pytest

from exact_cntk import cntk, kernel_regression
from exact_cntk.kernels import flips

PASS = {"depths": (2, 3), "trained": ("all", "hidden"), "get": ("ntk", "nngp")}
READOUTS = [{"readout": "flatten"}, {"readout": "lap", "pooling_window": 3}, {"readout": "gap"}]


def images(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3, 4, 2))


@pytest.fixture(params=READOUTS, ids=lambda readout: readout["readout"])
def architecture(request):
    return {**PASS, **request.param, "backend": "reference"}


def test_is_the_mean_over_the_flips_of_either_image_and_of_both(architecture):
    x, y = images(3), images(2, seed=1)
    kernels = cntk(x, y, flips=True, **architecture)
    sides = [(a, b) for a in (x, x[:, :, ::-1]) for b in (y, y[:, :, ::-1])]
    parts = [cntk(a, b, **architecture) for a, b in sides]
    for key, kernel in kernels.items():
        np.testing.assert_allclose(kernel, np.mean([part[key] for part in parts], axis=0), rtol=1e-12)
        np.testing.assert_allclose(kernel, cntk(x, y[:, :, ::-1], flips=True, **architecture)[key], rtol=1e-12)


def test_the_symmetric_kernel_is_exactly_symmetric_and_the_same(architecture, monkeypatch):
    monkeypatch.setattr(flips, "FEWEST_ROWS", dict.fromkeys(flips.FEWEST_ROWS, 2))  # several calls, the last smaller
    x = images(7)
    x[3] = x[5][:, ::-1]
    x[6] = x[6] + x[6][:, ::-1]
    general = cntk(x, x, flips=True, **architecture)
    for key, kernel in cntk(x, flips=True, **architecture).items():
        np.testing.assert_array_equal(kernel, kernel.T)
        np.testing.assert_allclose(kernel, general[key], rtol=1e-12)
        # The diagonal is made of the plain one, and of what an image has with its mirror image.
        plain = cntk(x, **architecture)[key].diagonal()
        mirrored = cntk(x, x[:, :, ::-1], **architecture)[key].diagonal()
        np.testing.assert_array_equal(kernel.diagonal(), (plain + mirrored) / 2)
        np.testing.assert_array_equal(mirrored[6], plain[6])


def test_blocks_have_the_bytes_of_the_whole(architecture, monkeypatch):
    x = images(7)
    whole = cntk(x, flips=True, **architecture)
    monkeypatch.setattr(flips, "FEWEST_ROWS", dict.fromkeys(flips.FEWEST_ROWS, 2))
    for key, kernel in cntk(x, flips=True, **architecture).items():
        np.testing.assert_array_equal(kernel, whole[key])
    for key, kernel in cntk(x[3:], flips=True, **architecture).items():
        np.testing.assert_array_equal(kernel, whole[key][3:, 3:])


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_regression_equals_regression_on_the_augmented_training_set(architecture, ridge):
    """Of f(x) = K(x, X)(K + λI)⁻¹Y on images and mirror images, with the ridge doubled: each image is there twice."""
    x, new = images(8), images(5, seed=1)
    y = np.random.default_rng(2).standard_normal((8, 2))
    averaged = cntk(x, flips=True, **architecture), cntk(new, x, flips=True, **architecture)
    twice = np.concatenate([x, x[:, :, ::-1]])
    plain = cntk(twice, **architecture), cntk(new, twice, **architecture)
    for key in plain[0]:
        if key[1:] == (2, "hidden"):
            continue  # no hidden layer: the kernel is 0
        train, test = averaged[0][key], averaged[1][key]
        ours = test @ np.linalg.solve(train + ridge * np.eye(8), y)
        train, test = plain[0][key], plain[1][key]
        theirs = test @ np.linalg.solve(train + 2 * ridge * np.eye(16), np.concatenate([y, y]))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_the_library_s_regression_agrees():
    """Ridges are relative to mean(diag K), so the augmented one is 2·mean(diag K_flip)/mean(diag K) times ours."""
    x, y = images(8), np.random.default_rng(2).standard_normal((8, 2))
    options = {"depths": 3, "readout": "gap", "backend": "reference"}
    train = cntk(x, flips=True, **options)["ntk", 3]
    twice = np.concatenate([x, x[:, :, ::-1]])
    plain = cntk(twice, **options)["ntk", 3]
    factor = 2 * train.diagonal().mean() / plain.diagonal().mean()
    ours = kernel_regression(train, y, ridges=[0.1])
    theirs = kernel_regression(plain, np.concatenate([y, y]), ridges=[0.1 * factor])
    dual = theirs.dual[0]
    np.testing.assert_allclose(dual[:8], dual[8:], rtol=1e-8)
    np.testing.assert_allclose(ours.dual[0], 2 * dual[:8], rtol=1e-8)


def test_progress_counts_the_pairs_of_both_halves():
    seen = []
    cntk(images(5), depths=3, readout="gap", flips=True, backend="reference", progress=lambda *at: seen.append(at))
    assert seen[-1] == (15 + 25, 15 + 25)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {40}


def test_images_of_any_scale(architecture):
    x = images(3)
    large = x * np.array([1.0, 2.0**90, 2.0**-90])[:, None, None, None]
    plain = cntk(x, flips=True, **architecture)
    for key, kernel in cntk(large, flips=True, **architecture).items():
        scale = np.outer([1.0, 2.0**90, 2.0**-90], [1.0, 2.0**90, 2.0**-90])
        np.testing.assert_allclose(kernel, plain[key] * scale, rtol=1e-13)
