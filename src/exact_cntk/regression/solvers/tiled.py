"""Cholesky factorisation K + λI = L Lᵀ by tiles, and all that a ridge path takes from it.

One panel (all rows of one column of tiles) and a few tiles are in memory at a time. Every panel is finished before the
next is begun (a left-looking factorisation), so that a tile of L is written once, and read once for each later panel:
n³/3 multiplications and additions for L, as many for the diagonal of the inverse, and about 8n³ / (6·tile) bytes to
read for each.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from exact_cntk._support import validation as check
from exact_cntk._support.progress import Progress
from exact_cntk.errors import UserError
from exact_cntk.regression.ridge_path import (
    RidgePath,
    RidgeSolution,
    check_entries,
    mirrored,
    relative_norm,
    singular_below,
    solve_path,
)
from exact_cntk.regression.solvers.checkpoint import ridge_checkpoint
from exact_cntk.regression.solvers.choice import Solver
from exact_cntk.regression.solvers.stores import Device, Disk, KernelTiles, LoadedTiles, Tiles, read_tile

DEVICE = "cuda"  # as torch calls the device of method "cuda"; its "cpu" computes the same
ESCALATION = 100  # of the shift, when looking for one that makes an indefinite kernel positive definite
EIGENVALUE_ERROR = 1e-9  # relative, of the shifted matrix: the message gives six digits
ESTIMATOR_STEPS = 5  # as LAPACK


def solve_tiled(
    source: Any,
    Y: np.ndarray,
    ridges: np.ndarray,
    solver: Solver,
    *,
    tolerance: float = 0.0,
    scratch: Path | None = None,
    checkpoint: Path | None = None,
    report: Progress | None = None,
) -> tuple[float, RidgePath]:
    """mean(diag K) and the path by tiles, on a GPU or on disk: the results, and errors, of `solve_cholesky`.

    Parameters
    ----------
    source : array, dataset or StoredKernel of shape (n, n)
        Unchanged.
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        Relative to mean(diag K).
    solver : Solver
        "cuda" or "blocked", with its tile.
    scratch : Path, optional
        Folder for the scratch file; by default the source's, or the system's for temporary files.
    checkpoint : Path, optional
        File for finished ridges.

    Raises
    ------
    UserError
        The disk or the device's memory is full.
    """
    digest = None if checkpoint is None else sha256()
    on_device = solver.method == "cuda"
    with Device(len(Y), solver.tile, DEVICE) if on_device else Disk(source, solver.tile, scratch) as tiles:
        diagonal, norm = inspect(source, tiles, tolerance, digest=None if digest is None else digest.update)
        scale = float(diagonal.mean())
        saved = None
        if checkpoint is not None and digest is not None:
            problem = (solver.method, solver.tile, Y, ridges, tolerance, digest.hexdigest())
            saved = ridge_checkpoint(checkpoint, *problem)
        factors = TiledFactors(tiles, norm)
        path = solve_path(factors, Y, ridges * scale, tolerance=tolerance, report=report, checkpoint=saved)
    return scale, path


def inspect(
    source: Any, tiles: LoadedTiles, rounding: float, *, digest: Callable[[memoryview], object] | None = None
) -> tuple[np.ndarray, float]:
    """Check that a kernel is finite, symmetric and not 0, and load it to `tiles`, reading each tile once.

    Where it is symmetric up to `rounding`, relative to max |K|, the lower triangle counts.

    `digest` is given the memory of the tiles of the lower triangle, in a fixed order. Returns the diagonal, of shape
    (n,), and the 1-norm, the largest column sum of absolute values.
    """
    bounds, arrays = tiles.bounds, tiles.arrays
    n = bounds[-1].stop
    diagonal, sums = np.empty(n), np.zeros(n)
    largest = asymmetry = 0.0
    for i, rows in enumerate(bounds):
        for j, columns in enumerate(bounds[: i + 1]):
            host = _finite(source, rows, columns)
            if digest is not None:
                digest(host.data)
            if i == j:
                diagonal[rows] = host.diagonal()
            lower = arrays.from_host(host)
            upper = lower if i == j else arrays.from_host(_finite(source, columns, rows))
            asymmetry = max(asymmetry, float(abs(lower - upper.T).max()))
            tiles.load(i, j, arrays.from_host(mirrored(host)) if i == j else lower.T)
            absolute = abs(lower)
            largest = max(largest, float(absolute.max()))
            sums[columns] += arrays.to_host(absolute.sum(0))
            if i != j:
                sums[rows] += arrays.to_host(absolute.sum(1))
    check_entries(largest, asymmetry, rounding)
    return diagonal, float(sums.max())


def multiply_tiles(tiles: KernelTiles, right: np.ndarray) -> np.ndarray:
    """K B of shape (n, m), out of the tiles of K's lower triangle."""
    arrays, bounds = tiles.arrays, tiles.bounds
    B, product = arrays.from_host(right), arrays.zeros(*right.shape)
    for i, rows in enumerate(bounds):
        for j, columns in enumerate(bounds[: i + 1]):
            tile = tiles.kernel(i, j)
            arrays.add_product(product[rows], tile, B[columns])
            if i != j:
                arrays.add_product(product[columns], tile.T, B[rows])
    return arrays.to_host(product)


