"""Load the metrics files of a study into tidy data frames."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import kernel_label
from exact_cntk.study.show.markup import WHY_SINGULAR, unsolved_note

FORMAT_VERSION = 1

# What identifies one solved problem: a kernel (family, kind, depth) on one repeat of one subset size.
PROBLEM = ["family", "kind", "depth", "train_images", "repeat"]
# What describes the kernel of a row besides.
_KERNEL = ["family", "kernel", "kind", "readout", "trained", "filter_size", "depth"]


@dataclass(frozen=True)
class Study:
    """The results of one study.

    Attributes
    ----------
    name : str
    data : dict
        `dataset` (a name that says so itself where the source is unverified), `digest`, `verified`, `source_digest`.
    accuracy : DataFrame
        One row a problem (family, kind, depth, subset size, repeat): `kernel` (label as in the paper), `test_images`,
        `accuracy` (without ridge), `accuracy_loo_ridge` and `loo_ridge` (the ridge chosen by leave-one-out on the
        training images), `condition_number` (without ridge). Accuracies are fractions. NaN where K is singular.
    ridge_path : DataFrame
        One row a problem and ridge: `ridge` (relative to the mean of the kernel's diagonal), `test_accuracy`,
        `loo_accuracy`, `loo_error` (mean squared), `residual_norm`, `condition_number`.
    spectra : DataFrame
        One row a problem and recorded rank: `rank` (1 is the largest), `eigenvalue`.
    correct : dict
        Problem, as a tuple (family, kind, depth, train_images, repeat) → boolean array of shape (test_images,): which
        test images are classified rightly without ridge. A problem without an answer there has no entry.
    """

    name: str
    data: dict[str, Any]
    accuracy: pd.DataFrame
    ridge_path: pd.DataFrame
    spectra: pd.DataFrame
    correct: dict[tuple, np.ndarray]

    @property
    def dataset(self) -> str:
        """The data's name, as every table and figure gives it."""
        return str(self.data["dataset"])

    @property
    def verified(self) -> bool:
        """Whether the data came from the official source."""
        return bool(self.data["verified"])

    @property
    def train_sizes(self) -> list[int]:
        """Numbers of training images, ascending."""
        return sorted(int(n) for n in self.accuracy.train_images.unique())

    @property
    def depths(self) -> list[int]:
        """Depths, ascending."""
        return sorted(int(depth) for depth in self.accuracy.depth.unique())

    @property
    def unsolved(self) -> str:
        """How many problems have no answer without ridge, and why; empty where all have one."""
        groups = self.accuracy.groupby(PROBLEM[:-1]).accuracy
        return unsolved_note(groups.count(), groups.size(), "subsets", WHY_SINGULAR)

    @property
    def is_paper_data(self) -> bool:
        """Whether these are the paper's images: CIFAR-10 at full resolution, all classes, verified or not."""
        named = re.fullmatch(r"CIFAR-10( \(unverified.*\))?", self.dataset) is not None
        return named and self.data.get("image_shape") == [32, 32, 3] and len(self.data.get("classes", [])) == 10


def load(study_dir: str | Path, metrics: Iterable[str | Path] | None = None) -> Study:
    """Read the metrics of a study.

    Parameters
    ----------
    study_dir : path
        results/<study>.
    metrics : iterable of paths, optional
        The metrics files that belong to the study; default: all in ``<study_dir>/metrics``. Naming them keeps files
        of an earlier configuration (a depth that was since removed) out.

    Raises
    ------
    UserError
        No metrics, a file that is not metrics of the known format, files made from different data, or the same
        problem in two files; the message names the file.
    """
    directory = Path(study_dir)
    paths = _metrics_files(directory, metrics)
    documents = [(path, _read(path)) for path in paths]
    _check_same_data(documents)
    accuracy: list[dict] = []
    ridges: list[dict] = []
    spectra: list[dict] = []
    correct: dict[tuple, np.ndarray] = {}
    origin: dict[tuple, Path] = {}
    for path, document in documents:
        for result in document["results"]:
            row = _kernel_row(document, result)
            key = tuple(row[name] for name in PROBLEM)
            if key in origin:
                raise UserError(f"{path}: {_describe(row)} is in {origin[key]} too; remove one of them")
            origin[key] = path
            if result["accuracy"] is not None:
                correct[key] = _unpack(path, row, result)
            accuracy.append(row | _accuracy_row(result))
            ridges.extend(row | values for values in _ridge_rows(result))
            spectra.extend(row | values for values in _spectrum_rows(result))
    data = documents[0][1]["data"]
    return Study(
        name=documents[0][1]["study"],
        data=data,
        accuracy=_frame(accuracy),
        ridge_path=_frame(ridges, "ridge"),
        spectra=_frame(spectra, "rank"),
        correct=correct,
    )


def kernel_columns(document: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What identifies the kernel of a row, from a result file: family, its parts, kind, and its label `kernel`.

    Parameters
    ----------
    document : mapping
        With `family`, the name, and the family's parts.
    kind : {"ntk", "nngp"}
    """
    names = ("family", "readout", "trained", "filter_size")
    label = kernel_label(document["family"], Family.from_parts(document), kind)
    return {name: document[name] for name in names} | {"kind": kind, "kernel": label}


def binomial_error(accuracy: Any, n_test: Any) -> Any:
    """Standard error of an accuracy p on n test images: √(p(1 − p)/n)."""
    return np.sqrt(accuracy * (1 - accuracy) / n_test)


def median_conditions(problems: pd.DataFrame, by: list[str]) -> pd.Series:
    """Median condition numbers, groups in order of appearance: a singular kernel counts as infinitely ill-conditioned.

    NaN where the median is infinite, that is where half of the kernels or more are singular.
    """
    known = problems.assign(condition_number=problems.condition_number.fillna(np.inf))
    return known.groupby(by, sort=False).condition_number.median().replace(np.inf, np.nan)


def _metrics_files(directory: Path, metrics: Iterable[str | Path] | None) -> Sequence[Path]:
    if metrics is not None:
        paths = sorted(Path(path) for path in metrics)
    else:
        if not directory.is_dir():
            raise UserError(f"study_dir = {directory}: no such folder; allowed: the results/<study> of a solved study")
        paths = sorted((directory / "metrics").glob("*.json"))
    if not paths:
        raise UserError(f"{directory / 'metrics'} holds no metrics: run the workflow, or `exact-cntk solve`, first")
    return paths


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as metrics: {error}") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format_version = {version!r}; allowed: {FORMAT_VERSION}; solve this kernel again")
    missing = {"study", "family", "readout", "trained", "filter_size", "depth", "data", "results"} - document.keys()
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}; solve this kernel again")
    if not document["results"]:
        raise UserError(f"{path} holds no results: solve.subsets and kernels.kinds must not be empty")
    return document


def _check_same_data(documents: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    first_path, first = documents[0]
    for path, document in documents[1:]:
        if document["data"]["digest"] != first["data"]["digest"]:
            raise UserError(
                f"{path} was made from other data ({document['data']['digest'][:12]}) than {first_path} "
                f"({first['data']['digest'][:12]}); remove the file that does not belong to the study"
            )


def _kernel_row(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    row = kernel_columns(document, result["kind"]) | {"depth": document["depth"]}
    return row | {name: result[name] for name in ("train_images", "repeat")}


def _accuracy_row(result: dict[str, Any]) -> dict[str, Any]:
    names = ("test_images", "accuracy", "accuracy_loo_ridge", "loo_ridge")
    plain = result["ridges"].index(0)
    return {name: result[name] for name in names} | {"condition_number": result["condition_number"][plain]}


def _ridge_rows(result: dict[str, Any]) -> list[dict[str, float]]:
    names = ("test_accuracy", "loo_accuracy", "loo_error", "residual_norm", "condition_number")
    columns = [result["ridges"], *(result[name] for name in names)]
    return [dict(zip(("ridge", *names), values, strict=True)) for values in zip(*columns, strict=True)]


def _spectrum_rows(result: dict[str, Any]) -> list[dict[str, float]]:
    spectrum = result.get("eigenvalues")
    if not spectrum:
        return []
    return [
        {"rank": rank, "eigenvalue": value} for rank, value in zip(spectrum["rank"], spectrum["value"], strict=True)
    ]


def _unpack(path: Path, row: dict[str, Any], result: dict[str, Any]) -> np.ndarray:
    """The packed bits of `test_correct_hex`, checked against the accuracy that they must add up to."""
    n_test = result["test_images"]
    packed = np.frombuffer(bytes.fromhex(result["test_correct_hex"]), dtype=np.uint8)
    if packed.size != -(-n_test // 8):
        raise UserError(
            f"{path}: {_describe(row)}: test_correct_hex holds {packed.size} bytes for {n_test} test images"
        )
    bits = np.unpackbits(packed, count=n_test).astype(bool)
    if abs(bits.mean() - result["accuracy"]) > 0.5 / n_test:
        raise UserError(
            f"{path}: {_describe(row)}: test_correct_hex gives an accuracy of {bits.mean():.6f}, "
            f"the file says {result['accuracy']:.6f}; solve this kernel again"
        )
    return bits


def _describe(row: dict[str, Any]) -> str:
    return f"{row['family']} {row['kind']}, depth {row['depth']}, n = {row['train_images']}, repeat {row['repeat']}"


def _frame(rows: list[dict[str, Any]], *by: str) -> pd.DataFrame:
    """Rows as a frame: vanilla before pooled, NTK before NNGP, then by depth, size and repeat."""
    if not rows:
        return pd.DataFrame(columns=[*_KERNEL, "train_images", "repeat", *by])
    frame = pd.DataFrame(rows)
    numeric = [name for name in frame.columns if name not in _KERNEL and frame[name].dtype == object]
    frame[numeric] = frame[numeric].astype(float)  # null where K is singular
    keys = ["readout", "family", "kind", "depth", "train_images", "repeat", *by]
    frame = frame.sort_values(keys, key=_sort_key, kind="stable", ignore_index=True)
    lead = [*_KERNEL, "train_images", "repeat"]
    return frame[[*lead, *(name for name in frame.columns if name not in lead)]]


def _sort_key(column: pd.Series) -> pd.Series:
    # "ntk" sorts after "nngp", but is what the study is about
    return column.map({"ntk": 0, "nngp": 1}) if column.name == "kind" else column
