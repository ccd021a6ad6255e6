"""Checks of parameters that a schema cannot say: each yields a complaint, key, value and what is allowed."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from exact_cntk.errors import nearest, shortened
from exact_cntk.networks.family import contradictions


def computed_depths(params: Mapping[str, Any]) -> dict[str, list[int]]:
    """Depths by family, of the kernels that the study computes."""
    families = params["kernels"]["families"]
    return {
        family["name"]: sorted(depth for depths in family["depth_passes"] for depth in depths) for family in families
    }


def known_family(key: str, name: str, computed: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Yield a complaint where the study computes no kernels of a family, by `computed_depths`."""
    if name not in computed:
        allowed = ", ".join(computed)
        yield f"{key}: {name!r} is not in kernels.families{nearest(name, list(computed))}; allowed: {allowed}"


def known_depth(key: str, name: str, depth: int, computed: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Yield a complaint where the study does not compute a family at a depth, by `computed_depths`."""
    if name in computed and depth not in computed[name]:
        allowed = ", ".join(map(str, computed[name]))
        yield f"{key}: depth {depth} of {name} is not computed; in kernels.families it has the depths {allowed}"


def named_families(key: str, families: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a complaint for every family that has the name of an earlier one, or parts that contradict each other."""
    names: set[str] = set()
    for i, family in enumerate(families):
        if family["name"] in names:
            yield f"{key}[{i}].name: {family['name']!r} is given twice; give each family its own name"
        names.add(family["name"])
        yield from contradictions(f"{key}[{i}]", family)


def something_trained(key: str, family: Mapping[str, Any], depths: Sequence[int]) -> Iterator[str]:
    """Yield a complaint where only hidden layers are trained, at a depth without any: the tangent kernel is 0."""
    if family["trained"] == "hidden" and 2 in depths:
        yield (
            f"{key}: depth 2 of {family['name']}, whose hidden layers alone are trained, has no hidden layer; give a "
            f"larger depth, or trained: all"
        )


def tangent_kernel(key: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint where the study computes no tangent kernels, which a section is about."""
    if "ntk" not in params["kernels"]["kinds"]:
        yield f"kernels.kinds: {params['kernels']['kinds']} lacks 'ntk', which {key} is about; add it"


def within(key: str, images: int, params: Mapping[str, Any], of: str) -> Iterator[str]:
    """Yield a complaint where there are fewer images, `of` being "train_images" or "test_images"."""
    if images > params["prepare"][of]:
        yield f"{key}: {images} is more than the study has, prepare.{of} = {params['prepare'][of]}"


def increasing(key: str, values: Sequence[float]) -> Iterator[str]:
    """Yield a complaint where numbers do not strictly increase."""
    if any(a >= b for a, b in pairwise(values)):
        yield f"{key}: {shortened(list(values))} does not increase; sort it and leave out repeats"


def odd(key: str, value: int, what: str) -> Iterator[str]:
    """Yield a complaint where a size is even."""
    if value % 2 == 0:
        yield f"{key}: {value} is even; {what} have a centre, so give an odd size"
