"""What a schema cannot say about the parameters of sections: keys that contradict each other or the study."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any


def section_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction: key, value, what is allowed.

    Parameters
    ----------
    params : mapping
        Of a study, valid by the schema.
    """
    checks = {
        "cnns": _cnns,
        "random_features": _random_features,
        "architectures": _architectures,
        "small_data": _small_data,
    }
    for key, check in checks.items():
        if params[key] is not None:
            yield from check(params[key], params)
    for key in ("random_features", "small_data"):
        if params[key] is not None and "ntk" not in params["kernels"]["kinds"]:
            yield f"kernels.kinds: {params['kernels']['kinds']} lacks 'ntk', which {key} is about; add it"


def nearest(name: object, allowed: Sequence[str]) -> str:
    """Ask whether the nearest of the allowed names was meant, if one is near."""
    # Half of the letters in common is enough: a suggestion that is off costs nothing, the allowed ones are listed too.
    matches = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""


def _cnns(cnns: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    for i, family in enumerate(cnns["families"]):
        key = f"cnns.families[{i}]"
        if family["name"] in names:
            yield f"{key}.name: {family['name']!r} is there twice; give each family a name of its own"
        names.add(family["name"])
        yield from _odd(f"{key}.filter_size", family["filter_size"], "filters")
        yield from _increasing(f"{key}.depths", family["depths"])
    yield from _increasing("cnns.rates", cnns["rates"])
    pool, validation, batch = params["prepare"]["train_images"], cnns["validation_images"], cnns["batch_images"]
    if validation >= pool:
        yield f"cnns.validation_images: {validation} leaves no image of prepare.train_images = {pool} to train on"
    elif batch > pool - validation:
        yield (
            f"cnns.batch_images: {batch} is more than the {pool - validation} images that cnns.validation_images = "
            f"{validation} leaves of the pool of prepare.train_images = {pool}"
        )
    if cnns["averaged_epochs"] > cnns["max_epochs"]:
        yield f"cnns.averaged_epochs: {cnns['averaged_epochs']} is more than cnns.max_epochs = {cnns['max_epochs']}"


def _random_features(features: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    computed = _computed_depths(params)
    for i, name in enumerate(features["families"]):
        key = f"random_features.families[{i}]"
        yield from _known_family(key, name, computed)
        if any(one.get("flips") for one in params["kernels"]["families"] if one["name"] == name):
            yield f"{key}: {name!r} is averaged over flips, which networks are not; name a family without"
        for depth in features["depths"]:
            yield from _known_depth("random_features.depths", name, depth, computed)
    yield from _increasing("random_features.depths", features["depths"])
    yield from _within("random_features.train_images", features["train_images"], params, "train_images")
    yield from _within("random_features.test_images", features["test_images"], params, "test_images")
    if sweep := features["sweep"]:
        yield from _increasing("random_features.sweep.widths", sweep["widths"])
        yield from _within("random_features.sweep.images", sweep["images"], params, "train_images")


def _architectures(grid: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    yield from _increasing("architectures.depths", grid["depths"])
    for i, size in enumerate(grid["filter_sizes"]):
        yield from _odd(f"architectures.filter_sizes[{i}]", size, "filters")
    windows, largest = grid["pooling_windows"], 2 * params["prepare"]["resolution"] - 1
    for i, window in enumerate(windows):
        yield from _odd(f"architectures.pooling_windows[{i}]", window, "windows")
        if window > largest:
            yield (
                f"architectures.pooling_windows[{i}]: {window} is more than {largest}, "
                f"which reaches every pixel from every other"
            )
    if ("lap" in grid["readouts"]) != bool(windows):
        yield f"architectures.pooling_windows: {windows}, but the readouts are {', '.join(grid['readouts'])}; " + (
            "lap needs at least one window" if not windows else "windows are lap's, so give []"
        )
    yield from _within("architectures.train_images", grid["train_images"], params, "train_images")
    yield from _increasing("architectures.small_train_images", grid["small_train_images"])
    full, images, repeats = grid["train_images"], max(grid["small_train_images"]), grid["small_repeats"]
    if images >= full:
        yield f"architectures.small_train_images: {images} is not less than architectures.train_images = {full}"
    elif images * repeats > full:
        yield (
            f"architectures.small_repeats: {repeats} sets of {images} images need {images * repeats}, "
            f"more than architectures.train_images = {full}"
        )
    if grid["depths"] == [2] and grid["trained"] == ["hidden"]:
        yield "architectures.trained: [hidden] with depths [2], where no layer is hidden; give a larger depth, or all"


def _small_data(study: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    yield from _increasing("small_data.train_images", study["train_images"])
    yield from _within("small_data.train_images", max(study["train_images"]), params, "train_images")
    computed = _computed_depths(params)
    for i, kernel in enumerate(study["kernels"]):
        yield from _known_family(f"small_data.kernels[{i}].family", kernel["family"], computed)
        yield from _known_depth(f"small_data.kernels[{i}].depth", kernel["family"], kernel["depth"], computed)
        if kernel in study["kernels"][:i]:
            yield f"small_data.kernels[{i}]: {kernel['family']} at depth {kernel['depth']} is there twice; remove one"
    for key in ("bandwidths", "inverse_penalties"):
        yield from _increasing(f"small_data.{key}", study[key])
    if study["cnns"] is not None:
        yield from _small_data_cnns(study["cnns"], study)


def _small_data_cnns(cnns: Mapping[str, Any], study: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    for i, family in enumerate(cnns["families"]):
        key = f"small_data.cnns.families[{i}]"
        if family["name"] in names:
            yield f"{key}.name: {family['name']!r} is there twice; give each family a name of its own"
        names.add(family["name"])
        yield from _odd(f"{key}.filter_size", family["filter_size"], "filters")
    yield from _increasing("small_data.cnns.rates", cnns["rates"])
    if cnns["subsets"] > study["subsets"]:
        yield f"small_data.cnns.subsets: {cnns['subsets']} is more than small_data.subsets = {study['subsets']}"
    if cnns["max_train_images"] < min(study["train_images"]):
        yield (
            f"small_data.cnns.max_train_images: {cnns['max_train_images']} is less than all of "
            f"small_data.train_images = {study['train_images']}; set small_data.cnns to null for no networks"
        )


def _computed_depths(params: Mapping[str, Any]) -> dict[str, list[int]]:
    """Depths by family, of the kernels that the study computes."""
    families = params["kernels"]["families"]
    return {one["name"]: sorted(depth for depths in one["depth_passes"] for depth in depths) for one in families}


def _known_family(key: str, name: str, computed: Mapping[str, Sequence[int]]) -> Iterator[str]:
    if name not in computed:
        allowed = ", ".join(computed)
        yield f"{key}: {name!r} is not in kernels.families{nearest(name, list(computed))}; allowed: {allowed}"


def _known_depth(key: str, name: str, depth: int, computed: Mapping[str, Sequence[int]]) -> Iterator[str]:
    if name in computed and depth not in computed[name]:
        allowed = ", ".join(map(str, computed[name]))
        yield f"{key}: depth {depth} of {name} is not computed; in kernels.families it has the depths {allowed}"


def _within(key: str, images: int, params: Mapping[str, Any], of: str) -> Iterator[str]:
    if images > params["prepare"][of]:
        yield f"{key}: {images} is more than the study has, prepare.{of} = {params['prepare'][of]}"


def _increasing(key: str, values: Sequence[float]) -> Iterator[str]:
    if any(a >= b for a, b in pairwise(values)):
        yield f"{key}: {list(values)} does not increase; sort it and leave out repeats"


def _odd(key: str, value: int, what: str) -> Iterator[str]:
    if value % 2 == 0:
        yield f"{key}: {value} is even; {what} have a centre, so give an odd size"
