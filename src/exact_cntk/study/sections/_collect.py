"""What the sections of a study cost, and what is wrong in their parameters: each section answers for itself.

A section's ``cost.py`` is cheap to import. Its functions take the checked parameters of a study with the section:
    expected_work(params) -> list of Work
        What its jobs have to do.
    expected_memory(params) -> int
        Peak memory of its largest job, bytes.
    expected_disk(params) -> int
        Files that it leaves, including checkpoints, bytes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from exact_cntk.study.passes import KernelPass, kernel_passes
from exact_cntk.study.sections import KEYS, has_parameters, plan, present
from exact_cntk.study.sections._section import NEEDS, Job
from exact_cntk.study.work import Work


@dataclass(frozen=True)
class SectionCost:
    """Cost of one section: seconds of all its jobs on all cores (None: not measured), bytes of memory and of disk."""

    key: str
    seconds: float | None
    memory: int
    disk: int


def costly_sections(params: Mapping[str, Any]) -> list[str]:
    """List the sections of a study that have jobs, not only comparisons of other sections' results."""
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
    """List the passes of the study's own kernels, and those of sections."""
    return kernel_passes(params) + tuple(kernel_pass for key in KEYS for kernel_pass in section_passes(params, key))


def section_passes(params: Mapping[str, Any], key: str) -> tuple[KernelPass, ...]:
    """List the passes of kernels that a section needs beside the study's own."""
    passes: tuple[KernelPass, ...] = plan(key).passes(params) if hasattr(plan(key), "passes") else ()
    return passes


def planned_jobs(params: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, Job]]]:
    """List the jobs of all sections by step and name, each with its section; no step is left out."""
    jobs: dict[str, dict[str, tuple[str, Job]]] = {step: {} for key in KEYS for step in plan(key).SECTION.steps}
    for key in KEYS:
        for name, job in plan(key).jobs(params).items() if plan(key).SECTION.steps else ():
            jobs[job.step][name] = (key, job)
    return jobs


def section_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for every contradiction, with key, value and what is allowed; `params` fit the schema."""
    for key in KEYS:
        if has_parameters(key) and params[key] is not None:
            if missing := [need for need in plan(key).SECTION.needs if params[NEEDS[need]] is None]:
                yield f"{key}: needs {missing[0]}, but {NEEDS[missing[0]]} is left out; give it, or leave {key} out"
            else:
                yield from plan(key).contradictions(params[key], params)
