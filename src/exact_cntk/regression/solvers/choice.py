"""Which solver takes a kernel of n points here, what memory and disk it needs, and why it was chosen."""

import math
from typing import NamedTuple

from exact_cntk._support import validation as check
from exact_cntk._support.machine import GIB, available_memory, format_gib, gpu_present, require_memory
from exact_cntk.errors import UserError
from exact_cntk.kernels.cost import ITEM_BYTES
from exact_cntk.regression.ridge_path import required_bytes
from exact_cntk.regression.solvers.arrays import import_torch
from exact_cntk.regression.solvers.stores import scratch_bytes
from exact_cntk.regression.solvers.triangle import MOST_THREADS

METHODS = ("auto", "direct", "eigh", "cholesky", "cuda", "blocked", "cg")
# Up to here one eigendecomposition costs minutes on two cores; it gives spectrum and exact condition numbers besides.
EIGH_LIMIT = 10_000
# Tiles on disk: a product of two of 4096 takes seconds, which is how long Ctrl-C waits; at n = 50,000 a panel then
# takes 1.5 GiB, and a factorisation reads 40 GB. Below 64 rows, reading takes far longer than computing.
SMALLEST_TILE, LARGEST_TILE, TILE_STEP = 64, 4096, 16
DEVICE_TILE = 2048  # large enough for a GPU's full speed in products, small compared with the matrix
DEVICE_SPARE = GIB // 2  # what CUDA's libraries take for themselves
TILES = 3  # in memory with a panel: two factors of a product, and one for intermediate results
BLAS_ROWS = 1024  # of a tile, for BLAS's own buffers
# Steps of conjugate gradients that may be kept; fewer where memory is short.
STEPS = 400
FEWEST_STEPS = 20
# Steps that are expected, of a dense kernel of 50,000 images (61 at 3,125 and 81 at 6,250), and how much longer their
# operations take than those of a factorisation, which reuses numbers in the cache: docs/solving.md.
EXPECTED_STEPS = 200
PRODUCT_SLOWNESS = 2
CG_FITS = 2  # to all points and to those that are not held out, side by side
SWEEP_COLUMNS = 100  # multiplied by K at once when all is solved: ten targets, ten ridges


class Solver(NamedTuple):
    """A solver as chosen."""

    method: str  # one of `METHODS` but "auto" and "direct"
    tile: int  # rows and columns of a tile; 0 without tiles
    memory: int  # peak of host memory in bytes, beyond an array that the caller has
    scratch: int  # bytes of disk that it takes while it works
    reason: str  # why this method
    columns: int = 0  # "cg": vectors of n numbers that it may keep


class Problem(NamedTuple):
    """Sizes of a kernel regression."""

    n: int  # training points
    targets: int  # columns of Y
    ridges: int  # length of the path
    in_memory: bool = False  # K is an array of the caller's, whose memory is not counted; else it is read from disk
    overwrite: bool = True  # such an array may be overwritten
    item_bytes: int = ITEM_BYTES  # of a number of K on disk


def choose_solver(
    problem: Problem, *, method: str = "auto", max_memory_gib: float | None = None, what: str | None = None
) -> Solver:
    """Settle how K + λI is solved: by an eigendecomposition, a GPU, Cholesky in memory or on disk, or products with K.

    "direct" takes the first that fits: "eigh" up to n = 10,000, above that "cuda"; then "cholesky"; then "blocked". So
    does "auto", but that "cg" comes next to "cuda" where it is expected to take fewer operations than a factorisation
    and there is room for `EXPECTED_STEPS`.

    Parameters
    ----------
    problem : Problem
    method : str
        One of `METHODS`.
    max_memory_gib : float, optional
        Limit of host memory; by default, and at most, what is available.
    what : str, optional
        Subject of the message, for example "solving cntk-v at depth 3".

    Raises
    ------
    UserError
        Memory does not suffice, with the numbers; or "cuda" was requested and is not available.
    """
    check.as_choice("method", method, METHODS)
    available = available_memory()
    limit = available if max_memory_gib is None else min(available, int(max_memory_gib * GIB))
    # The tiles follow from a stated limit alone: what happens to be available must not change the last digits.
    stated = available if max_memory_gib is None else int(max_memory_gib * GIB)
    lacks: list[str] = []
    for name in _order(problem, method):
        solver, lack = _candidate(name, problem, stated)
        if lack is None and method != name:
            lack = _too_few_steps(solver, problem)
        if lack is None and solver.memory > limit:
            lack = f"{name} needs {format_gib(solver.memory)} of {format_gib(limit)} of memory"
        if lack is None:
            break
        lacks.append(lack)
    else:
        what = what or f"kernel regression on {problem.n} points, method={method!r},"
        require_memory(what, solver.memory, max_memory_gib)
        raise UserError(f"{what} cannot run here: {lacks[-1]}")
    reason = "as requested" if method == solver.method else "; ".join(filter(None, [*lacks, solver.reason]))
    return solver._replace(reason=reason)


