"""Kernel regression on every subset of the training pool, and the metrics file that it makes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from exact_cntk._support.machine import format_gib, require_disk, require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import Kernel, open_kernel
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.errors import InputError, UserError
from exact_cntk.regression.kernel_regression import KernelRegression, kernel_regression
from exact_cntk.regression.solvers.choice import Problem, Solver, choose_solver
from exact_cntk.regression.solvers.stores import StoredKernel
from exact_cntk.study.documents import describe_data, write_result
from exact_cntk.study.fits import KERNEL_ERROR, describe_fit
from exact_cntk.study.provenance import provenance
from exact_cntk.study.subsets import Subset

FORMAT_VERSION = 1
SLOW = ("cholesky", "blocked")  # minutes a ridge for large problems: finished ridges are kept, and progress is shown
TEST_ROWS = 1000  # of the kernel with the test set, in memory at a time


class Solved(NamedTuple):
    """What `solve` found.

    Attributes
    ----------
    metrics : dict
        What the metrics file holds. Accuracies are fractions of images; what could not be computed, because K + λI is
        singular to working precision, is None.
    kernel : Kernel
        Attributes of the kernel file.
    solvers : dict of str to str
        For each subset, as "200x5", how it was solved and why so.
    """

    metrics: dict[str, Any]
    kernel: Kernel
    solvers: dict[str, str]


def solve(
    kernel_file: Path,
    data_file: Path,
    *,
    subsets: Sequence[Subset],
    ridges: Sequence[float],
    study: str | None = None,
    method: str = "auto",
    max_memory_gib: float | None = None,
    checkpoints: Path | None = None,
    progress: bool | Progress = False,
    log: Callable[[str], object] | None = None,
) -> Solved:
    """Fit and test on every subset, with every kind of kernel in the file, along a whole ridge path.

    Parameters
    ----------
    kernel_file, data_file : Path
        The merged kernel, and the processed images that it was computed from.
    subsets : sequence of Subset
        Sizes of training sets; each repeat is tested on all test images.
    ridges : sequence of float
        Relative to mean(diag K). 0, the paper's protocol, must be among them.
    study : str, optional
        Name of the study; by default that of the data file.
    method : str
        As `exact_cntk.kernel_regression` takes it; tiles on disk lie beside the kernel file meanwhile.
    max_memory_gib : float, optional
        Take a method that needs no more, or refuse.
    checkpoints : Path, optional
        Folder for the finished ridges of large problems, which an interrupted call goes on from.
    progress : bool or callable(done, total)
        Counts problems: kinds × repeats. True also shows a bar for each problem of many steps.
    log : callable(line), optional
        Is told, beforehand, which subsets are solved otherwise than by "eigh", and why.

    Returns
    -------
    Solved

    Raises
    ------
    InputError
        A subset or ridge is not allowed.
    UserError
        A file is missing or damaged, kernel and data do not belong together, memory does not suffice, or the kernel
        is not positive semi-definite.
    """
    if 0 not in ridges:
        raise InputError(f"ridges are {list(ridges)}, but must hold 0, the paper's protocol, besides any others")
    data = load_processed(data_file)
    with open_kernel(kernel_file) as (kernel, file):
        _check_data(kernel_file, kernel, data_file, data)
        _check_subsets(subsets, kernel.n_train)
        what = f"solving {kernel.name} at depth {kernel.depth}"
        solvers = {}
        for subset in subsets:
            problem = Problem(subset.train_images, len(data.class_names), len(ridges))
            solvers[subset] = _choose(problem, method, max_memory_gib, kernel_file, what)
            if log is not None and solvers[subset].method != "eigh":
                log(f"{what} on {subset}: {_describe(solvers[subset])}")
        problems = list(_problems(kernel, subsets))
        results = []
        with reporting(progress, f"solve {kernel.name}, depth {kernel.depth}", "problems") as report:
            for done, (kind, subset, repeat) in enumerate(problems, start=1):
                options: dict[str, Any] = {"method": solvers[subset].method, "max_memory_gib": max_memory_gib}
                if solvers[subset].method in SLOW:
                    options["progress"] = progress is True
                    if checkpoints is not None:
                        options["checkpoint"] = checkpoints / f"{kind}-{subset}-{repeat}.npz"
                results.append(_solve_one(kernel_file, kernel, file[kind], data, subset, repeat, ridges, options))
                if report is not None:
                    report(done, len(problems))
    metrics = _metrics(study or data_file.stem, kernel, data, results)
    return Solved(metrics, kernel, {str(subset): _describe(solver) for subset, solver in solvers.items()})


def solve_to_files(
    kernel_file: Path,
    data_file: Path,
    metrics_file: Path,
    provenance_file: Path | None = None,
    *,
    checkpoints: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Solve, and write the metrics, and beside them where they come from.

    Ridges that an interrupted call has finished are not solved again.

    Parameters
    ----------
    kernel_file, data_file : Path
    metrics_file : Path
        Deterministic: the same kernel, data and options give the same bytes.
    provenance_file : Path, optional
        Not deterministic: versions, machine, seconds.
    checkpoints : Path, optional
        Folder for finished ridges until both files are written; by default a hidden one beside them.
    **options
        Those of `solve`.

    Returns
    -------
    dict
        The metrics.
    """
    start = time.perf_counter()
    checkpoints = checkpoints or metrics_file.with_name(f".{metrics_file.name}.ridges")
    metrics, kernel, solvers = solve(kernel_file, data_file, checkpoints=checkpoints, **options)
    write_result(metrics_file, metrics)
    if provenance_file is not None:
        parameters = kernel.attributes() | kernel.network.parts() | {"kinds": kernel.kinds}
        del parameters["data_digest"]
        parameters |= {"subsets": [str(subset) for subset in options["subsets"]], "ridges": list(options["ridges"])}
        parameters["solvers"] = solvers
        where = provenance(
            parameters=parameters,
            data=metrics["data"],
            backend=kernel.backend,
            instruction_set=kernel.instruction_set,
            seconds={"solve": time.perf_counter() - start},
        )
        write_result(provenance_file, where)
    _forget(checkpoints)  # last: a job that fails before loses its other files
    return metrics


