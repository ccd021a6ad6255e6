"""Random features and exact kernels: one job for each network that is drawn, and for each family of kernels."""

from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.blocks._grid import kernel_name
from exact_cntk.networks import Family
from exact_cntk.study.checks import (
    computed_depths,
    increasing,
    known_depth,
    known_family,
    something_trained,
    tangent_kernel,
    within,
)
from exact_cntk.study.sections._section import FileName, Job, Section

_FITS = (
    "regression/inputs.py",
    "regression/kernel_regression.py",
    "regression/result.py",
    "regression/ridge_path.py",
    "study/documents.py",
    "study/fits.py",
    *(f"study/sections/random_features/{name}.py" for name in ("plan", "fits", "jobs")),
)
_NETWORKS = (*_FITS, *(f"finite/{name}.py" for name in ("_contract", "_pass", "_signals", "empirical", "networks")))
SECTION = Section(
    notebooks={"random_features": "kernels of random finite networks compared with the exact ones"},
    needs=("data", "kernels", "metrics"),
    tables=(
        "random_features",
        "random_features_draws",
        "random_features_ridge_path",
        "random_features_losses",
        "table2",
        "width_sweep",
    ),
    figures=("random_features_ridge_path", "random_features_condition", "width_sweep"),
    steps={
        "random_features_draw": _NETWORKS,
        "random_features_exact": _FITS,
        "random_features_sweep": (*_NETWORKS, "finite/convergence.py"),
    },
)

DTYPES = ("float32", "float64")  # of the networks: the paper's, and one that shows the effect of rounding
HALVINGS = 2  # of the training set, which show how the condition number grows with its size
# Memory for computing empirical kernels, by device; it sets their blocks, and so the last digits. A GPU with less
# memory gives `GPU_PART` of it.
WORK_GIB = {"cpu": 2.0, "cuda": 48.0}
GPU_PART = 0.6


def jobs(params: Mapping[str, Any]) -> dict[str, Job]:
    """The draws of every family, its exact kernels and its sweep over widths, by names such as cntk-v-draw-00."""
    section = params["random_features"]
    if section is None:
        return {}
    images = {name: section[name] for name in ("train_images", "test_images")} | {"ridges": params["solve"]["ridges"]}
    families = [family for family in params["kernels"]["families"] if family["name"] in section["families"]]
    architectures = {family["name"]: _architecture(params, family) for family in families}
    made: dict[str, Job] = {}

    def add(step: str, name: str, parameters: Mapping[str, Any], inputs: tuple[str, ...] = ()) -> None:
        made[name] = Job(step, (f"random_features/{name}.json",), parameters, inputs)

    for family in section["families"]:
        network = {name: section[name] for name in ("depths", "width")}
        for draw in range(section["draws"]):
            parameters = architectures[family] | network | images | {"draw": draw}
            add("random_features_draw", f"{family}-draw-{draw:02d}", parameters)
    for family in section["families"]:
        kernels = tuple(f"kernels/{kernel_name(family, depth)}.h5" for depth in section["depths"])
        add("random_features_exact", f"{family}-exact", {"study": params["study"]} | images, kernels)
    for family in section["families"] if section["sweep"] is not None else ():
        add("random_features_sweep", f"{family}-sweep", architectures[family] | section["sweep"])
    return made


def _architecture(params: Mapping[str, Any], family: Mapping[str, Any]) -> dict[str, Any]:
    """A family without its depth, and the kinds of kernels."""
    parts = Family.from_parts(family).arguments()
    return {"study": params["study"], "family": family["name"]} | parts | {"kinds": params["kernels"]["kinds"]}


def names(params: Mapping[str, Any]) -> Iterator[FileName]:
    """Name the section's files; of the draws, which may be many, only the first."""
    section = params["random_features"]
    for name in jobs({**params, "random_features": section | {"draws": 1}}):
        yield FileName("file", f"random_features/{name}", "random_features.families", section["families"])


def train_sizes(n: int) -> list[int]:
    """Numbers of training images, each half of the one before: n, n/2, n/4, and none below 2."""
    sizes = [n // 2**k for k in range(HALVINGS + 1)]
    return [size for size in sizes if size >= 2]


def count_features(image_shape: tuple[int, ...], family: Family, kind: str, depth: int, width: int) -> int:
    """Number of features of a network with one output: a bound for the rank of its empirical kernel.

    The trained weights for the NTK; the inputs of the last layer for the NNGP kernel.
    """
    first, *hidden, last = family.weights(image_shape, depth, width)
    if kind == "nngp":
        return last
    return sum(hidden) if family.trained == ("hidden",) else first + sum(hidden) + last


def factors(params: Mapping[str, Any]) -> dict[str, int]:
    """The number of draws as a product, by key."""
    section = params["random_features"]
    return {"random_features.families": len(section["families"]), "random_features.draws": section["draws"]}


def contradictions(features: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    yield from tangent_kernel("random_features", params)
    computed = computed_depths(params)
    for i, name in enumerate(features["families"]):
        key = f"random_features.families[{i}]"
        yield from known_family(key, name, computed)
        if any(family.get("flips") for family in params["kernels"]["families"] if family["name"] == name):
            yield f"{key}: {name!r} is averaged over flips, but networks are not; name a family without flips"
        for depth in features["depths"]:
            yield from known_depth("random_features.depths", name, depth, computed)
    yield from increasing("random_features.depths", features["depths"])
    yield from within("random_features.train_images", features["train_images"], params, "train_images")
    yield from within("random_features.test_images", features["test_images"], params, "test_images")
    if sweep := features["sweep"]:
        yield from increasing("random_features.sweep.widths", sweep["widths"])
        yield from within("random_features.sweep.images", sweep["images"], params, "train_images")
        for family in params["kernels"]["families"]:
            if family["name"] in features["families"]:
                yield from something_trained("random_features.sweep.depth", family, [sweep["depth"]])
