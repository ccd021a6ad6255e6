"""Files of trained CNNs that were never trained: random, and labelled so by their study; for these tests only."""

from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk.study.documents import write_result
from exact_cntk.study.sections.cnns.gather import gather
from exact_cntk.study.sections.cnns.plan import run_name

RATES = (1.0, 10.0)
N_VALIDATION = 20


def write_run(
    folder: Path,
    *,
    data: dict[str, Any],
    study: str = "made-up",
    family: str = "cnn-v",
    readout: str = "flatten",
    depth: int = 3,
    rate: float = 1.0,
    seed: int = 0,
    split: str = "test",
    train_images: int = 100,
    n_test: int = 61,
    level: float = 0.8,
    diverged: bool = False,
) -> Path:
    """Write one run, whose accuracy is about `level`."""
    held_out = n_test if split == "test" else N_VALIDATION
    rng = np.random.default_rng([depth, seed, int(rate), len(split), len(family)])
    right = rng.random(held_out) < level
    epochs = 1 if diverged else 12
    accuracy = np.round(np.linspace(0.1, right.mean(), epochs + 1) * held_out) / held_out
    training = np.minimum(1, np.linspace(0.1, 1.2, epochs + 1)).round(2)
    document = {
        "format_version": 1,
        "study": study,
        "data": data,
        **{"family": family, "readout": readout, "trained": "all", "filter_size": 3, "depth": depth},
        **{"width": 16, "output_scale": 0.05},
        "train_images": train_images if split == "test" else train_images - N_VALIDATION,
        "held_out_images": held_out,
        "protocol": {"batch_images": 10, "max_epochs": 12, "averaged_epochs": 2, "tf32": False},
        "computed": {"device": "cpu", "torch": "made up"},
        **{"split": split, "rate": rate, "seed": seed, "epochs": epochs},
        "full_accuracy_epoch": None if diverged or rate < 5 else int(np.argmax(training == 1)),
        "train_accuracy": None if diverged else float(training[-1]),
        "diverged": diverged,
        "accuracy": None if diverged else float(accuracy[-2:].mean()),
        "correct_hex": None if diverged else np.packbits(right).tobytes().hex(),
        "curve": {
            "step": list(range(0, 10 * epochs + 1, 10)),
            "loss": [0.45, None] if diverged else (0.45 / np.arange(1, epochs + 2)).tolist(),
            "train_accuracy": [0.1, None] if diverged else training.tolist(),
            "accuracy": [0.1, None] if diverged else accuracy.tolist(),
        },
    }
    path = folder / f"{run_name(rate, seed, split)}.json"
    write_result(path, document)
    return path


def write_cnns(
    study_dir: Path, data: dict[str, Any], *, depths: tuple[int, ...] = (3, 6), **options: Any
) -> list[Path]:
    """Write cnns/*.json and *.csv of a made-up study, whose highest rate diverges for CNN-V."""
    written = []
    for family, readout in (("cnn-v", "flatten"), ("cnn-gap", "gap")):
        for depth in depths:
            name = f"{family}-depth-{depth:02d}"
            runs = [
                write_run(
                    study_dir / "training" / name,
                    data=data,
                    study=study_dir.name,
                    **{"family": family, "readout": readout, "depth": depth},
                    **{"rate": rate, "seed": seed, "split": split},
                    level=0.7 + 0.2 * (rate < 5),
                    diverged=readout == "flatten" and rate == RATES[-1] and seed == 0,
                    **options,
                )
                for rate in RATES
                for split, seeds in (("validation", 1), ("test", 3))
                for seed in range(seeds)
            ]
            paths = study_dir / "cnns" / f"{name}.json", study_dir / "cnns" / f"{name}.csv"
            gather(runs, *paths)
            written += paths
    return written
