"""Blocks of passes with local pooling, flips and both choices of trained layers, and what is put together of them."""

import numpy as np
import pytest
from typer.testing import CliRunner

from exact_cntk import cntk
from exact_cntk.blocks import Span, block_positions, compute_block, merge_blocks, read_block_set, read_header
from exact_cntk.cli import app
from exact_cntk.data import prepare
from exact_cntk.errors import UserError
from exact_cntk.networks import Family

FAMILY = Family("lap", ("all", "hidden"), pooling_window=3, flips=True)
PASS = {"name": "a", "network": FAMILY, "depths": [3, 4], "kinds": ["ntk", "nngp"]}
POOL, TEST, N = 12, 5, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "digits.h5"
    return file, prepare("digits", file, train_images=POOL, test_images=TEST)


@pytest.fixture(scope="module")
def blocks(data, tmp_path_factory):
    """Blocks of the pool's first 8 images, in pieces of 5, and of the test set."""
    folder = tmp_path_factory.mktemp("blocks")
    for rows, cols in block_positions(N, TEST, 5):
        rows = Span(rows.start + POOL - N, rows.stop + POOL - N) if rows.start >= N else rows
        out = folder / f"{rows.start}-{cols.start}.h5"
        compute_block(data[0], out, rows=rows, cols=cols, **PASS)
    return sorted(folder.glob("*.h5"))


def test_block_set_is_what_the_public_function_gives(data, blocks):
    held = read_block_set(blocks, N)
    images = data[1].train_images[:N], data[1].test_images
    left = np.concatenate(images)
    how = {"readout": "lap", "pooling_window": 3, "flips": True, "trained": ["all", "hidden"], "depths": [3, 4]}
    expected = cntk(left, images[0], get=("ntk", "nngp"), **how)
    assert set(held.header.datasets) == set(expected)
    assert held.pairs == N * (N + 1) // 2 + N * TEST
    for key, kernel in expected.items():
        # the triangle and the rectangle go through the float32 recursion in another order of pairs
        whole = held.kernel(*key, rows=slice(0, N + TEST))
        np.testing.assert_allclose(whole, kernel, rtol=1e-5)
        assert np.array_equal(whole[:N], whole[:N].T)
        for rows in (slice(3, 6), slice(6, N + 1), slice(N + 2, N + TEST)):  # within blocks, over their edges
            assert np.array_equal(held.kernel(*key, rows=rows), whole[rows])


def test_header_tells_the_pass(blocks):
    header, _ = read_header(blocks[0])
    assert (header.name, header.network) == ("a", FAMILY)


def test_same_block_is_complete_and_another_is_not(data, blocks):
    before = blocks[0].read_bytes()
    position = read_header(blocks[0])[0].position
    assert compute_block(data[0], blocks[0], rows=position.rows, cols=position.cols, **PASS).seconds is None
    assert blocks[0].read_bytes() == before


def test_gaps_strangers_and_mixtures_are_refused(data, blocks, tmp_path):
    with pytest.raises(UserError, match=r"no block covers rows 12:17, columns 0:5.*12-0\.h5 is missing"):
        read_block_set([block for block in blocks if block.name != "12-0.h5"], N)
    with pytest.raises(UserError, match="beyond the first 7 images"):
        read_block_set(blocks, 7)
    whole = []
    for rows, cols in block_positions(POOL, TEST, POOL):
        whole.append(tmp_path / f"{rows.start}-{cols.start}.h5")
        how = PASS | {"network": Family("flatten", ("all", "hidden")), "depths": [3], "kinds": ["ntk"]}
        compute_block(data[0], whole[-1], rows=rows, cols=cols, **how)
    with pytest.raises(UserError, match="has the NTK of all and of hidden layers trained"):
        merge_blocks(whole, 3, tmp_path / "k.h5")


def test_verb_computes_the_same_block(data, blocks, tmp_path):
    out = tmp_path / "0-0.h5"
    options = "--readout lap --pooling-window 3 --flips --trained all,hidden --depths 3,4 --rows 0:5 --cols 0:5"
    command = ["block", "--data", str(data[0]), "--family", "a", "--out", str(out), *options.split()]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert out.read_bytes() == next(block for block in blocks if block.name == "0-0.h5").read_bytes()
    wrong = CliRunner().invoke(app, [part for part in command if part not in ("--pooling-window", "3")])
    assert wrong.exit_code == 2 and "pooling_window is None with readout 'lap'" in wrong.output
