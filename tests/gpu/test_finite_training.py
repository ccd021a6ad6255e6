"""Finite networks trained on a real device: the CPU's results to rounding, the same bytes at every run."""

import json

import numpy as np
import pytest
from presence import require_gpu_of_torch

torch = pytest.importorskip("torch", reason="torch is not installed")

from exact_cntk.data import ProcessedData  # noqa: E402 - torch may be missing
from exact_cntk.data._processed import write_processed  # noqa: E402
from exact_cntk.finite import CNN, compiles, predict_classes, train_full_batch, train_sgd  # noqa: E402

SHAPE, CLASSES = (16, 16, 3), 10
OPTIONS = {"rate": 1.0, "max_epochs": 2, "batch_images": 40, "averaged_epochs": 2}


@pytest.fixture(autouse=True, scope="session")
def gpu():
    """In place of the folder's own: here it is torch that needs the GPU, not CuPy."""
    require_gpu_of_torch(torch)


def problem(n=100):
    return np.random.default_rng(0).standard_normal((n, *SHAPE)).astype(np.float32), np.arange(n) % CLASSES


def draw(device, **options):
    architecture = {"depth": 4, "width": 128, "readout": "flatten", "outputs": CLASSES, "output_scale": 0.05}
    return CNN(SHAPE, **architecture | options).to(device)


def run(device, **options):
    x, labels = problem()
    network = draw(device)
    rows = train_sgd(network, x, labels, x_test=x, labels_test=labels, **OPTIONS | options)
    return rows, [weight.detach().cpu().numpy() for weight in network.parameters()]


def require_compiler():
    """Skip where torch.compile lacks what it needs of the machine, which the simplest function shows as well."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(3, device="cuda"))
    except Exception as error:
        pytest.skip(f"torch.compile does not work on this machine: {type(error).__name__}: {error}")


@pytest.mark.parametrize("compiled", [False, None])
def test_agrees_with_the_cpu(compiled):
    if compiled is None:
        require_compiler()
        assert compiles(draw("cuda"), 40, print)
    (rows, weights), (expected, others) = run("cuda", compiled=compiled), run("cpu")
    np.testing.assert_allclose([row.loss for row in rows], [row.loss for row in expected], rtol=1e-4)
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-3)  # six steps, each of sums in another order


def test_tf32_is_off_unless_asked_for():
    exact, again = (run("cuda", compiled=False)[1] for _ in range(2))
    assert max(abs(a - b).max() for a, b in zip(exact, again, strict=True)) == 0
    tf32, expected = run("cuda", tf32=True, compiled=False)[1], run("cpu")[1]
    near, far = (max(abs(a - b).max() for a, b in zip(found, expected, strict=True)) for found in (exact, tf32))
    assert near < far or torch.cuda.get_device_capability() < (8, 0)


def test_resumed_training_has_the_same_bytes(tmp_path):
    x, labels = problem()
    rows, weights = run("cuda", compiled=False)

    def kill(done, _):
        if done == 4:
            raise KeyboardInterrupt

    options = OPTIONS | {"compiled": False, "checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0}
    options |= {"x_test": x, "labels_test": labels}
    with pytest.raises(KeyboardInterrupt):
        train_sgd(draw("cuda"), x, labels, progress=kill, **options)
    network = draw("cuda")
    assert train_sgd(network, x, labels, **options) == rows
    for weight, other in zip(network.parameters(), weights, strict=True):
        assert weight.detach().cpu().numpy().tobytes() == other.tobytes()
    assert len(predict_classes(network, x)) == len(x)


def test_full_batch():
    x, labels = problem()
    losses = [
        [row.loss for row in train_full_batch(draw(device), x, labels, rate=1.0, steps=3)] for device in ("cuda", "cpu")
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_run_of_the_study(tmp_path):
    """As the workflow calls it, but for the size that would take a GPU by itself."""
    pytest.importorskip("yaml", reason="the study takes PyYAML, jsonschema and tqdm")
    pytest.importorskip("jsonschema")
    pytest.importorskip("tqdm")
    from exact_cntk.networks import Family
    from exact_cntk.study.sections.cnns.train import Run, train

    x, labels = problem(160)
    data = ProcessedData.with_digest(
        **{"train_images": x[:100], "train_labels": labels[:100], "train_index": np.arange(100)},
        **{"test_images": x[100:], "test_labels": labels[100:], "test_index": np.arange(60)},
        **{"dataset": "noise", "verified": True, "source_digest": "0" * 64, "parameters": {}},
        **{"class_names": tuple(map(str, range(CLASSES))), "mean": (0.0,) * 3, "std": (1.0,) * 3},
    )
    write_processed(tmp_path / "noise.h5", data)
    run_of = Run(
        **{"name": "cnn-gap", "network": Family("gap"), "depth": 3, "width": 64},
        **{"output_scale": 0.05, "rate": 1.0, "seed": 0, "split": "validation", "batch_images": 30, "max_epochs": 2},
        **{"averaged_epochs": 1, "validation_images": 10},
    )
    lines = []
    found = train(tmp_path / "noise.h5", tmp_path / "run.json", run_of, device="cuda", log=lines.append)
    again = train(tmp_path / "noise.h5", tmp_path / "again.json", run_of, device="cuda")
    assert json.dumps(found) == json.dumps(again)
    assert found["computed"]["device"] == torch.cuda.get_device_name() and not found["computed"]["tf32"]
    assert found["computed"]["channels_last"] and "tf32 False" in lines[-1]
    on_cpu = train(tmp_path / "noise.h5", tmp_path / "cpu.json", run_of, device="cpu")
    np.testing.assert_allclose(found["curve"]["loss"], on_cpu["curve"]["loss"], rtol=1e-4)
