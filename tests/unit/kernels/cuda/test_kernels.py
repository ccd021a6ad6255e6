"""The kernels' own source, emulated thread by thread, against whole tensors in float64."""

from functools import cache

import numpy as np
import pytest
from emulated_device import EmulatedDevice
from kernel_inputs import Answer, Problem, answer, scaled, smooth_images
from kernel_runs import Sums, all_tiles, run, variant_of

# Float32 rounding and the errors of the GPU's special functions, averaged over the pixels of a pair; in float64, what
# the polynomial for arccos and the layers add.
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


@cache
def images(n: int, height: int, width: int, channels: int, dtype: str, seed: int) -> np.ndarray:
    return scaled(smooth_images(n, height, width, channels, seed), dtype)


def pair_of_sets(problem: Problem, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (problem.height, problem.width, problem.channels, problem.dtype)
    return images(n, *shape, 1), images(m, *shape, 2)


@cache
def expect(problem: Problem, n: int, m: int) -> Answer:
    # Some pairs of each tile are enough where there are many, or their tensors are large.
    entries = n * m * (problem.height * problem.width) ** 2
    return answer(*pair_of_sets(problem, n, m), problem, every=7 if entries > 4e6 and n * m > 2 else 1)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Of sums, as `Sums` holds them.

    What is added to K before anybody sees it (Theta and Gap from Sigma⁰) may cancel: K is part of what it is compared
    to. Exact zeros (Theta of depth 2 where the hidden layers are trained) must be zeros.
    """
    assert not actual[expected == 0].any()
    error, scale = np.abs(actual - expected), np.abs(expected) + np.abs(expected[:, :, :1])
    return float(np.nanmax(np.divide(error, scale, out=error, where=scale != 0)))


def check(actual: Sums, expected: Answer, tolerance: float) -> None:
    """Sums within the tolerance, part by part; counts within what rounding may do."""
    parts, _, fields = actual.sums.shape[:3]
    assert not np.isnan(actual.sums).any()
    assert relative_error(actual.sums, expected.sums[:parts, :, :fields]) <= tolerance
    fewest, most = expected.near[:, :parts]
    assert (actual.near >= 0).all() and not ((actual.near < fewest) | (actual.near > most)).any()


def check_random_images(problem: Problem, n: int, m: int, tolerance: float | None = None, **how) -> Sums:
    actual = run(problem, *pair_of_sets(problem, n, m), **how)
    check(actual, expect(problem, n, m), tolerance or TOLERANCE[problem.dtype])
    return actual


def problem_id(problem: Problem) -> str:
    kind = "gap" if problem.pooling else "flatten"
    if problem.pooling_window is not None:
        kind = f"lap{problem.pooling_window}"
    return f"{kind}-{problem.height}x{problem.width}-q{problem.filter_size}-fields{problem.fields}-{problem.dtype}"


TORUS = (
    Problem(32, 32, depths=(3, 4)),
    Problem(28, 28, depths=(2, 3), fields=2, channels=1),
    Problem(16, 16, depths=(2, 3, 5), fields=0),
    Problem(16, 16, depths=(3, 6), fields=2),
    # On the layer in which the units are brought back, and past it.
    Problem(8, 8, depths=(3, 13, 21)),
    Problem(14, 10, depths=(2, 3)),
    Problem(8, 8, depths=(2, 4), theta_from_sigma=True, channels=1),
)
FLATTEN = (
    Problem(32, 32, depths=(3, 6), pooling=False),
    Problem(28, 28, depths=(2, 3), pooling=False, fields=2, channels=1),
    Problem(16, 16, depths=(2, 3, 5), pooling=False, fields=0),
    Problem(8, 8, depths=(3, 13, 21), pooling=False, theta_from_sigma=True),
)
GENERAL = (
    Problem(9, 11, depths=(2, 4), fields=2),
    # More pixels than a block has threads.
    Problem(17, 19, depths=(2, 3), radius=2, channels=1),
    Problem(8, 9, depths=(4,), radius=0, fields=0, pooling=False),
    Problem(1, 70, depths=(2, 14), theta_from_sigma=True, pooling=False),
    Problem(5, 6, depths=(3, 5), dtype="float64", fields=2),
    Problem(6, 4, depths=(2, 21), dtype="float64", pooling=False),
)
LOCAL = (
    Problem(9, 11, depths=(2, 4), fields=2, pooling_window=3),
    Problem(8, 8, depths=(3,), theta_from_sigma=True, pooling_window=5),
    Problem(17, 19, depths=(2, 3), radius=2, channels=1, pooling_window=3),
    # A window higher than the image but not as wide as it.
    Problem(2, 12, depths=(2, 3), radius=0, fields=0, dtype="float64", pooling_window=7),
    Problem(5, 6, depths=(3, 5), dtype="float64", fields=2, pooling_window=5),
)
SMALL = (TORUS[-1], FLATTEN[-1], GENERAL[0], GENERAL[-2], LOCAL[-1])


def sources(problems: tuple[Problem, ...]) -> set[str]:
    return {variant_of(problem).source.rpartition("/")[2] for problem in problems}


def test_each_kernel_is_among_the_cases():
    assert sources(TORUS) == {"torus.cu"}
    assert sources(FLATTEN) == {"flatten.cu"}
    assert sources(GENERAL) == sources(LOCAL) == {"general.cu"}


@pytest.mark.parametrize("problem", TORUS, ids=problem_id)
def test_torus(problem):
    small = problem.height < 20
    check_random_images(problem, 3 if small else 1, 2, blocks=2)


# Neither number is a multiple of a tile's.
@pytest.mark.parametrize("problem", FLATTEN, ids=problem_id)
def test_flatten(problem):
    check_random_images(problem, 6, 5, blocks=2)


@pytest.mark.parametrize("problem", GENERAL, ids=problem_id)
def test_general(problem):
    # Where q = 1 nothing averages over a pixel's neighbourhood.
    check_random_images(problem, 3, 2, 3e-6 if problem.radius == 0 else None, blocks=2)


@pytest.mark.parametrize("problem", LOCAL, ids=problem_id)
def test_local_pooling(problem):
    check_random_images(problem, 3, 2, blocks=2)


def test_general_in_global_memory():
    """Planes that shared memory has no room for: the same numbers out of the workspace, to the byte."""
    problem = GENERAL[0]
    variant = variant_of(problem, shared_limit=4000)
    assert variant.workspace_scalars > 0
    there = run(problem, *pair_of_sets(problem, 3, 2), variant=variant, device=EmulatedDevice(checked=True))
    assert np.array_equal(there.sums, run(problem, *pair_of_sets(problem, 3, 2)).sums)


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_same_bytes_for_any_grid_and_order(problem):
    """Blocks, warps and lanes in other orders: what depended on one would change."""
    n, m = (3, 2) if variant_of(problem).tile == (1, 1) else (5, 3)
    results = [
        run(problem, *pair_of_sets(problem, n, m), blocks=blocks, device=EmulatedDevice(seed=seed))
        for blocks, seed in ((1, 0), (3, 1), (70, 2))
    ]
    assert len({(result.sums.tobytes(), result.near.tobytes()) for result in results}) == 1


@pytest.mark.parametrize("problem", [*SMALL, TORUS[0], TORUS[-2], FLATTEN[0]], ids=problem_id)
def test_every_access_is_in_order(problem):
    """No races, nothing read before it is written, nothing out of bounds: the emulator stops where there is."""
    short = Problem(**{**vars(problem), "depths": (2, 3)})
    height, width = variant_of(short).tile
    # The block takes a second tile: what the first one leaves is in its way.
    check_random_images(short, height, width + 1, blocks=1, device=EmulatedDevice(checked=True))


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_pairs_beside_the_tiles_are_left_alone(problem):
    variant = variant_of(problem)
    height, width = variant.tile
    n, m = 2 * height + 1, 2 * width + 1
    everything = all_tiles(variant, n, m)
    some = everything[[8, 0, 4]]
    actual = run(problem, *pair_of_sets(problem, n, m), tiles=some)
    present = np.zeros((n, m), dtype=bool)
    for row, column in some:
        present[row : row + height, column : column + width] = True
    assert not np.isnan(actual.sums[..., present]).any() and (actual.near[..., present] >= 0).all()
    assert np.isnan(actual.sums[..., ~present]).all() and (actual.near[..., ~present] == -1).all()
    # A pair does not depend on what shares its tile.
    last = run(problem, pair_of_sets(problem, n, m)[0][-1:], pair_of_sets(problem, n, m)[1][-1:])
    assert np.array_equal(last.sums[..., 0, 0], actual.sums[..., -1, -1])


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_transposed_pairs(problem):
    x, y = pair_of_sets(problem, 3, 2)
    one, other = run(problem, x, y), run(problem, y, x)
    assert relative_error(one.sums, np.swapaxes(other.sums, -1, -2)) <= TOLERANCE[problem.dtype]
    assert np.array_equal(one.near, np.swapaxes(other.near, -1, -2))


def special_images(problem: Problem) -> np.ndarray:
    """Constant, its negative, half black, a single lit pixel, a checkerboard; scaled."""
    special = np.zeros((5, problem.height, problem.width, problem.channels))
    special[0] = 1
    special[1] = -1
    special[2, : problem.height // 2] = 0.7
    special[3, 1, 2] = 1
    special[4, ::2, ::2] = special[4, 1::2, 1::2] = 1
    return scaled(special, problem.dtype)


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_special_images(problem):
    short = Problem(**{**vars(problem), "depths": (2, 4)})
    x, y = special_images(short), pair_of_sets(short, 0, 2)[1]
    expected = answer(x, y, short)
    check(run(short, x, y), expected, TOLERANCE[problem.dtype])
    # Among themselves many a patch is the other one's multiple, exactly: rho = ±1.
    among = run(short, x[:2], x[:2])
    expected = answer(x[:2], x[:2], short)
    check(among, expected, TOLERANCE[problem.dtype])
    pixels = problem.height * problem.width
    assert among.near[0, 0].min() == pixels


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_black_images(problem):
    """Norms are floored: sums are finite, and next to nothing."""
    y = pair_of_sets(problem, 0, 2)[1]
    actual = run(problem, np.zeros_like(y), y)
    brightest = run(problem, y, y).sums[0, -1].max()
    assert np.isfinite(actual.sums).all() and np.abs(actual.sums).max() < 1e-9 * brightest
    assert not actual.near.any()


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_identical_images(problem):
    """The host replaces what displacement (0, 0) yields; other planes are as good as ever, and near pairs counted."""
    short = Problem(**{**vars(problem), "depths": (3, 5)})
    x = pair_of_sets(short, 2, 0)[0]
    actual, expected = run(short, x, x), answer(x, x, short)
    pixels = problem.height * problem.width
    for i in range(2):
        assert actual.near[0, 1, i, i] == pixels and actual.near[0, 0, i, i] > 0.9 * pixels
    if problem.pooling:
        fields = actual.sums.shape[2]
        assert relative_error(actual.sums[1:], expected.sums[1:, :, :fields]) <= TOLERANCE[problem.dtype]


@pytest.mark.parametrize("problem", SMALL, ids=problem_id)
def test_near_duplicates_are_counted(problem):
    """Angles on both sides of the limit: the count is that of whole tensors, but for those at the limit itself."""
    x = pair_of_sets(problem, 1, 0)[0]
    strength = np.linspace(0, 0.05, problem.height)[:, None, None]
    y = scaled(x * (1 + strength * np.random.default_rng(0).standard_normal(x.shape)), problem.dtype)
    _, close = run(problem, x, y).near[0, :, 0, 0]
    fewest, most = answer(x, y, Problem(**{**vars(problem), "depths": (2,)})).near[:, 0, 1, 0, 0]
    assert 0 < fewest <= close <= most < problem.height * problem.width
