"""The methods of the study of small training sets. Cheap to import."""

from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.blocks._grid import kernel_name
from exact_cntk.study.checks import computed_depths, increasing, known_depth, known_family, odd, within


def method_names(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the result files of a study, ``small_data/<name>.json``, by the verb that makes them.

    Parameters
    ----------
    params : mapping
        Of a study, checked.

    Returns
    -------
    dict
        `kernel`, `baseline`, `cnn`: all empty if the study has no small training sets.
    """
    small = params["small_data"]
    if small is None:
        return {"kernel": [], "baseline": [], "cnn": []}
    return {
        "kernel": [kernel_name(one["family"], one["depth"]) for one in small["kernels"]],
        "baseline": list(small["baselines"]),
        "cnn": [f"network-{one['name']}" for one in (small["cnns"] or {"families": []})["families"]],
    }


def contradictions(study: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    yield from increasing("small_data.train_images", study["train_images"])
    yield from within("small_data.train_images", max(study["train_images"]), params, "train_images")
    computed = computed_depths(params)
    for i, kernel in enumerate(study["kernels"]):
        yield from known_family(f"small_data.kernels[{i}].family", kernel["family"], computed)
        yield from known_depth(f"small_data.kernels[{i}].depth", kernel["family"], kernel["depth"], computed)
        if kernel in study["kernels"][:i]:
            yield f"small_data.kernels[{i}]: {kernel['family']} at depth {kernel['depth']} is there twice; remove one"
    for key in ("bandwidths", "inverse_penalties"):
        yield from increasing(f"small_data.{key}", study[key])
    if study["cnns"] is not None:
        yield from _small_data_cnns(study["cnns"], study)


def _small_data_cnns(cnns: Mapping[str, Any], study: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    for i, family in enumerate(cnns["families"]):
        key = f"small_data.cnns.families[{i}]"
        if family["name"] in names:
            yield f"{key}.name: {family['name']!r} is there twice; give each family a name of its own"
        names.add(family["name"])
        yield from odd(f"{key}.filter_size", family["filter_size"], "filters")
    yield from increasing("small_data.cnns.rates", cnns["rates"])
    if cnns["subsets"] > study["subsets"]:
        yield f"small_data.cnns.subsets: {cnns['subsets']} is more than small_data.subsets = {study['subsets']}"
    if cnns["max_train_images"] < min(study["train_images"]):
        yield (
            f"small_data.cnns.max_train_images: {cnns['max_train_images']} is less than all of "
            f"small_data.train_images = {study['train_images']}; set small_data.cnns to null for no networks"
        )
