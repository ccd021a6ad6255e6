"""Linear algebra of kernel regression: (K + λI)α = Y and the diagonal of (K + λI)⁻¹ for a whole path of λ.

Two ways to the same numbers: one eigendecomposition for the whole path, or a Cholesky factorisation for every λ: here
by LAPACK in the kernel's own memory, in `solvers.tiled` by tiles. Neither adds anything to K but λ: where K + λI is
singular to working precision the path has NaN, and a kernel with a negative eigenvalue is an error.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk._support.progress import Progress
from exact_cntk.errors import InputError

ROWS_AT_ONCE = 512
ASYMMETRY = 1e-8  # of max |K|: what a float64 product A Aᵀ may show, far below what float32 does
# How far below 0 an eigenvalue may lie by rounding, of λ_max, by the dtype that the kernel was computed in. The kernels
# have no negative eigenvalues, but near-duplicates among the images bring true ones close to 0. Measured on 40 images
# (noise, digits, smooth; 8×8 pixels and fewer) with 80 copies of them, changed by 1e-2 to 1e-7, at depths 3 to 21, with
# flatten and gap, NTK and CNN-GP: at most 2.2e-8 in float32, also of networks of finite width, and 2.4e-9 in float64
# (arccos turns an error ε near ρ = 1 into √ε, and the NTK adds up those of its layers). 40 times that is allowed for
# other images.
ROUNDING = {"float32": 1e-6, "float64": 1e-7}


class NotPositiveSemidefiniteError(InputError):
    """A kernel matrix has an eigenvalue that is negative beyond rounding."""


class RidgePath(NamedTuple):
    """Solutions for r values of λ; NaN where K + λI is singular to working precision.

    Attributes
    ----------
    dual : array of shape (r, n, k)
        α = (K + λI)⁻¹ Y.
    inverse_diagonal : array of shape (r, n)
        Of (K + λI)⁻¹.
    residual_norm : array of shape (r,)
        ‖(K + λI)α − Y‖ / ‖Y‖, Frobenius, with the K that was passed in.
    condition_number : array of shape (r,)
        Of K + λI: in the 2-norm from eigenvalues, estimated in the 1-norm from a Cholesky factor; inf where singular.
    eigenvalues : array of shape (n,) or None
        Of K, largest first; None from Cholesky.
    """

    dual: np.ndarray
    inverse_diagonal: np.ndarray
    residual_norm: np.ndarray
    condition_number: np.ndarray
    eigenvalues: np.ndarray | None

    def by_ridge(self) -> dict[str, np.ndarray]:
        """The arrays that have an entry for each ridge, by name."""
        return {name: getattr(self, name) for name in RidgeSolution._fields}


class RidgeSolution(NamedTuple):
    """One entry of a `RidgePath`."""

    dual: np.ndarray
    inverse_diagonal: np.ndarray
    residual_norm: float
    condition_number: float


class Factors(Protocol):
    """A kernel K and a triangular factor of K + λI, for one λ after the other.

    Attributes
    ----------
    norm : float
        1-norm of K, an upper bound of λ_max.
    units : int
        Number of ticks in a factorisation and its solution.
    """

    norm: float
    units: int

    def factorise(self, shift: float, tick: Callable[[], object]) -> bool:
        """Factorise K + shift·I; is it positive definite?"""

    def solution(self, shift: float, Y: np.ndarray, tick: Callable[[], object]) -> RidgeSolution | None:
        """The solution by the factor; None if K + shift·I is singular to working precision."""

    def smallest_eigenvalue(self, allowed: float) -> float:
        """The smallest eigenvalue of K, known to be about −allowed or less."""


def solve_path(
    factors: Factors,
    Y: np.ndarray,
    ridges: np.ndarray,
    *,
    tolerance: float = 0.0,
    report: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> RidgePath:
    """The path out of a factorisation for every λ, smallest first; arguments and errors are those of `solve_cholesky`.

    K is positive semi-definite if a factorisation with a λ succeeds that is no larger than the negative eigenvalues
    that count as rounding; only if no ridge is so small, or none of these succeeds, does it cost one more.
    """
    r, norm = len(ridges), factors.norm
    path = RidgePath(
        np.full((r, *Y.shape), np.nan), np.full((r, len(Y)), np.nan), np.full(r, np.nan), np.full(r, np.inf), None
    )
    done = np.zeros(r, dtype=bool)
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        done = saved["done"]
        for name, values in path.by_ridge().items():
            values[done] = saved[name][done]
    steps = _Steps(report, factors.units, int((~done).sum()))
    allowed = max(singular_below(len(Y), norm), tolerance * norm)
    proven = bool(done.any())  # nothing is saved before
    for index in np.argsort(ridges, kind="stable"):
        if done[index]:
            continue
        ridge = float(ridges[index])
        if not proven and ridge > allowed:
            _require_psd(factors, allowed, norm)
            proven = True
        if factors.factorise(ridge, steps.tick):
            proven = True
            solution = factors.solution(ridge, Y, steps.tick)
            if solution is not None:
                for name, values in path.by_ridge().items():
                    values[index] = getattr(solution, name)
        done[index] = True
        if checkpoint is not None and proven:
            checkpoint.save(done=done, **path.by_ridge())
        steps.ridge_done()
    if not proven:
        _require_psd(factors, allowed, norm)
    return path


class _Steps:
    """Counts units of work; what a ridge leaves out, as it is singular, is counted when it is done."""

    def __init__(self, report: Progress | None, units: int, ridges: int) -> None:
        self._report, self._units, self._total = report, units, units * ridges
        self._done = self._ridges = 0

    def tick(self) -> None:
        self._done += 1
        if self._report is not None:
            self._report(self._done, self._total)

    def ridge_done(self) -> None:
        self._ridges += 1
        before, self._done = self._done, self._ridges * self._units
        if self._report is not None and self._done > before:
            self._report(self._done, self._total)


def _require_psd(factors: Factors, allowed: float, norm: float) -> None:
    """Raise if K has an eigenvalue below −allowed; a factorisation with that shift disproves it."""
    if not factors.factorise(allowed, lambda: None):
        smallest = factors.smallest_eigenvalue(allowed)
        if smallest < -allowed:
            raise not_psd(smallest, norm, allowed)


def required_bytes(n: int, method: str, *, overwrite: bool = False) -> int:
    """Peak memory of a path beyond the caller's K, in bytes: n×n matrices, up to terms linear in n.

    "eigh" holds a copy that LAPACK works in and the eigenvectors, "cholesky" one copy, or none if it may overwrite K.
    """
    return 8 * n**2 * (2 if method == "eigh" else 0 if overwrite else 1)


def check_entries(largest: float, asymmetry: float, rounding: float) -> None:
    """Refuse, by the largest of |K| and of |K − Kᵀ|, a kernel that is not symmetric, or 0 everywhere."""
    if asymmetry > (allowed := max(ASYMMETRY, rounding)) * largest:
        raise InputError(
            f"K is not symmetric: |K − Kᵀ| reaches {asymmetry:.3g} where |K| reaches {largest:.3g}; "
            f"allowed are {allowed:g} of that, for rounding; if K was computed less precisely, say so by tolerance"
        )
    if largest == 0:
        raise InputError("K is 0 everywhere; allowed are kernels that are not")


def mirrored(square: np.ndarray) -> np.ndarray:
    """The symmetric matrix that has the lower triangle of `square`."""
    return np.tril(square) + np.tril(square, -1).T


def singular_below(n: int, largest: float) -> float:
    """Eigenvalues up to n·ε·λ_max are rounding errors of a float64 matrix."""
    return n * float(np.finfo(np.float64).eps) * largest


def solve_eigh(
    K: np.ndarray,
    Y: np.ndarray,
    ridges: np.ndarray,
    *,
    tolerance: float = 0.0,
    report: Progress | None = None,
) -> RidgePath:
    """The path out of one eigendecomposition K = V Λ Vᵀ, about 9n³ operations; K stays unchanged.

    The arguments and the error are those of `solve_cholesky`.
    """
    n, r = len(K), len(ridges)
    values, V = scipy.linalg.eigh(K, driver="evr", check_finite=False)
    rounding = singular_below(n, values[-1])
    if values[0] < -(allowed := max(rounding, tolerance * values[-1])):
        raise not_psd(values[0], values[-1], allowed)

    shifted = values[:, None] + ridges
    solved = shifted[0] > rounding
    inverse = np.where(solved, 1.0, np.nan) / np.where(solved, shifted, 1.0)
    projected = inverse.T[:, :, None] * (V.T @ Y)
    dual = (V @ projected.transpose(1, 0, 2).reshape(n, -1)).reshape(n, r, -1).transpose(1, 0, 2)
    inverse_diagonal = np.empty((r, n))
    for start in range(0, n, ROWS_AT_ONCE):  # V² whole would be another n×n matrix
        rows = slice(start, start + ROWS_AT_ONCE)
        inverse_diagonal[:, rows] = (V[rows] ** 2 @ inverse).T
    condition = np.divide(shifted[-1], shifted[0], out=np.full(r, np.inf), where=solved)
    residual = np.array(
        [relative_norm(K @ alpha + ridge * alpha - Y, Y) for alpha, ridge in zip(dual, ridges, strict=True)]
    )
    if report is not None:
        report(r, r)
    return RidgePath(np.ascontiguousarray(dual), inverse_diagonal, residual, condition, values[::-1].copy())


def solve_cholesky(
    K: np.ndarray,
    Y: np.ndarray,
    ridges: np.ndarray,
    *,
    tolerance: float = 0.0,
    overwrite: bool = False,
    report: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> RidgePath:
    """The path out of a Cholesky factorisation K + λI = UᵀU for every λ, about 2n³/3 operations each.

    One n×n matrix holds both: K stays in the strict lower triangle, U and then U⁻¹ live in the upper one.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric.
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        λ, absolute.
    tolerance : float
        Negative eigenvalues down to −tolerance·λ_max, or −n·ε·λ_max if that is more, are taken for rounding.
    overwrite : bool
        Work in K itself, which is then destroyed, instead of a copy; K must be writeable and C-contiguous.
    report : callable(done, total), optional
    checkpoint : Checkpoint, optional
        Ridges that it has are not solved again; each that is finished goes there.

    Raises
    ------
    NotPositiveSemidefiniteError
        With the smallest eigenvalue, which takes another n×n matrix and 4n³/3 operations to find.
    """
    factors = LapackFactors(K, overwrite=overwrite)
    return solve_path(factors, Y, ridges, tolerance=tolerance, report=report, checkpoint=checkpoint)


class LapackFactors:
    """Factors of K + λI by LAPACK, in one matrix with K."""

    units = 1

    def __init__(self, K: np.ndarray, *, overwrite: bool) -> None:
        # K is symmetric, so the Fortran-ordered view of its C-ordered memory is K as well.
        in_place = overwrite and K.flags.c_contiguous and K.flags.writeable
        self._A = (K if in_place else np.array(K, order="C")).T
        self._diagonal = self._A.diagonal().copy()
        self.norm = _one_norm(self._A)

    def factorise(self, shift: float, _tick: Callable[[], object]) -> bool:
        return _factorise(self._A, self._diagonal + shift)

    def solution(self, shift: float, Y: np.ndarray, _tick: Callable[[], object]) -> RidgeSolution | None:
        A = self._A
        reciprocal, _ = lapack.dpocon(A, self.norm + shift, uplo="U")
        if not reciprocal > singular_below(len(A), 1.0):
            return None
        alpha = lapack.dpotrs(A, Y, lower=0)[0]
        lapack.dtrtri(A, lower=0, overwrite_c=1)
        inverse_diagonal = _row_norms_of_upper(A)
        np.fill_diagonal(A, self._diagonal + shift)
        residual = relative_norm(blas.dsymm(1.0, A, alpha, lower=1) - Y, Y)
        return RidgeSolution(alpha, inverse_diagonal, residual, 1 / reciprocal)

    def smallest_eigenvalue(self, _allowed: float) -> float:
        A = self._A
        np.fill_diagonal(A, self._diagonal)
        return scipy.linalg.eigh(A, lower=True, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)[0]


def _factorise(A: np.ndarray, diagonal: np.ndarray) -> bool:
    """Put U of UᵀU into the upper triangle of A, for the matrix with A's lower triangle and `diagonal`; did it work?"""
    n = len(A)
    for start in range(0, n, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, n)
        A[start:stop, stop:] = A[stop:, start:stop].T
        corner = np.tril(A[start:stop, start:stop], -1)
        A[start:stop, start:stop] = corner + corner.T
    np.fill_diagonal(A, diagonal)
    return lapack.dpotrf(A, lower=0, clean=0, overwrite_a=1)[1] == 0


