"""Cutting pairs up: every pair once, in stripes and chunks that fit, and rows reported when they are complete."""

import itertools

import numpy as np
import pytest

from exact_cntk.kernels.cuda.stripes import (
    STRIPE_BYTES,
    STRIPE_SECONDS,
    Pace,
    chunk_sizes,
    cut,
    stripe_capacity,
    stripe_pairs,
    tile_list,
)


def covered(stripes, n: int, m: int, tile: tuple[int, int], symmetric: bool) -> np.ndarray:
    """How often each pair is in a tile."""
    count = np.zeros((n, m), int)
    for stripe in stripes:
        assert stripe.row >= 0 and stripe.row + stripe.rows <= n and stripe.column + stripe.columns <= m
        crosses = symmetric and stripe.column + stripe.columns - 1 > stripe.row
        above = stripe.column - stripe.row if crosses else None
        here = count[stripe.row : stripe.row + stripe.rows, stripe.column : stripe.column + stripe.columns]
        for r, c in tile_list(stripe.rows, stripe.columns, tile, above):
            assert r % tile[0] == 0 and c % tile[1] == 0
            here[r : r + tile[0], c : c + tile[1]] += 1
    return count


@pytest.mark.parametrize("tile", [(1, 1), (4, 4), (2, 4)])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 3), (40, 90), (130, 9)])
@pytest.mark.parametrize("pairs", [1, 50, 333, 100_000])
def test_every_pair_once(tile, n, m, pairs):
    stripes = list(cut((0, n), (0, m), symmetric=False, completes=True, tile=tile, target=lambda: pairs))
    assert (covered(stripes, n, m, tile, False) == 1).all()
    assert all(stripe.pairs <= max(pairs, tile[0] * tile[1]) for stripe in stripes)
    finals = [stripe.final for stripe in stripes if stripe.final]
    assert finals[0][0] == 0 and finals[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(finals))


@pytest.mark.parametrize("tile", [(1, 1), (4, 4), (2, 4)])
@pytest.mark.parametrize("n", [1, 7, 64, 131])
@pytest.mark.parametrize("pairs", [1, 50, 333, 100_000])
def test_every_pair_below_the_diagonal_once(tile, n, pairs):
    stripes = list(cut((0, n), (0, n), symmetric=True, completes=True, tile=tile, target=lambda: pairs))
    count = covered(stripes, n, n, tile, True)
    below = np.tri(n, dtype=bool)
    assert (count[below] == 1).all()
    # Above, only what shares a tile with the diagonal, or a sliver of a band beside it.
    assert count[~below].sum() <= n * (tile[0] + tile[1])
    finals = [stripe.final for stripe in stripes if stripe.final]
    assert finals[0][0] == 0 and finals[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(finals))


def test_rows_are_complete_when_they_are_said_to_be():
    done = np.zeros((50, 50), bool)
    for stripe in cut((0, 50), (0, 50), symmetric=True, completes=True, tile=(4, 4), target=lambda: 60):
        done[stripe.row : stripe.row + stripe.rows, stripe.column : stripe.column + stripe.columns] = True
        if stripe.final:
            start, stop = stripe.final
            assert (done | done.T)[start:stop].all()


def test_stripes_change_size_as_they_go():
    sizes = iter([16, 16, 64, 64] + 100 * [400])
    stripes = list(cut((0, 60), (0, 60), symmetric=False, completes=True, tile=(1, 1), target=lambda: next(sizes)))
    assert (covered(stripes, 60, 60, (1, 1), False) == 1).all()
    assert max(stripe.pairs for stripe in stripes) > 300


def test_parts_of_a_band_are_about_equal():
    lengths = [
        stripe.columns
        for stripe in cut((0, 10), (0, 101), symmetric=False, completes=False, tile=(1, 1), target=lambda: 1000)
    ]
    assert lengths == [51, 50]


def test_tiles_of_a_square_are_neighbours():
    tiles = tile_list(192, 320, (4, 4), None)
    assert len(tiles) == 48 * 80 and len(np.unique(tiles, axis=0)) == len(tiles)
    # 132 multiprocessors with two blocks each: what runs at the same time needs few images.
    for start in range(0, len(tiles), 264):
        running = tiles[start : start + 264]
        assert len(np.unique(running[:, 0])) + len(np.unique(running[:, 1])) <= 4 * 16


@pytest.mark.parametrize(
    ("budget", "n", "m", "expected"),
    [
        (1000, 60, 40, (60, 40)),
        (1000, 60, None, (60, 60)),
        (1000, 101, None, (50, 50)),
        (1000, 70, 40, (60, 40)),
        (1000, 10, 500, (10, 90)),
        (1000, 500, 500, (50, 50)),
        (20, 5, 5, (1, 1)),
        (10, 5, 5, None),
        (10, 5, None, None),
        (10, 1, None, (1, 1)),
    ],
)
def test_chunks_fit(budget, n, m, expected):
    assert chunk_sizes(budget, 10, n, m) == expected


def test_stripes_take_the_time_that_they_should():
    assert stripe_pairs(1000.0, fewest=1, most=10**6) == 1000 * STRIPE_SECONDS
    assert stripe_pairs(1000.0, fewest=264, most=10**6) == 264
    assert stripe_pairs(1e9, fewest=264, most=5000) == 5000
    assert stripe_pairs(0.1, fewest=264, most=100) == 100


def test_sums_in_flight_take_little_memory():
    assert stripe_capacity(80 << 30, 88, 3) == STRIPE_BYTES // 88
    assert 3 * 88 * stripe_capacity(1 << 20, 88, 3) <= 1 << 17
    assert stripe_capacity(0, 88, 3) == 1


def test_pace_finds_the_rate_from_either_side():
    for true_rate in (3.0, 3e7):
        pace = Pace(element_layers=20_971_520, processors=132)
        for _ in range(40):
            pairs = stripe_pairs(pace.pairs_per_second, fewest=1, most=10**9)
            pace.measured(pairs, pairs / true_rate)
        assert pace.pairs_per_second == pytest.approx(true_rate, rel=0.01)
    pace.measured(1000, 0.0)  # wholly in the shadow of its neighbours
    assert pace.pairs_per_second < 10 * true_rate
