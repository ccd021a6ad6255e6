"""Kernel regression on a precomputed kernel: a whole ridge path with leave-one-out predictions in closed form."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError
from exact_cntk.regression.inputs import as_ridges, as_targets
from exact_cntk.regression.result import HELD_OUT_TENTH, LEAVE_ONE_OUT, KernelRegression, as_test_kernel, choose
from exact_cntk.regression.ridge_path import (
    ASYMMETRY,
    ROUNDING,
    ROWS_AT_ONCE,
    NotPositiveSemidefiniteError,
    RidgePath,
    check_entries,
    mirrored,
    solve_cholesky,
    solve_eigh,
)
from exact_cntk.regression.solvers.cg import HeldOut, solve_cg
from exact_cntk.regression.solvers.checkpoint import ridge_checkpoint
from exact_cntk.regression.solvers.choice import EIGH_LIMIT, METHODS, Problem, Solver, choose_solver
from exact_cntk.regression.solvers.stores import is_stored
from exact_cntk.regression.solvers.tiled import solve_tiled
from exact_cntk.regression.solvers.triangle import triangle_dtype

__all__ = ["EIGH_LIMIT", "METHODS", "KernelRegression", "NotPositiveSemidefiniteError", "kernel_regression"]


def kernel_regression(
    K: Any,
    y: Any,
    K_test: Any = None,
    *,
    ridges: float | Sequence[float] | np.ndarray | Literal["loo"] = (0.0,),
    method: str = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    tolerance: float | None = None,
    residual: float = 1e-8,
    overwrite: bool = False,
    max_memory_gib: float | None = None,
    scratch: str | Path | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Progress = False,
) -> KernelRegression:
    """Ridge regression on a precomputed kernel, along a path of ridges, in float64.

    With λ = ridge · mean(diag K)::

        α        = (K + λI)⁻¹ Y
        f(X_*)   = K_* α
        f_−i(x_i) = Y_i − α_i / [(K + λI)⁻¹]_ii      the prediction of point i by a fit to all others, at the same λ

    Parameters
    ----------
    K : array or h5py.Dataset of shape (n, n)
        Symmetric, positive semi-definite, finite. A dataset is read as the method needs it: whole, or by tiles.
    y : array of shape (n,) or (n, k)
        One-dimensional integers, booleans or texts, also as objects or pandas' categoricals, are class labels, coded
        as in the paper: 0.9 for the own class and −0.1 for the others. Floats, and a matrix of integers of at least
        three values, are numeric targets (integers that are targets otherwise want ``y.astype(float)``). Refused are
        labels in a column, of shape (n, 1), and a matrix of two values: one-hot labels, or several for a point.
    K_test : array of shape (m, n), optional
        Kernel of test with training points.
    ridges : float or sequence of float, each ≥ 0, or "loo"
        Relative to mean(diag K). 0 is the paper's protocol. "loo" stands for the path of the estimators, from 0 to 1.
        Whatever the path, `best` is the ridge that leave-one-out chooses from it.
    method : {"auto", "direct", "eigh", "cholesky", "cuda", "blocked", "cg"}
        "eigh": one eigendecomposition for all ridges, 9n³ operations, 16n² bytes beyond K.
        "cholesky": a factorisation for each ridge, 4n³/3 operations with leave-one-out; 8n² bytes beyond K, or none
        with `overwrite`. Both hold K in memory, 8n² bytes.
        "cuda": the same on a GPU, through torch, in little more than 8n² bytes of its memory (20 GiB for n = 50,000).
        "blocked": the same by tiles in a scratch file of about 4n² bytes (10 GiB for n = 50,000); a dataset K is then
        never in memory. With tiles of t rows, k targets and r ridges it takes 8 ((n + 1024)t + 3t² + 4n(k + 2) +
        4rn(k + 1)) bytes of memory and reads about 3n³/t bytes for each ridge. t is about 4096 (then 1.9 GiB for
        n = 50,000), or what `max_memory_gib` allows.
        "cg": block conjugate gradients for all ridges and targets at once: 4n²k operations a product with K, of which
        kernels with `flatten` took about 50 for a residual of 1e-8. It has no leave-one-out: the ridge is chosen by the
        predictions of every tenth point from the others, a second fit that shares the products. Up to 16n·400k bytes
        beyond K, less where `max_memory_gib` asks for it, and 4n² for a dataset's lower triangle, half of it where that
        is in float32.
        "direct": the first that fits of "eigh" (n ≤ 10,000) or "cuda" (n > 10,000), "cholesky", "blocked".
        "auto": the same, but that "cg" comes after "cuda" for n > 10,000, where its expected operations are fewer than
        those of "cholesky". If it then fails to reach the residual, nothing else is tried.
    dtype : {"float32", "float64"}
        What K was computed in, which its entries do not show: those of `cntk` are float64 in any case. It says how
        large the rounding in K is, 1e-6 or 1e-7 of λ_max. Eigenvalues that are no further below 0 do not count as
        negative; they are left as they are, and a ridge that does not outweigh them is not solved. An asymmetry of no
        more than that, of max |K|, is rounding as well; beyond 1e-8 the lower triangle then stands for both.
    tolerance : float ≥ 0, optional
        Relative size of the rounding in K, instead of that of `dtype`; at least n·ε.
    residual : float > 0
        For "cg": ‖(K + λI)α − y‖ / ‖y‖ of the target where it is largest. A ridge that does not reach it is not solved.
    overwrite : bool
        Let "cholesky" work in K's own memory, which it destroys, so that no further n×n matrix is needed.
    max_memory_gib : float > 0, optional
        Limit of host memory beyond an array K; by default, and at most, what is available.
    scratch : path, optional
        Folder for the scratch file of "blocked"; by default that of the dataset K, or the system's for temporary
        files. The file has no name there, and is removed however the process ends.
    checkpoint : path, optional
        File for the finished ridges of a path by any method but "eigh", from which a later call for the same problem
        and method continues, with the same result. It is kept: remove it when the result is safe. From "cg", files of
        8nk bytes with this name and the number of a product.
    progress : bool or callable(done, total)
        Counts ridges, or for "cuda" and "blocked" products of tiles, for "cg" products with K.

    Returns
    -------
    KernelRegression

    Raises
    ------
    UserError
        Memory or disk do not suffice, with the numbers; or there is no GPU for "cuda".
    InputError
        (a ValueError) An argument is not allowed; or K + λI is singular to working precision, that is with a condition
        number above 1/(n ε), for every ridge. Where that is so for some, they are marked as not solved and hold NaN.
    NotPositiveSemidefiniteError
        (an InputError) K has an eigenvalue that is negative beyond rounding; the message gives the smallest. Nothing
        is ever added to K but λ.

    References
    ----------
    Arora et al. 2019, arXiv 1904.11955v2, appendix A (coding, no ridge). Leave-one-out: Rasmussen and Williams,
    Gaussian Processes for Machine Learning, 2006, equation 5.12.

    Examples
    --------
    >>> import numpy as np
    >>> from exact_cntk import ntk
    >>> x = np.random.default_rng(0).standard_normal((60, 5))
    >>> labels = (x[:, 0] > 0).astype(int)
    >>> K = ntk(x, depth=3)["ntk"]
    >>> fit = kernel_regression(K[:40, :40], labels[:40], K[40:, :40], ridges=[0, 1e-3, 1e-1])
    >>> fit.test_accuracy(labels[40:]).shape
    (3,)
    >>> fit.best_ridge in fit.ridges
    True
    """
    stored = is_stored(K)
    rounding = ROUNDING[check.as_choice("dtype", dtype, tuple(ROUNDING))]
    rounding = rounding if tolerance is None else check.as_number("tolerance", tolerance)
    source = K if stored else _as_kernel(K, rounding, overwrite=overwrite)
    _check_square(source.shape)
    targets, classes = as_targets(y, n := source.shape[0])
    Y, path = targets.reshape(n, -1), as_ridges("ridges", ridges)
    tests = None if K_test is None else as_test_kernel(K_test, n)
    # An array of another type or layout was copied on the way in: that copy may be overwritten.
    overwrite = stored or overwrite or (source is not K and source.flags.owndata)
    solver = choose_solver(
        Problem(
            *(n, Y.shape[1], len(path)),
            in_memory=not stored,
            overwrite=overwrite,
            item_bytes=triangle_dtype(source.dtype).itemsize,
        ),
        method=method,
        max_memory_gib=None if max_memory_gib is None else check.as_number("max_memory_gib", max_memory_gib),
    )
    options: dict[str, Any] = {
        "tolerance": rounding,
        "checkpoint": None if checkpoint is None else Path(checkpoint),
    }
    unit = "products" if solver.tile or solver.method == "cg" else "ridges"
    held = None
    with reporting(check.as_progress("progress", progress), solver.method, unit) as report:
        if solver.method == "cg":
            options["residual"] = _as_residual(residual)
            scale, solution, held = solve_cg(source, Y, path, solver, report=report, **options)
        elif solver.tile:
            folder = None if scratch is None else Path(scratch)
            scale, solution = solve_tiled(source, Y, path, solver, scratch=folder, report=report, **options)
        else:
            kernel = _as_kernel(np.asarray(source), rounding, overwrite=True) if stored else source
            scale, solution = _solve_array(kernel, Y, path, solver, overwrite=overwrite, report=report, **options)
    result = _result(path, scale, targets, classes, solution, held, solver)
    return result if tests is None else replace(result, predictions=result.predict(tests))


def _solve_array(
    kernel: np.ndarray,
    Y: np.ndarray,
    ridges: np.ndarray,
    solver: Solver,
    *,
    overwrite: bool,
    tolerance: float,
    checkpoint: Path | None,
    report: Progress | None,
) -> tuple[float, RidgePath]:
    """mean(diag K), and the path for a kernel in memory."""
    scale = float(kernel.diagonal().mean())
    if solver.method == "eigh":
        return scale, solve_eigh(kernel, Y, ridges * scale, tolerance=tolerance, report=report)
    saved = None
    if checkpoint is not None:
        saved = ridge_checkpoint(checkpoint, solver.method, Y, ridges, tolerance, sha256(kernel.data).hexdigest())
    path = solve_cholesky(
        kernel, Y, ridges * scale, tolerance=tolerance, overwrite=overwrite, report=report, checkpoint=saved
    )
    return scale, path


def _result(
    ridges: np.ndarray,
    scale: float,
    targets: np.ndarray,
    classes: np.ndarray | None,
    solution: RidgePath,
    held: HeldOut | None,
    solver: Solver,
) -> KernelRegression:
    solved = np.isfinite(solution.condition_number)
    if not solved.any():
        raise InputError(
            f"ridges is {ridges.tolist()}; K + λI is singular to working precision for each of them, as it is at λ = 0 "
            f"with duplicates or near-duplicates among the {len(targets)} training points: add a larger ridge (1e-8, "
            "say), or remove them"
        )
    Y = targets.reshape(len(targets), -1)
    points = np.arange(len(Y)) if held is None else held.points
    if held is None:
        loo = Y - solution.dual / solution.inverse_diagonal[:, :, None]
    else:
        loo = np.full_like(solution.dual, np.nan)
        loo[:, points] = held.predictions
    left_out, truth = loo[:, points], Y[points]
    loo_error = ((left_out - truth) ** 2).mean(axis=(1, 2))
    loo_accuracy = None
    if classes is not None:
        loo_accuracy = np.where(solved, (left_out.argmax(axis=2) == truth.argmax(axis=1)).mean(axis=1), np.nan)
    best, _ = choose(ridges, loo_error, loo_accuracy, solved)
    shape = (len(ridges), *targets.shape)
    return KernelRegression(
        ridges=ridges,
        scale=scale,
        classes=classes,
        dual=solution.dual.reshape(shape),
        predictions=None,
        loo_predictions=loo.reshape(shape),
        loo_error=loo_error,
        loo_accuracy=loo_accuracy,
        residual_norm=solution.residual_norm,
        condition_number=solution.condition_number,
        solved=solved,
        best=best,
        eigenvalues=solution.eigenvalues,
        selection=LEAVE_ONE_OUT if held is None else HELD_OUT_TENTH,
        method=solver.method,
        reason=solver.reason,
    )


def _as_kernel(K: Any, rounding: float, *, overwrite: bool) -> np.ndarray:
    """K checked: finite first, as NaN would look like a lack of definiteness; then square, symmetric, not 0.

    Where it is less symmetric than float64, but not by more than `rounding`, the lower triangle is mirrored, in a copy
    unless K may be overwritten.
    """
    kernel = np.ascontiguousarray(check.as_array("K", K), dtype=np.float64)
    _check_square(kernel.shape)
    blocks = cut(len(kernel), ROWS_AT_ONCE)
    largest = max(float(np.abs(kernel[rows]).max()) for rows in blocks)
    asymmetry = max(float(np.abs(kernel[rows] - kernel[:, rows].T).max()) for rows in blocks)
    check_entries(largest, asymmetry, rounding)
    if asymmetry > ASYMMETRY * largest:
        own = kernel is not K and kernel.flags.owndata
        if not own and not (overwrite and kernel.flags.writeable):
            kernel = kernel.copy()
        for rows in blocks:
            kernel[: rows.start, rows] = kernel[rows, : rows.start].T
            kernel[rows, rows] = mirrored(kernel[rows, rows])
    return kernel


def _as_residual(value: Any) -> float:
    """A number above 0 and below 1."""
    if not 0 < (residual := check.as_number("residual", value)) < 1:
        raise InputError(f"residual is {value!r}; allowed are numbers above 0 and below 1")
    return residual


def _check_square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise InputError(f"K has shape {shape}; allowed is (n, n), the kernel of the n training points")
