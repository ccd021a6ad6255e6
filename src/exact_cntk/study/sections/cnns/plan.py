"""The runs of finite CNNs that a study trains. Cheap to import."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exact_cntk.study.checks import increasing, odd

SPLITS = ("validation", "test")

VALIDATION_SEEDS = (0,)  # one trial a rate to choose it by


class Key(NamedTuple):
    """What runs of a study differ by."""

    family: str
    depth: int
    rate: float
    seed: int
    split: str


def runs(params: Mapping[str, Any]) -> list[Key]:
    """List the runs of a study's parameters; none if it has no CNNs."""
    cnns = params["cnns"]
    if cnns is None:
        return []
    return [
        Key(family["name"], depth, rate, seed, split)
        for family in cnns["families"]
        for depth in family["depths"]
        for rate in cnns["rates"]
        for split in SPLITS
        for seed in (VALIDATION_SEEDS if split == "validation" else range(cnns["seeds"]))
    ]


def contradictions(cnns: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    names: set[str] = set()
    for i, family in enumerate(cnns["families"]):
        key = f"cnns.families[{i}]"
        if family["name"] in names:
            yield f"{key}.name: {family['name']!r} is there twice; give each family a name of its own"
        names.add(family["name"])
        yield from odd(f"{key}.filter_size", family["filter_size"], "filters")
        yield from increasing(f"{key}.depths", family["depths"])
    yield from increasing("cnns.rates", cnns["rates"])
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
