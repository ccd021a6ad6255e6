"""The JPEG experiment: what is encoded, what is kept, and the line through it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.images import cifar_like
from recording.jpeg_quality import Experiment, extrapolate, main, reencoded
from recording.real.clock import Clock
from recording.real.images import CIFAR10

from exact_cntk.data import Dataset
from exact_cntk.errors import UserError

pytest.importorskip("PIL.Image", reason="pillow reads and writes JPEGs")


@pytest.fixture
def raw():
    images = (cifar_like(44, 8, 8) * 40 + 128).clip(0, 255).astype(np.uint8)
    labels = np.arange(44) % 10
    return Dataset(
        "Noise", False, "0" * 64, CIFAR10.class_names, 255, images[:32], labels[:32], images[32:], labels[32:]
    )


def test_lower_quality_loses_more(raw):
    errors = [((reencoded(raw.train_images, q).astype(float) - raw.train_images) ** 2).mean() for q in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert reencoded(raw.train_images, None) is raw.train_images


def experiment(raw, path):
    return Experiment(raw, path, (2, 3), 16, 12, "reference", Clock())


def test_measures_once_and_keeps_it(raw, tmp_path):
    path = tmp_path / "jpeg.json"
    experiment(raw, path).run((75,), 1)
    first = json.loads(path.read_text())["measurements"]
    experiment(raw, path).run((75, 30), 2)
    rows = json.loads(path.read_text())["measurements"]
    assert rows[:2] == first
    assert sorted((row["quality"] or 0, row["subset"]) for row in rows) == [(q, s) for q in (0, 30, 75) for s in (0, 1)]
    assert all(set(row["accuracy"]) == {"2", "3"} for row in rows)
    with pytest.raises(UserError, match="has dataset = 'Noise', not 'Other'"):
        experiment(replace(raw, name="Other"), path)


def test_line_is_found_with_its_interval():
    random = np.random.default_rng(0)
    rows = [
        {
            "quality": quality,
            "subset": subset,
            "added_mse": mse,
            "accuracy": {"3": 0.4 + 0.01 * subset - 5 * mse + random.normal(0, 1e-4)},
        }
        for subset in range(3)
        for quality, mse in ((None, 0.0), (75, 1e-3), (30, 3e-3))
    ]
    document = {"measurements": rows, "source_quality": 75, "depths": [3]}
    (line,) = extrapolate(document)
    assert (line.subsets, line.points, line.source_mse) == (3, 9, 1e-3)
    assert line.low < 5e-3 < line.high
    assert line.gain == pytest.approx(5e-3, rel=0.05) and line.high - line.low < 1e-3
    assert line.accuracy == pytest.approx(0.41, abs=1e-3)
    assert extrapolate(document | {"measurements": rows[:2]}) == []


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "x.json")]) == 2
    assert "error: " in capsys.readouterr().err
