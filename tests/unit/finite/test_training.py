import math

import numpy as np
import pandas as pd
import pytest
from small_networks import CLASSES, draw, problem, state

from exact_cntk.errors import InputError
from exact_cntk.finite import empirical_kernel, train_full_batch
from exact_cntk.finite._torch import torch


@pytest.mark.parametrize("trained", ["all", "hidden"])
def test_is_gradient_descent_on_the_loss(trained):
    """Against the loss written out, differentiated by finite differences along random directions."""
    x, labels = problem()
    rate, network = 0.3, draw(trained=trained)
    before, reference = state(network), draw(trained=trained).requires_grad_(False)
    rows = train_full_batch(network, x, labels, rate=rate, steps=1, images_at_once=4)
    y = np.full((len(x), CLASSES), -0.1)
    y[np.arange(len(x)), labels] = 0.9

    def loss():
        return ((reference(torch.from_numpy(x)).numpy() - y) ** 2).sum() / (2 * len(x))

    assert rows[0].loss == pytest.approx(loss(), rel=1e-12)
    rng = np.random.default_rng(1)
    for weight, old, new, own in zip(reference.parameters(), before, state(network), network.parameters(), strict=True):
        direction = rng.standard_normal(old.shape)
        values = []
        for step in (1e-5, -2e-5):
            weight += step * torch.from_numpy(direction)
            values.append(loss())
        weight += 1e-5 * torch.from_numpy(direction)
        slope = (values[0] - values[1]) / 2e-5 if own.requires_grad else 0.0
        assert ((old - new) * direction).sum() / rate == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_outputs_follow_the_empirical_kernel():
    """Lemma 3.1: Δu = −rate κ²/n · K (u − y), to first order in the rate, at any width."""
    x, kappa, rate = problem()[0], 0.05, 1e-4
    network = draw(outputs=1, output_scale=kappa, width=7, seed=[0, 7, 2])
    K = empirical_kernel(x, depths=3, readout="gap", width=7, draws=[2], dtype="float64")["ntk", 3][0]
    with torch.no_grad():
        before = network(torch.from_numpy(x)).numpy()[:, 0]
        train_full_batch(network, x, np.zeros(len(x)), rate=rate, steps=1)
        change = network(torch.from_numpy(x)).numpy()[:, 0] - before
    np.testing.assert_allclose(change, -rate * kappa**2 / len(x) * K @ (before - 0.9), rtol=1e-4)


def test_small_sets_are_learned():
    x, labels = problem()
    network = draw(width=64, dtype="float32")
    rows = train_full_batch(network, x, labels, rate=0.5, steps=150, every=10, x_test=x, labels_test=labels)
    assert [row.step for row in rows] == list(range(0, 151, 10))
    assert (np.diff([row.loss for row in rows]) < 0).all()
    assert rows[-1].train_accuracy == rows[-1].test_accuracy == 1
    with torch.no_grad():
        found = network(torch.from_numpy(x).float()).argmax(dim=1).numpy()
    np.testing.assert_array_equal(found, labels)


def test_blocks_of_images_change_rounding_alone():
    x, labels = problem()
    whole, parts = draw(), draw()
    rows = train_full_batch(whole, x, labels, rate=0.3, steps=5)
    others = train_full_batch(parts, x, labels, rate=0.3, steps=5, images_at_once=2)
    np.testing.assert_allclose([row.loss for row in rows], [row.loss for row in others], rtol=1e-12)
    for weight, other in zip(state(whole), state(parts), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-10, atol=1e-12)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 4, 10, 11])
def test_resumed_training_has_the_same_bytes(tmp_path, killed_at):
    x, labels = problem()
    options = {"rate": 0.3, "every": 3, "x_test": x[:4], "labels_test": labels[:4]}
    whole = draw(dtype="float32")
    rows = train_full_batch(whole, x, labels, steps=11, **options)
    assert [row.step for row in rows] == [0, 3, 6, 9, 11]

    def kill(done, _):
        if done == killed_at:
            raise KilledError

    options |= {"checkpoint": tmp_path / "run.npz", "checkpoint_every": 4}
    with pytest.raises(KilledError):
        train_full_batch(draw(dtype="float32"), x, labels, steps=11, progress=kill, **options)
    done = []
    resumed = draw(dtype="float32")
    again = train_full_batch(resumed, x, labels, steps=11, progress=lambda step, _: done.append(step), **options)
    saved = 11 if killed_at == 11 else killed_at // 4 * 4
    assert done == list(range(saved + 1, 12))
    assert again == rows
    for weight, other in zip(state(whole), state(resumed), strict=True):
        assert weight.tobytes() == other.tobytes()
    assert (resumed.readout_weight.grad, len(list(tmp_path.iterdir()))) == (None, 1)


