"""The parameters of a study: read and checked.

Snakemake and ``exact-cntk estimate`` both read ``params.yaml`` through this module and report the same errors.
The schema, ``workflow/schemas/params.schema.yaml``, checks single keys; this module checks keys against each other,
`exact_cntk.study.checks` does so for sections and `exact_cntk.study.names` for names.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from exact_cntk._support.outputs import is_printable
from exact_cntk.data import describe
from exact_cntk.errors import InputError, shortened
from exact_cntk.study.checks import named_families, something_trained
from exact_cntk.study.limits import (
    block_contradictions,
    factor_contradictions,
    memory_contradictions,
    plan_contradictions,
)
from exact_cntk.study.names import name_contradictions
from exact_cntk.study.schema import fit_schema
from exact_cntk.study.sections._collect import section_contradictions
from exact_cntk.study.yaml_files import read_yaml

SCHEMA = Path("workflow/schemas/params.schema.yaml")


def load_params(path: str | Path, schema: str | Path | None = None) -> dict[str, Any]:
    """Read and check a parameter file, ``params.yaml`` or one of ``config/``.

    Parameters
    ----------
    schema : path, optional
        By default ``workflow/schemas/params.schema.yaml`` above the file, the working directory or this module.

    Raises
    ------
    InputError
        Naming the file, the key, its value and what is allowed.
    """
    path = Path(path)
    return check_params(read_yaml(path), source=str(path), schema=schema or find_schema(path.resolve().parent))


def check_params(params: object, *, source: str = "params.yaml", schema: str | Path | None = None) -> dict[str, Any]:
    """Check parameters that have been read; `source` is their name in errors.

    Returns
    -------
    dict
        A copy, with every value of the type in the schema, and None for keys that are left out.

    Raises
    ------
    InputError
        Naming the key, its value and what is allowed; for an unknown key or name, the nearest valid one.
    """
    path = Path(schema) if schema else find_schema()
    try:
        checked = fit_schema(params, path)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    for complaint in _contradictions(checked):
        raise InputError(f"{source}: {complaint}")
    return checked


def find_schema(start: Path | None = None) -> Path:
    """Find the schema of the checkout that holds `start`, the working directory or this module, in this order."""
    starts = [p for p in (start, Path.cwd(), Path(__file__).resolve().parent) if p is not None]
    for folder in (folder for p in starts for folder in (p, *p.parents)):
        if (folder / SCHEMA).is_file():
            return folder / SCHEMA
    raise InputError(f"{SCHEMA}: not found above {', '.join(map(str, starts))}; run inside a checkout of the project")


def _contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield errors that a schema cannot express: keys that contradict each other."""
    for key, needed in (("kernels", "prepare"), ("solve", "kernels")):
        if params[key] is not None and params[needed] is None:
            yield f"{key}: needs {needed}, which is left out; give it, or leave {key} out"
            return
    if params["prepare"] is not None:
        yield from _data_contradictions(params["prepare"])
    yield from factor_contradictions(params)
    if params["kernels"] is not None:
        yield from _kernel_contradictions(params)
    if params["solve"] is not None:
        yield from _solve_contradictions(params)
    yield from section_contradictions(params)
    yield from name_contradictions(params)
    yield from plan_contradictions(params)
    if params["solve"] is not None:
        yield from memory_contradictions(params)


def _data_contradictions(prepare: Mapping[str, Any]) -> Iterator[str]:
    try:
        described = describe(prepare)
    except InputError as error:
        yield f"prepare.{error}"
        return
    if wrong := next(
        (letter for letter in prepare["source"] or "" if letter in "{}" or not is_printable(letter)), None
    ):
        yield (
            f"prepare.source: {prepare['source']!r} contains {wrong!r}, which is not allowed in file names of "
            f"the workflow; rename the file or folder, or make a link to it"
        )
    for key, images in (("train_images", described.train_images), ("test_images", described.test_images)):
        if prepare[key] > images:
            yield f"prepare.{key}: {prepare[key]} is more than the {images} images of the source"


def _kernel_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    families = params["kernels"]["families"]
    yield from named_families("kernels.families", families)
    for i, family in enumerate(families):
        key = f"kernels.families[{i}]"
        seen: set[int] = set()
        for j, depths in enumerate(family["depth_passes"]):
            if any(a >= b for a, b in pairwise(depths)):
                yield f"{key}.depth_passes[{j}]: {shortened(depths)} does not increase; sort it and leave out repeats"
            if seen & set(depths):
                yield f"{key}.depth_passes[{j}]: depth {min(seen & set(depths))} is in an earlier pass; remove it here"
            seen |= set(depths)
            if "ntk" in params["kernels"]["kinds"]:
                yield from something_trained(f"{key}.depth_passes[{j}]", family, depths)
    yield from block_contradictions(params)


def _solve_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    pool = params["prepare"]["train_images"]
    sizes: set[int] = set()
    for i, subset in enumerate(params["solve"]["subsets"]):
        images, repeats = subset["train_images"], subset["repeats"]
        if images * repeats > pool:
            yield (
                f"solve.subsets[{i}]: {repeats} sets of {images} images need {images * repeats}, "
                f"more than the pool of prepare.train_images = {pool}"
            )
        if images in sizes:
            yield f"solve.subsets[{i}].train_images: {images} is given twice; give one entry per number of images"
        sizes.add(images)
    ridges = params["solve"]["ridges"]
    if ridges[0] != 0 or any(a >= b for a, b in pairwise(ridges)):
        yield f"solve.ridges: {shortened(ridges)} must increase from 0, which is the paper's protocol"
