"""How much a study may ask for: jobs, blocks, names, memory. Counted, before anything is listed.

Limits of a single number are in the schema; here are those that follow from several keys.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk._support.machine import GIB, format_gib
from exact_cntk.blocks._sizes import MAX_BLOCKS
from exact_cntk.data import describe
from exact_cntk.errors import InputError
from exact_cntk.kernels.cost import ITEM_BYTES, MERGED_COPIES
from exact_cntk.study.passes import KernelPass, kernel_blocks, kernel_depths, kernel_passes, pass_block_sizes
from exact_cntk.study.sections import KEYS, is_present, plan
from exact_cntk.study.sections._collect import all_passes, planned_jobs, section_passes

MAX_JOBS = 10_000  # Snakemake plans so many in half a minute, and more of them in disproportionately longer time
MAX_WORD = 100_000  # characters of the files of a notebook, in one word of a command, of which Linux takes 131,072


def factor_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for every section of too many jobs or passes, by the keys whose product their number is."""
    for key in KEYS:
        if is_present(key, params) and hasattr(plan(key), "factors"):
            factors = plan(key).factors(params)
            if (number := math.prod(factors.values())) > MAX_JOBS:
                product = " × ".join(f"{name} ({factor})" for name, factor in factors.items())
                yield f"{product}: {number} jobs of {key} are more than {MAX_JOBS}; give fewer of one of these"


def block_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error where a pass cannot be cut into blocks, or into too many."""
    for key in KEYS:
        for kernel_pass in section_passes(params, key):
            try:
                pass_block_sizes(params, kernel_pass)
            except InputError as error:
                yield f"{key}.depths: no blocks suit {kernel_pass.kernel_id}: {error}"
                return
    given = f"kernels.block_images: {params['kernels']['block_images']}"
    for kernel_pass in kernel_passes(params):
        try:
            blocks = count_blocks(params, kernel_pass)
        except InputError as error:
            yield f"{given} allows no blocks for {kernel_pass.kernel_id}: {error}"
            return
        if blocks > MAX_BLOCKS:
            yield f"{given} gives {blocks} blocks per kernel, more than {MAX_BLOCKS}; give a larger number, or auto"
            return


def count_blocks(params: Mapping[str, Any], kernel_pass: KernelPass) -> int:
    """Number of blocks of a pass: counted, not listed, for there may be billions."""
    pool = kernel_pass.pool_images or params["prepare"]["train_images"]
    return pass_block_sizes(params, kernel_pass).blocks(pool, params["prepare"]["test_images"])


def plan_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error where the whole study has too many jobs, or a notebook too many files."""
    passes, kernels = all_passes(params), len(kernel_depths(params))
    blocks = sum(count_blocks(params, kernel_pass) for kernel_pass in passes)
    jobs = [job for made in planned_jobs(params).values() for job in made.values()]
    if (number := blocks + 2 * kernels + len(jobs)) > MAX_JOBS:
        yield (
            f"kernels.families and kernels.block_images: the study has {number} jobs, more than {MAX_JOBS}: {blocks} "
            f"blocks of {len(passes)} passes, {kernels} kernels to merge and to solve, and {len(jobs)} jobs of "
            f"sections; give fewer families, passes or depths, or larger blocks"
        )
    folder = len(f"results/{params['study']}/")
    named = {"kernels.families": [f"metrics/{name}-depth-000.json" for name, _ in kernel_depths(params)]}
    for key in KEYS:
        named[key] = [file for owner, job in jobs if owner == key for file in job.files if file.startswith(f"{key}/")]
    for key, files in named.items():
        if (characters := sum(folder + len(file) + 1 for file in files)) > MAX_WORD:
            yield (
                f"{key}: the names of its {len(files)} files have {characters} characters, more than the {MAX_WORD} "
                f"that one notebook is given; ask for fewer"
            )


def memory_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error where `solve.max_memory_gib` is less than merging or solving takes at least, on any machine."""
    from exact_cntk.regression.solvers.choice import Problem, _candidate  # with SciPy

    limit, ridges = params["solve"]["max_memory_gib"], len(params["solve"]["ridges"])
    targets, tests = len(describe(params["prepare"]).class_names), params["prepare"]["test_images"]

    def solving(n: int) -> int:
        problem = Problem(n, targets, ridges)
        return min(_candidate(method, problem, 0)[0].memory for method in ("eigh", "cholesky", "blocked"))

    blocks = (block for kernel_pass in kernel_passes(params) for block in kernel_blocks(params, kernel_pass))
    needs = {"merging the largest blocks": MERGED_COPIES * ITEM_BYTES * max(block.entries for block in blocks)}
    sizes = [subset["train_images"] for subset in params["solve"]["subsets"]]
    needs[f"solving {max(sizes)} images"] = solving(max(sizes))
    if params["architectures"] is not None:
        n = params["architectures"]["train_images"]
        needs[f"solving architectures with {n} images"] = ITEM_BYTES * (n + tests) * n + solving(n)
    for what, need in needs.items():
        if need > limit * GIB:
            yield f"solve.max_memory_gib: {limit:g} is too little for {what}, which needs {format_gib(need)}; give more"
