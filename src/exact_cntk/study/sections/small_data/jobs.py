"""The result files of small training sets: one per method, all on the same training sets."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from exact_cntk._support import validation as check
from exact_cntk._support.machine import require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.networks import Family
from exact_cntk.study.documents import describe_data, write_result
from exact_cntk.study.resume import FinishedParts
from exact_cntk.study.sections._run import Context
from exact_cntk.study.sections._section import Job
from exact_cntk.study.sections.small_data.baselines import Predictions, baseline
from exact_cntk.study.sections.small_data.kernels import fitting_bytes, kernel_results
from exact_cntk.study.sections.small_data.subsets import Draw, describe_subsets, draw_subsets

FORMAT_VERSION = 1
# Parameters whose items are floating-point numbers in the result files, however they are written.
LISTS_OF_FLOATS = ("ridges", "bandwidths", "inverse_penalties", "rates")

# (training images, labels, test images, seed) → predictions
Method = Callable[[np.ndarray, np.ndarray, np.ndarray, list[int]], Predictions]


class Design(NamedTuple):
    """Which training sets: `subsets` of each size, drawn with `seed`; see `draw_subsets`."""

    train_images: Sequence[int]
    subsets: int
    seed: int


class JobOptions(NamedTuple):
    """Options of every job: name of the study (None: the data file's), progress, and a limit of memory, for kernels.

    `checkpoint` is a file of finished results, which an interrupted call for the same problem resumes from; it is
    removed at the end.
    """

    study: str | None = None
    checkpoint: Path | None = None
    progress: bool | Progress = False
    max_memory_gib: float | None = None


DEFAULTS = JobOptions()


def kernel_to_file(
    kernel_file: Path,
    data_file: Path,
    out: Path,
    design: Design,
    *,
    ridges: Sequence[float],
    options: JobOptions = DEFAULTS,
) -> dict[str, Any]:
    """Write the results of a merged kernel, all its kinds, without a ridge and with the ridge of leave-one-out.

    Returns
    -------
    dict
        The content of the file. The same files and design give the same bytes.

    Raises
    ------
    UserError
        A file is missing or damaged or cannot be written, a training set is too large for the pool, or there is not
        enough memory.
    """
    data = load_processed(data_file)
    draws = draw_subsets(data.train_labels, *design)
    largest = max(design.train_images)
    need = fitting_bytes(largest, len(data.train_labels))
    require_memory(f"fitting to {largest} images", need, options.max_memory_gib)
    kernel, results = kernel_results(kernel_file, data_file, data, draws, ridges=ridges, progress=options.progress)
    stated = kernel.network.stated_parts(depth=kernel.depth, flips=kernel.network.flips)
    stated.pop("pooling_window", None)
    parameters = {"family": kernel.name} | stated | {"ridges": list(ridges)}
    return _write(out, options.study or data_file.stem, data, draws, design, "kernel", parameters, results)


def baseline_to_file(
    name: str, data_file: Path, out: Path, design: Design, *, options: JobOptions = DEFAULTS, **settings: Any
) -> dict[str, Any]:
    """Write the results of a standard method on flattened pixels; settings of `baseline`, else as `kernel_to_file`."""
    predict = baseline(name, **settings)

    def method(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, seed: list[int]) -> Predictions:
        flat, flat_test = (images.reshape(len(images), -1).astype(np.float64) for images in (x, x_test))
        return predict(flat, labels, flat_test, seed)

    return method_to_file(name, method, _plain(settings), data_file, out, design, options=options)


def network_to_file(
    name: str,
    family: Family,
    data_file: Path,
    out: Path,
    design: Design,
    *,
    max_train_images: int,
    network_subsets: int,
    options: JobOptions = DEFAULTS,
    **settings: Any,
) -> dict[str, Any]:
    """Write the results of a finite CNN with the settings of `Network`, which needs torch; as `kernel_to_file`.

    It is trained on the training sets of at most `max_train_images` images, the first `network_subsets` of each size.
    """
    from exact_cntk.study.sections.small_data.networks import Network

    check.as_integer("max_train_images", max_train_images, at_least=min(design.train_images))
    subsets = check.as_integer("network_subsets", network_subsets, at_least=1)
    only = Design([n for n in design.train_images if n <= max_train_images], subsets, design.seed)
    parameters = family.stated_parts(**_plain(settings))
    network = Network(family, **settings)
    return method_to_file(name, network, parameters, data_file, out, design, only=only, options=options)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as the files have them."""
    return {key: list(value) if isinstance(value, Sequence) else value for key, value in settings.items()}


def method_to_file(
    name: str,
    method: Method,
    parameters: dict[str, Any],
    data_file: Path,
    out: Path,
    design: Design,
    *,
    only: Design | None = None,
    options: JobOptions = DEFAULTS,
) -> dict[str, Any]:
    """Write the results of any method; returns and raises as `kernel_to_file`.

    Parameters
    ----------
    method : callable(x, labels, x_test, seed)
        Takes images of shape (n, P, Q, C), and the labels of the training images only.
    parameters : dict
        For the file; together with the data they determine the results.
    only : Design, optional
        Sizes, and the number of training sets of each, that the method is run on; by default all.
    """
    data = load_processed(data_file)
    draws = draw_subsets(data.train_labels, *design)
    sets = describe_subsets(draws, design.seed)
    problem = [FORMAT_VERSION, name, parameters, data.digest, sets["seed"], sets["digest"]]
    finished = FinishedParts(options.checkpoint, problem)
    wanted = only or design
    chosen = [draw for draw in draws if draw.train_images in wanted.train_images and draw.repeat < wanted.subsets]
    results = []
    with reporting(options.progress, name, "training sets") as report:
        for done, draw in enumerate(chosen, start=1):
            result = finished.part(f"{draw.train_images}x{draw.repeat}", partial(_run, method, data, draw, design.seed))
            results.append(result)
            if report is not None:
                report(done, len(chosen))
    document = _write(out, options.study or data_file.stem, data, draws, design, name, parameters, results)
    finished.forget()
    return document


def _run(method: Method, data: ProcessedData, draw: Draw, seed: int) -> dict[str, Any]:
    x, labels = data.train_images[draw.positions], data.train_labels[draw.positions]
    with threadpool_limits(1):  # sums depend on the number of threads, in their last digits
        predictions = method(x, labels, data.test_images, [seed, draw.train_images, draw.repeat])
    correct = int((predictions.labels == data.test_labels).sum())
    return {
        "train_images": draw.train_images,
        "repeat": draw.repeat,
        "correct": correct,
        "accuracy": correct / len(data.test_labels),
        "chosen": predictions.chosen,
    }


def _write(
    out: Path,
    study: str,
    data: ProcessedData,
    draws: Sequence[Draw],
    design: Design,
    method: str,
    parameters: dict[str, Any],
    results: list[dict[str, Any]],
) -> dict[str, Any]:
    document = {
        "format_version": FORMAT_VERSION,
        "study": study,
        "data": describe_data(data),
        "method": method,
        "parameters": parameters,
        "sets": describe_subsets(draws, design.seed),
        "test_images": len(data.test_labels),
        "results": results,
    }
    write_result(out, document)
    return document


def run(job: Job, context: Context) -> str:
    """Test a kernel, a standard method or a network on all small training sets."""
    parameters: dict[str, Any] = {
        name: [float(number) for number in value] if name in LISTS_OF_FLOATS else value
        for name, value in job.parameters.items()
    }
    design = Design(*(parameters.pop(name) for name in Design._fields))
    checkpoint = context.checkpoint.with_name(f"{context.checkpoint.name}.json")
    options = JobOptions(parameters.pop("study"), checkpoint, context.progress, context.max_memory_gib)
    files = context.data, context.files[0], design
    if job.step == "small_data_kernel":
        document = kernel_to_file(context.inputs[0], *files, options=options, **parameters)
    elif job.step == "small_data_baseline":
        method, penalties = parameters.pop("method"), parameters.pop("inverse_penalties")
        settings = {name: parameters[name] for name in ("ridges", "bandwidths")} | {"penalties": penalties}
        document = baseline_to_file(method, *files, options=options, **settings, trees=parameters["trees"])
    else:
        names = ("depth", "width", "output_scale", "rates", "batch_images", "epochs")
        settings = {name: parameters[name] for name in (*names, "max_train_images", "network_subsets")}
        settings["output_scale"] = float(settings["output_scale"])
        family = Family.from_parts(parameters)
        document = network_to_file(parameters["name"], family, *files, options=options, **settings)
    return f"{len(document['results'])} results"