def plan_solver(problem: Problem, max_memory_gib: float, *, method: str = "auto") -> Solver:
    """What `choose_solver` takes on a machine without GPU that has as much memory as is allowed; the last if none fits.

    Nothing of this machine counts.
    """
    limit = int(max_memory_gib * GIB)
    for name in _order(problem, method):
        if name != "cuda":
            solver, _ = _candidate(name, problem, limit)
            if solver.memory <= limit and _too_few_steps(solver, problem) is None:
                break
    return solver


def describe_solver(solver: Solver) -> str:
    """Method, memory and disk, for people: ``blocked (1.9 GiB of memory, 10 GiB of disk, tiles of 3856)``."""
    takes = f"{format_gib(solver.memory)} of memory"
    if solver.scratch:
        takes += f", {format_gib(solver.scratch)} of disk, tiles of {solver.tile}"
    return f"{solver.method} ({takes})"


def _order(problem: Problem, method: str) -> list[str]:
    """What is tried, one after the other."""
    if method not in ("auto", "direct"):
        return [method]
    first = "cuda" if prefers_gpu(problem.n) else "eigh"
    iterates = method == "auto" and first == "cuda" and operations("cg", problem) < operations("cholesky", problem)
    return [first, *["cg"] * iterates, "cholesky", "blocked"]


def operations(method: str, problem: Problem) -> float:
    """Additions and multiplications of a ridge path on the CPU; those of "cg" are expected ones, by `PRODUCT_SLOWNESS`.

    9n³ of an eigendecomposition, 4n³/3 a ridge by factorisation, 4n²k a product for the two fits of "cg".
    """
    n = float(problem.n)
    if method == "cg":
        return PRODUCT_SLOWNESS * EXPECTED_STEPS * 2 * CG_FITS * n**2 * problem.targets
    return 9 * n**3 if method == "eigh" else 4 / 3 * n**3 * problem.ridges


def prefers_gpu(n: int, method: str = "auto") -> bool:
    """Whether a kernel of n points is solved on a GPU where there is one."""
    return method == "cuda" or (method in ("auto", "direct") and n > EIGH_LIMIT)


def _candidate(method: str, problem: Problem, limit: int) -> tuple[Solver, str | None]:
    """A solver by this method, and what else than memory is missing for it."""
    if method == "cuda":
        memory = cuda_bytes(problem)
        device, lack = usable_device(problem)
        return Solver(method, DEVICE_TILE, memory, 0, device), lack
    if method == "blocked":
        tile = tile_size(problem, limit)
        return Solver(method, tile, blocked_bytes(problem, tile), scratch_bytes(problem.n, tile), ""), None
    if method == "cg":
        columns = cg_columns(problem, limit)
        tile = min(problem.n, DEVICE_TILE)
        few, many = (f"{operations(name, problem):.1e}" for name in ("cg", "cholesky"))
        reason = f"{few} operations expected in {EXPECTED_STEPS} products with K, against {many} of a factorisation"
        return Solver(method, tile, cg_bytes(problem, columns), 0, reason, columns), None
    matrices = required_bytes(problem.n, method, overwrite=problem.overwrite)
    if not problem.in_memory:
        matrices = required_bytes(problem.n, method, overwrite=True) + (ITEM_BYTES + 1) * problem.n**2
    reason = f"up to {EIGH_LIMIT:,} points" if method == "eigh" else "K fits in memory"
    return Solver(method, 0, matrices + _path_bytes(problem), 0, reason), None


