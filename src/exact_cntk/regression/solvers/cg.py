"""Kernel regression by block conjugate gradients: a path of λ, and the choice among them, out of products with K.

Leave-one-out needs the diagonal of (K + λI)⁻¹, which products do not give. The ridge is chosen on a tenth of the
training points instead, predicted by a fit to the other nine tenths, at the same λ: as many products again.
"""

import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk._support.progress import Progress
from exact_cntk.errors import InputError
from exact_cntk.regression.ridge_path import RidgePath, relative_norm
from exact_cntk.regression.solvers.checkpoint import ridge_checkpoint
from exact_cntk.regression.solvers.choice import Solver
from exact_cntk.regression.solvers.krylov import Convergence, KrylovPath, Multiply, solve_krylov
from exact_cntk.regression.solvers.stores import Memory
from exact_cntk.regression.solvers.tiled import inspect, multiply_tiles

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
    progress = _Progress(report, residual / 2)

    def steps(phase: str) -> Callable[[int], Checkpoint] | None:
        if checkpoint is None:
            return None
        return lambda step: ridge_checkpoint(
            checkpoint.with_name(f"{checkpoint.stem}-{phase}-{step:04d}{checkpoint.suffix}"),
            *(solver.method, phase, step, Y, digest),
        )

    def solve(phase: str, product: Multiply, targets: np.ndarray) -> KrylovPath:
        # Half of it, so that rounding in the recursion does not decide.
        options: dict[str, Any] = {"residual": residual / 2, "capacity": solver.columns, "tolerance": tolerance}
        path = solve_krylov(product, targets, shifts, report=progress.step, checkpoint=steps(phase), **options)
        progress.phase_done()
        return path

    whole = solve("all", multiply, Y)
    path = _checked(whole, multiply, Y, shifts, ridges, residual)
    kept = ~held[:, None]
    part = solve("kept", lambda block: multiply(block * kept) * kept, Y * kept)
    predictions = _times_all(multiply, np.where(np.isfinite(path.dual), part.dual, np.nan))[:, held]
    return scale, path, HeldOut(predictions, np.flatnonzero(held))


def _products(source: Any, solver: Solver, tolerance: float, *, hashed: bool) -> tuple[float, Multiply, str]:
    """mean(diag K), what multiplies by K, and K's digest if asked for."""
    if isinstance(source, np.ndarray):
        digest = sha256(source.data).hexdigest() if hashed else ""
        return float(source.diagonal().mean()), lambda block: source @ block, digest
    tiles, reading = Memory(source.shape[0], solver.tile), sha256()
    diagonal, _ = inspect(source, tiles, tolerance, digest=reading.update if hashed else None)
    return float(diagonal.mean()), lambda block: multiply_tiles(tiles, block), reading.hexdigest()


def _times_all(multiply: Multiply, dual: np.ndarray) -> np.ndarray:
    """K α for all ridges, of shape (r, n, k); NaN where α is."""
    return np.array([multiply(alpha) if np.isfinite(alpha).all() else alpha for alpha in dual])


def _checked(
    solution: KrylovPath, multiply: Multiply, Y: np.ndarray, shifts: np.ndarray, ridges: np.ndarray, residual: float
) -> RidgePath:
    """The path with residuals as they are, not as the recursion has them; NaN where they were not reached."""
    products = _times_all(multiply, solution.dual)
    norms = np.linalg.norm(Y, axis=0)
    rests = [product + shift * alpha - Y for product, shift, alpha in zip(products, shifts, solution.dual, strict=True)]
    worst = np.array([(np.linalg.norm(rest, axis=0) / np.where(norms > 0, norms, 1)).max() for rest in rests])
    reached = worst <= residual
    if not reached.any():
        shown = ", ".join(f"{ridge:g} to {rest:.2g}" for ridge, rest in zip(ridges, worst, strict=True))
        raise InputError(
            f"the residual {residual:g} is not reached in {solution.steps} products with K, by ridge: {shown}; add a "
            "larger ridge, allow more memory (max_memory_gib), or take another method"
        )
    dual = np.where(reached[:, None, None], solution.dual, np.nan)
    condition = np.where(reached, solution.condition_number, np.inf)
    return RidgePath(
        dual=dual,
        inverse_diagonal=np.full(dual.shape[:2], np.nan),
        residual_norm=np.array([relative_norm(rest, Y) for rest in rests]),
        condition_number=condition,
        eigenvalues=None,
    )


class _Progress:
    """Counts products of both phases; as many are expected in all as the residual needs at the rate it falls."""

    def __init__(self, report: Progress | None, residual: float) -> None:
        self._report, self._residual = report, residual
        self._before, self._steps, self._left = 0, 0, 1

    def step(self, state: Convergence) -> None:
        self._steps = state.steps
        finite = state.residuals[np.isfinite(state.residuals)]
        worst = min(0.9, max(finite.max(initial=self._residual), self._residual))
        expected = max(state.steps, math.ceil(state.steps * math.log(self._residual) / math.log(worst)))
        if self._report is not None:
            self._report(self._before + state.steps, self._before + expected * (1 + self._left))

    def phase_done(self) -> None:
        self._before, self._left = self._before + self._steps, 0
