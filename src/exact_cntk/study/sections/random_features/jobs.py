"""Kernel regression on random features and on the exact kernels of the same images, and convergence with width.

One kind of job draws a network of one family at each depth, computes its empirical kernels in both precisions, and
solves each along the whole ridge path, on the first training images, half and a quarter of them; another kind solves
the exact kernels in the same way.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.blocks import Kernel, KernelMatrix, open_kernel
from exact_cntk.data import load_processed
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study.documents import check_images, describe_data, rounded, write_result
from exact_cntk.study.fits import TEST_ROWS, check_ridges
from exact_cntk.study.sections._run import Context
from exact_cntk.study.sections._section import Job
from exact_cntk.study.sections.random_features.fits import Images, NestedFits
from exact_cntk.study.sections.random_features.plan import DTYPES, GPU_PART, WORK_GIB, count_features

FORMAT_VERSION = 1
CONFIDENCE = 0.95  # of the interval of a slope
ON_GPU = 2000  # training images from which the GPU also solves the kernels that it has computed


def solve_draw(
    data_file: Path,
    name: str,
    family: Family,
    *,
    depths: Sequence[int],
    kinds: Sequence[str],
    width: int,
    draw: int,
    train_images: int,
    test_images: int,
    ridges: Sequence[float],
    study: str | None = None,
    device: str = "cpu",
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Regress on the random features of one network of each depth.

    Parameters
    ----------
    name, family
        A family of kernels without flips.
    depths, kinds : sequences
        Depths of the networks, and the kernels of each: "ntk" (gradients of the trained weights), "nngp" (last layer).
    width, draw : int
        Channels of the networks; number of the draw.
    train_images, test_images : int
        The first images of the pool and of the test set.
    ridges : sequence of float
        Relative to mean(diag K), including 0.
    study : str, optional
        Name of the study; by default that of the data file.
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU where torch finds one.

    Returns
    -------
    dict
        The content of the result file; `results` has one entry per depth, kind, precision and training-set size, see
        `NestedFits.results`.

    Raises
    ------
    InputError, UserError
        An argument is not allowed; the file is missing or damaged, there is no such device, or a kernel has a negative
        eigenvalue that rounding does not explain.
    """
    images = _first_images(data_file, train_images, test_images, ridges)
    results: list[dict[str, Any]] = []
    device = _device(device)
    method = "cuda" if device == "cuda" and train_images >= ON_GPU else "direct"
    options = {**family.arguments(), "get": tuple(kinds), "width": width, "draws": [draw], "device": device}
    with reporting(progress, f"random features of {name}, draw {draw}", "depths") as report:
        for done, depth in enumerate(depths, start=1):
            fits = _fits_of_draw(images, {**options, "depths": depth}, name, ridges, method)
            for (kind, dtype), nested in fits.items():
                features = count_features(images.data.train_images.shape[1:], family, kind, depth, width)
                lead = {"kind": kind, "depth": depth, "dtype": dtype, "features": features}
                results += [lead | entry for entry in nested.results()]
            if report is not None:
                report(done, len(depths))
    drawn = {"source": "features", "width": width, "draw": draw}
    return _document(study or data_file.stem, images, name, family, drawn, results)


