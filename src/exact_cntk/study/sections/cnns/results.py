"""Finite networks beside the kernels: what the section's files say, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import network_label
from exact_cntk.study.documents import read_documents, unpack_answers
from exact_cntk.study.results import Study
from exact_cntk.study.show import references

KEYS = ("family", "readout", "depth", "width", "train_images", "runs", "rate", "validation", "accuracy", "protocol")


@dataclass(frozen=True)
class Results:
    """The networks of a study.

    Attributes
    ----------
    study : Study
    networks : DataFrame
        One row an architecture: `family`, `network` (the paper's name where it has one), `readout`, `trained`,
        `filter_size`, `depth`, `width`, `train_images`, `test_images`, `seeds`, `diverged_seeds` (at the chosen rate),
        `solved_seeds` (that have an accuracy), `rate`, `accuracy`, `accuracy_sd`, `rate_test_chosen`,
        `accuracy_test_chosen`. NaN, and no seed solved, where every rate diverges.
    rates : DataFrame
        One row an architecture and rate: `validation_accuracy`, `test_accuracy` and `test_accuracy_sd` over the seeds
        that did not diverge, `diverged_seeds`, `full_accuracy_epoch` (the median over seeds; NaN where one of them does
        not reach it), `full_accuracy_seeds` (that reach it), `epochs` (the most), `chosen`, `test_chosen`.
    curves : DataFrame
        One row an architecture, run and epoch: `split`, `rate`, `seed`, `epoch`, `step`, `loss`, `train_accuracy`,
        `validation_accuracy`, `test_accuracy`.
    right : dict
        (family, depth) → array of shape (seeds, test images), bool: what each seed that did not diverge at the chosen
        rate classifies rightly in the end.
    protocol : dict
        Of the first architecture.
    """

    study: Study
    networks: pd.DataFrame
    rates: pd.DataFrame
    curves: pd.DataFrame
    right: dict[tuple[str, int], np.ndarray]
    protocol: dict[str, Any]


def load(study: Study, files: Sequence[Path], *, resamples: int = 0, seed: int = 0) -> Results:
    """Read the gathered runs; nothing is resampled.

    Raises
    ------
    UserError
        A file is missing, damaged or of other data.
    """
    documents = read_documents(study.data, files, keys=KEYS)
    if not documents:
        raise UserError("the section cnns has no results: run its jobs first, see `exact-cntk section run cnns`")
    ordered = sorted(documents.items(), key=lambda item: (item[1]["readout"], item[1]["family"], item[1]["depth"]))
    right = {}
    for path, one in ordered:
        n_test = one["test_images"]
        answers = [unpack_answers(text, n_test, str(path)) for text in one["test_correct_hex"] if text]
        right[one["family"], one["depth"]] = np.array(answers, dtype=bool).reshape(len(answers), n_test)
    return Results(
        study=study,
        networks=pd.DataFrame([_network(one) for _, one in ordered]),
        rates=pd.DataFrame([row for _, one in ordered for row in _rates(one)]),
        curves=pd.concat([_curves(path, one) for path, one in ordered], ignore_index=True),
        right=right,
        protocol=ordered[0][1]["protocol"],
    )


def comparison(results: Results) -> pd.DataFrame:
    """Every network beside the kernels of its readout, filters, depth and training images.

    Returns
    -------
    DataFrame
        Those columns of `Results.networks`, and `kernel`, `cntk_accuracy` (without ridge), `cntk_accuracy_loo_ridge`;
        `difference` (network less kernel without ridge) and `difference_se`, its standard error over test images,
        paired, for the networks after the last epoch; `paper_cnn`, `paper_cntk` and `paper_difference`, Table 1 at the
        same depth, whatever the study's data. Accuracies and differences are fractions.
    """
    kernels = results.study.accuracy
    kernels = kernels[(kernels.kind == "ntk") & (kernels.repeat == 0)]
    paper = references.table1_wide() / 100
    rows = []
    for network in results.networks.to_dict("records"):
        same = np.logical_and.reduce(
            [kernels[name] == network[name] for name in ("readout", "filter_size", "depth", "train_images")]
        )
        suffix = {"flatten": "V", "gap": "GAP"}[network["readout"]]
        known = network["depth"] in paper.index and network["filter_size"] == 3
        cnn, cntk = (float(paper[f"{name}-{suffix}"].get(network["depth"], np.nan)) for name in ("CNN", "CNTK"))
        published = {"paper_cnn": cnn, "paper_cntk": cntk} if known else {"paper_cnn": np.nan, "paper_cntk": np.nan}
        beside = kernels[same].to_dict("records") or [{}]
        rows += [network | _beside(results, network, kernel) | published for kernel in beside]
    table = pd.DataFrame(rows)
    return table.assign(paper_difference=table.paper_cnn - table.paper_cntk)


def _network(one: dict[str, Any]) -> dict[str, Any]:
    seeds = {run["seed"] for run in one["runs"]}
    names = ("family", "readout", "trained", "filter_size", "depth", "width", "train_images", "test_images")
    values = ("rate", "accuracy", "accuracy_sd", "rate_test_chosen", "accuracy_test_chosen")
    row: dict[str, Any] = {name: one[name] for name in names}
    row["network"] = network_label(one["family"], Family.from_parts(one))
    row |= {"seeds": len(seeds), "diverged_seeds": one["diverged_seeds"]}
    row["solved_seeds"] = 0 if one["accuracy"] is None else len(seeds) - one["diverged_seeds"]
    return row | {name: np.nan if one[name] is None else one[name] for name in values}


def _rates(one: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for entry in one["validation"]:
        found = [run for run in one["runs"] if run["rate"] == entry["rate"]]
        known = [run["test_accuracy"] for run in found if not run["diverged"]]
        epochs = [np.nan if run["full_accuracy_epoch"] is None else run["full_accuracy_epoch"] for run in found]
        rows.append(
            {
                **{name: one[name] for name in ("family", "readout", "depth")},
                "network": network_label(one["family"], Family.from_parts(one)),
                "rate": entry["rate"],
                "validation_accuracy": np.nan if entry["accuracy"] is None else entry["accuracy"],
                "test_accuracy": np.mean(known) if known else np.nan,
                "test_accuracy_sd": np.std(known, ddof=1) if len(known) > 1 else np.nan,
                "seeds": len(found),
                "diverged_seeds": len(found) - len(known),
                "full_accuracy_epoch": np.median(epochs),
                "full_accuracy_seeds": int(np.isfinite(epochs).sum()),
                "epochs": max(run["epochs"] for run in found),
                "chosen": entry["rate"] == one["rate"],
                "test_chosen": entry["rate"] == one["rate_test_chosen"],
            }
        )
    return rows


def _curves(path: Path, one: dict[str, Any]) -> pd.DataFrame:
    file = path.with_suffix(".csv")
    try:
        frame = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as learning curves: {error}; gather its runs again") from error
    label = network_label(one["family"], Family.from_parts(one))
    for column, name in enumerate(("family", "network", "readout", "depth")):
        frame.insert(column, name, label if name == "network" else one[name])
    return frame


def _beside(results: Results, network: dict[str, Any], kernel: dict[str, Any]) -> dict[str, Any]:
    if not kernel:
        names = ("cntk_accuracy", "cntk_accuracy_loo_ridge", "difference", "difference_se")
        return {"kernel": None} | dict.fromkeys(names, np.nan)
    right = results.right[network["family"], network["depth"]]
    key = tuple(kernel[name] for name in ("family", "kind", "depth", "train_images", "repeat"))
    error = np.nan
    if key in results.study.correct and len(right):
        gains = right.mean(axis=0) - results.study.correct[key]
        error = gains.std(ddof=1) / np.sqrt(len(gains))
    return {
        "kernel": kernel["kernel"],
        "cntk_accuracy": kernel["accuracy"],
        "cntk_accuracy_loo_ridge": kernel["accuracy_loo_ridge"],
        "difference": network["accuracy"] - kernel["accuracy"],
        "difference_se": error,
    }
