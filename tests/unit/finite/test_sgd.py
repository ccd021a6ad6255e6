import functools
import math
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from small_networks import draw, problem, state

from exact_cntk.errors import InputError, UserError
from exact_cntk.finite import CurveRow, compiles, outcome, predict_classes, train_full_batch, train_sgd
from exact_cntk.finite._torch import torch


def assert_close(network, other, **tolerance):
    for weight, expected in zip(state(network), state(other), strict=True):
        np.testing.assert_allclose(weight, expected, **tolerance)


def test_a_batch_of_all_images_is_full_batch():
    x, labels = problem()
    options = {"rate": 0.3, "x_test": x[:4], "labels_test": labels[:4]}
    one, other = draw(), draw()
    rows = train_sgd(one, x, labels, max_epochs=6, batch_images=len(x), **options)
    expected = train_full_batch(other, x, labels, steps=6, **options)
    np.testing.assert_allclose(np.array(rows), np.array(expected), rtol=1e-12)
    assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_an_epoch_is_a_full_batch_step_on_each_batch():
    """Nine images in batches of four, four and one: every image once, each batch averaged over its own images."""
    x, labels = problem()
    network, other = draw(), draw()
    seen = []
    handle = network.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].numpy().copy()) if torch.is_grad_enabled() else None
    )
    rows = train_sgd(network, x, labels, rate=0.3, max_epochs=2, batch_images=4, seed=7)
    handle.remove()
    assert [row.step for row in rows] == [0, 3, 6]
    assert [len(batch) for batch in seen] == [4, 4, 1, 4, 4, 1]
    orders = [[int(np.flatnonzero((x == image).all(axis=(1, 2, 3)))[0]) for image in batch] for batch in seen]
    first, second = (list(chain.from_iterable(epoch)) for epoch in (orders[:3], orders[3:]))
    assert sorted(first) == sorted(second) == list(range(9)) and first != second
    for batch in orders:
        train_full_batch(other, x[batch], labels[batch], rate=0.3, steps=1)
    assert_close(network, other, rtol=1e-10, atol=1e-12)


def test_seeds_differ_and_one_seed_is_one_run():
    x, labels = problem()

    def run(seed):
        network = draw()
        return train_sgd(network, x, labels, rate=0.3, max_epochs=2, batch_images=2, seed=seed), state(network)

    (rows, weights), (again, same), (others, _) = run(3), run([3]), run(4)
    assert [row.loss for row in rows] == [row.loss for row in again]
    assert all(weight.tobytes() == other.tobytes() for weight, other in zip(weights, same, strict=True))
    assert rows[0].loss == others[0].loss and rows[1].loss != others[1].loss


def test_parts_of_a_batch_change_rounding_alone():
    x, labels = problem()
    whole, parts = draw(), draw()
    options = {"rate": 0.3, "max_epochs": 3, "batch_images": 5}
    train_sgd(whole, x, labels, **options)
    train_sgd(parts, x, labels, images_at_once=2, **options)
    assert_close(whole, parts, rtol=1e-10, atol=1e-12)


def test_training_ends_some_epochs_after_full_accuracy():
    x, labels = problem()
    options = {"rate": 3, "batch_images": 3, "x_test": x, "labels_test": labels}
    network = draw(width=64)
    rows = train_sgd(network, x, labels, max_epochs=300, averaged_epochs=4, **options)
    full = next(epoch for epoch, row in enumerate(rows) if row.train_accuracy == 1)
    assert full > 0 and len(rows) - 1 == full + 4 < 300
    result = outcome(rows, 4)
    assert (result.epochs, result.full_accuracy_epoch, result.diverged) == (full + 4, full, False)
    assert result.test_accuracy == np.mean([row.test_accuracy for row in rows[full + 1 :]])
    np.testing.assert_array_equal(predict_classes(network, x) == labels, rows[-1].test_accuracy == 1)
    limited = train_sgd(draw(width=64), x, labels, max_epochs=full + 2, averaged_epochs=4, **options)
    assert limited == rows[: full + 3]


def test_an_outcome_is_the_mean_of_the_last_epochs():
    rows = [CurveRow(k, 1.0, 0.5, accuracy) for k, accuracy in enumerate([0.1, 0.2, 0.3, 0.5])]
    assert outcome(rows, 2).test_accuracy == 0.4
    assert outcome(rows, 10).test_accuracy == pytest.approx(1 / 3)  # without the initial weights
    assert outcome(rows[:1], 2).test_accuracy == 0.1
    assert outcome(rows, 2).full_accuracy_epoch is None
    diverged = outcome([*rows, CurveRow(4, math.inf, math.nan, math.nan)], 2)
    assert (diverged.diverged, diverged.train_accuracy, diverged.test_accuracy) == (True, None, None)
    assert outcome([CurveRow(0, 1.0, 0.5, math.nan)], 2).test_accuracy is None


def test_a_run_ends_where_it_diverges():
    x, labels = problem()
    rows = train_sgd(
        draw(dtype="float32"), x, labels, rate=1e25, max_epochs=9, batch_images=3, x_test=x, labels_test=labels
    )
    assert [row.step for row in rows] == [0, 3]
    assert not math.isfinite(rows[-1].loss) and math.isnan(rows[-1].test_accuracy)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 5, 6, 15])
