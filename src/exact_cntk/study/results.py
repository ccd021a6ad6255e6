"""Load the metrics files of a study into tidy data frames."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.blocks import kernel_name
from exact_cntk.data import describe
from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import kernel_label
from exact_cntk.regression.result import HELD_OUT_TENTH, LEAVE_ONE_OUT
from exact_cntk.study.documents import check_images, read_document, unpack_answers
from exact_cntk.study.show.markup import SINGULAR, UNSOLVED, WHY_SINGULAR, WHY_UNSOLVED, unsolved_note

FORMAT_VERSION = 1

# What identifies one solved problem: a kernel (family, kind, depth) on one repeat of one subset size.
PROBLEM = ["family", "kind", "depth", "train_images", "repeat"]
# Columns that describe the kernel of a row.
_KERNEL = ["family", "kernel", "kind", "readout", "trained", "filter_size", "depth"]
_LEAD = [*_KERNEL, "train_images", "repeat"]
# What a metrics file says of a problem, and of each of its ridges.
_ACCURACIES = ("test_images", "accuracy", "accuracy_loo_ridge", "loo_ridge")
_PATH = ("test_accuracy", "loo_accuracy", "loo_error", "residual_norm", "condition_number")

# What chose a ridge; in metrics files where it was not leave-one-out.
SELECTION = "selection"

SCHEMA = Path(__file__).with_name("metrics.schema.yaml")
_REMEDY = "solve this kernel again, with `exact-cntk solve` or the workflow"


@dataclass(frozen=True)
class Study:
    """The results of one study.

    Attributes
    ----------
    name : str
    data : dict
        `dataset` (a name that says so if the source is unverified), `digest`, `verified`, `source_digest`.
    accuracy : DataFrame
        One row per problem (family, kind, depth, subset size, repeat): `kernel` (label as in the paper), `test_images`,
        `accuracy` (without ridge), `accuracy_loo_ridge` and `loo_ridge` (the ridge chosen on the training images),
        `condition_number` (without ridge). Accuracies are fractions. NaN without an answer. Where any ridge was not
        chosen by leave-one-out, `selection` says by what each was.
    ridge_path : DataFrame
        One row per problem and ridge: `ridge` (relative to the mean of the kernel's diagonal), `test_accuracy`,
        `loo_accuracy`, `loo_error` (mean squared), `residual_norm`, `condition_number`; the two of predictions that
        chose the ridge, by leave-one-out unless `selection` says otherwise.
    spectra : DataFrame
        One row per problem and recorded rank: `rank` (1 is the largest), `eigenvalue`.
    correct : dict
        Problem, as a tuple (family, kind, depth, train_images, repeat) → boolean array of shape (test_images,): which
        test images are classified correctly without ridge. A problem without an answer has no entry.
    """

    name: str
    data: dict[str, Any]
    accuracy: pd.DataFrame
    ridge_path: pd.DataFrame
    spectra: pd.DataFrame
    correct: dict[tuple, np.ndarray]

    @property
    def dataset(self) -> str:
        """The name of the data in all tables and figures."""
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
        """How many problems have no answer without ridge, and why; empty if all have one."""
        groups = self.accuracy.groupby(PROBLEM[:-1]).accuracy
        return unsolved_note(groups.count(), groups.size(), "subsets", unsolved(self.accuracy)[1])

    @property
    def is_paper_data(self) -> bool:
        """Whether these are the paper's images: CIFAR-10 at full resolution, all classes, verified or not."""
        paper = describe({"dataset": "cifar10"})
        named = self.dataset.partition(" (unverified")[0] == paper.name
        classes = len(self.data.get("classes", []))
        return named and self.data.get("image_shape") == list(paper.shape) and classes == len(paper.class_names)


def find_study(study_dir: str | Path) -> Path:
    """A study's folder, as named from the working directory or from the nearest folder above it that has it.

    Jupyter runs a notebook in the notebook's own folder, the workflow in the folder that has ``results``.

    Raises
    ------
    UserError
        There is no such folder.
    """
    for folder in (Path(), *Path.cwd().parents):
        if (folder / study_dir).is_dir():
            return folder / study_dir
    raise UserError(
        f"study_dir is {study_dir}, which neither {Path.cwd()} nor a folder above it has; run the study first, or give "
        "the whole path"
    )


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
    documents = _documents(Path(study_dir), metrics)
    first, reference = next(iter(documents.items()))
    accuracy: list[dict] = []
    ridges: list[pd.DataFrame] = []
    spectra: list[pd.DataFrame] = []
    correct: dict[tuple, np.ndarray] = {}
    origin: dict[tuple, Path] = {}
    for path, document in documents.items():
        remedy = "remove the file that does not belong to the study"
        check_images(str(path), document["data"]["digest"], first, reference["data"]["digest"], remedy)
        if document["study"] != reference["study"]:
            raise UserError(
                f"{path} is of the study {document['study']!r}, {first} of {reference['study']!r}; {remedy}"
            )
        for result in document["results"]:
            row = kernel_columns(document, result["kind"]) | {"depth": document["depth"]}
            row |= {name: result[name] for name in ("train_images", "repeat")}
            key, name = tuple(row[name] for name in PROBLEM), f"{path}: {_describe(row)}"
            if key in origin:
                raise UserError(f"{name} is in {origin[key]} too; remove one of them")
            origin[key] = path
            if result["accuracy"] is not None:
                correct[key] = unpack_answers(
                    result["test_correct_hex"], result["test_images"], name, result["accuracy"]
                )
            condition = result["condition_number"][result["ridges"].index(0)]
            selection = {name: result[name] for name in [SELECTION] if name in result}
            row_of_problem = row | {name: result[name] for name in _ACCURACIES} | selection
            accuracy.append(row_of_problem | {"condition_number": condition})
            path_columns = {"ridge": result["ridges"]} | {name: result[name] for name in _PATH}
            ridges.append(pd.DataFrame(row | path_columns))
            if spectrum := result.get("eigenvalues"):
                spectra.append(pd.DataFrame(row | {"rank": spectrum["rank"], "eigenvalue": spectrum["value"]}))
    problems = pd.DataFrame(accuracy)
    if SELECTION in problems:
        problems[SELECTION] = problems[SELECTION].fillna(LEAVE_ONE_OUT)
    return Study(
        name=reference["study"],
        data=reference["data"],
        accuracy=_sorted(problems),
        ridge_path=_sorted(pd.concat(ridges), "ridge"),
        spectra=_sorted(pd.concat(spectra), "rank") if spectra else pd.DataFrame(columns=[*_LEAD, "rank"]),
        correct=correct,
    )


def kernel_columns(document: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What identifies the kernel of a row: family and its parts as in the result file, kind, and the label `kernel`."""
    names = ("family", "readout", "trained", "filter_size")
    label = kernel_label(document["family"], Family.from_parts(document), kind)
    return {name: document[name] for name in names} | {"kind": kind, "kernel": label}


def chosen_by(problems: pd.DataFrame) -> str:
    """What chose the ridges of these rows of `Study.accuracy`: ``leave-one-out``, for example."""
    if SELECTION not in problems:
        return LEAVE_ONE_OUT
    return " or ".join(dict.fromkeys(problems[SELECTION])).replace(HELD_OUT_TENTH, f"a {HELD_OUT_TENTH}")


def unsolved(problems: pd.DataFrame) -> tuple[str, str]:
    """A word for problems among these rows of `Study.accuracy` that have no answer without ridge, and why."""
    iterated = SELECTION in problems and (problems[SELECTION] == HELD_OUT_TENTH).any()
    return (UNSOLVED, WHY_UNSOLVED) if iterated else (SINGULAR, WHY_SINGULAR)


def binomial_error(accuracy: Any, n_test: Any) -> Any:
    """Standard error of an accuracy p on n test images: √(p(1 − p)/n)."""
    return np.sqrt(accuracy * (1 - accuracy) / n_test)


def median_conditions(problems: pd.DataFrame, by: list[str]) -> pd.Series:
    """Median condition numbers by group; NaN if at least half of the kernels are singular: these count as infinite."""
    known = problems.assign(condition_number=problems.condition_number.fillna(np.inf))
    return known.groupby(by, sort=False).condition_number.median().replace(np.inf, np.nan)


def _documents(directory: Path, metrics: Iterable[str | Path] | None) -> dict[Path, dict[str, Any]]:
    if metrics is None and not directory.is_dir():
        raise UserError(f"study_dir = {directory}: no such folder; allowed: the results/<study> of a solved study")
    paths = sorted((directory / "metrics").glob("*.json") if metrics is None else map(Path, metrics))
    if not paths:
        raise UserError(f"{directory / 'metrics'} holds no metrics: run the workflow, or `exact-cntk solve`, first")
    documents = {}
    for path in paths:
        document = read_document(path, "metrics", FORMAT_VERSION, schema=SCHEMA, remedy=_REMEDY)
        for complaint in _contradictions(path, document):
            raise UserError(f"{path}: {complaint}; {_REMEDY}")
        documents[path] = document
    return documents


def _contradictions(path: Path, document: dict[str, Any]) -> Iterator[str]:
    """Yield what a schema cannot say: values that contradict each other, or the name of the file."""
    name = kernel_name(document["family"], document["depth"])
    if re.fullmatch(r".+-depth-\d+", path.stem) and path.stem != name:
        yield f"its content is of {name}"
    for i, result in enumerate(document["results"]):
        key, ridges, found = f"results[{i}]", result["ridges"], result["test_accuracy"]
        if wrong := next((name for name in _PATH if len(result[name]) != len(ridges)), None):
            yield f"{key}.{wrong} has {len(result[wrong])} values for {len(ridges)} ridges"
            return
        if result["loo_ridge"] not in ridges:
            yield f"{key}.loo_ridge, {result['loo_ridge']}, is none of its ridges"
            return
        if result["test_images"] != (first := document["results"][0]["test_images"]):
            yield f"{key}.test_images is {result['test_images']}, and {first} in results[0]"
        for name, ridge in (("accuracy", 0), ("accuracy_loo_ridge", result["loo_ridge"])):
            if result[name] != (expected := found[ridges.index(ridge)]):
                yield f"{key}.{name} is {result[name]}, and {expected} in test_accuracy"
        if (result["accuracy"] is None) != (result["test_correct_hex"] is None):
            yield f"{key} has an accuracy without answers, or the reverse"
        if (spectrum := result["eigenvalues"]) and len(spectrum["rank"]) != len(spectrum["value"]):
            yield f"{key}.eigenvalues has {len(spectrum['rank'])} ranks for {len(spectrum['value'])} values"


def _describe(row: dict[str, Any]) -> str:
    return f"{row['family']} {row['kind']}, depth {row['depth']}, n = {row['train_images']}, repeat {row['repeat']}"


def _sorted(frame: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Vanilla before pooled, NTK before NNGP, then by depth, size and repeat."""
    texts = {*_KERNEL, SELECTION}
    numeric = [name for name in frame.columns if name not in texts and frame[name].dtype == object]
    frame[numeric] = frame[numeric].astype(float)  # null where K is singular
    # "ntk" sorts after "nngp", but is what the study is about
    frame = frame.assign(order=frame.kind != "ntk")
    keys = ["readout", "family", "order", "depth", "train_images", "repeat", *by]
    frame = frame.sort_values(keys, kind="stable", ignore_index=True).drop(columns="order")
    return frame[[*_LEAD, *(name for name in frame.columns if name not in _LEAD)]]
