"""Results of all methods on the same small training sets, and paired differences between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import kernel_label
from exact_cntk.study.documents import read_documents
from exact_cntk.study.results import Study
from exact_cntk.study.stats.statistics import COVERAGE

BASELINES = {"rbf": "RBF kernel", "logistic": "logistic regression", "forest": "random forest"}
SCHEMA = Path(__file__).with_name("results.schema.yaml")


@dataclass(frozen=True)
class Results:
    """Results of all methods on the same training sets.

    Attributes
    ----------
    study : Study
    sets : dict
        As `small_data_subsets.describe_subsets` gives it.
    accuracy : DataFrame
        One row per method and training set: `method` (label), `type` (kernel, baseline or network), `kind` and `ridge`
        (of kernels: ntk or nngp, none or loo; else empty), `base` (the same for kernels that differ only in kind and
        ridge), `train_images`, `repeat`, `test_images`, `correct`, `accuracy` (fraction, NaN where a kernel is singular
        or a network's training diverged). Methods are in the order of presentation.
    """

    study: Study
    sets: dict[str, Any]
    accuracy: pd.DataFrame

    @property
    def methods(self) -> pd.DataFrame:
        """One row per method, by label: `type`, `kind`, `ridge`, `base`."""
        return self.accuracy.drop_duplicates("method").set_index("method")[["type", "kind", "ridge", "base"]]

    @property
    def references(self) -> list[str]:
        """Labels of the CNTKs, with the ridge of leave-one-out."""
        methods = self.methods
        return methods.index[(methods.kind == "ntk") & (methods.ridge == "loo")].tolist()


def load(study: Study, files: Sequence[str | Path], *, resamples: int = 0, seed: int = 0) -> Results:
    """Read the results of all methods; nothing is resampled, intervals are Student's.

    Raises
    ------
    UserError
        A file is damaged, or was made from other images than the study's or on other training sets.
    """
    rows: list[dict[str, Any]] = []
    sets: dict[str, Any] | None = None
    for path, document in read_documents(study.data, files, schema=SCHEMA).items():
        sets = sets or document["sets"]
        if document["sets"]["digest"] != sets["digest"]:
            raise UserError(
                f"{path} was made on other training sets than the first file of results; compute this file again"
            )
        rows.extend(_rows(document))
    if sets is None:
        raise UserError(
            "no results of small training sets: run its jobs first, see `exact-cntk section run small_data`"
        )
    frame = pd.DataFrame(rows)
    frame["accuracy"] = frame["accuracy"].astype(float)
    frame = frame.sort_values("order", kind="stable", ignore_index=True).drop(columns="order")
    return Results(study, sets, frame)


def accuracy(results: Results) -> pd.DataFrame:
    """One row per method and size.

    Returns
    -------
    DataFrame
        `method`, `type`, `kind`, `ridge`, `train_images`, `sets` (training sets that it was run on), `subsets` (those
        with a result), `test_images`, `accuracy` (mean over these, fraction), `accuracy_sd` (ddof 1), `shared` (mean
        fraction of images that two sets share).
    """
    shared = dict(zip(results.sets["train_images"], results.sets["shared"], strict=True))
    keys = ["method", "type", "kind", "ridge", "train_images"]
    groups = results.accuracy.groupby(keys, sort=False)
    table = groups.agg(
        sets=("repeat", "size"),
        subsets=("accuracy", "count"),
        test_images=("test_images", "first"),
        accuracy=("accuracy", "mean"),
        accuracy_sd=("accuracy", "std"),
    ).reset_index()
    return table.assign(shared=table.train_images.map(shared))


def differences(results: Results) -> pd.DataFrame:
    """Accuracy of every CNTK − accuracy of every other method on the same training sets.

    Both kernels have a ridge or neither, and the CNN-GP is compared with the CNTK of the same network.

    Returns
    -------
    DataFrame
        `reference`, `method`, `train_images`, `sets` (training sets that both were run on), `subsets` (those with a
        result of both), `difference` (mean over these, fraction), `low` and `high` (interval of `COVERAGE` by
        Student's t; NaN for one set), `won`, `lost`, `tied` (sets).
    """
    names = ["accuracy", "test_images"]  # the latter is known wherever a method was run
    wide = results.accuracy.pivot(index=["train_images", "repeat"], columns="method", values=names)
    methods = results.methods
    rows = []
    for reference in methods.index[methods.kind == "ntk"]:
        for method in _others(methods, reference):
            run = wide[wide.test_images[[reference, method]].notna().all(axis=1)].accuracy[[reference, method]]
            for size, pair in run.groupby(level="train_images"):
                a, b = pair.dropna().to_numpy(dtype=float).T
                row = {"reference": reference, "method": method, "train_images": size, "sets": len(pair)}
                rows.append(row | paired(a, b))
    return pd.DataFrame(rows)


def same_size(results: Results, size: int, first: str, second: str) -> dict[str, Any]:
    """`paired` accuracies of two methods on those training sets of one size that both have a result for."""
    rows = results.accuracy[results.accuracy.train_images == size]
    pair = rows.pivot(index="repeat", columns="method", values="accuracy")[[first, second]].dropna()
    return paired(*pair.to_numpy(dtype=float).T)


def paired(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Compare accuracies a and b of two methods on the same training sets, arrays of shape (sets,).

    Returns
    -------
    dict
        `subsets`, `difference` (mean of a − b), `low`, `high`, `won` (a > b), `lost`, `tied`. The interval is
        mean ± t s/√sets with Student's t for sets − 1 degrees of freedom; NaN for one set, as the mean for none.
    """
    gains = np.asarray(a) - np.asarray(b)
    half = float("nan")
    if len(gains) > 1:
        half = float(student.ppf((1 + COVERAGE) / 2, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
    mean = float(gains.mean()) if len(gains) else float("nan")
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())
    return {
        "subsets": len(gains),
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "won": won,
        "lost": lost,
        "tied": len(gains) - won - lost,
    }


def _rows(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per result; `order` sorts kernels as elsewhere (vanilla, NTK first), then baselines, networks."""
    method, given = document["method"], document["parameters"]
    for result in document["results"]:
        row: dict[str, Any] = {"method": "", "type": "baseline", "kind": "", "ridge": "", "base": ""}
        if method == "kernel":
            name = kernel_label(given["family"], Family.from_parts(given), result["kind"])
            ridge = "no ridge" if result["ridge"] == "none" else "ridge chosen"
            row |= {"type": "kernel", "method": f"{name}, depth {given['depth']}, {ridge}", "kind": result["kind"]}
            row |= {"ridge": result["ridge"], "base": f"{given['family']} {given['depth']}"}
            row["order"] = (0, given["readout"], given["family"], given["depth"], result["kind"] != "ntk", ridge)
        elif method in BASELINES:
            row |= {"method": BASELINES[method], "order": (1, list(BASELINES).index(method))}
        else:
            label = f"{method.upper()}, depth {given['depth']}, width {given['width']}"
            row |= {"type": "network", "method": label, "order": (2, label)}
        row |= {name: result[name] for name in ("train_images", "repeat", "correct", "accuracy")}
        if result.get("chosen", {}).get("diverged"):  # its answers are random
            row["accuracy"] = None
        yield row | {"test_images": document["test_images"]}


def _others(methods: pd.DataFrame, reference: str) -> list[str]:
    """What a CNTK is compared with: the CNN-GP of the same network and protocol, and all methods other than kernels."""
    same = (methods.base == methods.base[reference]) & (methods.ridge == methods.ridge[reference])
    return methods.index[(same & (methods.kind != "ntk")) | (methods.type != "kernel")].tolist()