def _forget(checkpoints: Path) -> None:
    """Remove finished ridges, of earlier parameters too, and nothing else that the folder may hold."""
    for file in checkpoints.glob("*-*x*-*.npz"):
        file.unlink()
    with suppress(OSError):
        checkpoints.rmdir()


def testing_bytes(problem: Problem) -> int:
    """Memory for the predictions on the test images, in bytes."""
    return 8 * 2 * TEST_ROWS * (problem.n + problem.targets * problem.ridges)


def _choose(problem: Problem, method: str, max_memory_gib: float | None, kernel_file: Path, what: str) -> Solver:
    solver = choose_solver(problem, method=method, max_memory_gib=max_memory_gib, what=what)
    require_memory(what, testing_bytes(problem), max_memory_gib)  # K is gone by then
    require_disk(what, solver.scratch, kernel_file)
    return solver


def _describe(solver: Solver) -> str:
    """For log and provenance: the method, what it takes, and why this one."""
    takes = f"{format_gib(solver.memory)} of memory"
    if solver.scratch:
        takes += f", {format_gib(solver.scratch)} of disk, tiles of {solver.tile}"
    return f"{solver.method} ({takes}): {solver.reason}"


def _check_data(kernel_file: Path, kernel: Kernel, data_file: Path, data: ProcessedData) -> None:
    if kernel.data_digest != data.digest:
        raise UserError(
            f"kernel {kernel_file} was computed from other images (digest {kernel.data_digest[:12]}…) than those in "
            f"{data_file} (digest {data.digest[:12]}…): compute its blocks again"
        )


def _check_subsets(subsets: Sequence[Subset], n_train: int) -> None:
    if not subsets:
        raise InputError("subsets are empty, but must name at least one, for example 1000x1")
    for subset in subsets:
        if subset.train_images * subset.repeats > n_train:
            raise InputError(
                f"subset {subset} needs {subset.train_images * subset.repeats} images, but the training pool has "
                f"{n_train}: at most {n_train // subset.train_images} repeats of {subset.train_images}"
            )


def _problems(kernel: Kernel, subsets: Sequence[Subset]) -> Iterator[tuple[str, Subset, int]]:
    for kind in kernel.kinds:
        for subset in subsets:
            for repeat in range(subset.repeats):
                yield kind, subset, repeat


def _solve_one(
    path: Path,
    kernel: Kernel,
    dataset: h5py.Dataset,
    data: ProcessedData,
    subset: Subset,
    repeat: int,
    ridges: Sequence[float],
    options: dict[str, Any],
) -> dict[str, Any]:
    """One entry of the metrics' results."""
    n, first = subset.train_images, repeat * subset.train_images
    chunk = slice(first, first + n)
    kind = dataset.name.strip("/")
    try:
        fit = kernel_regression(
            StoredKernel(dataset, chunk),
            data.train_labels[chunk],
            ridges=ridges,
            tolerance=KERNEL_ERROR[kernel.dtype],
            **options,
        )
        correct = _test(fit, dataset, chunk, data)
    except InputError as error:
        raise UserError(f"{path}: {kind} on images {first}:{first + n}: {error}") from error
    return {
        "kind": kind,
        "train_images": n,
        "repeat": repeat,
        "test_images": len(data.test_labels),
        **describe_fit(fit, correct),
    }


def _test(fit: KernelRegression, dataset: h5py.Dataset, chunk: slice, data: ProcessedData) -> np.ndarray:
    """Which test images each ridge gets right, bool of shape (ridges, test images)."""
    n_train, n_test = len(data.train_labels), len(data.test_labels)
    assert fit.classes is not None
    correct = np.zeros((len(fit.ridges), n_test), dtype=bool)
    for start in range(0, n_test, TEST_ROWS):
        rows = slice(start, min(start + TEST_ROWS, n_test))
        with np.errstate(invalid="ignore"):  # NaN where a ridge was not solved
            predictions = fit.predict(dataset[n_train + rows.start : n_train + rows.stop, chunk])
        labels = fit.classes[predictions.argmax(axis=2)]
        correct[:, rows] = labels == data.test_labels[rows]
    return correct


def _metrics(study: str, kernel: Kernel, data: ProcessedData, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "study": study,
        "family": kernel.name,
        **kernel.network.stated_parts(depth=kernel.depth),
        "data": describe_data(data),
        "results": results,
    }
