"""The sources of images by name, and what the images of a study are before any of them is read.

A new source is a module with its own `Source`, and a line below.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from exact_cntk.data._cifar10 import CIFAR10
from exact_cntk.data._digits import Digits
from exact_cntk.data._source import Description, Source
from exact_cntk.errors import InputError, nearest

SOURCES: dict[str, Source] = {
    "digits": Digits(),
    "cifar10": CIFAR10(),
}


def find_source(name: str) -> Source:
    """Look up a source; for an unknown name, the error proposes the nearest."""
    if name not in SOURCES:
        raise InputError(f"dataset: {name!r} is unknown{nearest(name, list(SOURCES))}; allowed: {', '.join(SOURCES)}")
    return SOURCES[name]


def describe(prepare: Mapping[str, Any]) -> Description:
    """Describe the images that a study chooses from: of the classes that it keeps, at its resolution.

    Parameters
    ----------
    prepare : mapping
        That part of a study's parameters: `dataset`, and the arguments of `exact_cntk.data.prepare`.

    Raises
    ------
    InputError
        Naming the parameter, its value and what is allowed.
    """
    name, path = prepare["dataset"], prepare.get("source")
    source = find_source(name)
    if path is not None and not source.needs_files:
        raise InputError(f"source: {str(path)!r} with dataset {name}, which needs none; set it to null")
    if path is None and source.needs_files and source.download is None:
        raise InputError(f"source: null with dataset {name}, which is not downloaded; give its file or folder")
    if not source.verifiable and not prepare.get("allow_unverified", True):
        raise InputError(f"allow_unverified: false with dataset {name}, which has no official digest; set it to true")
    complete = {**prepare, "options": source.complete_options(prepare.get("options") or {})}
    return source.describe(complete).select(prepare.get("resolution"), prepare.get("classes") or ())


def pool_classes(prepare: Mapping[str, Any]) -> list[int] | None:
    """Count the images of each class in the training pool, of classes that are in it; None if only reading them tells.

    `prepare` as for `describe`, which it has passed.
    """
    source, described = find_source(prepare["dataset"]), describe(prepare)
    kept = list(prepare["classes"] or range(len(described.class_names)))
    if source.needs_files and prepare["allow_unverified"]:
        return None  # it may hold other images than those described
    if prepare["selection"] == "first":
        labels = [label for label in source.train_labels() if label in kept]
    else:  # the order of `exact_cntk.data._prepare._draw`, but for which images of a class are drawn
        counts = [train for train, _ in described.images_by_class]
        turns = [((j + 0.5) / count, k) for k, count in enumerate(counts) for j in range(count)]
        labels = [k for _, k in sorted(turns)]
    return list(Counter(labels[: prepare["train_images"]]).values()) or None
