"""The result files of the study of small training sets: one a method, all on the same training sets."""

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
# Parameters whose items are floating-point numbers in the documents, however they are written.
LISTS_OF_FLOATS = ("ridges", "bandwidths", "inverse_penalties", "rates")

# (training images, labels, test images, seed) → predictions
Method = Callable[[np.ndarray, np.ndarray, np.ndarray, list[int]], Predictions]


class Design(NamedTuple):
    """Which training sets: `subsets` of each size, dealt by `seed`; see `draw_subsets`."""

    train_images: Sequence[int]
    subsets: int
    seed: int


def kernel_to_file(
    kernel_file: Path,
    data_file: Path,
    out: Path,
    design: Design,
    *,
    ridges: Sequence[float],
    study: str | None = None,
    max_memory_gib: float | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Write the results of a merged kernel, all its kinds, without ridge and with the ridge of leave-one-out.

    Parameters
    ----------
    kernel_file, data_file, out : Path
        The same files and design give the same bytes.
    design : Design
    ridges : sequence of float
        See `kernel_results`.
    study : str, optional
        Name of the study; by default that of the data file.
    max_memory_gib : float, optional
        Refuse to need more.
    progress : bool or callable(done, total)

    Returns
    -------
    dict
        What the file holds.

    Raises
    ------
    UserError
        A file is missing or damaged or cannot be written, a training set is too large for the pool, or memory does not
        suffice.
    """
    data = load_processed(data_file)
    draws = draw_subsets(data.train_labels, *design)
    need = fitting_bytes(max(design.train_images), len(data.train_labels))
    require_memory(f"fitting to {max(design.train_images)} images", need, max_memory_gib)
    kernel, results = kernel_results(kernel_file, data_file, data, draws, ridges=ridges, progress=progress)
    stated = kernel.network.stated_parts(depth=kernel.depth, flips=kernel.network.flips)
    stated.pop("pooling_window", None)
    parameters = {"family": kernel.name} | stated | {"ridges": list(ridges)}
    return _write(out, study or data_file.stem, data, draws, design, "kernel", parameters, results)


def baseline_to_file(
    name: str,
    data_file: Path,
    out: Path,
    design: Design,
    *,
    study: str | None = None,
    checkpoint: Path | None = None,
    progress: bool | Progress = False,
    **options: Any,
) -> dict[str, Any]:
    """Write the results of a standard method on the study's pixels, flattened.

    Parameters
    ----------
    name : {"rbf", "logistic", "forest"}
    checkpoint : Path, optional
        Results so far, which an interrupted call for the same problem goes on from; removed in the end.
    **options
        Those of `baseline`.
    data_file, out, design, study, progress :
        As in `kernel_to_file`, which says what is returned and raised.
    """
    pixels = baseline(name, **options)

    def method(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, seed: list[int]) -> Predictions:
        flat = [images.reshape(len(images), -1).astype(np.float64) for images in (x, x_test)]
        return pixels(flat[0], labels, flat[1], seed)

    parameters = {key: list(value) if isinstance(value, Sequence) else value for key, value in options.items()}
    return method_to_file(
        name, method, parameters, data_file, out, design, study=study, checkpoint=checkpoint, progress=progress
    )


def network_to_file(
    name: str,
    family: Family,
    data_file: Path,
    out: Path,
    design: Design,
    *,
    max_train_images: int,
    network_subsets: int,
    study: str | None = None,
    checkpoint: Path | None = None,
    progress: bool | Progress = False,
    **options: Any,
) -> dict[str, Any]:
    """Write the results of a finite CNN, which takes torch.

    Parameters
    ----------
    name : str
        Of the network.
    family : Family
    max_train_images, network_subsets : int
        Of the design's training sets it is trained on those that are no larger, and of each size on the first ones.
        At least one.
    **options
        Those of `Network`.
    data_file, out, design, study, checkpoint, progress :
        As in `baseline_to_file`.
    """
    from exact_cntk.study.sections.small_data.networks import Network

    check.as_integer("max_train_images", max_train_images, at_least=min(design.train_images))
    subsets = check.as_integer("network_subsets", network_subsets, at_least=1)
    design_of_network = Design([n for n in design.train_images if n <= max_train_images], subsets, design.seed)
    parameters = {key: list(value) if isinstance(value, list | tuple) else value for key, value in options.items()}
    return method_to_file(
        name,
        Network(family, **options),
        family.stated_parts(**parameters),
        data_file,
        out,
        design,
        only=design_of_network,
        study=study,
        checkpoint=checkpoint,
        progress=progress,
    )


def method_to_file(
    name: str,
    method: Method,
    parameters: dict[str, Any],
    data_file: Path,
    out: Path,
    design: Design,
    *,
    only: Design | None = None,
    study: str | None = None,
    checkpoint: Path | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Write the results of any method.

    Parameters
    ----------
    name : str
        What the file says of the method.
    method : callable(x, labels, x_test, seed)
        Sees images of shape (n, P, Q, C), and labels of the training images alone.
    parameters : dict
        For the file; with the data they are all that the results depend on.
    only : Design, optional
        Sizes, and the number of training sets of each, that the method is run on; by default all.
    data_file, out, design, study, checkpoint, progress :
        As in `baseline_to_file`.
    """
    data = load_processed(data_file)
    draws = draw_subsets(data.train_labels, *design)
    sets = describe_subsets(draws, design.seed)
    problem = [FORMAT_VERSION, name, parameters, data.digest, sets["seed"], sets["digest"]]
    finished = FinishedParts(checkpoint, problem)
    wanted = design if only is None else only
    chosen = [draw for draw in draws if draw.train_images in wanted.train_images and draw.repeat < wanted.subsets]
    results = []
    with reporting(progress, name, "training sets") as report:
        for done, draw in enumerate(chosen, start=1):
            result = finished.part(f"{draw.train_images}x{draw.repeat}", partial(_run, method, data, draw, design.seed))
            results.append(result)
            if report is not None:
                report(done, len(chosen))
    document = _write(out, study or data_file.stem, data, draws, design, name, parameters, results)
    finished.forget()
    return document


def _run(method: Method, data: ProcessedData, draw: Draw, seed: int) -> dict[str, Any]:
    x, labels = data.train_images[draw.positions], data.train_labels[draw.positions]
    with threadpool_limits(1):  # sums depend on the number of threads, in their last digits
        found = method(x, labels, data.test_images, [seed, draw.train_images, draw.repeat])
    correct = int((found.labels == data.test_labels).sum())
    return {
        "train_images": draw.train_images,
        "repeat": draw.repeat,
        "correct": correct,
        "accuracy": correct / len(data.test_labels),
        "chosen": found.chosen,
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
        name: [float(item) for item in value] if name in LISTS_OF_FLOATS else value
        for name, value in job.parameters.items()
    }
    design = Design(*(parameters[name] for name in Design._fields))
    out, kept = context.files[0], context.checkpoint.with_name(f"{context.checkpoint.name}.json")
    common: dict[str, Any] = {"study": parameters["study"], "progress": context.progress}
    if job.step == "small_data_kernel":
        limit = {"ridges": parameters["ridges"], "max_memory_gib": context.max_memory_gib}
        document = kernel_to_file(context.inputs[0], context.data, out, design, **limit, **common)
    elif job.step == "small_data_baseline":
        settings = {name: parameters[name] for name in ("ridges", "bandwidths")}
        settings |= {"penalties": parameters["inverse_penalties"], "trees": parameters["trees"]}
        method = parameters["method"]
        document = baseline_to_file(method, context.data, out, design, checkpoint=kept, **settings, **common)
    else:
        settings = {name: parameters[name] for name in ("depth", "width")}
        settings |= {"output_scale": float(parameters["output_scale"])}
        settings |= {name: parameters[name] for name in ("rates", "batch_images", "epochs")}
        settings |= {name: parameters[name] for name in ("max_train_images", "network_subsets")}
        name, family = parameters["name"], Family.from_parts(parameters)
        document = network_to_file(name, family, context.data, out, design, checkpoint=kept, **settings, **common)
    return f"{len(document['results'])} results"