def test_resumed_training_has_the_same_bytes(tmp_path, killed_at):
    """Killed within an epoch and at its end; a checkpoint after every step, and one after none."""
    x, labels = problem()
    options = {"rate": 0.3, "max_epochs": 5, "batch_images": 4, "x_test": x[:4], "labels_test": labels[:4]}
    whole = draw(dtype="float32")
    rows = train_sgd(whole, x, labels, **options)

    def kill(done, _):
        if done == killed_at:
            raise KilledError

    options |= {"checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0}
    with pytest.raises(KilledError):
        train_sgd(draw(dtype="float32"), x, labels, progress=kill, **options)
    done = []
    resumed = draw(dtype="float32")
    again = train_sgd(resumed, x, labels, progress=lambda step, _: done.append(step), **options)
    assert done == list(range(killed_at + 1, 16))
    assert again == rows
    for weight, other in zip(state(whole), state(resumed), strict=True):
        assert weight.tobytes() == other.tobytes()


CHILD = """
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from test_sgd import in_a_process
torch.set_num_threads(1)

def tell(done, _):
    print(done, flush=True)
    if done == 100:  # of 160: whoever is to kill it has not come yet
        signal.pause()

in_a_process(20, Path(sys.argv[1]), tell)
"""


def in_a_process(max_epochs, checkpoint=None, progress=False):
    x, labels = problem(30)
    network = draw(readout="flatten", dtype="float32", output_scale=0.05)
    rows = train_sgd(
        network,
        x,
        labels,
        rate=1,
        max_epochs=max_epochs,
        batch_images=4,
        checkpoint=checkpoint,
        checkpoint_seconds=0,
        progress=progress,
    )
    return [row.loss for row in rows], [weight.tobytes() for weight in state(network)]


def test_a_process_that_was_killed_goes_on(tmp_path):
    """SIGKILL, in the middle of whatever it does."""
    file = tmp_path / "run.npz"
    child = [sys.executable, "-c", CHILD, str(file), str(Path(__file__).parent)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) > 15:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    done = []
    resumed = in_a_process(20, file, lambda step, _: done.append(step))
    assert done[0] > 15
    assert resumed == in_a_process(20)


@pytest.mark.parametrize("change", ["seed", "batch_images", "averaged_epochs", "channels_last"])
def test_a_checkpoint_of_another_run_is_not_taken(tmp_path, change):
    x, labels = problem()
    options = {"rate": 0.3, "max_epochs": 2, "batch_images": 4, "checkpoint": tmp_path / "run.npz"}
    train_sgd(draw(), x, labels, checkpoint_seconds=0, **options)
    seen = []
    options |= {change: {"seed": 1, "batch_images": 3, "averaged_epochs": 1, "channels_last": True}[change]}
    train_sgd(draw(), x, labels, progress=lambda done, _: seen.append(done), **options)
    assert seen[0] == 1


def test_a_finished_run_goes_on_to_more_epochs(tmp_path):
    x, labels = problem()
    options = {"rate": 0.3, "batch_images": 4, "checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0}
    rows = train_sgd(draw(), x, labels, max_epochs=5, **options | {"checkpoint": None})
    train_sgd(draw(), x, labels, max_epochs=3, **options)
    seen = []
    found = train_sgd(draw(), x, labels, max_epochs=5, progress=lambda done, _: seen.append(done), **options)
    assert seen[0] == 10 and [row.loss for row in found] == [row.loss for row in rows]


@pytest.mark.parametrize(
    ("options", "readout"),
    [
        ({"channels_last": True}, "flatten"),
        ({"channels_last": True}, "gap"),
        ({"compiled": True}, "flatten"),
        ({"tf32": True}, "gap"),
    ],
)
def test_what_a_gpu_is_given_changes_rounding_alone(monkeypatch, options, readout):
    """Here on the CPU; compiled up to the code generator, which takes a compiler of the machine and minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    x, labels = problem()
    plain, other = draw(readout=readout, dtype="float32"), draw(readout=readout, dtype="float32")
    rest = {"rate": 0.3, "max_epochs": 3, "batch_images": 4, "x_test": x, "labels_test": labels}
    rows = train_sgd(plain, x, labels, **rest)
    found = train_sgd(other, x, labels, **rest, **options)
    np.testing.assert_allclose([row.loss for row in found], [row.loss for row in rows], rtol=1e-5)
    assert_close(other, plain, rtol=1e-4, atol=1e-5)  # sums of float32 in another order
    if "channels_last" in options:
        assert other.filters[1].is_contiguous(memory_format=torch.channels_last)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, True)  # torch's own


def test_training_does_without_a_compiler_that_fails(monkeypatch):
    def broken(network, **_):
        def forward(images):
            raise RuntimeError("no nvcc\nlong story")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    x, labels = problem()
    network, lines = draw(), []
    with pytest.raises(
        UserError, match=r"torch\.compile fails here: RuntimeError: no nvcc; compiled=False trains without it$"
    ):
        train_sgd(network, x, labels, rate=0.3, max_epochs=1, batch_images=4, compiled=True)
    assert not compiles(network, 4, lines.append)
    assert network.readout_weight.grad is None
    assert len(lines) == 1 and lines[0].startswith("training without torch.compile: ") and "no nvcc" in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1}, "rate is -1"),
        ({"max_epochs": -1}, "max_epochs is -1; allowed are integers ≥ 0"),
        ({"batch_images": 0}, "batch_images is 0"),
        ({"batch_images": 10}, "batch_images is 10; allowed are integers up to the number of images, 9"),
        ({"averaged_epochs": 0}, "averaged_epochs is 0"),
        ({"images_at_once": 0}, "images_at_once is 0"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"x_test": np.zeros((1, 4, 4, 2))}, "x_test and labels_test belong together"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    x, labels = problem()
    with pytest.raises(InputError, match=message):
        train_sgd(draw(), x, labels, **{"rate": 0.1, "max_epochs": 1, "batch_images": 3} | options)
