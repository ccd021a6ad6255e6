"""Random features beside the exact kernels: the section's files, and what they cost; cheap to import.

What a job does is in `exact_cntk.study.sections.random_features.jobs`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.networks import Family
from exact_cntk.study.checks import computed_depths, increasing, known_depth, known_family, within

DTYPES = ("float32", "float64")  # of the networks: the paper's, and one that shows what rounding does
HALVINGS = 2  # of the training images, which show how kernels' condition grows with them
# Memory to compute empirical kernels in, by device; it sets their blocks, and so the last digits. A GPU that has less
# gives the part of its own.
WORK_GIB = {"cpu": 2.0, "cuda": 48.0}
GPU_PART = 0.6


def random_features_names(params: Mapping[str, Any]) -> list[str]:
    """Stems of the section's files, in results/<study>/random_features; empty where its key is null."""
    section = params["random_features"]
    if section is None:
        return []
    families = section["families"]
    names = [f"{family}-draw-{draw:02d}" for family in families for draw in range(section["draws"])]
    names += [f"{family}-exact" for family in families]
    return names + [f"{family}-sweep" for family in families if section["sweep"] is not None]


def train_sizes(n: int) -> list[int]:
    """Numbers of training images, each half of the one before: n, n/2, n/4, and none below 2."""
    sizes = [n // 2**k for k in range(HALVINGS + 1)]
    return [size for size in sizes if size >= 2]


def count_features(image_shape: tuple[int, ...], family: Family, kind: str, depth: int, width: int) -> int:
    """How many features a network of one output has: a bound for the rank of its empirical kernel.

    Trained weights for the NTK, without the first and the last layer's if only hidden layers are trained. For the NNGP
    kernel the last layer's channels, or its channels and pixels.
    """
    first, *hidden, last = family.weights(image_shape, depth, width)
    if kind == "nngp":
        return last
    return sum(hidden) if family.trained == ("hidden",) else first + sum(hidden) + last


def contradictions(features: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    computed = computed_depths(params)
    for i, name in enumerate(features["families"]):
        key = f"random_features.families[{i}]"
        yield from known_family(key, name, computed)
        if any(one.get("flips") for one in params["kernels"]["families"] if one["name"] == name):
            yield f"{key}: {name!r} is averaged over flips, which networks are not; name a family without"
        for depth in features["depths"]:
            yield from known_depth("random_features.depths", name, depth, computed)
    yield from increasing("random_features.depths", features["depths"])
    yield from within("random_features.train_images", features["train_images"], params, "train_images")
    yield from within("random_features.test_images", features["test_images"], params, "test_images")
    if sweep := features["sweep"]:
        yield from increasing("random_features.sweep.widths", sweep["widths"])
        yield from within("random_features.sweep.images", sweep["images"], params, "train_images")
