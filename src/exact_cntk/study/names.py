"""The names of rules, files and folders that a study makes: they must be unique and possible.

Of two results with the same name only one would be computed, silently, or Snakemake would stop with an error on rules.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.blocks._grid import kernel_id, kernel_name
from exact_cntk.study.sections import KEYS, FileName, is_present, plan

# The rules of the workflow, as families would be called that had the same: each family is a rule of its name, with _
# for -. All of them, whichever sections a study has, so that a name stays possible when a section is added.
RESERVED_NAMES = frozenset(
    {
        "all",
        "baselines",
        "blocks",
        "fetch-data",
        "kernel-block",
        "kernels",
        "merge-kernel",
        "metrics",
        "notebook",
        "preprocess",
        "report",
        "section-parameters",
        "section-provenance",
        "sections",
        "solve",
        "summary",
        *(name.replace("_", "-") for key in KEYS for name in (key, f"show_{key}", *plan(key).SECTION.steps)),
    }
)
# Longest name of a file or folder that file systems allow.
_LONGEST = 255


def name_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for every name that is taken or too long: key, value, what has it, what to do.

    `params` are a study's, valid by the schema and without other contradictions.
    """
    owners: dict[tuple[str, str], str] = {("rule", name.replace("-", "_")): "the workflow" for name in RESERVED_NAMES}
    for what, name, key, value in _names(params):
        if owner := owners.get((what, name)):
            yield f"{key}: {value!r} gives the {what} {name!r}, which {owner} already has; choose another name"
        owners[what, name] = key
        if len(name) > _LONGEST:
            yield (
                f"{key}: the {what} {name[:20]}… has a name of {len(name)} characters, and file systems take "
                f"{_LONGEST}; give fewer at once"
            )


def _names(params: Mapping[str, Any]) -> Iterator[FileName]:
    """List all names, those of sections first, some of which are made from numbers."""
    for key in KEYS:
        if is_present(key, params) and hasattr(plan(key), "names"):
            yield from plan(key).names(params)
    if params["kernels"] is not None:
        yield from _kernel_names(params["kernels"])


def _kernel_names(kernels: Mapping[str, Any]) -> Iterator[FileName]:
    for i, family in enumerate(kernels["families"]):
        name, key = family["name"], f"kernels.families[{i}]"
        yield FileName("family", name, f"{key}.name", name)
        yield FileName("rule", name.replace("-", "_"), f"{key}.name", name)
        for j, depths in enumerate(family["depth_passes"]):
            yield FileName("folder of blocks", kernel_id(name, depths), f"{key}.depth_passes[{j}]", depths)
            for depth in depths:
                yield FileName("file", f"kernels/{kernel_name(name, depth)}", f"{key}.name", name)
