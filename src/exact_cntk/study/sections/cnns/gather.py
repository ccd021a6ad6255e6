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

# Key of an entry of `runs` → key of the run's own file.
RUN = {name: name for name in ("rate", "seed", "epochs", "full_accuracy_epoch", "train_accuracy")}
RUN |= {"test_accuracy": "accuracy", "diverged": "diverged"}
CURVE = ["split", "rate", "seed", "epoch", "step", "loss", "train_accuracy", "validation_accuracy", "test_accuracy"]


def gather(files: Sequence[Path], out: Path, curves: Path) -> dict[str, Any]:
    """Put the runs of one architecture together: outcomes in a JSON file, learning curves in a CSV file.

    Returns
    -------
    dict
        The content of the JSON file. `rate` has the highest validation accuracy (the lowest rate of equals) among those
        whose validation run did not diverge; `accuracy` and `accuracy_sd` are mean and standard deviation over the
        seeds that did not diverge at it. `rate_test_chosen` and `accuracy_test_chosen` follow the paper: the rate with
        the best mean accuracy on the test images, among those at which no seed diverged.

    Raises
    ------
    UserError
        A file is missing, damaged, given twice, or of another architecture, protocol or data.
    """
    documents = [
        read_document(path, "a training run", FORMAT_VERSION, keys=("curve",), remedy="train it again")
        for path in files
    ]
    _check_alike(files, documents)
    by_split = {split: [run for run in documents if run["split"] == split] for split in SPLITS}
    rates = sorted({run["rate"] for run in documents})
    for split, runs in by_split.items():
        if missing := sorted(set(rates) - {run["rate"] for run in runs}):
            raise UserError(f"there is no run of split {split!r} at rate {missing[0]:g}; train it first")
    validation = [{"rate": rate, "accuracy": _mean(by_split["validation"], rate)} for rate in rates]
    test = [{"rate": rate, "accuracy": _mean(by_split["test"], rate)} for rate in rates]
    chosen, by_test = _best(validation), _best(test)
    trials = sorted(by_split["test"], key=lambda run: (run["rate"], run["seed"]))
    at_chosen = [run for run in trials if run["rate"] == chosen["rate"]]
    known = [run["accuracy"] for run in at_chosen if not run["diverged"]]
    first = by_split["test"][0]
    document = {
        **{name: first[name] for name in ("format_version", "study", "data", *ARCHITECTURE, "train_images")},
        "test_images": first["held_out_images"],
        "protocol": first["protocol"]
        | {"rates": rates, "seeds": len(by_split["test"]) // len(rates)}
        | {"validation_images": by_split["validation"][0]["held_out_images"]}
        | {"validation_seeds": len(by_split["validation"]) // len(rates)},
        "computed": [json.loads(text) for text in sorted({json.dumps(run["computed"]) for run in documents})],
        "runs": [{name: run[key] for name, key in RUN.items()} for run in trials],
        "rate": chosen["rate"],
        "validation": validation,
        "accuracy": statistics.fmean(known) if known else None,
        "accuracy_sd": statistics.stdev(known) if len(known) > 1 else None,
        "diverged_seeds": len(at_chosen) - len(known),
        "rate_test_chosen": by_test["rate"],
        "accuracy_test_chosen": by_test["accuracy"],
        "test_correct_hex": [run["correct_hex"] for run in at_chosen],
    }
    table = learning_curves(documents).to_csv(index=False, lineterminator="\n").encode()
    write_bytes(curves, table)
    write_result(out, document, {curves: table})
    return document


def learning_curves(documents: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run and epoch, columns `CURVE`; validation before test, then by rate, seed and epoch."""
    frames = []
    for run in sorted(documents, key=lambda run: (SPLITS.index(run["split"]), run["rate"], run["seed"])):
        frame = pd.DataFrame(run["curve"]).rename(columns={"accuracy": f"{run['split']}_accuracy"})
        frame = frame.assign(epoch=range(len(frame)), **{name: run[name] for name in ("split", "rate", "seed")})
        frames.append(frame.reindex(columns=CURVE))
    # All-empty columns, such as the test accuracy of validation runs, must stay columns of numbers.
    return pd.DataFrame({name: [value for frame in frames for value in frame[name]] for name in CURVE})


def _check_alike(files: Sequence[Path], documents: Sequence[dict[str, Any]]) -> None:
    if not files:
        raise InputError("there are no runs; give at least one of each split")
    seen: dict[tuple, Path] = {}
    for path, run in zip(files, documents, strict=True):
        for name in ("study", *ARCHITECTURE, "protocol", "data"):
            if run[name] != documents[0][name]:
                raise UserError(f"{path} differs in {name} from {files[0]}; gather only runs of one architecture")
        key = run["rate"], run["seed"], run["split"]
        if key in seen:
            raise UserError(f"{path} is the same run as {seen[key]}; remove one of them")
        seen[key] = path


def _mean(documents: Sequence[dict[str, Any]], rate: float) -> float | None:
    """Mean accuracy over seeds; None if one diverged."""
    accuracies = [run["accuracy"] for run in documents if run["rate"] == rate]
    return None if None in accuracies else statistics.fmean(accuracies)


def _best(candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [candidate for candidate in candidates if candidate["accuracy"] is not None]
    # max takes the first of equals, which has the lowest rate.
    return max(known, key=lambda candidate: candidate["accuracy"], default={"rate": None, "accuracy": None})
