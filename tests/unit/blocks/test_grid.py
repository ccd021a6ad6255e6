"""The grid of blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact_cntk.blocks import (
    Position,
    Span,
    block_name,
    block_positions,
    dataset_name,
    kernel_id,
    kernel_name,
    parse_span,
)
from exact_cntk.blocks._cover import Gap, Overlap, find_fault, placements
from exact_cntk.blocks._grid import check_position
from exact_cntk.errors import InputError

SIZES = st.tuples(st.integers(1, 40), st.integers(0, 30), st.integers(1, 50))


def test_names():
    assert block_name(Position(Span(500, 797), Span(0, 500))) == "500-0.h5"
    assert kernel_id("cntk-v", [3, 4, 21]) == "cntk-v-d3-4-21"
    assert kernel_name("cntk-gap", 3) == "cntk-gap-depth-03"
    assert dataset_name("nngp", 11) == "nngp/depth_11"


def test_the_grid_of_the_default_study():
    names = [block_name(position) for position in block_positions(1000, 797, 500)]
    assert names == ["0-0.h5", "500-0.h5", "500-500.h5", "1000-0.h5", "1000-500.h5", "1500-0.h5", "1500-500.h5"]
    assert block_positions(1000, 797, 500)[-1] == ((1500, 1797), (500, 1000))


@given(SIZES)
def test_covers_every_entry_once(sizes):
    n_train, n_test, _ = sizes
    count = np.zeros((n_train + n_test, n_train), dtype=int)
    pairs = 0
    for position in block_positions(*sizes):
        check_position(position, n_train, n_test)
        pairs += position.pairs
        for rows, cols in placements(position, n_train):
            count[rows.start : rows.stop, cols.start : cols.stop] += 1
    assert (count == 1).all()
    assert pairs == n_train * (n_train + 1) // 2 + n_test * n_train
    assert find_fault(block_positions(*sizes), n_train, n_test) is None


@given(SIZES, st.data())
def test_a_missing_block_is_a_gap_there(sizes, draw):
    n_train, n_test, _ = sizes
    positions = block_positions(*sizes)
    lost = draw.draw(st.sampled_from(positions))
    positions.remove(lost)
    fault = find_fault(positions, n_train, n_test)
    assert isinstance(fault, Gap)
    assert lost.rows.start <= fault.position.rows.start < lost.rows.stop
    assert lost.cols.start <= fault.position.cols.start < lost.cols.stop


@given(SIZES, st.integers(1, 50), st.data())
def test_a_block_of_another_grid_overlaps(sizes, other, draw):
    n_train, n_test, _ = sizes
    positions = block_positions(*sizes)
    positions.append(draw.draw(st.sampled_from(block_positions(n_train, n_test, other))))
    fault = find_fault(positions, n_train, n_test)
    assert isinstance(fault, Overlap) and fault.second == len(positions) - 1


@pytest.mark.parametrize(
    "text", ["", "5", "5:", ":5", "5:5", "6:5", "-1:5", "a:b", "0:5:10", "1.0:2", "0:" + 5000 * "9", "0:٥"]
)
def test_bad_span(text):
    with pytest.raises(InputError, match=r"--rows is .*; allowed is START:STOP"):
        parse_span(text, "--rows")


def test_span():
    assert parse_span("0:500", "--rows") == (0, 500)
    assert str(Span(0, 500)) == "0:500"


@pytest.mark.parametrize(
    ("name", "sizes"), [("n_train", (0, 5, 5)), ("n_test", (5, -1, 5)), ("block_images", (5, 5, 0))]
)
def test_bad_sizes(name, sizes):
    with pytest.raises(InputError, match=name):
        block_positions(*sizes)


@pytest.mark.parametrize(
    ("rows", "cols", "reason"),
    [
        ((30, 36), (0, 5), "rows 30:36 leave the kernel matrix: the data has 24 [+] 10 images"),
        ((24, 30), (20, 25), "columns 20:25 leave the kernel matrix: the training pool has 24 images"),
        ((20, 30), (0, 5), "rows 20:30 mix the training pool"),
        ((0, 5), (5, 10), "above the diagonal"),
        ((5, 10), (0, 6), "above the diagonal"),
    ],
)
def test_impossible_position(rows, cols, reason):
    with pytest.raises(InputError, match=reason):
        check_position(Position(Span(*rows), Span(*cols)), 24, 10)
