"""The bundled digits."""

import numpy as np

from exact_cntk.data import load_digits


def test_digits_are_the_known_ones():
    data = load_digits()
    assert data.verified
    assert data.name == "Digits"
    assert data.train_images.shape == (1000, 8, 8, 1)
    assert data.test_images.shape == (797, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.train_images.max() == data.full_scale == 16
    # The file begins with 0, 1, 2, …
    np.testing.assert_array_equal(data.train_labels[:10], np.arange(10))
    assert data.class_names == tuple("0123456789")