def tile_size(problem: Problem, memory: int) -> int:
    """Rows of a tile, a multiple of 16 up to n: as few tiles as `memory` and 4096 rows allow, all of about one size.

    There are 64 rows where not even these fit.
    """
    sizes = range(SMALLEST_TILE, LARGEST_TILE + 1, TILE_STEP)
    largest = max((tile for tile in sizes if blocked_bytes(problem, tile) <= memory), default=SMALLEST_TILE)
    even = math.ceil(problem.n / math.ceil(problem.n / largest))
    return min(problem.n, largest, math.ceil(even / TILE_STEP) * TILE_STEP)


def blocked_bytes(problem: Problem, tile: int) -> int:
    """Peak memory of "blocked": a panel of n × tile numbers, three tiles, BLAS's buffers, and the path.

    8 ((n + 1024) tile + 3 tile² + 4 n (k + 2) + 4 r n (k + 1)) bytes for k targets and r ridges.
    """
    n = problem.n
    tiles = (n + BLAS_ROWS) * tile + TILES * tile**2
    return ITEM_BYTES * (tiles + 4 * n * (problem.targets + 2)) + _path_bytes(problem)


def cg_columns(problem: Problem, memory: int) -> int:
    """Vectors that each fit of "cg" may keep: those of `STEPS` steps, or as many as `memory` has room for."""
    k, most = problem.targets, min(problem.n, problem.targets * STEPS)
    room = (memory - cg_bytes(problem, 0)) // (CG_FITS * ITEM_BYTES * problem.n)
    return max(k * FEWEST_STEPS, min(most, room)) + k


def _too_few_steps(solver: Solver, problem: Problem) -> str | None:
    """Why "cg" is not likely to end, if so; all of a small K's space is reached in any case."""
    steps = solver.columns // problem.targets - 1
    if solver.method != "cg" or steps >= EXPECTED_STEPS or solver.columns > problem.n:
        return None
    return f"cg has memory for {steps} products with K, of {EXPECTED_STEPS} expected"


def cg_bytes(problem: Problem, columns: int) -> int:
    """Peak memory of "cg": K's lower triangle where K is on disk, vectors, a few blocks, and the path, twice.

    4 n (n + tile) + 8 n (2 columns + 32 k + 1000 + 8 r (k + 1)) bytes for k targets and r ridges; for K half of it
    where it is stored in float32.
    """
    n, tile, k = problem.n, min(problem.n, DEVICE_TILE), problem.targets
    kernel = 0 if problem.in_memory else problem.item_bytes * n * (n + tile) // 2 + ITEM_BYTES * (TILES + 1) * tile**2
    vectors = CG_FITS * (columns + 16 * k) + (2 + MOST_THREADS) * SWEEP_COLUMNS
    return kernel + ITEM_BYTES * n * vectors + 2 * _path_bytes(problem)


def cuda_bytes(problem: Problem) -> int:
    """Peak memory of "cuda" on the host: two tiles and a copy while K is read, and the path."""
    return ITEM_BYTES * (TILES * DEVICE_TILE**2 + 4 * problem.n * (problem.targets + 2)) + _path_bytes(problem)


def device_bytes(problem: Problem) -> int:
    """Peak memory of "cuda" on the device: K and its factor in one matrix, a panel, some tiles and right-hand sides.

    8 (n² + n·2048 + 6·2048² + 4 n (k + 2)) bytes, and 0.5 GiB for CUDA's libraries: 20 GiB for n = 50,000.
    """
    n, tile = problem.n, DEVICE_TILE
    numbers = n**2 + n * tile + 2 * TILES * tile**2 + 4 * n * (problem.targets + 2)
    return ITEM_BYTES * numbers + DEVICE_SPARE


def usable_device(problem: Problem) -> tuple[str, str | None]:
    """Name of the GPU that torch would take, and why it cannot be used, if so."""
    if not gpu_present():
        return "", "no GPU present"
    try:
        torch = import_torch()
    except ImportError:
        return "", "torch is not installed, which the GPU is used through"
    if not torch.cuda.is_available():
        return "", f"torch {torch.__version__} finds no CUDA device that it can use"
    name, (free, _) = torch.cuda.get_device_name(), torch.cuda.mem_get_info()
    if (need := device_bytes(problem)) > free:
        return name, f"{name} has {format_gib(free)} of free memory, of {format_gib(need)} needed"
    return name, None


def _path_bytes(problem: Problem) -> int:
    """Solutions, leave-one-out predictions, the diagonals of the inverse; and their copies on the way out."""
    return ITEM_BYTES * 4 * problem.ridges * problem.n * (problem.targets + 1)