def test_a_finished_run_goes_on_to_more_steps(tmp_path):
    x, labels = problem()
    options = {"rate": 0.3, "every": 2, "x_test": x, "labels_test": labels}
    rows = train_full_batch(draw(), x, labels, steps=9, **options)
    options["checkpoint"] = tmp_path / "run.npz"
    assert train_full_batch(draw(), x, labels, steps=5, **options)[-1].step == 5
    assert train_full_batch(draw(), x, labels, steps=9, **options) == rows
    # and one of fewer steps is not taken from it
    assert train_full_batch(draw(), x, labels, steps=4, **options) == rows[:3]


@pytest.mark.parametrize("change", ["rate", "labels", "seed", "trained", "threads", "rubbish"])
def test_a_checkpoint_of_another_run_is_not_taken(tmp_path, change):
    x, labels = problem()
    file = tmp_path / "run.npz"
    train_full_batch(draw(), x, labels, rate=0.3, steps=3, checkpoint=file)
    if change == "rubbish":
        file.write_bytes(b"PK rubbish")
    if change == "threads":
        torch.set_num_threads(2)
    options = {"seed": {"seed": 1}, "trained": {"trained": "hidden"}}.get(change, {})
    labels = labels[::-1].copy() if change == "labels" else labels
    rate = 0.2 if change == "rate" else 0.3
    seen = []
    rows = train_full_batch(
        draw(**options), x, labels, rate=rate, steps=3, checkpoint=file, progress=lambda done, _: seen.append(done)
    )
    assert seen == [1, 2, 3]
    # NaN stands for the accuracy on no test images
    expected = train_full_batch(draw(**options), x, labels, rate=rate, steps=3)
    np.testing.assert_array_equal(np.array(rows), np.array(expected))


def test_training_ends_where_it_diverges():
    x, labels = problem()
    rows = train_full_batch(draw(dtype="float32"), x, labels, rate=1e25, steps=100, every=100)
    assert [row.step for row in rows] == [0, 1]
    assert not math.isfinite(rows[-1].loss)


def test_nothing_trained_is_nothing_changed():
    x, labels = problem()
    network = draw(depth=2, trained="hidden")
    before = state(network)
    rows = train_full_batch(network, x, labels, rate=0.3, steps=3)
    assert len({row.loss for row in rows}) == 1
    for weight, other in zip(before, state(network), strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1}, "rate is -1"),
        ({"steps": -1}, "steps is -1; allowed are integers ≥ 0"),
        ({"every": 0}, "every is 0"),
        ({"images_at_once": 0}, "images_at_once is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"labels": [0] * 8}, r"labels has shape \(8,\); allowed is \(9,\)"),
        ({"labels": [0] * 8 + [3]}, "labels has 3; allowed are integers from 0 to 2"),
        ({"labels": [0] * 8 + [0.5]}, "labels has 0.5; allowed are integers"),
        ({"labels": [0] * 8 + [-1]}, "labels has -1; allowed are integers"),
        ({"labels": np.zeros((9, 1), dtype=int)}, r"labels has shape \(9, 1\) .* pass np\.ravel\(labels\)"),
        ({"labels": np.eye(3, dtype=int)[[0, 1, 2] * 3]}, r"pass np\.argmax\(labels, axis=1\)"),
        ({"labels": list("abcabcabc")}, r"labels has texts, .*: np\.unique\(labels, return_inverse=True\)\[1\]"),
        ({"labels": np.ma.array([0] * 9, mask=[1] + [0] * 8)}, "labels has 1 masked entries"),
        ({"x": np.zeros((9, 2, 4, 4))}, r"x has images of shape \(2, 4, 4\); .* pass x\.transpose\(0, 2, 3, 1\)"),
        ({"x": np.zeros((9, 4, 4, 1))}, r"x has images of shape \(4, 4, 1\); allowed is the network's, \(4, 4, 2\)"),
        ({"x_test": np.zeros((1, 4, 4, 2))}, "x_test and labels_test belong together"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    x, labels = problem()
    with pytest.raises(InputError, match=message):
        train_full_batch(draw(), **{"x": x, "labels": labels, "rate": 0.1, "steps": 1} | options)


def test_labels_may_be_objects_or_categoricals():
    x, labels = problem()
    given = (labels, np.asarray(labels, dtype=object), pd.Categorical(labels), torch.tensor(labels))
    rows = [train_full_batch(draw(), x, known, rate=0.1, steps=1) for known in given]
    assert all(row == rows[0] for row in rows)
