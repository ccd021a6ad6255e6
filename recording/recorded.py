"""What is recorded in docs/results: the metrics of finished runs, and where they come from.

Each folder of docs/results with a ``provenance.json`` is one run, a piece of `recording.real_runs` or a study of the
workflow::

    <run>/metrics/<family>-depth-<dd>.json     as the run wrote them
    <run>/provenance.json                      of all of them: machine, packages, revision, seconds by stage
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_json
from exact_cntk.study.results import Study, load
from exact_cntk.study.sections.accuracy.results import accuracy_by_depth
from recording.real.plan import catalogue
from recording.real.state import State

PROVENANCE = "provenance.json"
STAGES = {"kernels": ("train kernel", "test kernel"), "solving": ("solve",)}  # of the seconds of a piece
_SHARED = ("backend", "instruction_set", "packages", "git", "hardware")  # by all of a study's files


@dataclass(frozen=True)
class Recorded:
    """Runs on the same images, as one study.

    Attributes
    ----------
    study : Study
    runs : dict
        Provenance by the run's name.
    """

    study: Study
    runs: dict[str, dict[str, Any]]

    @property
    def images(self) -> str:
        """What the images are. All that are not the official ones here are copies by JPEG."""
        return "official files" if self.study.verified else "JPEG copy"

    def accuracies(self) -> pd.DataFrame:
        """`accuracy_by_depth`, with `images`."""
        return accuracy_by_depth(self.study).assign(images=self.images)


def collect_pieces(source: Path, target: Path) -> list[str]:
    """Copy the finished pieces of `recording.real_runs` to the folder of recorded results; their names."""
    names = []
    for name, piece in catalogue().items():
        state = State(source, piece)
        if state.finished:
            shutil.copytree(state.folder / "metrics", target / name / "metrics", dirs_exist_ok=True)
            shutil.copy(state.provenance_file, target / name)
            names.append(name)
    return names


def collect_study(study_dir: Path, target: Path) -> None:
    """Copy the metrics of a study of the workflow to `target`, and say in one file where they come from.

    Raises
    ------
    UserError
        The study has no metrics, or they come from several machines or revisions.
    """
    metrics = sorted((study_dir / "metrics").glob("*.json"))
    if not metrics:
        raise UserError(f"{study_dir / 'metrics'}: holds no metrics; run the study first")
    origins = [_read(study_dir / "provenance" / path.name) for path in metrics]
    shared = [{key: origin[key] for key in _SHARED} for origin in origins]
    if any(other != shared[0] for other in shared):
        raise UserError(f"{study_dir}: its metrics come from several machines or revisions; solve all of them on one")
    timings = {
        "kernels": [
            float(_read(path)["kernel_seconds"]) for path in study_dir.glob("benchmarks/kernel_block/*/*.json")
        ],
        "solving": [
            float(_read(study_dir / "benchmarks" / "solve" / path.name)["seconds"]["solve"]) for path in metrics
        ],
    }
    shutil.rmtree(target, ignore_errors=True)
    (target / "metrics").mkdir(parents=True)
    for path in metrics:
        shutil.copy(path, target / "metrics")
    seconds = {stage: round(sum(values), 3) for stage, values in timings.items()}
    parameters = {path.stem: origin["parameters"] for path, origin in zip(metrics, origins, strict=True)}
    write_json(target / PROVENANCE, shared[0] | {"device": None, "parameters": parameters, "seconds": seconds})


def read(folder: Path) -> list[Recorded]:
    """All recorded runs, those on the same images together; the official images first."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for provenance in sorted(folder.glob(f"*/{PROVENANCE}")):
        metrics = sorted((provenance.parent / "metrics").glob("*.json"))
        if not metrics:
            raise UserError(f"{provenance.parent}: has no metrics; record the run again")
        document = _read(metrics[0])
        groups.setdefault((document["study"], document["data"]["digest"]), []).append(provenance.parent)
    recorded = [
        Recorded(
            load(folder, [path for run in runs for path in sorted((run / "metrics").glob("*.json"))]),
            {run.name: _read(run / PROVENANCE) for run in runs},
        )
        for runs in groups.values()
    ]
    return sorted(recorded, key=lambda runs: not runs.study.verified)


def stage_seconds(origin: dict[str, Any]) -> dict[str, float]:
    """Wall time of kernels and of solving."""
    seconds = origin["seconds"]
    return {stage: seconds.get(stage, sum(seconds.get(part, 0.0) for part in parts)) for stage, parts in STAGES.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; run the study to its end first") from error
    return document
