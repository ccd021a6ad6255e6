"""The section's files as tables: networks, and the kernels that they are compared with."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk._support.stated_files import read_listed
from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import network_label
from exact_cntk.study.documents import read_documents, unpack_answers
from exact_cntk.study.results import Study
from exact_cntk.study.show import references

SCHEMA = Path(__file__).with_name("results.schema.yaml")


@dataclass(frozen=True)
class Results:
    """The networks of a study.

    Attributes
    ----------
    study : Study
    networks : DataFrame
        One row per architecture: `family`, `network` (the paper's name where it has one), `readout`, `trained`,
        `filter_size`, `depth`, `width`, `train_images`, `test_images`, `seeds`, `diverged_seeds` (at the chosen rate),
        `solved_seeds` (with an accuracy), `rate`, `accuracy`, `accuracy_sd`, `rate_test_chosen`,
        `accuracy_test_chosen`. NaN, and no seed solved, where every rate diverges.
    rates : DataFrame
        One row per architecture and rate: `validation_accuracy`, `test_accuracy` and `test_accuracy_sd` over the seeds
        that did not diverge, `diverged_seeds`, `full_accuracy_epoch` (median over seeds; NaN where one does not reach
        it), `full_accuracy_seeds` (that reach it), `epochs` (largest number), `chosen`, `test_chosen`.
    curves : DataFrame
        One row per architecture, run and epoch: `split`, `rate`, `seed`, `epoch`, `step`, `loss`, `train_accuracy`,
        `validation_accuracy`, `test_accuracy`.
    right : dict
        (family, depth) → bool array of shape (seeds, test images): the test images that each seed that did not diverge
        at the chosen rate classifies correctly after its last epoch.
    protocol : dict
        Training protocol of the first architecture.
    """

    study: Study
    networks: pd.DataFrame
    rates: pd.DataFrame
    curves: pd.DataFrame
    right: dict[tuple[str, int], np.ndarray]
    protocol: dict[str, Any]


def load(study: Study, files: Sequence[Path], *, resamples: int = 0, seed: int = 0) -> Results:
    """Read the files of all architectures; nothing is resampled.

    Raises
    ------
    UserError
        A file is missing, damaged or made from other images.
    """
    documents = read_documents(study.data, files, schema=SCHEMA)
    if not documents:
        raise UserError("the section cnns has no results: run its jobs first, see `exact-cntk section run cnns`")
    ordered = sorted(documents.items(), key=lambda item: (item[1]["readout"], item[1]["family"], item[1]["depth"]))
    right = {}
    for path, document in ordered:
        n_test = document["test_images"]
        answers = [unpack_answers(text, n_test, str(path)) for text in document["test_correct_hex"] if text]
        right[document["family"], document["depth"]] = np.array(answers, dtype=bool).reshape(len(answers), n_test)
    return Results(
        study=study,
        networks=pd.DataFrame([_network(document) for _, document in ordered]),
        rates=pd.DataFrame([row for _, document in ordered for row in _rates(document)]),
        curves=pd.concat([_curves(path, document) for path, document in ordered], ignore_index=True),
        right=right,
        protocol=ordered[0][1]["protocol"],
    )


def comparison(results: Results) -> pd.DataFrame:
    """Compare every network with the kernels of its readout, filters, depth and training images.

    Returns
    -------
    DataFrame
        The columns of `Results.networks`, and `kernel`, `cntk_accuracy` (without a ridge), `cntk_accuracy_loo_ridge`;
        `difference` (network − kernel without a ridge) and `difference_se`, its standard error over test images,
        paired, for the networks after the last epoch; `paper_cnn`, `paper_cntk` and `paper_difference`, Table 1 at the
        same depth, whatever the study's data. Accuracies and differences are fractions.
    """
    kernels = results.study.accuracy
    kernels = kernels[(kernels.kind == "ntk") & (kernels.repeat == 0)]
    paper = references.table1_wide() / 100
    rows = []
    for network in results.networks.to_dict("records"):
        names = ["readout", "filter_size", "depth", "train_images"]
        matching = kernels[(kernels[names] == [network[name] for name in names]).all(axis=1)]
        suffix = {"flatten": "V", "gap": "GAP"}[network["readout"]]
        depth = network["depth"] if network["filter_size"] == 3 else None  # the paper's filters
        published = {f"paper_{name}": paper[f"{name.upper()}-{suffix}"].get(depth, np.nan) for name in ("cnn", "cntk")}
        matches = matching.to_dict("records") or [{}]
        rows += [network | _compared(results, network, kernel) | published for kernel in matches]
    table = pd.DataFrame(rows)
    return table.assign(paper_difference=table.paper_cnn - table.paper_cntk)


def _network(document: dict[str, Any]) -> dict[str, Any]:
    seeds, diverged = len({run["seed"] for run in document["runs"]}), document["diverged_seeds"]
    names = ("family", "readout", "trained", "filter_size", "depth", "width", "train_images", "test_images")
    values = ("rate", "accuracy", "accuracy_sd", "rate_test_chosen", "accuracy_test_chosen")
    return {
        **{name: document[name] for name in names},
        "network": _label(document),
        "seeds": seeds,
        "diverged_seeds": diverged,
        "solved_seeds": 0 if document["accuracy"] is None else seeds - diverged,
        **{name: np.nan if document[name] is None else document[name] for name in values},
    }


def _label(document: dict[str, Any]) -> str:
    return network_label(document["family"], Family.from_parts(document))


def _rates(document: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for entry in document["validation"]:
        runs = [run for run in document["runs"] if run["rate"] == entry["rate"]]
        known = [run["test_accuracy"] for run in runs if not run["diverged"]]
        epochs = [np.nan if run["full_accuracy_epoch"] is None else run["full_accuracy_epoch"] for run in runs]
        rows.append(
            {
                **{name: document[name] for name in ("family", "readout", "depth")},
                "network": _label(document),
                "rate": entry["rate"],
                "validation_accuracy": np.nan if entry["accuracy"] is None else entry["accuracy"],
                "test_accuracy": np.mean(known) if known else np.nan,
                "test_accuracy_sd": np.std(known, ddof=1) if len(known) > 1 else np.nan,
                "seeds": len(runs),
                "diverged_seeds": len(runs) - len(known),
                "full_accuracy_epoch": np.median(epochs),
                "full_accuracy_seeds": int(np.isfinite(epochs).sum()),
                "epochs": max(run["epochs"] for run in runs),
                "chosen": entry["rate"] == document["rate"],
                "test_chosen": entry["rate"] == document["rate_test_chosen"],
            }
        )
    return rows


def _curves(path: Path, document: dict[str, Any]) -> pd.DataFrame:
    file = path.with_suffix(".csv")
    try:
        frame = pd.read_csv(io.BytesIO(read_listed(file, document, path)))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as learning curves: {error}; gather its runs again") from error
    for column, name in enumerate(("family", "network", "readout", "depth")):
        frame.insert(column, name, _label(document) if name == "network" else document[name])
    return frame


def _compared(results: Results, network: dict[str, Any], kernel: dict[str, Any]) -> dict[str, Any]:
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
