"""Automatic sizes of blocks: minutes of work each, within memory, few, and covering the kernel."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exact_cntk.blocks import BlockSizes, block_positions, block_sizes, planned_backend
from exact_cntk.blocks._cover import find_fault
from exact_cntk.blocks._sizes import BLOCK_BYTES, MAX_BLOCKS
from exact_cntk.errors import InputError
from exact_cntk.kernels.cost import NOMINAL_RATES, block_bytes
from exact_cntk.networks import Family

PASSES = st.fixed_dictionaries(
    {
        "family": st.sampled_from([Family("gap"), Family("flatten")]),
        "depth": st.integers(2, 40),
        "outputs": st.integers(1, 40),
        "backend": st.sampled_from(["auto", "cpu", "cuda", "reference"]),
        "storage": st.sampled_from(["float32", "float64"]),
    }
)
KERNELS = st.tuples(st.integers(1, 50_000), st.integers(0, 10_000), st.sampled_from([8, 16, 28, 32]))


def seconds(position, side, given_pass):
    """At the nominal rate of the backend that blocks are cut for."""
    family = given_pass["family"]
    work = family.element_layers(position.pairs, (side, side), given_pass["depth"])
    return work / NOMINAL_RATES[given_pass["backend"], family.readout]


@given(KERNELS, PASSES)
def test_blocks_take_minutes_unless_memory_or_the_problem_bounds_them(kernel, one):
    n_train, n_test, side = kernel
    sizes = block_sizes(n_train, n_test, (side, side, 3), **one)
    known = {name: one[name] for name in ("family", "depth", "backend")}
    named = one | {"backend": planned_backend(n_train, n_test, (side, side), **known)}
    positions = block_positions(n_train, n_test, sizes)
    assert len(positions) == sizes.blocks(n_train, n_test) <= MAX_BLOCKS
    assert (
        block_bytes(1, 1, one["outputs"], one["storage"]) * max(position.entries for position in positions)
        <= BLOCK_BYTES
    )

    longest = max(positions, key=lambda position: position.pairs)
    # Too long only where there would be too many.
    if seconds(longest, side, named) > 300:
        assert len(positions) > MAX_BLOCKS / 2 or longest.pairs <= 9  # or pairs that take a minute each
    # Too short only where there is no more to do, or a file would grow too large.
    if seconds(longest, side, named) < 60:
        whole = sizes.pool == n_train and sizes.test >= n_test
        full = 4.5 * longest.entries * block_bytes(1, 1, one["outputs"], one["storage"]) > BLOCK_BYTES
        assert whole or full


@given(st.tuples(st.integers(1, 300), st.integers(0, 200), st.sampled_from([8, 32])), PASSES)
def test_the_grid_covers_the_kernel(kernel, one):
    n_train, n_test, side = kernel
    positions = block_positions(n_train, n_test, block_sizes(n_train, n_test, (side, side), **one))
    assert find_fault(positions, n_train, n_test) is None


@given(KERNELS, PASSES)
def test_pieces_are_even(kernel, one):
    n_train, n_test, side = kernel
    sizes = block_sizes(n_train, n_test, (side, side), **one)
    for total, piece in ((n_train, sizes.pool), (n_test, sizes.test)):
        pieces = -(-total // piece)
        assert piece <= max(1, np.ceil(total / max(1, pieces)))


def test_the_grids_of_the_paper_s_columns():
    # A grid that changes makes every finished block of a study useless.
    gap = {"family": Family("gap"), "depth": 21, "outputs": 10, "backend": "cuda"}
    assert block_sizes(2000, 10_000, (32, 32, 3), **gap) == BlockSizes(2000, 3334)
    assert block_sizes(50_000, 10_000, (32, 32, 3), **gap) == BlockSizes(2500, 2500)
    assert block_sizes(50_000, 10_000, (32, 32, 3), **gap | {"family": Family("flatten")}) == BlockSizes(2500, 2500)
    assert block_sizes(2000, 10_000, (32, 32, 3), **gap | {"backend": "cpu"}) == BlockSizes(250, 278)


def test_auto_is_a_gpu_only_for_what_takes_a_cpu_longer_than_a_night():
    night = 8 * 3600 * NOMINAL_RATES["cpu", "gap"]
    depth = 21
    pairs = night / Family("gap").element_layers(1, (32, 32), depth)
    for factor, backend in ((0.9, "cpu"), (1.1, "cuda")):
        n_train = round((factor * pairs * 2) ** 0.5)
        for given_backend, expected in (("auto", backend), ("cpu", "cpu"), ("cuda", "cuda")):
            named = planned_backend(n_train, 0, (32, 32), family=Family("gap"), depth=depth, backend=given_backend)
            assert named == expected


@given(st.integers(1, 50_000), st.integers(0, 10_000))
def test_more_kernels_than_blocks_hold(n_train, n_test):
    assume(n_train > 5000)
    with pytest.raises(InputError, match=r"30000 kernels of .* several passes"):
        block_sizes(n_train, n_test, (8, 8), family=Family("flatten"), depth=30_000, outputs=30_000, backend="cpu")
