"""The methods that are tested on small training sets: one job for each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exact_cntk.blocks._grid import kernel_name
from exact_cntk.data.sources import describe, pool_classes
from exact_cntk.study.checks import (
    computed_depths,
    increasing,
    known_depth,
    known_family,
    named_families,
    something_trained,
    tangent_kernel,
    within,
)
from exact_cntk.study.sections._section import FileName, Job, Section

_ALL = (
    *(f"study/sections/small_data/{name}.py" for name in ("jobs", "subsets")),
    "study/documents.py",
    "study/fits.py",
)
_FITS = (
    *_ALL,
    *(f"regression/{name}.py" for name in ("inputs", "kernel_regression", "result", "ridge_path")),
)
SECTION = Section(
    notebooks={"small_data": "kernels, networks and standard methods with few training images"},
    needs=("data", "kernels", "metrics"),
    tables=("small_data_accuracy", "small_data_differences"),
    figures=("small_data_curves", "small_data_differences"),
    steps={
        "small_data_kernel": (*_FITS, "study/sections/small_data/kernels.py"),
        "small_data_baseline": (*_FITS, "study/sections/small_data/baselines.py"),
        "small_data_cnn": (
            *_ALL,
            *(f"finite/{name}.py" for name in ("networks", "_descent", "training")),
            "study/sections/small_data/networks.py",
        ),
    },
    shows=("study/stats/statistics.py",),
)


def contradictions(study: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    yield from tangent_kernel("small_data", params)
    yield from increasing("small_data.train_images", study["train_images"])
    yield from within("small_data.train_images", max(study["train_images"]), params, "train_images")
    yield from _class_sizes(study["train_images"], params["prepare"])
    computed = computed_depths(params)
    for i, kernel in enumerate(study["kernels"]):
        yield from known_family(f"small_data.kernels[{i}].family", kernel["family"], computed)
        yield from known_depth(f"small_data.kernels[{i}].depth", kernel["family"], kernel["depth"], computed)
        if kernel in study["kernels"][:i]:
            yield f"small_data.kernels[{i}]: {kernel['family']} at depth {kernel['depth']} is given twice; remove one"
    for key in ("bandwidths", "inverse_penalties"):
        yield from increasing(f"small_data.{key}", study[key])
    if study["cnns"] is not None:
        yield from _small_data_cnns(study["cnns"], study)


def _class_sizes(sizes: Sequence[int], prepare: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint where a training set cannot have equally many images of each class."""
    counts = pool_classes(prepare)
    if counts is None:  # only reading the images tells; equally many is the best that can be
        classes = len(describe(prepare).class_names)
        counts = [prepare["train_images"] // classes] * classes
    key, present, rarest = "small_data.train_images", len(counts), min(counts)
    if min(sizes) < present:
        yield f"{key}: {min(sizes)} is less than the {present} classes; give one image of each, or more"
    needed = -(-max(sizes) // present)
    if needed > rarest:
        yield (
            f"{key}: {max(sizes)} takes {needed} images of each of {present} classes, but the pool of "
            f"prepare.train_images = {prepare['train_images']} has only {rarest} of one; give at most "
            f"{rarest * present}, or a larger pool"
        )


def _small_data_cnns(cnns: Mapping[str, Any], study: Mapping[str, Any]) -> Iterator[str]:
    yield from named_families("small_data.cnns.families", cnns["families"])
    for i, family in enumerate(cnns["families"]):
        yield from something_trained(f"small_data.cnns.families[{i}].depth", family, [family["depth"]])
    yield from increasing("small_data.cnns.rates", cnns["rates"])
    if cnns["subsets"] > study["subsets"]:
        yield f"small_data.cnns.subsets: {cnns['subsets']} is more than small_data.subsets = {study['subsets']}"
    if cnns["max_train_images"] < min(study["train_images"]):
        yield (
            f"small_data.cnns.max_train_images: {cnns['max_train_images']} is less than all of "
            f"small_data.train_images = {study['train_images']}; set small_data.cnns to null for no networks"
        )


def jobs(params: Mapping[str, Any]) -> dict[str, Job]:
    """One job for each kernel, standard method and network, by the stem of its file."""
    small = params["small_data"]
    if small is None:
        return {}
    sets = {"study": params["study"]} | {name: small[name] for name in ("train_images", "subsets", "seed")}
    ridges = {"ridges": params["solve"]["ridges"]}
    settings = {name: small[name] for name in ("bandwidths", "inverse_penalties", "trees")}
    made: dict[str, Job] = {}

    def add(step: str, name: str, parameters: Mapping[str, Any], inputs: tuple[str, ...] = ()) -> None:
        made[name] = Job(step, (f"small_data/{name}.json",), parameters, inputs)

    for kernel in small["kernels"]:
        name = kernel_name(kernel["family"], kernel["depth"])
        add("small_data_kernel", name, sets | ridges, (f"kernels/{name}.h5",))
    for method in small["baselines"]:
        add("small_data_baseline", method, {"method": method} | sets | ridges | settings)
    cnns = small["cnns"] or {"families": []}
    protocol = {name: value for name, value in cnns.items() if name not in ("families", "subsets")}
    for network in cnns["families"]:
        parameters = sets | network | protocol | {"network_subsets": cnns["subsets"]}
        add("small_data_cnn", f"network-{network['name']}", parameters)
    return made


def names(params: Mapping[str, Any]) -> Iterator[FileName]:
    """Name the file of every method."""
    small = params["small_data"]
    for i, kernel in enumerate(small["kernels"]):
        file = f"small_data/{kernel_name(kernel['family'], kernel['depth'])}"
        yield FileName("file", file, f"small_data.kernels[{i}].family", kernel["family"])
    for i, method in enumerate(small["baselines"]):
        yield FileName("file", f"small_data/{method}", f"small_data.baselines[{i}]", method)
    for i, network in enumerate((small["cnns"] or {"families": []})["families"]):
        file = f"small_data/network-{network['name']}"
        yield FileName("file", file, f"small_data.cnns.families[{i}].name", network["name"])
