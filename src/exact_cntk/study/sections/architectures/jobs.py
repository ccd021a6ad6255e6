"""Every architecture of one pass, solved on few training images and on many: the grid's compute."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.machine import require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import BlockSet, read_block_set
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.errors import InputError, UserError
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.networks import Output, kernel_key
from exact_cntk.regression.kernel_regression import KernelRegression, kernel_regression
from exact_cntk.regression.solvers.choice import Problem, choose_solver
from exact_cntk.study.documents import describe_data, write_json, write_result
from exact_cntk.study.fits import KERNEL_ERROR
from exact_cntk.study.provenance import code_identity
from exact_cntk.study.sections._run import Context
from exact_cntk.study.sections._section import Job
from exact_cntk.study.sections.architectures.plan import FORMAT_VERSION, architecture_outputs
from exact_cntk.study.subsets import Subset, parse_subset


def solve_pass(
    blocks: Sequence[Path],
    data_file: Path,
    out: Path,
    *,
    train_images: int,
    subsets: Sequence[Subset],
    ridges: Sequence[float],
    study: str | None = None,
    timings: Path | None = None,
    max_memory_gib: float | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Solve every architecture of a pass, and write what its file holds.

    Each is solved on the subsets and on the pool's first `train_images` images, without ridge (the paper's protocol)
    and with the ridge that leave-one-out chooses on the training images alone; and tested on all test images. Finished
    architectures are kept beside `out` until all are, and an interrupted call goes on from them.

    Parameters
    ----------
    blocks : sequence of Path
        All blocks of the pass, which cover the kernels of these images.
    data_file : Path
        The processed images that the blocks were computed from.
    out : Path
        The JSON file. The same blocks, timings and options give the same bytes.
    train_images : int
        The full training set, the first ones of the pool.
    subsets : sequence of Subset
        Small training sets, consecutive in the pool.
    ridges : sequence of float
        Relative to mean(diag K); 0 must be among them.
    study : str, optional
        Name of the study; by default that of the data file.
    timings : Path, optional
        Folder of the blocks' timings (`exact-cntk block --timing`), one ``<block>.json`` each, for the measured seconds
        of the pass; these are null where one is missing.
    max_memory_gib : float, optional
        Refuse to need more.
    progress : bool or callable(done, total)
        Counts architectures.

    Returns
    -------
    dict
        What was written: the pass, `element_layers_per_pair` by depth, `seconds` of its kernels, and `results`, one an
        architecture and training set: `depth`, `kind`, `trained` (null for "nngp"), `train_images`, `repeat`,
        `accuracy` (without ridge; null where K is singular), `accuracy_loo_ridge`, `loo_ridge`, `loo_accuracy` (at that
        ridge), and which test images were right in hexadecimal, eight to a byte: `test_correct_hex`,
        `test_correct_loo_ridge_hex`.

    Raises
    ------
    InputError
        A subset or ridge is not allowed.
    UserError
        A block is missing or damaged, or of other images; or memory does not suffice.
    """
    _check(train_images, subsets, ridges)
    data, held = load_processed(data_file), read_block_set(blocks, train_images)
    header = held.header
    if header.data_digest != data.digest:
        raise UserError(
            f"blocks of {header.name} were computed from other images (digest {header.data_digest[:12]}…) than those "
            f"in {data_file} (digest {data.digest[:12]}…): compute them again"
        )
    need = _memory(held, data, len(ridges), max_memory_gib)
    require_memory(f"solving the architectures of {header.name}", need, max_memory_gib)
    problem = _Problem(held, data, [*subsets, Subset(train_images, 1)], list(ridges), max_memory_gib)
    outputs = [one for one in architecture_outputs(header.depths, header.network.trained) if one.kind in header.kinds]
    parts = _Parts(out.with_name(f".{out.name}.parts"), problem.identity())
    results: list[dict[str, Any]] = []
    with reporting(progress, f"solve {header.name}", "architectures") as report:
        for done, output in enumerate(outputs, start=1):
            results += parts.get(output) or parts.put(output, problem.solve(output))
            if report is not None:
                report(done, len(outputs))
    document = _document(study or data_file.stem, held, data, results, timings)
    write_result(out, document)
    parts.forget()
    return document


