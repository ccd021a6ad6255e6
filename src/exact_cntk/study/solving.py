"""What solving a study's kernels needs: the work of every job, and its memory and time on a machine without GPU.

Nothing here looks at the machine: what is planned is what a job may take, whichever machine runs it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exact_cntk.data import describe
from exact_cntk.regression.solvers.choice import Problem, operations, plan_solver
from exact_cntk.study.fits import testing_bytes
from exact_cntk.study.passes import kernel_depths
from exact_cntk.study.work import SIDE_BY_SIDE, Fits, Work

NOMINAL_OPERATIONS = 1e10  # a second, of one core of a server without AVX-512; eigendecompositions reach a half of it


def largest_problem(params: Mapping[str, Any]) -> Problem:
    """The regression on the largest training set."""
    return max((problem for problem, _ in _problems(params)), key=lambda problem: problem.n)


def solve_work(params: Mapping[str, Any]) -> list[Work]:
    """The regressions with each kernel, of all its kinds; one job per kernel."""
    if params["solve"] is None:
        return []
    fits = []
    for problem, times in _problems(params):
        method = plan_solver(problem, params["solve"]["max_memory_gib"]).method
        fits.append(Fits(problem.n, problem.ridges, times, problem.targets if method == "cg" else 0))
    return [Work(len(kernel_depths(params)), tuple(fits), all_cores=largest_problem(params).n > SIDE_BY_SIDE)]


def solve_memory(params: Mapping[str, Any]) -> int:
    """Peak of a job, in bytes."""
    limit = params["solve"]["max_memory_gib"]
    return max(max(plan_solver(problem, limit).memory, testing_bytes(problem)) for problem, _ in _problems(params))


def solve_seconds(params: Mapping[str, Any]) -> float:
    """Seconds of a job on one core, at a nominal rate."""
    limit = params["solve"]["max_memory_gib"]
    return sum(
        times * operations(plan_solver(problem, limit).method, problem) / NOMINAL_OPERATIONS
        for problem, times in _problems(params)
    )


def _problems(params: Mapping[str, Any]) -> Iterator[tuple[Problem, int]]:
    """Each training set's size, and how often a job solves it."""
    solve, targets = params["solve"], len(describe(params["prepare"]).class_names)
    for subset in solve["subsets"]:
        problem = Problem(subset["train_images"], targets, len(solve["ridges"]))
        yield problem, subset["repeats"] * len(params["kernels"]["kinds"])
