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
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk.regression.ridge_path import not_psd, singular_below

Multiply = Callable[[np.ndarray], np.ndarray]


class Convergence(NamedTuple):
    """How far the steps have come: residuals ‖Y − (K + λI)α‖ / ‖Y‖ of the worst target, by λ; inf if hopeless."""

    steps: int
    residuals: np.ndarray


class KrylovPath(NamedTuple):
    """Solutions for r values of λ.

    Attributes
    ----------
    dual : array of shape (r, n, k)
        α; NaN where K + λI is singular to working precision.
    residuals : array of shape (r,)
        ‖Y − (K + λI)α‖ / ‖Y‖ of the target where it is largest, as the recursion has it; inf where α is NaN.
    condition_number : array of shape (r,)
        Of K + λI, from the largest and smallest eigenvalue of T: at most the true one.
    steps : int
        Products with K.
    """

    dual: np.ndarray
    residuals: np.ndarray
    condition_number: np.ndarray
    steps: int


class _Space:
    """Blocks Q_1 … Q_{m+1} and the band of T; a step's results are what a checkpoint has."""

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

    def extend(self, product: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A_m, B_m and Q_{m+1} out of K Q_m."""
        known = self.Q[:, : self.done + self.size]
        first = known.T @ product
        rest = product - known @ first
        second = known.T @ rest
        rest -= known @ second
        A = (first + second)[self.done :]
        block, B = orthonormal(rest, self.scale(A))
        return (A + A.T) / 2, B, block

    def scale(self, A: np.ndarray) -> float:
        """A lower bound of ‖K‖, which roundings are compared with."""
        return max(float(np.abs(self.band[0, : self.done]).max(initial=0.0)), float(np.abs(A).max()))

    def append(self, A: np.ndarray, B: np.ndarray, block: np.ndarray) -> None:
        """Take a step's results."""
        column = np.vstack([A, B])  # of T, from the diagonal's block downwards
        for j in range(self.size):
            self.band[: len(column) - j, self.done + j] = column[j:, j]
        self.done += self.size
        self.size = block.shape[1]
        self.Q[:, self.done : self.done + self.size] = block
        self.coupling = B

    def coefficients(self, shift: float) -> np.ndarray | None:
        """(T + shift·I)⁻¹ E S; None if T + shift·I is not positive definite."""
        band = self._band().copy()
        band[0] += shift
        right = np.zeros((self.done, self.start.shape[1]))
        right[: len(self.start)] = self.start
        try:
            return scipy.linalg.solveh_banded(band, right, lower=True, overwrite_ab=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None

    def eigenvalues(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue of T."""
        band = self._band()
        values = (
            scipy.linalg.eigvals_banded(band, lower=True, select="i", select_range=(i, i), check_finite=False)[0]
            for i in (0, self.done - 1)
        )
        return next(values), next(values)

    def _band(self) -> np.ndarray:
        """The band of T so far; no more diagonals than T has columns."""
        return self.band[: self.done, : self.done]


def orthonormal(block: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Q with orthonormal columns, and S, of block = Q S, without directions that are rounding beside `scale`."""
    Q, R, order = scipy.linalg.qr(block, mode="economic", pivoting=True, check_finite=False)
    rank = int((np.abs(R.diagonal()) > singular_below(len(block), scale)).sum())
    S = np.empty((rank, block.shape[1]))
    S[:, order] = R[:rank]
    return Q[:, :rank], S


def solve_krylov(
    multiply: Multiply,
    Y: np.ndarray,
    ridges: np.ndarray,
    *,
    residual: float,
    capacity: int,
    tolerance: float = 0.0,
    report: Callable[[Convergence], object] | None = None,
    checkpoint: Callable[[int], Checkpoint] | None = None,
) -> KrylovPath:
    """Solve for all λ until each residual is at most `residual`.

    Parameters
    ----------
    multiply : callable
        Takes an array of shape (n, j), j ≤ k, to K times it.
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        λ, absolute.
    residual : float
        Of the target where it is largest, relative to the target's norm.
    capacity : int
        Columns of Q that may be held, of 8n bytes each; at least 2k. The steps end when they are used up.
    tolerance : float
        Negative eigenvalues down to −tolerance·λ_max, or −n·ε·λ_max if that is more, are taken for rounding.
    report : callable, optional
        Is told of every step.
    checkpoint : callable, optional
        Gives the file of step number m; those that there are of this problem are taken up.

    Raises
    ------
    NotPositiveSemidefiniteError
        T has a negative eigenvalue beyond rounding.
    """
    space = _Space(Y, capacity)
    norms = np.linalg.norm(Y, axis=0)
    state = Convergence(0, np.full(len(ridges), np.inf))
    hopeless = np.zeros(len(ridges), dtype=bool)
    for step in _steps(space, multiply, checkpoint):
        smallest, largest = space.eigenvalues()
        rounding = singular_below(len(Y), largest)
        if smallest < -(allowed := max(rounding, tolerance * largest)):
            raise not_psd(smallest, largest, allowed, bound=True)
        hopeless |= smallest + ridges <= rounding
        residuals = np.array(
            [np.inf if bad else _residual(space, shift, norms) for shift, bad in zip(ridges, hopeless, strict=True)]
        )
        state = Convergence(step, residuals)
        if report is not None:
            report(state)
        if (residuals[~hopeless] <= residual).all():
            break
    return _path(space, Y, ridges, hopeless, state)


def _steps(space: _Space, multiply: Multiply, checkpoint: Callable[[int], Checkpoint] | None) -> Iterator[int]:
    """Add one block after the other while there is room and the space still grows."""
    step = 0
    while space.size and space.done + 2 * space.size <= space.Q.shape[1]:
        step += 1
        file = None if checkpoint is None else checkpoint(step)
        saved = None if file is None else file.load()
        if saved is None:
            A, B, block = space.extend(multiply(np.ascontiguousarray(space.last)))
            if file is not None:
                file.save(A=A, B=B, block=block)
        else:
            A, B, block = saved["A"], saved["B"], saved["block"]
        space.append(A, B, block)
        yield step


def _residual(space: _Space, shift: float, norms: np.ndarray) -> float:
    """The largest ‖Y − (K + shift·I)α‖ / ‖Y‖ of all targets."""
    coefficients = space.coefficients(shift)
    if coefficients is None:  # rounding: no worse than the bound that was checked before
        return np.inf
    rest = np.linalg.norm(space.coupling @ coefficients[-space.coupling.shape[1] :], axis=0)
    return float(np.divide(rest, norms, out=rest, where=norms > 0).max())


def _path(space: _Space, Y: np.ndarray, ridges: np.ndarray, hopeless: np.ndarray, state: Convergence) -> KrylovPath:
    smallest, largest = space.eigenvalues()
    dual = np.full((len(ridges), *Y.shape), np.nan)
    condition = np.full(len(ridges), np.inf)
    for index in np.flatnonzero(~hopeless):
        coefficients = space.coefficients(ridges[index])
        if coefficients is not None:
            dual[index] = space.Q[:, : space.done] @ coefficients
            condition[index] = (largest + ridges[index]) / (smallest + ridges[index])
    return KrylovPath(dual, state.residuals, condition, state.steps)
