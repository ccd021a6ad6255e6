"""What the sections of a study cost, and what is wrong in their parameters: each says so for itself.

A section's ``cost.py``, cheap to import, has
    expected_work(params) -> list of Work
        What its jobs have to do, of the checked parameters of the whole study; empty where its key is null.
    expected_memory(params) -> int
        Peak of its largest job, bytes.
    expected_disk(params) -> int
        Files it leaves, checkpoints with them, bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from exact_cntk.study.passes import KernelPass, kernel_passes
from exact_cntk.study.sections import KEYS, has_parameters, plan, present
from exact_cntk.study.sections._section import NEEDS
from exact_cntk.study.sections.architectures.plan import architecture_passes
from exact_cntk.study.work import Work


@dataclass(frozen=True)
class SectionCost:
    """Cost of one section.

    Attributes
    ----------
    key : str
    seconds : float or None
        Of all its jobs on this machine, all cores at work; None where nothing was measured.
    memory : int
        Peak of its largest job, bytes.
    disk : int
        Files that it leaves, bytes.
    """

    key: str
    seconds: float | None
    memory: int
    disk: int


def costly_sections(params: Mapping[str, Any]) -> list[str]:
    """List the sections of a study that compute something, and do not only compare what others have computed."""
    return [key for key in present(params) if plan(key).SECTION.steps]


def section_costs(params: Mapping[str, Any], seconds: Callable[[list[Work]], float] | None) -> tuple[SectionCost, ...]:
    """Estimate all sections of a study; `seconds` is how long work takes this machine, None to leave the time out."""
    return tuple(
        SectionCost(
            key=key,
            seconds=None if seconds is None else seconds(section_work(params, key)),
            memory=_module(key).expected_memory(params),
            disk=_module(key).expected_disk(params),
        )
        for key in costly_sections(params)
    )


def section_work(params: Mapping[str, Any], key: str) -> list[Work]:
    """Count the work of a section's jobs."""
    return list(_module(key).expected_work(params))


def _module(key: str) -> ModuleType:
    return import_module(f"{__package__}.{key}.cost")


def all_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of the study's own kernels, and those of the grid."""
    return kernel_passes(params) + architecture_passes(params)


def section_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction: key, value, what is allowed.

    Parameters
    ----------
    params : mapping
        Of a study, valid by the schema.
    """
    for key in KEYS:
        if has_parameters(key) and params[key] is not None:
            if missing := [need for need in plan(key).SECTION.needs if params[NEEDS[need]] is None]:
                yield f"{key}: needs {missing[0]}, but {NEEDS[missing[0]]} is left out; give it, or leave {key} out"
            else:
                yield from plan(key).contradictions(params[key], params)
