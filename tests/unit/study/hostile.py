"""Values that nobody should give, for every key of the parameters, and what is to come of them."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from exact_cntk.errors import InputError
from exact_cntk.study.limits import MAX_JOBS
from exact_cntk.study.params import check_params, find_schema
from exact_cntk.study.passes import kernel_blocks, kernel_depths, pass_memory, pass_seconds
from exact_cntk.study.schema import read_schema
from exact_cntk.study.sections._collect import all_passes, costly_sections, planned_jobs, section_costs, section_work

SCHEMA = read_schema(find_schema())
WHOLE = (60.0, 6e1, "6e1", 0, 0.0, -0.0, 1, 2, 3)
HUGE = (1e30, 1e308, 10**9, 2**31, 2**53, 2**63, 10**400, 1e-308, 5e-324)
NOT_FINITE = (float("nan"), float("inf"), -float("inf"), ".nan")
OTHERS = (-1, -1.5, 0.5, True, False, None, "null", "", "x", "x\n", "a" * 300)
LISTS = ([], {}, [[]], [None], [10**9], [1e30], list(range(2, 3000)), [3] * 3000)
VALUES = (*WHOLE, *HUGE, *NOT_FINITE, *OTHERS, *LISTS)
LONGEST = 1500  # characters of a message


def keys(value: Any, schema: dict[str, Any] = SCHEMA, path: tuple = (), *, most: int | None = None) -> Iterator[tuple]:
    """Paths of all keys that the schema or the parameters have, and of the items of lists, the first `most` of each."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if path:
        yield path
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in {**properties, **value}:
            yield from keys(value.get(name), properties.get(name, {}), (*path, name), most=most)
    elif isinstance(value, list):
        for i, item in enumerate(value[:most]):
            yield from keys(item, schema.get("items", {}), (*path, i), most=most)


def changed(params: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    """Copy parameters with one key set."""
    params = copy.deepcopy(params)
    holder = params
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    return params


def plan_study(params: dict[str, Any]) -> int:
    """All that the workflow finds out of checked parameters before it starts anything; the number of jobs."""
    json.dumps(params, allow_nan=False)
    number = 0
    for kernel_pass in all_passes(params):
        blocks = kernel_blocks(params, kernel_pass)
        assert pass_memory(params, kernel_pass) > 0 and int(pass_seconds(params, kernel_pass, blocks[0])) >= 0
        number += len(blocks)
    for jobs in planned_jobs(params).values():
        json.dumps([job.parameters for _, job in jobs.values()], allow_nan=False)
        number += len(jobs)
    for key in costly_sections(params):
        assert section_work(params, key)
    section_costs(params, None)
    return number + 2 * len(kernel_depths(params))


def outcome(params: dict[str, Any], path: tuple) -> str:
    """Check parameters of which one key has another value: a refusal that names it in one line, or "" for a plan."""
    try:
        checked = check_params(params, source="a.yaml")
    except InputError as error:
        message = str(error)
        assert message.startswith("a.yaml: ")
        assert "\n" not in message and len(message) < LONGEST
        name = next(part for part in reversed(path) if isinstance(part, str))
        assert name in message or path[0] in message
        return message
    assert plan_study(checked) <= MAX_JOBS
    return ""
