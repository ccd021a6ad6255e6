"""(K + λI)α = Y by block Lanczos: one Krylov space for all targets and all λ of a path.

Products with K are all that is needed of it, one per step. Starting from the targets, Y = Q_1 S, step m adds a block of
orthonormal columns::

    K Q_m = Q_{m−1} B_{m−1}ᵀ + Q_m A_m + Q_{m+1} B_m
    T     = the block tridiagonal matrix of A_1, B_1, A_2, …, A_m
    α     = Q (T + λI)⁻¹ E S            with Q = [Q_1 … Q_m], and E the first columns of the identity
    Y − (K + λI)α = −Q_{m+1} B_m Z      with Z the last rows of (T + λI)⁻¹ E S

which are the iterates of block conjugate gradients, for every λ out of the same products: the space of K + λI is that
of K. Eigenvalues of T lie between those of K: one that is negative beyond rounding proves that K has one as well.

O'Leary 1980, Linear Algebra Appl. 29, 293 (block conjugate gradients); Golub and Underwood 1977 (block Lanczos);
Frommer and Maass 1999, SIAM J. Sci. Comput. 20, 1831 (shifted systems). All blocks are kept and each new one is made
orthogonal to all of them, twice, so that rounding does not slow the convergence down.

There is no preconditioner: the space deflates large eigenvalues by itself and serves all λ, where a Nyström
preconditioner takes a run for each. For eight ridges that was 43 products against 231 with CNTK-V (condition number
1e4), and 104 against 621 with near-copies under CNTK-GAP (6e7): docs/solving.md.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy.linalg

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk.errors import InputError
from exact_cntk.regression.ridge_path import not_psd, singular_below

Multiply = Callable[[np.ndarray], np.ndarray]
LOOK_EVERY = 8  # steps, at T's eigenvalues: finding them takes longer with every step, and one is as good as the next


class KrylovPath(NamedTuple):
    """Solutions for r values of λ.

    Attributes
    ----------
    dual : array of shape (r, n, k)
        α, 0 beyond the points of the problem; NaN where K + λI is singular to working precision.
    condition_number : array of shape (r,)
        Of K + λI, from the largest and smallest eigenvalue of T: at most the true one.
    """

    dual: np.ndarray
    condition_number: np.ndarray


class _Space:
    """Blocks Q_1 … Q_{m+1} and the band of T."""

    def __init__(self, Y: np.ndarray, capacity: int) -> None:
        n, k = Y.shape
        self.Q = np.empty((n, capacity), order="F")
        self.band = np.zeros((2 * k, capacity))  # [i − j, j] of T; a block and the one below have at most 2k columns
        self.done = 0  # columns of the blocks that were multiplied
        first, self.start = orthonormal(Y, float(np.linalg.norm(Y)))
        self.size = first.shape[1]  # of the last block
        self.Q[:, : self.size] = first

    @property
    def last(self) -> np.ndarray:
        """The block to multiply next."""
        return self.Q[:, self.done : self.done + self.size]

    @property
    def is_full(self) -> bool:
        """Whether there is no more room, or K's space is exhausted."""
        return not self.size or self.done + 2 * self.size > self.Q.shape[1]

    def extend(self, product: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A_m, B_m and Q_{m+1} out of K Q_m."""
        known = self.Q[:, : self.done + self.size]
        first = known.T @ product
        rest = product - known @ first
        second = known.T @ rest
        rest -= known @ second
        A = (first + second)[self.done :]
        block, B = orthonormal(rest, self._scale(A))
        return (A + A.T) / 2, B, block

    def append(self, A: np.ndarray, B: np.ndarray, block: np.ndarray) -> None:
        """Take a step's results."""
        column = np.vstack([A, B])  # of T, from the diagonal's block downwards
        for j in range(self.size):
            self.band[: len(column) - j, self.done + j] = column[j:, j]
        self.done += self.size
        self.size = block.shape[1]
        self.Q[:, self.done : self.done + self.size] = block

    def solution(self, shift: float) -> np.ndarray | None:
        """Q (T + shift·I)⁻¹ E S; None if T + shift·I is not positive definite."""
        band = self._band().copy()
        band[0] += shift
        right = np.zeros((self.done, self.start.shape[1]))
        right[: len(self.start)] = self.start
        try:
            coefficients = scipy.linalg.solveh_banded(
                band, right, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False
            )
        except np.linalg.LinAlgError:
            return None
        return self.Q[:, : self.done] @ coefficients

    def eigenvalues(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue of T."""
        values = scipy.linalg.eigvals_banded(self._band(), lower=True, check_finite=False)
        return float(values[0]), float(values[-1])

    def _scale(self, A: np.ndarray) -> float:
        """A lower bound of ‖K‖, which roundings are compared with."""
        return max(float(np.abs(self.band[0, : self.done]).max(initial=0.0)), float(np.abs(A).max()))

    def _band(self) -> np.ndarray:
        """The band of T so far; no more diagonals than T has columns."""
        return self.band[: self.done, : self.done]


class _Elimination:
    """B_m Z for one λ, by elimination of T + λI block by block: its columns' norms are those of the residuals."""

    def __init__(self, shift: float, start: np.ndarray) -> None:
        self._shift, self._right, self._fill = shift, start, np.zeros((len(start),) * 2)
        self.hopeless = False  # T + λI is not positive definite, and never will be again

    def step(self, A: np.ndarray, B: np.ndarray) -> np.ndarray | None:
        """The residuals' norms with one more block; None if it is hopeless."""
        if not self.hopeless:
            pivot = A - self._fill
            pivot.flat[:: len(pivot) + 1] += self._shift
            try:
                factor = scipy.linalg.cho_factor(pivot, lower=True, check_finite=False)
            except np.linalg.LinAlgError:
                self.hopeless = True
        if self.hopeless:
            return None
        solved = scipy.linalg.cho_solve(factor, np.hstack([self._right, B.T]), check_finite=False)
        k = self._right.shape[1]
        self._right, self._fill = -B @ solved[:, :k], B @ solved[:, k:]
        return np.linalg.norm(self._right, axis=0)


class Krylov:
    """One problem, for all λ, which goes on by products with K until each residual is at most `residual`.

    Parameters
    ----------
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        λ, absolute.
    points : bool array of shape (n,), optional
        Which rows and columns of K, and rows of Y, the problem has; by default all.
    residual : float
        Of the target where it is largest, relative to the target's norm.
    capacity : int
        Columns of Q that may be held, of 8n bytes each; at least 2k. The steps end when they are used up.
    tolerance : float
        Negative eigenvalues down to −tolerance·λ_max, or −n·ε·λ_max if that is more, are taken for rounding.

    Attributes
    ----------
    residuals : array of shape (r,)
        ‖Y − (K + λI)α‖ / ‖Y‖ of the worst target, as the recursion has it; inf where K + λI is singular to working
        precision.
    """

    def __init__(
        self,
        Y: np.ndarray,
        ridges: np.ndarray,
        *,
        points: np.ndarray | None = None,
        residual: float,
        capacity: int,
        tolerance: float = 0.0,
    ) -> None:
        self._n = len(Y)
        self._points = slice(None) if points is None else np.flatnonzero(points)
        targets = Y[self._points]
        self._ridges, self._residual, self._tolerance = ridges, residual, tolerance
        self._norms = np.linalg.norm(targets, axis=0)
        self._space = _Space(targets, capacity)
        self._eliminations = [_Elimination(ridge, self._space.start) for ridge in ridges]
        self._steps = 0
        self.residuals = np.full(len(ridges), np.inf if self._space.size else 0.0)
        self.finished = not self._space.size  # all targets are 0

    @property
    def block(self) -> np.ndarray:
        """What is to be multiplied by K, of shape (n, at most k)."""
        last = self._space.last
        whole = np.zeros((self._n, last.shape[1]))
        whole[self._points] = last
        return whole

    def extend(self, product: np.ndarray) -> dict[str, np.ndarray]:
        """A step's results out of K times the block; nothing changes."""
        if not np.isfinite(product).all():
            raise InputError(
                f"K is finite, but its product number {self._steps + 1} with vectors of length 1 is not: its entries "
                "are too large for float64 (divide it by its mean diagonal), or memory failed"
            )
        return dict(zip(("A", "B", "block"), self._space.extend(product[self._points]), strict=True))

    def take(self, A: np.ndarray, B: np.ndarray, block: np.ndarray) -> None:
        """Go a step further, by the results of one.

        Raises
        ------
        NotPositiveSemidefiniteError
            T has a negative eigenvalue beyond rounding.
        """
        self._space.append(A, B, block)
        self._steps += 1
        for index, elimination in enumerate(self._eliminations):
            rest = elimination.step(A, B)
            relative = np.inf if rest is None else np.divide(rest, self._norms, out=rest, where=self._norms > 0).max()
            self.residuals[index] = relative
        if due := self._steps < LOOK_EVERY or self._steps % LOOK_EVERY == 0:
            self._look()
        hopeful = np.array([not elimination.hopeless for elimination in self._eliminations])
        self.finished = bool((self.residuals[hopeful] <= self._residual).all()) or self._space.is_full
        if self.finished and not due:
            self._look()

    def path(self) -> KrylovPath:
        """The solutions so far."""
        shape = (len(self._ridges), self._n, len(self._norms))
        dual, condition = np.zeros(shape), np.full(len(self._ridges), np.inf)
        if not self._steps:
            return KrylovPath(dual, np.ones(len(condition)))
        smallest, largest = self._space.eigenvalues()
        for index, (ridge, elimination) in enumerate(zip(self._ridges, self._eliminations, strict=True)):
            solution = None if elimination.hopeless else self._space.solution(ridge)
            dual[index, self._points] = np.nan if solution is None else solution
            if solution is not None:
                condition[index] = (largest + ridge) / (smallest + ridge)
        return KrylovPath(dual, condition)

    def _look(self) -> None:
        """Look at T's eigenvalues: negative ones are refused, and a λ that leaves T singular is given up."""
        smallest, largest = self._space.eigenvalues()
        rounding = singular_below(self._n, largest)
        if smallest < -(allowed := max(rounding, self._tolerance * largest)):
            raise not_psd(smallest, largest, allowed, bound=True)
        for index, (ridge, elimination) in enumerate(zip(self._ridges, self._eliminations, strict=True)):
            if smallest + ridge <= rounding:
                elimination.hopeless, self.residuals[index] = True, np.inf


def orthonormal(block: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Q with orthonormal columns, and S, of block = Q S, without directions that are rounding beside `scale`."""
    Q, R, order = scipy.linalg.qr(block, mode="economic", pivoting=True, check_finite=False)
    rank = int((np.abs(R.diagonal()) > singular_below(len(block), scale)).sum())
    S = np.empty((rank, block.shape[1]))
    S[:, order] = R[:rank]
    return Q[:, :rank], S


def advance(
    problems: Sequence[Krylov],
    multiply: Multiply,
    *,
    report: Callable[[int], object] | None = None,
    checkpoint: Callable[[int], Checkpoint] | None = None,
) -> int:
    """Finish problems with the same K side by side; the number of products, each with the blocks of all of them.

    Each problem has a thread of its own: BLAS is best limited to one, for its threads wait for each other at the end of
    every column of a QR decomposition.

    Parameters
    ----------
    problems : sequence of Krylov
    multiply : callable
        Takes an array of shape (n, j) to K times it.
    report : callable(step), optional
        Is told of every step.
    checkpoint : callable(step), optional
        Gives the file of a step; those that there are of these problems are taken up.

    Raises
    ------
    NotPositiveSemidefiniteError
        K has a negative eigenvalue beyond rounding.
    """
    step = 0
    while unfinished := [problem for problem in problems if not problem.finished]:
        step += 1
        file = None if checkpoint is None else checkpoint(step)
        saved = None if file is None else file.load()
        if saved is None:
            blocks = [problem.block for problem in unfinished]
            ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
            products = np.split(multiply(np.hstack(blocks)), ends, axis=1)
            with ThreadPoolExecutor(len(unfinished)) as pool:
                results = list(pool.map(Krylov.extend, unfinished, products))
            if file is not None:
                file.save(**{f"{name}{i}": value for i, one in enumerate(results) for name, value in one.items()})
        else:
            results = [{name: saved[f"{name}{i}"] for name in ("A", "B", "block")} for i in range(len(unfinished))]
        for problem, result in zip(unfinished, results, strict=True):
            problem.take(**result)
        if report is not None:
            report(step)
    return step