class _Problem:
    """What all architectures of a pass are solved on."""

    def __init__(
        self,
        blocks: BlockSet,
        data: ProcessedData,
        subsets: Sequence[Subset],
        ridges: list[float],
        max_memory_gib: float | None,
    ) -> None:
        self._blocks, self._data = blocks, data
        self._subsets, self._ridges, self._max_memory_gib = subsets, ridges, max_memory_gib

    def identity(self) -> str:
        """Says what finished results belong to: everything that they depend on."""
        common = {name: repr(value) for name, value in self._blocks.header.common.items()}
        # The time of writing stands for a block's values, which changed code may have computed anew.
        written = [path.stat().st_mtime_ns for path in self._blocks.headers]
        key = [FORMAT_VERSION, code_identity(), common, written, self._subsets, self._ridges]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def solve(self, output: Output) -> list[dict[str, Any]]:
        """The results of one architecture, of all training sets."""
        kernel = self._blocks.kernel(*kernel_key(output, nested=self._blocks.header.network.nested))
        what = {"depth": output.depth, "kind": output.kind, "trained": output.trained}
        return [
            what | self._solve_one(output, kernel, subset, repeat)
            for subset in self._subsets
            for repeat in range(subset.repeats)
        ]

    def _solve_one(self, output: Output, kernel: np.ndarray, subset: Subset, repeat: int) -> dict[str, Any]:
        n, header, data = subset.train_images, self._blocks.header, self._data
        chunk = slice(repeat * n, (repeat + 1) * n)
        try:
            fit = kernel_regression(
                kernel[chunk, chunk],
                data.train_labels[chunk],
                ridges=self._ridges,
                tolerance=KERNEL_ERROR[header.dtype],
                max_memory_gib=self._max_memory_gib,
            )
            correct = _test(fit, kernel[self._blocks.n :, chunk], data.test_labels)
        except InputError as error:
            name = f"{output.kind} of {header.name} at depth {output.depth}"
            raise UserError(f"{name}, on images {chunk.start}:{chunk.stop}: {error}") from error
        assert fit.loo_accuracy is not None  # class labels have one
        plain, best = self._ridges.index(0), fit.best
        solved = bool(fit.solved[plain])
        return {
            "train_images": n,
            "repeat": repeat,
            "accuracy": float(correct[plain].mean()) if solved else None,
            "accuracy_loo_ridge": float(correct[best].mean()),
            "loo_ridge": float(fit.ridges[best]),
            "loo_accuracy": float(fit.loo_accuracy[best]),
            "test_correct_hex": _packed(correct[plain]) if solved else None,
            "test_correct_loo_ridge_hex": _packed(correct[best]),
        }


class _Parts:
    """Finished architectures of an interrupted call, each a file in a folder of their own."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def get(self, output: Output) -> list[dict[str, Any]] | None:
        """The results of an architecture; None where there are none, or they are of other blocks or options."""
        try:
            document = json.loads(self._file(output).read_text(encoding="utf-8"))
            return list(document["results"]) if document["identity"] == self._identity else None
        except (OSError, ValueError, LookupError, TypeError):  # missing, or not of ours
            return None

    def put(self, output: Output, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keep the results of an architecture."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(output), {"identity": self._identity, "results": results})
        return results

    def forget(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, output: Output) -> Path:
        return self._folder / f"{output.kind}-{output.trained or 'none'}-{output.depth}.json"


def _document(
    study: str, held: BlockSet, data: ProcessedData, results: list[dict[str, Any]], timings: Path | None
) -> dict[str, Any]:
    header, shape = held.header, data.train_images.shape[1:]
    parts = header.network.parts()
    del parts["trained"]  # each result has its own
    return {
        "format_version": FORMAT_VERSION,
        "study": study,
        "data": describe_data(data),
        "family": header.name,
        **parts,
        "backend": header.backend,
        "dtype": header.dtype,
        "train_images": held.n,
        "test_images": header.n_test,
        "element_layers_per_pair": {
            str(depth): header.network.element_layers(1, shape, depth) for depth in header.depths
        },
        "pairs": held.pairs,
        "seconds": None if timings is None else measured_seconds(held, timings),
        "results": results,
    }


def measured_seconds(held: BlockSet, timings: Path) -> float | None:
    """Seconds in the kernels of all blocks, by the timing files beside them; None where one is missing."""
    total = 0.0
    for path in held.headers:
        try:
            timing = json.loads((timings / f"{path.stem}.json").read_text(encoding="utf-8"))
            total += float(timing["kernel_seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return round(total, 3)


def _memory(held: BlockSet, data: ProcessedData, ridges: int, max_memory_gib: float | None) -> int:
    """Peak in bytes: one kernel of the full set and what solving it takes."""
    problem = Problem(held.n, len(data.class_names), ridges, held=True, overwrite=False)
    solver = choose_solver(problem, max_memory_gib=max_memory_gib)
    return ITEM_BYTES * (held.n + held.header.n_test) * held.n + solver.memory


def _check(train_images: int, subsets: Sequence[Subset], ridges: Sequence[float]) -> None:
    if 0 not in ridges:
        raise InputError(f"ridges are {list(ridges)}, but must hold 0, the paper's protocol, besides any others")
    if not subsets:
        raise InputError("subsets are empty, but must name at least one, for example 100x5")
    for subset in subsets:
        if subset.train_images >= train_images or subset.train_images * subset.repeats > train_images:
            raise InputError(
                f"subset {subset} must be of fewer than the {train_images} images of the full training set, and all "
                "its repeats together of no more"
            )


def _test(fit: KernelRegression, K_test: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which test images each ridge gets right, bool of shape (ridges, test images)."""
    assert fit.classes is not None
    with np.errstate(invalid="ignore"):  # NaN where a ridge was not solved
        predictions = fit.predict(K_test)
    return fit.classes[predictions.argmax(axis=2)] == labels


def _packed(correct: np.ndarray) -> str:
    return np.packbits(correct).tobytes().hex()


def run(job: Job, context: Context) -> str:
    """Solve every architecture of a pass."""
    document = solve_pass(
        context.inputs,
        context.data,
        context.files[0],
        train_images=job.parameters["train_images"],
        subsets=[parse_subset(text) for text in job.parameters["subset"]],
        ridges=[float(ridge) for ridge in job.parameters["ridges"]],
        study=job.parameters["study"],
        timings=context.timings / context.inputs[0].parent.name,
        max_memory_gib=context.max_memory_gib,
        progress=context.progress,
    )
    return f"{len(document['results'])} fits"
