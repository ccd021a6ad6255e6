"""Every architecture of one pass, solved on small training sets and on the full one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.cut import cut
from exact_cntk._support.machine import require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk._support.stated_files import read_stated
from exact_cntk.blocks import BlockSet, read_block_set
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.errors import InputError
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.networks import Output, kernel_key
from exact_cntk.regression.result import KernelRegression
from exact_cntk.regression.solvers.choice import Problem, choose_solver
from exact_cntk.study.documents import check_images, describe_data, write_result
from exact_cntk.study.fits import TEST_ROWS, check_ridges, fit_labels, score_fits, testing_bytes
from exact_cntk.study.resume import FinishedParts
from exact_cntk.study.sections._run import Context
from exact_cntk.study.sections._section import Job
from exact_cntk.study.sections.architectures.plan import FORMAT_VERSION, KEY, architecture_outputs
from exact_cntk.study.subsets import Subset, check_subsets, parse_subset

METHOD = "direct"  # these have leave-one-out


def solve_pass(
    blocks: Sequence[Path],
    data_file: Path,
    out: Path,
    *,
    train_images: int,
    subsets: Sequence[Subset],
    ridges: Sequence[float],
    study: str | None = None,
    max_memory_gib: float | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Solve every architecture of a pass, and write what its file contains.

    Each is solved on the subsets and on the pool's first `train_images` images, without a ridge (the paper's protocol)
    and with the ridge that leave-one-out chooses on the training images, and tested on all test images. An interrupted
    call resumes after the last finished architecture. The same blocks and options give the same bytes.

    Parameters
    ----------
    blocks : sequence of Path
        All blocks of the pass, computed from `data_file`.
    ridges : sequence of float
        Relative to mean(diag K), including 0.
    study : str, optional
        Name of the study; by default that of the data file.
    max_memory_gib : float, optional
        Limit of memory.

    Returns
    -------
    dict
        The pass, `element_layers_per_pair` by depth, and `results`, one per architecture and training set, as
        `exact_cntk.study.fits.Fit.both_protocols` with `depth`, `kind`, `trained`, `train_images`, `repeat`.

    Raises
    ------
    InputError, UserError
        A subset or ridge is not allowed; a block is missing, damaged or of other images; not enough memory.
    """
    check_ridges(ridges)
    check_subsets(subsets, train_images, "full training set")
    if train_images in [subset.train_images for subset in subsets]:
        raise InputError(f"subset {train_images}x1 must be of fewer than the {train_images} of the full training set")
    data, block_set = load_processed(data_file), read_block_set(blocks, train_images)
    header = block_set.header
    remedy = "compute its blocks again"
    check_images(f"the pass {header.name}", header.data_digest, data_file, data.digest, remedy)
    need = _memory(block_set, data, len(ridges), max_memory_gib)
    require_memory(f"solving the architectures of {header.name}", need, max_memory_gib)
    problem = _Problem(block_set, data, [*subsets, Subset(train_images, 1)], list(ridges), max_memory_gib)
    outputs = [one for one in architecture_outputs(header.depths, header.network.trained) if one.kind in header.kinds]
    parts = FinishedParts(out.with_name(f".{out.name}.parts.json"), problem.description(), save_seconds=0)
    results: list[dict[str, Any]] = []
    with reporting(progress, f"solve {header.name}", "architectures") as report:
        for done, output in enumerate(outputs, start=1):
            results += parts.part(repr(output), partial(problem.solve, output))
            if report is not None:
                report(done, len(outputs))
    document = _document(study or data_file.stem, block_set, data, results)
    write_result(out, document)
    parts.forget()
    return document


@dataclass(frozen=True)
class _Problem:
    """What all architectures of a pass are solved on."""

    blocks: BlockSet
    data: ProcessedData
    subsets: Sequence[Subset]
    ridges: list[float]
    max_memory_gib: float | None

    def description(self) -> list[Any]:
        """All that finished architectures depend on, for JSON."""
        common = {name: repr(value) for name, value in self.blocks.header.common.items()}
        # The time of writing stands for a block's values, which changed code may have computed anew.
        written = [path.stat().st_mtime_ns for path in self.blocks.headers]
        return [FORMAT_VERSION, common, written, self.subsets, self.ridges]

    def solve(self, output: Output) -> list[dict[str, Any]]:
        """The results of one architecture, of all training sets."""
        key = kernel_key(output, nested=self.blocks.header.network.nested)
        n, n_test = self.blocks.n, self.blocks.header.n_test
        name = f"{output.kind} of {self.blocks.header.name} at depth {output.depth}"
        sets = [(subset, repeat, chunk) for subset in self.subsets for repeat, chunk in enumerate(subset.chunks)]
        kernel = self.blocks.kernel(*key, rows=slice(0, n))
        regressions = [(self._fit(kernel, chunk, name), chunk) for _, _, chunk in sets]
        del kernel
        rows = (self.blocks.kernel(*key, rows=slice(n + part.start, n + part.stop)) for part in cut(n_test, TEST_ROWS))
        fits = score_fits(regressions, rows, self.data.test_labels, name=name)
        architecture = {"depth": output.depth, "kind": output.kind, "trained": output.trained}
        return [
            architecture | {"train_images": subset.train_images, "repeat": repeat} | fit.both_protocols()
            for (subset, repeat, _), fit in zip(sets, fits, strict=True)
        ]

    def _fit(self, kernel: np.ndarray, chunk: slice, name: str) -> KernelRegression:
        return fit_labels(
            kernel[chunk, chunk],
            self.data.train_labels[chunk],
            name=f"{name}, on images {chunk.start}:{chunk.stop}",
            ridges=self.ridges,
            dtype=self.blocks.header.precision,
            max_memory_gib=self.max_memory_gib,
            method=METHOD,
        )


def _document(study: str, block_set: BlockSet, data: ProcessedData, results: list[dict[str, Any]]) -> dict[str, Any]:
    header, shape = block_set.header, data.train_images.shape[1:]
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
        "train_images": block_set.n,
        "test_images": header.n_test,
        "element_layers_per_pair": {
            str(depth): header.network.element_layers(1, shape, depth) for depth in header.depths
        },
        "pairs": block_set.pairs,
        "results": results,
    }


def measured_seconds(blocks: Sequence[Path], timings: Path) -> float | None:
    """Seconds in the kernels of blocks, by files of their names in the folder `timings`; None where one is missing."""
    total = 0.0
    for path in blocks:
        try:
            total += float(read_stated(timings / f"{path.stem}.json")["kernel_seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return round(total, 3)


def _memory(block_set: BlockSet, data: ProcessedData, ridges: int, max_memory_gib: float | None) -> int:
    """Peak in bytes, at most: one kernel of the full set, what solving it takes, and a few rows of the test images."""
    problem = Problem(block_set.n, len(data.class_names), ridges, in_memory=True, overwrite=False)
    solver = choose_solver(problem, method=METHOD, max_memory_gib=max_memory_gib)
    return ITEM_BYTES * block_set.n**2 + solver.memory + testing_bytes(problem)


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
        max_memory_gib=context.max_memory_gib,
        progress=context.progress,
    )
    seconds = measured_seconds(context.inputs, context.benchmarks / "kernel_block" / context.inputs[0].parent.name)
    write_result(context.benchmarks / KEY / context.files[0].name, {"seconds": seconds})
    return f"{len(document['results'])} fits"