def solve_exact(
    kernel_files: Sequence[Path],
    data_file: Path,
    *,
    train_images: int,
    test_images: int,
    ridges: Sequence[float],
    study: str | None = None,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Regress with the exact kernels of one family, one file per depth, on the images of `solve_draw`, in the same way.

    A kernel computed and stored in float64 is also solved rounded to float32. Returns as `solve_draw`, with `source`
    "exact", and None for `width`, `draw` and `features`; it also raises if kernels and data do not belong together.
    """
    images = _first_images(data_file, train_images, test_images, ridges)
    results: list[dict[str, Any]] = []
    families = set()
    with reporting(progress, "exact kernels", "kernels") as report:
        for done, path in enumerate(kernel_files, start=1):
            with open_kernel(path) as (kernel, matrices):
                _check_kernel(path, kernel, data_file, images)
                families.add((kernel.name, kernel.network))
                for kind in kernel.kinds:
                    for dtype, nested in _fits_of_kernel(kernel, matrices[kind], images, ridges, f"{path}: {kind}"):
                        lead = {"kind": kind, "depth": kernel.depth, "features": None, "dtype": dtype}
                        results += [lead | entry for entry in nested.results()]
            if report is not None:
                report(done, len(kernel_files))
    if len(families) != 1:
        raise InputError(f"the kernel files have {len(families)} architectures; give those of one, one file per depth")
    drawn = {"source": "exact", "width": None, "draw": None}
    return _document(study or data_file.stem, images, *families.pop(), drawn, results)


def sweep_widths(
    data_file: Path,
    name: str,
    family: Family,
    *,
    kinds: Sequence[str],
    depth: int,
    widths: Sequence[int],
    images: int,
    draws: int,
    study: str | None = None,
    device: str = "cpu",
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Deviation of empirical kernels from the exact kernel against width, with the fitted slope and its interval.

    Takes and raises as `solve_draw` and `exact_cntk.finite.width_sweep`; `images` are the first ones of the pool.

    Returns
    -------
    dict
        `sweeps`: one entry per kind with `widths`, `deviations` (one row per width, one ‖K_width − K‖ / ‖K‖ per
        network), `slope`, `interval` and `confidence`.
    """
    from exact_cntk.finite import width_sweep

    data = load_processed(data_file)
    _check_count("images", images, len(data.train_labels))
    device, sweeps = _device(device), []
    with reporting(progress, f"width sweep of {name}", "kinds") as report:
        for done, kind in enumerate(kinds, start=1):
            sweep = width_sweep(
                data.train_images[:images],
                widths=widths,
                depth=depth,
                get=kind,  # type: ignore[arg-type]
                draws=draws,
                confidence=CONFIDENCE,
                device=device,  # type: ignore[arg-type]
                **family.arguments(),
            )
            sweeps.append(
                {
                    "kind": kind,
                    "widths": sweep.widths.tolist(),
                    "deviations": [[rounded(value) for value in row] for row in sweep.deviations],
                    "slope": rounded(sweep.slope),
                    "interval": [rounded(value) for value in sweep.interval],
                    "confidence": sweep.confidence,
                }
            )
            if report is not None:
                report(done, len(kinds))
    head = {"format_version": FORMAT_VERSION, "study": study or data_file.stem, "data": describe_data(data)}
    return head | _stated(name, family) | {"source": "sweep", "depth": depth, "images": images, "sweeps": sweeps}


def _fits_of_draw(
    images: Images, network: Mapping[str, Any], name: str, ridges: Sequence[float], method: str
) -> dict[tuple[str, str], NestedFits]:
    """The tested fits of one drawn network, by kind and precision; its arguments are those of `empirical_kernel`."""
    train, test = images.data.train_images[: images.train], images.data.test_images[: images.test]
    kernels = {dtype: _empirical_kernels(train, None, network, dtype) for dtype in DTYPES}
    fits = {}
    for kind, dtype in itertools.product(network["get"], DTYPES):
        exact = kernels["float64"][kind] if dtype == "float32" else None
        solving = {"ridges": ridges, "dtype": dtype, "method": method}
        where = f"{name}, {kind}, depth {network['depths']}, draw {network['draws'][0]}"
        fits[kind, dtype] = NestedFits(kernels[dtype][kind], images, exact, dtype, solving, where)
    del kernels
    for part, dtype in itertools.product(cut(images.test, TEST_ROWS), DTYPES):
        for kind, rows in _empirical_kernels(test[part], train, network, dtype).items():
            fits[kind, dtype].test(rows)
    return fits


def _empirical_kernels(
    x1: np.ndarray, x2: np.ndarray | None, network: Mapping[str, Any], dtype: str
) -> dict[str, np.ndarray]:
    """The kernels of a single draw, by kind."""
    from exact_cntk.finite import empirical_kernel

    arguments: dict[str, Any] = {**network, "dtype": dtype, "max_memory_gib": _work_gib(network["device"])}
    kernels = empirical_kernel(x1, x2, **arguments)
    return {key[0]: kernel[0] for key, kernel in kernels.items()}


def _fits_of_kernel(
    kernel: Kernel, matrix: KernelMatrix, images: Images, ridges: Sequence[float], where: str
) -> Iterator[tuple[str, NestedFits]]:
    """The tested fits of an exact kernel, by precision: as it is stored, and rounded to float32."""
    K = matrix[: images.train, : images.train].astype(float)
    for dtype in dict.fromkeys([kernel.precision, "float32"]):
        rounds, solving = dtype != kernel.precision, {"ridges": ridges, "dtype": dtype}
        in_dtype, exact = (_rounded(K, dtype), K) if rounds else (K, None)
        nested = NestedFits(in_dtype, images, exact, dtype, solving, where)
        for part in cut(images.test, TEST_ROWS):
            rows = matrix[kernel.n_train + part.start : kernel.n_train + part.stop, : images.train].astype(float)
            nested.test(_rounded(rows, dtype) if rounds else rows)
        yield dtype, nested


def _rounded(K: np.ndarray, dtype: str) -> np.ndarray:
    """K in float64, rounded to a precision."""
    return K.astype(dtype).astype(float)


def _document(
    study: str, images: Images, name: str, family: Family, drawn: Mapping[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "study": study,
        "data": describe_data(images.data),
        **_stated(name, family),
        **drawn,
        "train_images": images.train,
        "test_images": images.test,
        "results": results,
    }


def _stated(name: str, family: Family) -> dict[str, Any]:
    return {"family": name} | family.stated_parts(pooling_window=family.pooling_window)


def _first_images(data_file: Path, train: int, test: int, ridges: Sequence[float]) -> Images:
    check_ridges(ridges)
    data = load_processed(data_file)
    _check_count("train_images", train, len(data.train_labels), least=2)
    _check_count("test_images", test, len(data.test_labels))
    return Images(data, train, test)


def _check_count(name: str, count: int, available: int, least: int = 1) -> None:
    if not least <= count <= available:
        raise InputError(f"{name} is {count}; allowed are {least} to {available}, the number of available images")


def _check_kernel(path: Path, kernel: Kernel, data_file: Path, images: Images) -> None:
    check_images(f"kernel {path}", kernel.data_digest, data_file, images.data.digest, "compute its blocks again")
    if kernel.network.flips:
        raise UserError(f"kernel {path} is averaged over flips, but networks are not; give a kernel without flips")


def _work_gib(device: str) -> float:
    if device != "cuda":
        return WORK_GIB["cpu"]
    from exact_cntk.finite._torch import torch

    return min(WORK_GIB["cuda"], GPU_PART * torch.cuda.get_device_properties(0).total_memory / 2**30)


def _device(device: str) -> str:
    if device != "auto":
        return device
    from exact_cntk.finite._torch import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def run(job: Job, context: Context) -> str:
    """Draw networks of a family, solve its exact kernels, or measure convergence with width."""
    parameters: dict[str, Any] = {"device": "auto", "progress": context.progress} | dict(job.parameters)
    if "ridges" in parameters:
        parameters["ridges"] = [float(ridge) for ridge in parameters["ridges"]]
    if job.step == "random_features_exact":
        del parameters["device"]
        document = solve_exact(context.inputs, context.data, **parameters)
    else:
        family, parameters = Family.taken_from(parameters)
        compute = solve_draw if job.step == "random_features_draw" else sweep_widths
        document = compute(context.data, parameters.pop("family"), family, **parameters)
    write_result(context.files[0], document)
    return f"{len(document.get('results', document.get('sweeps', [])))} results"
