"""Preprocessing against NumPy's plain formulas, and the choice of images."""

import numpy as np
import pytest

from exact_cntk.data import load_cifar10, load_digits, load_processed, prepare, sidecar_path
from exact_cntk.data._prepare import channel_statistics
from exact_cntk.errors import InputError, UserError


@pytest.fixture
def out(tmp_path):
    return tmp_path / "processed" / "study.h5"


def prepare_cifar10(out, folder, **options):
    return prepare("cifar10", out, source=folder, allow_unverified=True, **options)


def box_average(images: np.ndarray, box: int) -> np.ndarray:
    n, P, Q, C = images.shape
    return images.reshape(n, P // box, box, Q // box, box, C).mean(axis=(2, 4))


@pytest.mark.parametrize("resolution", [32, 16, 8])
def test_as_the_papers_code(out, folder, resolution):
    data = prepare_cifar10(out, folder, resolution=resolution, train_images=7, test_images=3)
    raw = load_cifar10(folder, allow_unverified=True)
    train = box_average(raw.train_images / 255.0, 32 // resolution)
    mean, std = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))  # of all images, not of the seven
    # Both are float64; the sums differ in the last bits.
    np.testing.assert_allclose(data.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(data.std, std, rtol=1e-12)
    test = box_average(raw.test_images[:3] / 255.0, 32 // resolution)
    # One rounding to float32: 6e-8 of values up to 2 or so.
    np.testing.assert_allclose(data.train_images, (train[:7] - mean) / std, rtol=0, atol=3e-7)
    np.testing.assert_allclose(data.test_images, (test - mean) / std, rtol=0, atol=3e-7)
    assert data.train_images.dtype == np.float32
    np.testing.assert_array_equal(data.train_labels, raw.train_labels[:7])
    np.testing.assert_array_equal(data.test_index, [0, 1, 2])


def test_the_whole_training_set_has_mean_0_and_variance_1(out):
    data = prepare("digits", out)
    assert data.train_images.shape == (1000, 8, 8, 1)
    assert data.test_images.shape == (797, 8, 8, 1)
    # Sums of 64,000 float32 values in float64.
    assert data.train_images.mean(dtype=np.float64) == pytest.approx(0, abs=1e-7)
    assert data.train_images.std(dtype=np.float64) == pytest.approx(1, abs=1e-7)
    raw = load_digits()
    np.testing.assert_allclose(data.test_images * data.std[0] + data.mean[0], raw.test_images / 16, rtol=0, atol=1e-7)


def test_written_and_read(out):
    data = prepare("digits", out, train_images=20, test_images=10)
    loaded = load_processed(out)
    assert loaded.digest == data.digest
    assert loaded.parameters == {
        "dataset": "digits",
        "resolution": 8,
        "classes": list(range(10)),
        "train_images": 20,
        "selection": "first",
        "seed": None,
        "test_images": 10,
    }
    assert sidecar_path(out).exists()


def test_archive_and_folder_give_the_same_file(tmp_path, archive, folder):
    outs = [tmp_path / name / "study.h5" for name in ("a", "b")]
    for out, source in zip(outs, (archive, folder), strict=True):
        prepare_cifar10(out, source, resolution=8)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert load_processed(outs[0]).dataset.startswith("CIFAR-10 (unverified source, sha256 ")


def test_statistics_have_the_same_bits_in_any_order():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    assert channel_statistics(images, 2, 255) == channel_statistics(images[::-1], 2, 255)


def test_a_constant_channel_is_an_error():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    images[..., 1] = 51
    with pytest.raises(UserError, match=r"channel 1 of the training images is 0\.2 everywhere"):
        channel_statistics(images, 1, 255)


def test_classes_are_renumbered_in_the_given_order(out, folder):
    raw = load_cifar10(folder, allow_unverified=True)
    data = prepare_cifar10(out, folder, classes=[7, 2])
    assert data.class_names == ("horse", "bird")
    np.testing.assert_array_equal(data.train_index, np.flatnonzero(np.isin(raw.train_labels, [2, 7])))
    np.testing.assert_array_equal(np.array([7, 2])[data.train_labels], raw.train_labels[data.train_index])
    np.testing.assert_array_equal(np.array([7, 2])[data.test_labels], raw.test_labels[data.test_index])
    # Statistics stay those of all classes.
    assert data.mean == prepare_cifar10(out, folder).mean


def test_every_chunk_of_a_stratified_pool_is_balanced(out):
    data = prepare("digits", out, selection="stratified", seed=3)
    assert sorted(data.train_index) == list(range(1000))
    np.testing.assert_array_equal(data.train_labels, load_digits().train_labels[data.train_index])
    share = np.bincount(data.train_labels) / 1000
    for size in (50, 100, 200, 333):
        for start in range(0, 1000 - size + 1, 7):
            counts = np.bincount(data.train_labels[start : start + size], minlength=10)
            # A class's "times" are equally spaced, so a window's count is off by the rounding at its two ends, which
            # themselves are off by the rounding of the other classes.
            assert np.abs(counts - size * share).max() <= 2


def test_a_smaller_stratified_pool_is_the_beginning_of_a_larger(out):
    large, small, other = (
        prepare("digits", out, selection="stratified", train_images=n, seed=seed).train_index
        for n, seed in ((400, 0), (100, 0), (100, 1))
    )
    np.testing.assert_array_equal(large[:100], small)
    assert not np.array_equal(small, other)
    # Recorded once: the draw must not change with the versions of Python or NumPy.
    np.testing.assert_array_equal(small[:5], [879, 186, 402, 723, 847])


def test_the_seed_of_an_unused_draw_changes_nothing(out):
    assert prepare("digits", out, seed=0).digest == prepare("digits", out, seed=1).digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "mnist"}, "dataset: 'mnist' is unknown.*; allowed: digits, cifar10"),
        ({"source": "a.tar.gz"}, "source: 'a.tar.gz' with dataset digits, which needs none"),
        ({"resolution": 16}, "resolution: 16 is not possible with Digits; allowed: 8"),
        ({"dataset": "cifar10", "resolution": 7}, "resolution: 7 is not possible with CIFAR-10; allowed: 32, 16, 8"),
        ({"selection": "random"}, "selection is 'random'; allowed are 'first', 'stratified'"),
        ({"seed": -1}, "seed is -1; allowed are integers ≥ 0"),
        ({"seed": 0.5}, "seed is 0.5; allowed are integers ≥ 0"),
        ({"classes": [0, 10]}, "classes: 10 is no class of Digits; allowed: 0 to 9"),
        ({"classes": [0, "cat"]}, "classes: 'cat' is no class of Digits"),
        ({"classes": [1, 1, 2]}, r"classes: \[1, 1, 2\] must be at least two different ones"),
        ({"classes": [1]}, r"classes: \[1\] must be at least two different ones"),
        ({"train_images": 0}, r"train_images must be an integer in 1…1000 .*got 0"),
        ({"train_images": 1001}, r"train_images must be an integer in 1…1000 .*got 1001"),
        ({"train_images": 1.5}, "train_images must be an integer"),
        ({"test_images": 0}, r"test_images must be an integer in 1…797 .*got 0"),
        ({"test_images": 798}, r"test_images must be an integer in 1…797 .*got 798"),
        ({"test_images": -3}, "test_images must be an integer in 1…797"),
        ({"classes": [0, 1], "train_images": 1000}, r"train_images must be an integer in 1…201 .*got 1000"),
    ],
)
def test_bad_arguments(out, options, said):
    with pytest.raises(InputError, match=said):
        prepare(**({"dataset": "digits", "out": out} | options))
    assert not out.exists()
