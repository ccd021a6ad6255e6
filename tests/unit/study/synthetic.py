"""Metrics files of studies that were never computed: random, and labelled so; for these tests only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk.study.documents import write_result

FAMILIES = {"cntk-v": ("flatten", "all"), "cntk-gap": ("gap", "hidden")}
DEPTHS = (3, 4, 6, 11, 21)
RIDGES = [0.0, *(10.0**e for e in range(-8, 1))]
DATASET = "synthetic images (random, not a result)"


def write_study(
    study_dir: Path,
    *,
    dataset: str = DATASET,
    verified: bool = True,
    image_shape: tuple[int, ...] = (8, 8, 1),
    subsets: tuple[tuple[int, int], ...] = ((1000, 1), (200, 5)),
    families: dict[str, tuple[str, str]] = FAMILIES,
    kinds: tuple[str, ...] = ("ntk", "nngp"),
    depths: tuple[int, ...] = DEPTHS,
    n_test: int = 797,
    eigenvalues: bool = True,
    singular: Callable[[str, int, dict[str, Any]], bool] = lambda family, depth, result: False,
    held_out_above: int | None = None,
) -> list[Path]:
    """Write metrics/*.json and provenance/*.json of a made-up study and return the paths of the metrics.

    `singular` says which results have no answer without ridge: those of a family, a depth, and what the file has.
    `held_out_above`: more images than that were solved by conjugate gradients, the ridge chosen on a held-out tenth.
    """
    paths = []
    data = {
        "digest": "5" * 64,
        "dataset": dataset,
        "verified": verified,
        "source_digest": "1234abcd" * 8,
        "image_shape": list(image_shape),
        "classes": [f"class {k}" for k in range(10)],
    }
    for family, (readout, trained) in families.items():
        for depth in depths:
            rng = np.random.default_rng([len(family), depth])
            results = [
                _result(rng, kind, size, repeat, depth, readout, n_test, eigenvalues)
                for kind in kinds
                for size, repeats in subsets
                for repeat in range(repeats)
            ]
            for result in results:
                if held_out_above is not None and result["train_images"] > held_out_above:
                    result |= {"selection": "held-out tenth", "eigenvalues": None}
                if singular(family, depth, result):
                    _make_singular(result)
            document = {
                "format_version": 1,
                "study": study_dir.name,
                "family": family,
                "readout": readout,
                "trained": trained,
                "filter_size": 3,
                "depth": depth,
                "data": data,
                "results": results,
            }
            name = f"{family}-depth-{depth:02d}.json"
            paths.append(_write(study_dir / "metrics" / name, document))
            _write(study_dir / "provenance" / name, _provenance(family, depth, data))
    return paths


def _result(
    rng: np.random.Generator,
    kind: str,
    size: int,
    repeat: int,
    depth: int,
    readout: str,
    n_test: int,
    eigenvalues: bool,
) -> dict[str, Any]:
    level = 0.75 + 0.05 * np.log10(size / 100) + (0.03 if readout == "gap" else 0) + 0.01 * np.log(depth)
    level -= 0.01 if kind == "nngp" else 0
    correct = rng.random(n_test) < level
    accuracy = float(correct.mean())
    steps = np.arange(len(RIDGES))
    bump = np.exp(-(((steps - 5) / 4) ** 2))
    loo_error = 0.09 - 0.03 * bump + 0.002 * rng.random()
    test_accuracy = np.round(n_test * np.clip(accuracy + 0.02 * (bump - bump[0]), 0, 1)) / n_test
    test_accuracy[0] = accuracy
    chosen = int(loo_error.argmin())
    ranks = np.unique(np.geomspace(1, size, 12).astype(int))
    spectrum = {"rank": ranks.tolist(), "value": (size * ranks**-1.4).tolist()}
    return {
        "kind": kind,
        "train_images": size,
        "repeat": repeat,
        "test_images": n_test,
        "ridges": RIDGES,
        "test_accuracy": test_accuracy.tolist(),
        "loo_accuracy": np.clip(test_accuracy - 0.01, 0, 1).tolist(),
        "loo_error": loo_error.tolist(),
        "residual_norm": (1e-10 * np.ones(len(RIDGES))).tolist(),
        "condition_number": [float(10 ** (3 + 2 * (readout == "gap") + 3 / depth - i / 9)) for i in range(len(RIDGES))],
        "accuracy": accuracy,
        "loo_ridge": RIDGES[chosen],
        "accuracy_loo_ridge": float(test_accuracy[chosen]),
        "eigenvalues": spectrum if eigenvalues else None,
        "test_correct_hex": np.packbits(correct).tobytes().hex(),
    }


def _make_singular(result: dict[str, Any]) -> None:
    """What is written of a kernel matrix with duplicate images."""
    result["accuracy"] = result["test_correct_hex"] = None
    for name in ("test_accuracy", "loo_accuracy", "loo_error", "residual_norm", "condition_number"):
        result[name] = [None, *result[name][1:]]


def _provenance(family: str, depth: int, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "format_version": 1,
        "parameters": {"family": family, "depth": depth, "ridges": RIDGES},
        "data": data,
        "packages": {"numpy": "2.0.0", "scipy": "1.13.0"},
        "git": {"revision": "0" * 40, "dirty": False},
        "backend": "cpu",
        "instruction_set": "avx2",
        "hardware": {"cpu": "made up", "cores": 2, "memory_gib": 24.0},
    }


def _write(path: Path, document: dict[str, Any]) -> Path:
    write_result(path, document)
    return path