def not_psd(smallest: float, largest: float, allowed: float, *, bound: bool = False) -> NotPositiveSemidefiniteError:
    """The error for a kernel with an eigenvalue below −allowed; where `bound`, there may be a smaller one still."""
    beyond = ("at most ", "at least") if bound else ("", "at most")
    explained = f"eigenvalues down to {-allowed:.3g}" if allowed > 0 else "none of these, as none is positive"
    return NotPositiveSemidefiniteError(
        f"K is not positive semi-definite: its smallest eigenvalue is {beyond[0]}{smallest:.6g}, its largest "
        f"{beyond[1]} {largest:.6g}. Rounding explains {explained}, and nothing is added to K to hide it: "
        "check how K was computed; if its entries are less precise than that, say so by tolerance"
    )


def _one_norm(A: np.ndarray) -> float:
    """The largest column sum of absolute values, by blocks: |A| whole would be another n×n matrix."""
    return max(float(np.abs(A[:, i : i + ROWS_AT_ONCE]).sum(axis=0).max()) for i in range(0, len(A), ROWS_AT_ONCE))


def _row_norms_of_upper(A: np.ndarray) -> np.ndarray:
    """The diagonal of U⁻¹U⁻ᵀ, with U⁻¹ in the upper triangle of A."""
    squares = np.empty(len(A))
    for start in range(0, len(A), ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        squares[start:stop] = (np.triu(A[start:stop, start:]) ** 2).sum(axis=1)
    return squares


def relative_norm(residual: np.ndarray, Y: np.ndarray) -> float:
    """‖residual‖ / ‖Y‖, or ‖residual‖ where Y is 0."""
    size = float(np.linalg.norm(Y))
    return float(np.linalg.norm(residual)) / size if size > 0 else float(np.linalg.norm(residual))