def _finite(source: Any, rows: slice, columns: slice) -> np.ndarray:
    try:
        tile = read_tile(source, rows, columns)
    except OSError as error:
        raise UserError(f"K cannot be read: {error}; the file is damaged or its disk is: make it again") from error
    check.require_finite("K", tile, first=(rows.start, columns.start))
    return tile


class TiledFactors:
    """Factors L of K + λI for one λ after the other; see `exact_cntk.regression.ridge_path.Factors`."""

    def __init__(self, tiles: Tiles, norm: float) -> None:
        self._tiles, self._arrays, self.norm = tiles, tiles.arrays, norm
        self._bounds = tiles.bounds
        T = len(self._bounds)
        # Products of two tiles, and tiles that are then finished; for L, and once more for its inverse.
        self.units = 2 * (T * (T**2 - 1) // 6 + T * (T + 1) // 2)

    def factorise(self, shift: float, tick: Callable[[], object]) -> bool:
        tiles, arrays = self._tiles, self._arrays
        T = len(self._bounds)
        for j in range(T):
            panel = {i: tiles.start(i, j) for i in range(j, T)}
            arrays.add_to_diagonal(panel[j], shift)
            for k in range(j):
                row = tiles.factor(j, k)
                arrays.subtract_gram(panel[j], row)
                tick()
                for i in range(j + 1, T):
                    arrays.add_product(panel[i], tiles.factor(i, k), row.T, -1.0)
                    tick()
            L = arrays.cholesky(panel.pop(j))
            if L is None:
                return False
            tiles.keep(j, j, L)
            tick()
            for i, tile in panel.items():
                arrays.solve_right(L, tile)
                tiles.keep(i, j, tile)
                tick()
        return True

    def solution(self, shift: float, Y: np.ndarray, tick: Callable[[], object]) -> RidgeSolution | None:
        n, k = Y.shape
        right = np.empty((n, k + 2))
        right[:, :k] = Y
        right[:, k], right[:, k + 1] = _start_vectors(n)
        solved = self._solve(right)
        inverse_norm = inverse_one_norm(self._solve_vector, solved[:, k], solved[:, k + 1])
        reciprocal = 1 / ((self.norm + shift) * inverse_norm)
        if not reciprocal > singular_below(n, 1.0):
            return None
        alpha = np.ascontiguousarray(solved[:, :k])
        inverse_diagonal = self._inverse_diagonal(tick)
        residual = relative_norm(multiply_tiles(self._tiles, alpha) + shift * alpha - Y, Y)
        return RidgeSolution(alpha, inverse_diagonal, residual, 1 / reciprocal)

    def smallest_eigenvalue(self, allowed: float) -> float:
        """By Lanczos on (K + sI)⁻¹, whose largest eigenvalue stands out for an s that just makes K positive definite.

        Lanczos on K itself would take thousands of passes: this eigenvalue is tiny compared with the largest.
        """
        n = self._bounds[-1].stop
        if n == 1:
            return float(self._arrays.to_host(self._tiles.kernel(0, 0))[0, 0])
        shift = allowed
        while not self.factorise(shift, lambda: None):
            shift *= ESCALATION
        inverse = LinearOperator((n, n), matvec=self._solve_vector, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(n)
        largest = eigsh(inverse, k=1, which="LM", v0=start, tol=EIGENVALUE_ERROR, return_eigenvectors=False)[0]
        return float(1 / largest) - shift

    def _solve_vector(self, vector: np.ndarray) -> np.ndarray:
        return self._solve(vector.reshape(-1, 1).copy())[:, 0]

    def _solve(self, right: np.ndarray) -> np.ndarray:
        """(K + λI)⁻¹ B of shape (n, m), in place on the host, by two passes over L."""
        arrays, factor, bounds = self._arrays, self._tiles.factor, self._bounds
        B = arrays.from_host(right)
        for i, rows in enumerate(bounds):
            for j, columns in enumerate(bounds[:i]):
                arrays.add_product(B[rows], factor(i, j), B[columns], -1.0)
            arrays.solve(factor(i, i), B[rows])
        for j, columns in reversed(list(enumerate(bounds))):
            for i in range(j + 1, len(bounds)):
                arrays.add_product(B[columns], factor(i, j).T, B[bounds[i]], -1.0)
            arrays.solve_transposed(factor(j, j), B[columns])
        return arrays.to_host(B)

    def _inverse_diagonal(self, tick: Callable[[], object]) -> np.ndarray:
        """Of (K + λI)⁻¹ = L⁻ᵀ L⁻¹: the squared norms of the columns of L⁻¹, a panel of which is made at a time."""
        arrays, factor, bounds = self._arrays, self._tiles.factor, self._bounds
        squares = np.empty(bounds[-1].stop)
        for j, columns in enumerate(bounds):
            width = columns.stop - columns.start
            panel = [arrays.zeros(width, width)]
            arrays.add_to_diagonal(panel[0], 1.0)
            arrays.solve(factor(j, j), panel[0])
            total = (panel[0] ** 2).sum(0)
            tick()
            for i in range(j + 1, len(bounds)):
                tile = arrays.zeros(bounds[i].stop - bounds[i].start, width)
                for k in range(j, i):
                    arrays.add_product(tile, factor(i, k), panel[k - j], -1.0)
                    tick()
                arrays.solve(factor(i, i), tile)
                total += (tile**2).sum(0)
                panel.append(tile)
                tick()
            squares[columns] = arrays.to_host(total)
        return squares


def inverse_one_norm(
    solve: Callable[[np.ndarray], np.ndarray], from_ones: np.ndarray, from_alternating: np.ndarray
) -> float:
    """Estimate ‖A⁻¹‖₁ of a symmetric A from a few solutions: a lower bound, rarely low by more than a factor of 3.

    `solve` takes v of shape (n,) to A⁻¹v; `from_ones` and `from_alternating` are A⁻¹ times the `_start_vectors`.

    Higham 1988, ACM Trans. Math. Softw. 14, 381, algorithm 4.1, as in LAPACK's condition numbers. Not
    `scipy.sparse.linalg.onenormest`: that draws from NumPy's global random state, and results here are reproducible.
    """
    n = len(from_ones)
    v = from_ones
    estimate = float(np.abs(v).sum())
    signs = np.where(v < 0, -1.0, 1.0)
    unit = None
    for _ in range(ESTIMATOR_STEPS - 1 if n > 1 else 0):
        gradient = np.abs(solve(signs))
        if unit is not None and gradient[unit] == gradient.max():
            break
        unit = int(gradient.argmax())
        v = solve(np.eye(1, n, unit)[0])
        before, estimate = estimate, max(estimate, float(np.abs(v).sum()))
        signs_before, signs = signs, np.where(v < 0, -1.0, 1.0)
        if estimate <= before or np.array_equal(signs, signs_before):
            break
    return max(estimate, 2 * float(np.abs(from_alternating).sum()) / (3 * n))


def _start_vectors(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The vector that the estimate starts from, and the one that guards it against unlucky cancellation."""
    steps = np.arange(n)
    return np.full(n, 1 / n), np.where(steps % 2, -1.0, 1.0) * (1 + steps / max(1, n - 1))
