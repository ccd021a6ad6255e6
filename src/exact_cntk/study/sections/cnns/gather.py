"""The runs of one architecture put together: the rate chosen, accuracies at it, and learning curves."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from exact_cntk._support.atomic import write_bytes
from exact_cntk.errors import InputError, UserError
from exact_cntk.study.documents import read_document, write_result
from exact_cntk.study.sections.cnns.plan import SPLITS
from exact_cntk.study.sections.cnns.train import ARCHITECTURE, FORMAT_VERSION

CURVE = ["split", "rate", "seed", "epoch", "step", "loss", "train_accuracy", "validation_accuracy", "test_accuracy"]


def gather(files: Sequence[Path], out: Path, curves: Path) -> dict[str, Any]:
    """Put the runs of one architecture together: outcomes in a JSON file, learning curves in a CSV file.

    Parameters
    ----------
    files : sequence of Path
        From `train`: for every rate, runs of both splits.
    out, curves : Path

    Returns
    -------
    dict
        What the JSON file holds. `rate` is the one of highest validation accuracy, the lower one of equals, among those
        whose validation run did not diverge; `accuracy` and `accuracy_sd` are mean and standard deviation over the
        seeds that did not diverge at it. `rate_test_chosen` and `accuracy_test_chosen` are the paper's: the rate of the
        best mean by the test images themselves, among those at which no seed diverged.

    Raises
    ------
    UserError
        A file is missing, damaged, there twice, or of another architecture, protocol or data.
    """
    documents = [
        read_document(path, "a training run", FORMAT_VERSION, keys=("curve",), remedy="train it again")
        for path in files
    ]
    _check_alike(files, documents)
    by_split = {split: [one for one in documents if one["split"] == split] for split in SPLITS}
    rates = sorted({one["rate"] for one in documents})
    for split, found in by_split.items():
        if missing := sorted(set(rates) - {one["rate"] for one in found}):
            raise UserError(f"there is no run of split {split!r} at rate {missing[0]:g}; train it first")
    validation = [{"rate": rate, "accuracy": _mean(by_split["validation"], rate)} for rate in rates]
    test = [{"rate": rate, "accuracy": _mean(by_split["test"], rate)} for rate in rates]
    chosen, by_test = _best(validation), _best(test)
    trials = sorted((one for one in by_split["test"]), key=lambda one: (one["rate"], one["seed"]))
    at_chosen = [one for one in trials if one["rate"] == chosen["rate"]]
    known = [one["accuracy"] for one in at_chosen if not one["diverged"]]
    first = by_split["test"][0]
    document = {
        **{name: first[name] for name in ("format_version", "study", "data", *ARCHITECTURE, "train_images")},
        "test_images": first["held_out_images"],
        "protocol": first["protocol"]
        | {"rates": rates, "seeds": len(by_split["test"]) // len(rates)}
        | {"validation_images": by_split["validation"][0]["held_out_images"]}
        | {"validation_seeds": len(by_split["validation"]) // len(rates)},
        "computed": [json.loads(text) for text in sorted({json.dumps(one["computed"]) for one in documents})],
        "runs": [_run_row(one) for one in trials],
        "rate": chosen["rate"],
        "validation": validation,
        "accuracy": statistics.fmean(known) if known else None,
        "accuracy_sd": statistics.stdev(known) if len(known) > 1 else None,
        "diverged_seeds": len(at_chosen) - len(known),
        "rate_test_chosen": by_test["rate"],
        "accuracy_test_chosen": by_test["accuracy"],
        "test_correct_hex": [one["correct_hex"] for one in at_chosen],
    }
    table = learning_curves(documents).to_csv(index=False, lineterminator="\n").encode()
    write_bytes(curves, table)
    write_result(out, document, {curves: table})
    return document


def learning_curves(documents: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a run and epoch, columns `CURVE`; validation before test, then by rate, seed and epoch."""
    frames = []
    for one in sorted(documents, key=lambda one: (SPLITS.index(one["split"]), one["rate"], one["seed"])):
        frame = pd.DataFrame(one["curve"]).rename(columns={"accuracy": f"{one['split']}_accuracy"})
        frame = frame.assign(epoch=range(len(frame)), **{name: one[name] for name in ("split", "rate", "seed")})
        frames.append(frame.reindex(columns=CURVE))
    # All-empty columns, such as the test accuracy of validation runs, are to stay columns of numbers.
    columns = {name: [value for frame in frames for value in frame[name]] for name in CURVE}
    return pd.DataFrame(columns)


def _check_alike(files: Sequence[Path], documents: Sequence[dict[str, Any]]) -> None:
    if not files:
        raise InputError("there are no runs; give at least one of each split")
    seen: dict[tuple, Path] = {}
    for path, one in zip(files, documents, strict=True):
        for name in ("study", *ARCHITECTURE, "protocol", "data"):
            if one[name] != documents[0][name]:
                raise UserError(f"{path} differs in {name} from {files[0]}; gather runs of one architecture alone")
        key = one["rate"], one["seed"], one["split"]
        if key in seen:
            raise UserError(f"{path} is the same run as {seen[key]}; remove one of them")
        seen[key] = path


def _mean(documents: Sequence[dict[str, Any]], rate: float) -> float | None:
    """Mean accuracy over seeds; None if one diverged."""
    accuracies = [one["accuracy"] for one in documents if one["rate"] == rate]
    return None if None in accuracies else statistics.fmean(accuracies)


def _best(candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [one for one in candidates if one["accuracy"] is not None]
    # max takes the first of equals, which has the lowest rate.
    return max(known, key=lambda one: one["accuracy"], default={"rate": None, "accuracy": None})


def _run_row(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("rate", "seed", "epochs", "full_accuracy_epoch", "train_accuracy")
    return {**{name: one[name] for name in names}, "test_accuracy": one["accuracy"], "diverged": one["diverged"]}
