"""Kernel regression on every subset of the training pool, and the metrics file that it makes."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from exact_cntk._support.machine import require_disk, require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import Kernel, KernelMatrix, open_kernel
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.regression.solvers.choice import Problem, Solver, choose_solver, describe_solver
from exact_cntk.regression.solvers.stores import StoredKernel
from exact_cntk.regression.solvers.triangle import triangle_dtype
from exact_cntk.study.documents import check_images, describe_data, write_result
from exact_cntk.study.fits import TEST_ROWS, Fit, check_ridges, fit_and_test, testing_bytes
from exact_cntk.study.provenance import provenance, timing
from exact_cntk.study.subsets import Subset, check_subsets

FORMAT_VERSION = 1
# Minutes for large problems: finished ridges, or products, are kept, and progress is shown.
SLOW = ("cholesky", "blocked", "cg")


class Solved(NamedTuple):
    """Results of `solve`.

    Attributes
    ----------
    metrics : dict
        Content of the metrics file. Accuracies are fractions; None where K + λI is singular to working precision, or
        "cg" did not reach its residual.
    kernel : Kernel
        Attributes of the kernel file.
    solvers : dict of str to str
        For each subset, such as "200x5", how it was solved and why.
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
        Each repeat is tested on all test images.
    ridges : sequence of float
        Relative to mean(diag K), including 0, the paper's protocol.
    study : str, optional
        Name of the study; by default that of the data file.
    method : str
        As `exact_cntk.kernel_regression` takes it; tiles on disk are written to the folder of the kernel file.
    max_memory_gib : float, optional
        Take a method that needs no more, or refuse.
    checkpoints : Path, optional
        Folder for the finished ridges, or products, of large problems, which an interrupted call resumes from.
    progress : bool or callable(done, total)
        Counts problems: kinds × repeats. True also shows a bar for each problem of many steps.
    log : callable(line), optional
        Is told beforehand which subsets are not solved by "eigh", and why; and of ridges that "cg" has no answer for.

    Raises
    ------
    InputError, UserError
        A subset or ridge is not allowed; a file is missing or damaged, kernel and data do not belong together, there is
        not enough memory, or the kernel is not positive semi-definite.
    """
    check_ridges(ridges)
    data = load_processed(data_file)
    with open_kernel(kernel_file) as (kernel, matrices):
        check_images(f"kernel {kernel_file}", kernel.data_digest, data_file, data.digest, "compute its blocks again")
        check_subsets(subsets, kernel.n_train)
        what = f"solving {kernel.name} at depth {kernel.depth}"
        solvers = {}
        for subset in subsets:
            item_bytes = triangle_dtype(kernel.storage).itemsize
            problem = Problem(subset.train_images, len(data.class_names), len(ridges), item_bytes=item_bytes)
            solvers[subset] = _choose(problem, method, max_memory_gib, kernel_file, what)
            if log is not None and solvers[subset].method != "eigh":
                log(f"{what} on {subset}: {_describe(solvers[subset])}")
        problems = [
            (kind, subset, repeat) for kind in kernel.kinds for subset in subsets for repeat in range(subset.repeats)
        ]
        results = []
        with reporting(progress, f"solve {kernel.name}, depth {kernel.depth}", "problems") as report:
            for done, (kind, subset, repeat) in enumerate(problems, start=1):
                options: dict[str, Any] = {"ridges": ridges, "max_memory_gib": max_memory_gib}
                options["method"] = solvers[subset].method
                if solvers[subset].method in SLOW:
                    options["progress"] = progress is True
                    if checkpoints is not None:
                        options["checkpoint"] = checkpoints / f"{kind}-{subset}-{repeat}.npz"
                fit = _fit(kernel_file, kernel, matrices[kind], data, subset.chunks[repeat], options)
                if log is not None and solvers[subset].method == "cg":
                    for line in fit.unsolved():
                        log(f"{what} on {subset}, {kind}, repeat {repeat}: {line}")
                entry = {"test_images": len(data.test_labels), **fit.whole_path()}
                results.append({"kind": kind, "train_images": subset.train_images, "repeat": repeat, **entry})
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
    timing_file: Path | None = None,
    checkpoints: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Solve with the options of `solve`, write the metrics and where they come from, and give the metrics.

    The same kernel, data and options give the same metrics, byte for byte; provenance has versions and machine, and the
    timing file what differs from run to run. `checkpoints` is a folder for finished ridges, which an interrupted call
    resumes from, until all files are written; by default a hidden one in the folder of the metrics.
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
        )
        write_result(provenance_file, where)
    if timing_file is not None:
        seconds = timing({"solve": time.perf_counter() - start})
        write_result(timing_file, seconds, {metrics_file: metrics_file.read_bytes()})
    _forget(checkpoints)  # last: a job that fails before loses its other files
    return metrics


def _forget(checkpoints: Path) -> None:
    """Remove finished ridges, of earlier parameters too, and nothing else that the folder may hold."""
    for file in checkpoints.glob("*-*x*-*.npz"):
        file.unlink()
    with suppress(OSError):
        checkpoints.rmdir()


def _choose(problem: Problem, method: str, max_memory_gib: float | None, kernel_file: Path, what: str) -> Solver:
    solver = choose_solver(problem, method=method, max_memory_gib=max_memory_gib, what=what)
    require_memory(what, testing_bytes(problem), max_memory_gib)  # K is gone by then
    require_disk(what, solver.scratch, kernel_file)
    return solver


def _describe(solver: Solver) -> str:
    """For log and provenance: the method, its memory and disk, and the reason for it."""
    return f"{describe_solver(solver)}: {solver.reason}"


def _fit(
    path: Path, kernel: Kernel, matrix: KernelMatrix, data: ProcessedData, chunk: slice, options: dict[str, Any]
) -> Fit:
    """Fit and test on one training set."""
    starts = range(len(data.train_labels), len(matrix), TEST_ROWS)
    return fit_and_test(
        StoredKernel(matrix, chunk, kernel.storage),
        data.train_labels[chunk],
        (matrix[start : min(start + TEST_ROWS, len(matrix)), chunk] for start in starts),
        data.test_labels,
        name=f"{path}: {matrix.kind} on images {chunk.start}:{chunk.stop}",
        dtype=kernel.precision,
        **options,
    )


def _metrics(study: str, kernel: Kernel, data: ProcessedData, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "study": study,
        "family": kernel.name,
        **kernel.network.stated_parts(depth=kernel.depth),
        "data": describe_data(data),
        "results": results,
    }
