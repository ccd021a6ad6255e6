"""What a piece keeps on disk between two runs: small files, each complete or not there.

::

    <folder>/<piece>/metrics/<family>-depth-<dd>.json     once finished, in the format of a study's metrics
    <folder>/<piece>/provenance.json                      with them
    <folder>/<piece>/state/begun.json                     before: what the piece is made of
    <folder>/<piece>/state/fit/<problem>.{npz,json}       dual coefficients, and what the training images alone say
    <folder>/<piece>/state/test/<start>-<stop>.npz        which images of a chunk each problem and ridge got right

The training kernel is needed until all problems are solved. It is large, so it is kept only where a cache is given::

    <cache>/<piece>/<digest of what the piece is made of>/<rows>-<columns>.npy
"""

import io
import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.atomic import write_bytes
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_json
from recording.real.plan import Piece, Problem


class State:
    """The files of one piece.

    Parameters
    ----------
    folder : Path
        Of all pieces.
    piece : Piece
    cache : Path, optional
        For blocks of the training kernel.
    """

    def __init__(self, folder: Path, piece: Piece, cache: Path | None = None) -> None:
        self.piece = piece
        self.folder = folder / piece.name
        self.state = self.folder / "state"
        self.cache = None if cache is None else cache / piece.name
        self._blocks: Path | None = None

    # The whole piece

    @property
    def finished(self) -> bool:
        """Whether the metrics are written; provenance is the last file of a piece."""
        return self.provenance_file.exists()

    @property
    def begun(self) -> bool:
        """Whether something of an unfinished piece is there."""
        return not self.finished and (self.state / "begun.json").exists()

    @property
    def provenance_file(self) -> Path:
        """Where the piece's numbers come from."""
        return self.folder / "provenance.json"

    def metrics_file(self, depth: int) -> Path:
        """The metrics of one depth."""
        return self.folder / "metrics" / f"{self.piece.family}-depth-{depth:02d}.json"

    def begin(self, origin: dict[str, Any]) -> None:
        """Start the piece, or go on with one of the same origin.

        Raises
        ------
        UserError
            It was begun with other images, another backend or another plan.
        """
        path = self.state / "begun.json"
        text = json.dumps(origin)
        origin = json.loads(text)
        if self.cache is not None:  # apart from `path`, which may have been removed or come from another machine
            self._blocks = self.cache / sha256(text.encode()).hexdigest()[:16]
        if not path.exists():
            write_json(path, origin)
            return
        before = json.loads(path.read_text())
        different = [key for key in origin if before.get(key) != origin[key]]
        if different:
            key = different[0]
            raise UserError(
                f"{self.folder} was begun with {key} = {before.get(key)!r}, now it is {origin[key]!r}: go on with "
                f"the former, or remove {self.state}"
            )

    def end(self) -> None:
        """Forget all that only an unfinished piece needs."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.drop_blocks()

    # Seconds by stage, over all runs

    def seconds(self) -> dict[str, float]:
        """Wall time so far."""
        path = self.state / "seconds.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def add_seconds(self, stage: str, value: float) -> None:
        """Count wall time to a stage."""
        seconds = self.seconds()
        write_json(self.state / "seconds.json", {**seconds, stage: round(seconds.get(stage, 0.0) + value, 3)})

    # The training kernel

    def read_block(self, rows: slice, cols: slice) -> np.ndarray | None:
        """A block of the training kernel out of the cache, or None."""
        path = self._block(rows, cols)
        return np.load(path) if path is not None and path.exists() else None

    def write_block(self, rows: slice, cols: slice, block: np.ndarray) -> None:
        """Keep a block, if there is a cache."""
        path = self._block(rows, cols)
        if path is not None:
            write_bytes(path, _as_bytes(block))

    def drop_blocks(self) -> None:
        """Remove the cached training kernel."""
        if self.cache is not None:
            shutil.rmtree(self.cache, ignore_errors=True)

    def _block(self, rows: slice, cols: slice) -> Path | None:
        name = f"{rows.start}_{rows.stop}-{cols.start}_{cols.stop}.npy"
        return None if self._blocks is None else self._blocks / name

    # Fits

    def solved(self, problem: Problem) -> bool:
        """Whether a problem has been solved; its JSON is written after the coefficients."""
        return self._fit(problem, "json").exists()

    def read_dual(self, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
        """Dual coefficients (ridges, n, classes) and the classes."""
        with np.load(self._fit(problem, "npz")) as file:
            return file["dual"], file["classes"]

    def read_fit(self, problem: Problem) -> dict[str, Any]:
        """What the metrics file says of the fit to the training images."""
        return json.loads(self._fit(problem, "json").read_text())

    def write_fit(self, problem: Problem, dual: np.ndarray, classes: np.ndarray, entry: dict[str, Any]) -> None:
        """Keep a solved problem."""
        write_bytes(self._fit(problem, "npz"), _as_archive(dual=dual, classes=classes))
        write_json(self._fit(problem, "json"), entry)

    def _fit(self, problem: Problem, ending: str) -> Path:
        return self.state / "fit" / f"{problem}.{ending}"

    # Test images

    def tested(self, chunk: slice) -> bool:
        """Whether a chunk of test images is done."""
        return self._chunk(chunk).exists()

    def tested_images(self) -> int:
        """How many test images are done, in chunks of whatever size."""
        edges = [path.stem.split("-") for path in (self.state / "test").glob("*.npz")]
        return sum(int(stop) - int(start) for start, stop in edges)

    def read_correct(self, chunk: slice) -> dict[str, np.ndarray]:
        """Which images of a chunk each problem gets right: bool of shape (ridges, images) by the problem's name."""
        with np.load(self._chunk(chunk)) as file:
            return {
                name: np.unpackbits(bits, axis=1, count=chunk.stop - chunk.start) > 0 for name, bits in file.items()
            }

    def write_correct(self, chunk: slice, correct: dict[str, np.ndarray]) -> None:
        """Keep what was right in a chunk."""
        bits = {name: np.packbits(right, axis=1) for name, right in correct.items()}
        write_bytes(self._chunk(chunk), _as_archive(**bits))

    def _chunk(self, chunk: slice) -> Path:
        return self.state / "test" / f"{chunk.start:05d}-{chunk.stop:05d}.npz"


def _as_bytes(array: np.ndarray) -> memoryview:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getbuffer()


def _as_archive(**arrays: np.ndarray) -> memoryview:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getbuffer()
