"""Kernel regression by block conjugate gradients: a path of λ, and the choice among them, out of products with K.

Leave-one-out needs the diagonal of (K + λI)⁻¹, which products do not give. The ridge is chosen on a tenth of the
training points instead, predicted by a fit to the other nine tenths, at the same λ: as many products again.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk._support.progress import Progress, note
from exact_cntk.errors import InputError
from exact_cntk.regression.ridge_path import RidgePath, relative_norm
from exact_cntk.regression.solvers.checkpoint import ridge_checkpoint
from exact_cntk.regression.solvers.choice import SWEEP_COLUMNS, Solver
from exact_cntk.regression.solvers.krylov import Krylov, KrylovPath, Multiply, advance
from exact_cntk.regression.solvers.tiled import inspect
from exact_cntk.regression.solvers.triangle import Triangle

HELD_OUT = 10  # one of so many points, the last of every ten


class HeldOut(NamedTuple):
    """Predictions of shape (r, j, k) of the j points that were held out, and which these are, of shape (n,)."""

    predictions: np.ndarray
    points: np.ndarray


def solve_cg(
    source: Any,
    Y: np.ndarray,
    ridges: np.ndarray,
    solver: Solver,
    *,
    residual: float,
    tolerance: float,
    checkpoint: Path | None = None,
    report: Progress | None = None,
) -> tuple[float, RidgePath, HeldOut]:
    """Solve for a whole path; mean(diag K), the path without the inverse's diagonal, and the points held out.

    Parameters
    ----------
    source : array or dataset of shape (n, n)
        K; a checked array, or a dataset that is checked while its lower triangle is read to memory.
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        λ / mean(diag K).
    solver : Solver
        "cg", with its tile and the number of columns that it may keep.
    residual : float
        ‖Y − (K + λI)α‖ / ‖Y‖ at most, of every target; where it is not reached, the ridge is not solved.
    tolerance : float
        Relative size of the rounding in K.
    checkpoint : Path, optional
        Files of finished steps have this name with the number of the step.
    report : callable(done, total), optional
        Counts products; their total is an estimate from how fast the residual falls.

    Raises
    ------
    InputError
        No ridge reaches the residual; or (NotPositiveSemidefiniteError) K has a negative eigenvalue beyond rounding.
    """
    if len(Y) < 2 * HELD_OUT:
        raise InputError(f'y has {len(Y)} points; "cg" takes {2 * HELD_OUT} or more, a tenth of which it holds out')
    scale, multiply, digest = _products(source, solver, tolerance, hashed=checkpoint is not None)
    held = np.arange(len(Y)) % HELD_OUT == HELD_OUT - 1
    shifts = ridges * scale
    # Half of it, so that rounding in the recursion does not decide.
    options: dict[str, Any] = {"residual": residual / 2, "capacity": solver.columns, "tolerance": tolerance}

    def saved(step: int) -> Checkpoint:
        assert checkpoint is not None
        file = checkpoint.with_name(f"{checkpoint.stem}-{step:04d}{checkpoint.suffix}")
        return ridge_checkpoint(file, solver.method, step, Y, digest)

    with threadpool_limits(1, "blas"):
        whole, part = Krylov(Y, shifts, **options), Krylov(Y, shifts, points=~held, **options)
        progress = _Progress(report, residual / 2, (whole, part))
        steps = advance((whole, part), multiply, report=progress, checkpoint=None if checkpoint is None else saved)
        solution, kept = whole.path(), part.path().dual
        solved = np.isfinite(solution.dual).all(axis=(1, 2))
        kept[~solved] = np.nan
        products, predictions = _times_all(multiply, solution.dual, kept)
    path = _checked(solution, products, Y, shifts, residual)
    if not np.isfinite(path.condition_number).any():
        raise InputError(_not_reached(ridges, path, residual, steps))
    return scale, path, HeldOut(predictions[:, held], np.flatnonzero(held))


def _products(source: Any, solver: Solver, tolerance: float, *, hashed: bool) -> tuple[float, Multiply, str]:
    """mean(diag K), what multiplies by K, and K's digest if asked for."""
    if isinstance(source, np.ndarray):
        digest = sha256(source.data).hexdigest() if hashed else ""
        return float(source.diagonal().mean()), Triangle.of(source, solver.tile).multiply, digest
    triangle, reading = Triangle(source.shape[0], solver.tile, source.dtype), sha256()
    diagonal, _ = inspect(source, triangle, tolerance, digest=reading.update if hashed else None)
    return float(diagonal.mean()), triangle.multiply, reading.hexdigest()


def _times_all(multiply: Multiply, *duals: np.ndarray) -> list[np.ndarray]:
    """K α for arrays α of shape (r, n, k), NaN where α is; many columns in one sweep over K."""
    columns = [vector for dual in duals for alpha in dual for vector in alpha.T]
    finite = [index for index, vector in enumerate(columns) if np.isfinite(vector).all()]
    results = [np.full(dual.shape, np.nan) for dual in duals]
    targets = [vector for result in results for alpha in result for vector in alpha.T]
    for start in range(0, len(finite), SWEEP_COLUMNS):
        some = finite[start : start + SWEEP_COLUMNS]
        product = multiply(np.column_stack([columns[index] for index in some]))
        for index, vector in zip(some, product.T, strict=True):
            targets[index][:] = vector
    return results


def _checked(
    solution: KrylovPath, products: np.ndarray, Y: np.ndarray, shifts: np.ndarray, residual: float
) -> RidgePath:
    """The path with residuals as they are, not as the recursion has them; NaN where they were not reached."""
    norms = np.linalg.norm(Y, axis=0)
    rests = [product + shift * alpha - Y for product, shift, alpha in zip(products, shifts, solution.dual, strict=True)]
    worst = np.array([(np.linalg.norm(rest, axis=0) / np.where(norms > 0, norms, 1)).max() for rest in rests])
    reached = worst <= residual
    dual = np.where(reached[:, None, None], solution.dual, np.nan)
    return RidgePath(
        dual=dual,
        inverse_diagonal=np.full(dual.shape[:2], np.nan),
        residual_norm=np.array([relative_norm(rest, Y) for rest in rests]),
        condition_number=np.where(reached, solution.condition_number, np.inf),
        eigenvalues=None,
    )


def _not_reached(ridges: np.ndarray, path: RidgePath, residual: float, steps: int) -> str:
    """Why there is no result at all, and what gives one."""
    rests = zip(ridges, path.residual_norm, strict=True)
    shown = ", ".join(f"{ridge:g} to {rest:.2g}" for ridge, rest in rests)
    return (
        f"the residual {residual:g} is not reached in {steps} products with K, by ridge: {shown}; add a larger ridge, "
        'allow more memory (max_memory_gib), or take method "direct", whose factorisation needs no convergence'
    )


class _Progress:
    """Counts products; as many are expected in all as the residual needs at the rate it falls."""

    def __init__(self, report: Progress | None, residual: float, problems: Sequence[Krylov]) -> None:
        self._report, self._residual, self._problems = report, residual, problems

    def __call__(self, step: int) -> None:
        if self._report is None:
            return
        residuals = np.concatenate([problem.residuals for problem in self._problems])
        largest = residuals[np.isfinite(residuals)].max(initial=0.0)
        worst = min(0.9, max(largest, self._residual))
        finished = all(problem.finished for problem in self._problems)
        expected = step if finished else math.ceil(step * math.log(self._residual) / math.log(worst))
        note(self._report, f"residual {largest:.1e}")
        self._report(step, max(step, expected))
