"""Run one piece: kernel of the pool, all fits, then the test images chunk by chunk; resumable between any two steps."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from exact_cntk import cntk, kernel_regression
from exact_cntk._support.machine import require_memory
from exact_cntk.data import ProcessedData
from exact_cntk.kernels.backends import Backend
from exact_cntk.study.documents import RESIDUAL_DECIMALS, describe_data, pack_answers, rounded, write_json, write_result
from exact_cntk.study.provenance import provenance, source_digest, timing
from exact_cntk.study.solve import FORMAT_VERSION
from recording.real.clock import Clock, OutOfTimeError
from recording.real.plan import Piece, Problem
from recording.real.state import State

STUDY = "cifar10-real"
DTYPE = "float32"

Kernels = dict[tuple[str, int], np.ndarray]


class PieceRun:
    """One piece on one set of images.

    Parameters
    ----------
    piece : Piece
    data : ProcessedData
        Of all training and test images.
    state : State
    backend : Backend
        As chosen, never "auto".
    clock : Clock
    threads : int, optional
        Of the kernel.
    """

    def __init__(
        self,
        piece: Piece,
        data: ProcessedData,
        state: State,
        backend: Backend,
        clock: Clock,
        threads: int | None = None,
    ) -> None:
        self.piece, self.data, self.state, self.backend, self.clock = piece, data, state, backend, clock
        self.threads = threads
        self.images = data.train_images[piece.pool]
        self.labels = data.train_labels[piece.pool]

    def run(self) -> None:
        """Do what is left.

        Raises
        ------
        OutOfTimeError
            The budget was spent first; what was finished is kept.
        UserError
            The piece was begun differently, or memory does not suffice.
        """
        if self.state.finished:
            self.state.end()  # a kill between the last file and this one left something
            return
        self.state.begin(self._origin())
        unsolved = [problem for problem in self.piece.problems if not self.state.solved(problem)]
        if unsolved:
            self._solve(unsolved, self._training_kernels())
        for chunk in self.piece.test_chunks(len(self.data.test_labels)):
            if not self.state.tested(chunk):
                self._test(chunk)
        self._finish()

    def _origin(self) -> dict[str, Any]:
        piece = self.piece
        return {
            "data": self.data.digest,
            "backend": self.backend.name,
            "dtype": DTYPE,
            "family": piece.family,
            "readout": piece.readout,
            "trained": piece.trained,
            "depths": piece.depths,
            "groups": [group._asdict() for group in piece.groups],
        }

    # The kernel

    def _kernels(self, rows: np.ndarray, cols: np.ndarray | None) -> np.ndarray:
        """Kernels of shape (kinds × depths, rows, cols), timed."""
        piece = self.piece
        n, m = len(rows), len(rows if cols is None else cols)
        work = piece.element_layers(n * (n + 1) // 2 if cols is None else n * m, rows.shape[1:])
        self.clock.require(f"{piece.name}: a block of {n} × {m} pairs", piece.readout, work)
        start = time.perf_counter()
        result = cntk(
            rows,
            cols,
            depths=piece.depths,
            readout=piece.readout,
            trained=piece.trained,
            get=piece.kinds,
            backend=self.backend.name,
            dtype=DTYPE,
            threads=self.threads,
            progress=self.clock.tick,
        )
        self.clock.learn(piece.readout, work, time.perf_counter() - start)
        return np.stack([result[key] for key in self._outputs()])

    def _outputs(self) -> list[tuple[str, int]]:
        return [(kind, depth) for kind in self.piece.kinds for depth in self.piece.depths]

    def _training_kernels(self) -> Kernels:
        """The pool's kernels, whole; blocks come out of the cache where it has them."""
        piece, n = self.piece, self.piece.train_images
        # What the solver needs besides it checks itself, and takes a method that has enough.
        require_memory(f"{piece.name}: the kernels of {n} images", piece.kernel_bytes())
        kernels = {output: np.empty((n, n)) for output in self._outputs()}
        blocks = piece.train_blocks()
        for number, (rows, cols) in enumerate(blocks):
            if number in (0, 2):  # at first by the speed of earlier pieces; the first block compiles, the second tells
                self._require_time_for(blocks[number:])
            block = self.state.read_block(rows, cols)
            if block is None:
                start = time.perf_counter()
                block = self._kernels(self.images[rows], None if rows == cols else self.images[cols])
                self.state.write_block(rows, cols, block)
                self.state.add_seconds("train kernel", time.perf_counter() - start)
            for output, values in zip(kernels, block, strict=True):
                kernels[output][rows, cols] = values
                kernels[output][cols, rows] = values.T
        return kernels

    def _require_time_for(self, blocks: list[tuple[slice, slice]]) -> None:
        """Without a cache, refuse a training kernel that would not be finished: all of it would be lost."""
        if self.state.cache is None:
            pairs = sum((rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in blocks)
            work = self.piece.element_layers(pairs, self.images.shape[1:])
            self.clock.require(f"{self.piece.name}: the kernel of the training images", self.piece.readout, work)

    # The fits

    def _solve(self, unsolved: list[Problem], kernels: Kernels) -> None:
        for kind, depth in self._outputs():
            kernel = kernels.pop((kind, depth))
            for problem in [p for p in unsolved if (p.kind, p.depth) == (kind, depth)]:
                self.clock.tick()
                start = time.perf_counter()
                self._fit(problem, kernel)
                self.state.add_seconds("solve", time.perf_counter() - start)
        self.state.drop_blocks()

    def _fit(self, problem: Problem, kernel: np.ndarray) -> None:
        """Solve one problem. The largest, the whole pool, comes last and may work in the kernel's own memory."""
        inside = self.piece.inside(problem)
        whole = problem.train_images == len(kernel)
        fit = kernel_regression(
            kernel if whole else kernel[inside, inside].copy(),
            self.labels[inside],
            ridges=self.piece.problems[problem],
            dtype=DTYPE,
            method="direct",
            overwrite=True,
        )
        assert fit.loo_accuracy is not None and fit.classes is not None  # class labels have them
        entry = {
            "loo_accuracy": [rounded(value, 17) for value in fit.loo_accuracy],
            "loo_error": [rounded(value) for value in fit.loo_error],
            "residual_norm": [rounded(value, decimals=RESIDUAL_DECIMALS) for value in fit.residual_norm],
            "condition_number": [rounded(value) for value in fit.condition_number],
            "solved": [bool(value) for value in fit.solved],
            "best": int(fit.best),
            "method": fit.method,
        }
        self.state.write_fit(problem, fit.dual, fit.classes, entry)

    # The test images

    def _test(self, chunk: slice) -> None:
        start = time.perf_counter()
        kernels = dict(zip(self._outputs(), self._kernels(self.data.test_images[chunk], self.images), strict=True))
        correct = {}
        for problem in self.piece.problems:
            dual, classes = self.state.read_dual(problem)
            rows = kernels[problem.kind, problem.depth][:, self.piece.inside(problem)]
            correct[str(problem)] = np.stack(
                [classes[(rows @ alpha).argmax(axis=1)] == self.data.test_labels[chunk] for alpha in dual]
            )
        self.state.write_correct(chunk, correct)
        self.state.add_seconds("test kernel", time.perf_counter() - start)

    # The end

    def _finish(self) -> None:
        """Write the metrics, then where they come from, then forget the state."""
        for depth in self.piece.depths:
            results = [self._entry(problem) for problem in self.piece.problems if problem.depth == depth]
            write_result(self.state.metrics_file(depth), self._document(depth, results))
        parameters = {key: value for key, value in self._origin().items() if key != "data"}
        document = provenance(
            parameters=parameters,
            data=describe_data(self.data),
            backend=self.backend.name,
            instruction_set=self.backend.instruction_set,
        ) | timing(self.state.seconds())
        methods = sorted({self.state.read_fit(problem)["method"] for problem in self.piece.problems})
        document |= {"solvers": methods, "source_digest": source_digest(), "device": self.backend.device}
        write_json(self.state.provenance_file, document)
        self.state.end()

    def _entry(self, problem: Problem) -> dict[str, Any]:
        """One of the metrics' results, as `exact_cntk.study.solve` writes it; without a spectrum."""
        fit, ridges = self.state.read_fit(problem), self.piece.problems[problem]
        chunks = self.piece.test_chunks(len(self.data.test_labels))
        correct = np.concatenate([self.state.read_correct(chunk)[str(problem)] for chunk in chunks], axis=1)
        accuracy = [float(hits.mean()) if ok else None for hits, ok in zip(correct, fit["solved"], strict=True)]
        zero, best = ridges.index(0), fit["best"]
        return {
            "kind": problem.kind,
            "train_images": problem.train_images,
            "repeat": problem.repeat,
            "test_images": len(self.data.test_labels),
            "ridges": list(ridges),
            "test_accuracy": accuracy,
            **{name: fit[name] for name in ("loo_accuracy", "loo_error", "residual_norm", "condition_number")},
            "accuracy": accuracy[zero],
            "loo_ridge": ridges[best],
            "accuracy_loo_ridge": accuracy[best],
            "eigenvalues": None,
            "test_correct_hex": pack_answers(correct[zero]) if fit["solved"][zero] else None,
        }

    def _document(self, depth: int, results: list[dict[str, Any]]) -> dict[str, Any]:
        piece = self.piece
        return {
            "format_version": FORMAT_VERSION,
            "study": STUDY,
            "family": piece.family,
            "readout": piece.readout,
            "trained": piece.trained,
            "filter_size": 3,
            "depth": depth,
            "data": describe_data(self.data),
            "results": results,
        }


def progress_of(piece: Piece, state: State, test_images: int) -> str:
    """Where a piece stands, in a few words."""
    if state.finished:
        return "finished"
    if not state.begun:
        return "not begun"
    solved = sum(map(state.solved, piece.problems))
    return f"{solved} of {len(piece.problems)} fits, {state.tested_images()} of {test_images} test images"


def in_order(pieces: dict[str, Piece], states: dict[str, State]) -> Iterator[str]:
    """Unfinished pieces: those begun first, then by the plan's order."""
    waiting = [name for name in pieces if not states[name].finished]
    yield from sorted(waiting, key=lambda name: not states[name].begun)


__all__ = ["OutOfTimeError", "PieceRun", "in_order", "progress_of"]
