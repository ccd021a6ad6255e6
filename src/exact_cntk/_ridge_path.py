"""Linear algebra of kernel regression: (K + λI)α = Y and the diagonal of (K + λI)⁻¹ for a whole path of λ.

Two ways to the same numbers: one eigendecomposition for the whole path, or a Cholesky factorisation for every λ in
place of the kernel. Neither adds anything to K but λ: where K + λI is singular to working precision the path has NaN,
and a kernel with a negative eigenvalue is an error.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from exact_cntk.errors import InputError

ROWS_AT_ONCE = 512


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


def required_bytes(n: int, method: str, *, overwrite: bool = False) -> int:
    """Peak memory of a path beyond the caller's K, in bytes: n×n matrices, up to terms linear in n.

    "eigh" holds a copy that LAPACK works in and the eigenvectors, "cholesky" one copy, or none if it may overwrite K.
    """
    return 8 * n**2 * (2 if method == "eigh" else 0 if overwrite else 1)


def singular_below(n: int, largest: float) -> float:
    """Eigenvalues up to n·ε·λ_max are rounding errors of a float64 matrix."""
    return n * float(np.finfo(np.float64).eps) * largest


def solve_eigh(
    K: np.ndarray,
    Y: np.ndarray,
    ridges: np.ndarray,
    *,
    tolerance: float = 0.0,
    report: Callable[[int, int], object] | None = None,
) -> RidgePath:
    """The path out of one eigendecomposition K = V Λ Vᵀ, about 9n³ operations.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric; unchanged.
    Y : array of shape (n, k)
    ridges : array of shape (r,)
        λ, absolute.
    tolerance : float
        Negative eigenvalues down to −tolerance·λ_max, or −n·ε·λ_max if that is more, are taken for rounding.
    report : callable(done, total), optional

    Raises
    ------
    NotPositiveSemidefiniteError
        With the smallest eigenvalue.
    """
    n, r = len(K), len(ridges)
    values, V = scipy.linalg.eigh(K, driver="evr", check_finite=False)
    rounding = singular_below(n, values[-1])
    if values[0] < -max(rounding, tolerance * values[-1]):
        raise _not_psd(values[0], values[-1])

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
        [_relative(K @ alpha + ridge * alpha - Y, Y) for alpha, ridge in zip(dual, ridges, strict=True)]
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
    report: Callable[[int, int], object] | None = None,
) -> RidgePath:
    """The path out of a Cholesky factorisation K + λI = UᵀU for every λ, about 2n³/3 operations each.

    One n×n matrix holds both: K stays in the strict lower triangle, U and then U⁻¹ live in the upper one.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric.
    Y, ridges, tolerance, report : as in `solve_eigh`
    overwrite : bool
        Work in K itself, which is then destroyed, instead of a copy; K must be writeable and C-contiguous.

    Raises
    ------
    NotPositiveSemidefiniteError
        With the smallest eigenvalue, which takes another n×n matrix and 4n³/3 operations to find.
    """
    n, r = len(K), len(ridges)
    # K is symmetric, so the Fortran-ordered view of its C-ordered memory is K as well.
    in_place = overwrite and K.flags.c_contiguous and K.flags.writeable
    A = (K if in_place else np.array(K, order="C")).T
    diagonal = A.diagonal().copy()
    norm = _one_norm(A)
    path = RidgePath(
        np.full((r, *Y.shape), np.nan), np.full((r, n), np.nan), np.full(r, np.nan), np.full(r, np.inf), None
    )
    if not np.any(ridges == 0) or not _factorise(A, diagonal):
        _require_psd(A, diagonal, norm, tolerance)
    for index, ridge in enumerate(ridges):
        if _factorise(A, diagonal + ridge):
            reciprocal, _ = lapack.dpocon(A, norm + ridge, uplo="U")
            if reciprocal > singular_below(n, 1.0):
                alpha = lapack.dpotrs(A, Y, lower=0)[0]
                lapack.dtrtri(A, lower=0, overwrite_c=1)
                path.dual[index] = alpha
                path.inverse_diagonal[index] = _row_norms_of_upper(A)
                np.fill_diagonal(A, diagonal + ridge)
                path.residual_norm[index] = _relative(blas.dsymm(1.0, A, alpha, lower=1) - Y, Y)
                path.condition_number[index] = 1 / reciprocal
        if report is not None:
            report(index + 1, r)
    return path


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


def _require_psd(A: np.ndarray, diagonal: np.ndarray, norm: float, tolerance: float) -> None:
    """Raise if the matrix with A's lower triangle and `diagonal` has an eigenvalue that is negative beyond rounding.

    λ_max is bounded by the 1-norm; a factorisation with that much of a shift is the proof, its failure only a hint.
    """
    allowed = max(singular_below(len(A), norm), tolerance * norm)
    if _factorise(A, diagonal + allowed):
        return
    np.fill_diagonal(A, diagonal)
    smallest = scipy.linalg.eigh(A, lower=True, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)[0]
    if smallest < -allowed:
        raise _not_psd(smallest, norm)


def _not_psd(smallest: float, largest: float) -> NotPositiveSemidefiniteError:
    return NotPositiveSemidefiniteError(
        f"K is not positive semi-definite: its smallest eigenvalue is {smallest:.6g}, its largest at most "
        f"{largest:.6g}. Rounding of float64 does not explain it, and nothing is added to K to hide it: "
        'check how K was computed (dtype="float64" if it was float32)'
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


def _relative(residual: np.ndarray, Y: np.ndarray) -> float:
    size = float(np.linalg.norm(Y))
    return float(np.linalg.norm(residual)) / size if size > 0 else float(np.linalg.norm(residual))
