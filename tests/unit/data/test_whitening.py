"""Regularised ZCA whitening: what it makes of the training set, and that it is stated."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from exact_cntk.data import load_processed, prepare
from exact_cntk.data._source import WHITENING_LIMITS
from exact_cntk.errors import InputError


def vectors(images):
    return images.reshape(len(images), -1).astype(np.float64)


@pytest.mark.parametrize("regularisation", [1e-3, 0.1, 10.0])
def test_covariance_of_the_training_set(tmp_path, regularisation):
    plain = vectors(prepare("digits", tmp_path / "plain.h5").train_images)
    white = vectors(prepare("digits", tmp_path / "white.h5", whitening=regularisation).train_images)
    values, U = np.linalg.eigh(np.cov(plain.T, ddof=0))
    expected = (U * (values / (values + regularisation * values.mean()))) @ U.T
    np.testing.assert_allclose(np.cov(white.T, ddof=0), expected, atol=1e-5)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-6)
    # The symmetric square root: of all whitenings that nearest to the images.
    W = (U / np.sqrt(values + regularisation * values.mean())) @ U.T
    np.testing.assert_allclose(white, (plain - plain.mean(axis=0)) @ W, atol=1e-4)


def test_the_fit_is_to_the_whole_training_set_and_applies_to_the_test_set(tmp_path):
    whole = prepare("digits", tmp_path / "whole.h5", whitening=0.1)
    part = prepare("digits", tmp_path / "part.h5", whitening=0.1, train_images=30, test_images=20)
    np.testing.assert_allclose(part.train_images, whole.train_images[:30], atol=1e-6)
    np.testing.assert_allclose(part.test_images, whole.test_images[:20], atol=1e-6)
    assert np.abs(whole.test_images).max() < 100  # pixels that are always black have no variance


def test_it_is_stated_and_changes_the_digest(tmp_path):
    data = prepare("digits", tmp_path / "a.h5", train_images=20, test_images=5, whitening=0.1)
    assert load_processed(tmp_path / "a.h5").parameters["whitening"] == 0.1
    plain = prepare("digits", tmp_path / "b.h5", train_images=20, test_images=5)
    assert "whitening" not in plain.parameters
    assert data.digest != plain.digest


@pytest.mark.parametrize("whitening", [0, -1.0, float("nan"), "much", 1e-10, 1e7])
def test_what_is_no_regularisation(tmp_path, whitening):
    with pytest.raises(InputError, match="whitening"):
        prepare("digits", tmp_path / "a.h5", whitening=whitening)


def test_the_schema_has_the_same_limits():
    schema = yaml.safe_load((Path(__file__).parents[3] / "workflow/schemas/params.schema.yaml").read_text())
    stated = schema["properties"]["prepare"]["properties"]["whitening"]
    assert (stated["minimum"], stated["maximum"]) == WHITENING_LIMITS
