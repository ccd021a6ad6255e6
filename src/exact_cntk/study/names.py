"""The names that a study makes, of rules, files and folders: no two of them may be the same, and each must be possible.

Two things of one name would be computed as one of them, silently, or Snakemake would stop with words about its rules.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exact_cntk.blocks._grid import kernel_id, kernel_name
from exact_cntk.study.sections import SECTIONS

# The rules of the workflow, as families would be called that had the same: each family is a rule of its name, with _
# for -. All of them, whichever sections a study has, so that a name stays possible when a section is added.
RESERVED_NAMES = frozenset(
    {
        "all",
        "baselines",
        "fetch-data",
        "figures",
        "gather-cnn",
        "kernel-block",
        "kernels",
        "merge-kernel",
        "metrics",
        "notebook",
        "preprocess",
        "random-features-draw",
        "random-features-exact",
        "random-features-sweep",
        "report",
        "section-parameters",
        "section-provenance",
        "sections",
        "small-data-baseline",
        "small-data-cnn",
        "small-data-kernel",
        "solve",
        "solve-architectures",
        "tables",
        "train-cnn",
        *(prefix + key.replace("_", "-") for key in SECTIONS for prefix in ("", "section-")),
    }
)
# Of a folder or file; file systems take no longer one.
_LONGEST = 255


class _Name(NamedTuple):
    """A name, what it is the name of, and where it comes from: key and value in the parameters."""

    what: str
    name: str
    key: str
    value: object


def run_name(rate: float, seed: int, split: str) -> str:
    """Stem of the file of a network's training: `float` reads the very rate in it, so that no two rates share one."""
    text = f"{rate:g}"
    return f"rate-{text if float(text) == rate else repr(float(rate))}-seed-{seed}-{split}"


def name_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every name that is taken already, or too long: key, value, what has it, what to do.

    Parameters
    ----------
    params : mapping
        Of a study, valid by the schema, without other contradictions.
    """
    owners: dict[tuple[str, str], str] = {("rule", name.replace("-", "_")): "the workflow" for name in RESERVED_NAMES}
    for what, name, key, value in _names(params):
        if owner := owners.get((what, name)):
            yield f"{key}: {value!r} gives the {what} {name!r}, which {owner} has already; choose another name"
        owners[what, name] = key
        if len(name) > _LONGEST:
            yield (
                f"{key}: the {what} {name[:20]}… has a name of {len(name)} characters, and file systems take "
                f"{_LONGEST}; give fewer at once"
            )


def _names(params: Mapping[str, Any]) -> Iterator[_Name]:
    """List all names, those of the grid first, which are made from its numbers."""
    from exact_cntk.study.sections.architectures.plan import architecture_passes

    for one in architecture_passes(params):
        yield _Name("family", one.name, "the grid of architectures", one.name)
        yield _Name("folder of blocks", one.kernel_id, "architectures.depths", list(one.depths))
    yield from _kernel_names(params)
    yield from _network_names(params)
    yield from _features_names(params)
    yield from _small_data_names(params)


def _kernel_names(params: Mapping[str, Any]) -> Iterator[_Name]:
    for i, family in enumerate(params["kernels"]["families"]):
        name, key = family["name"], f"kernels.families[{i}]"
        yield _Name("family", name, f"{key}.name", name)
        yield _Name("rule", name.replace("-", "_"), f"{key}.name", name)
        for j, depths in enumerate(family["depth_passes"]):
            yield _Name("folder of blocks", kernel_id(name, depths), f"{key}.depth_passes[{j}]", depths)
            for depth in depths:
                yield _Name("file", f"kernels/{kernel_name(name, depth)}", f"{key}.name", name)


def _network_names(params: Mapping[str, Any]) -> Iterator[_Name]:
    if params["cnns"] is None:
        return
    for i, family in enumerate(params["cnns"]["families"]):
        name = family["name"]
        for depth in family["depths"]:
            yield _Name("file", f"cnns/{kernel_name(name, depth)}", f"cnns.families[{i}].name", name)
    for i, rate in enumerate(params["cnns"]["rates"]):  # alike for all families, depths and seeds
        yield _Name("file", f"training/{run_name(rate, 0, 'test')}", f"cnns.rates[{i}]", rate)


def _features_names(params: Mapping[str, Any]) -> Iterator[_Name]:
    section = params["random_features"]
    if section is None:
        return
    from exact_cntk.study.sections.random_features.plan import random_features_names

    # One draw stands for all: there may be many.
    for name in random_features_names({"random_features": section | {"draws": 1}}):
        yield _Name("file", f"random_features/{name}", "random_features.families", section["families"])


def _small_data_names(params: Mapping[str, Any]) -> Iterator[_Name]:
    from exact_cntk.study.sections.small_data.plan import method_names

    small, names = params["small_data"], method_names(params)
    places = {
        "kernel": lambda i: (f"small_data.kernels[{i}].family", small["kernels"][i]["family"]),
        "baseline": lambda i: (f"small_data.baselines[{i}]", small["baselines"][i]),
        "cnn": lambda i: (f"small_data.cnns.families[{i}].name", small["cnns"]["families"][i]["name"]),
    }
    for verb, place in places.items():
        for i, name in enumerate(names[verb]):
            yield _Name("file", f"small_data/{name}", *place(i))
