"""Which kernel takes which problem, and what the compiler gets to see."""

import numpy as np
import pytest

from exact_cntk.kernels.cuda import plan
from exact_cntk.kernels.cuda.remote import PassShape


def variant(height=32, width=32, pooling=True, dtype="float32", shared_limit=plan.SHARED_DEFAULT, **changes):
    sizes = {"channels": 3, "radius": 1, "layers": 20, "emissions": 5, "fields": 1, "arccos_degree": 7} | changes
    shape = PassShape(
        dtype=np.dtype(dtype),
        height=height,
        width=width,
        pooling=pooling,
        reach=(height - 1, width - 1) if pooling else (0, 0),
        pooling_radius=-1,
        theta_from_sigma=False,
        **sizes,
    )
    return plan.choose_variant(shape, shared_limit)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns", "tile"),
    [
        (32, 32, 8, 4, (1, 1)),
        (28, 28, 7, 4, (1, 1)),
        (16, 16, 8, 4, (1, 1)),
        (8, 8, 8, 4, (2, 4)),
        (30, 30, 15, 2, (1, 1)),
    ],
)
def test_lanes_hold_rectangles(height, width, rows, columns, tile):
    chosen = variant(height, width)
    macros = dict(chosen.macros)
    assert (chosen.source, chosen.tile) == ("torus.cu", tile)
    assert (macros["LANE_ROWS"], macros["LANE_COLUMNS"]) == (str(rows), str(columns))


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 33},  # 1056 entries: more than a warp holds
        {"width": 31},
        {"radius": 2},
        {"dtype": "float64"},
        {"height": 2, "width": 32, "layers": 50},  # constant images fall by a third a layer
    ],
)
def test_general_kernel_takes_the_rest(changes):
    chosen = variant(**changes)
    assert chosen.source == "general.cu"
    assert chosen.gains is None


def test_flatten_tiles():
    assert variant(pooling=False).tile == (4, 4)
    assert variant(8, 8, pooling=False).tile == (16, 16)
    assert variant(pooling=False, fields=2).tile == (2, 4)


@pytest.mark.parametrize("size", range(8, 33))
@pytest.mark.parametrize("pooling", [True, False])
def test_every_shape_has_a_launchable_variant(size, pooling):
    """On a GPU with 99 KiB of shared memory a block, the least that is supported."""
    for width in (size, 8, 12):
        for fields in (0, 1, 2):
            chosen = variant(size, width, pooling=pooling, fields=fields, shared_limit=99 * 1024)
            assert chosen.shared_bytes <= 99 * 1024
            assert chosen.threads % 32 == 0
            assert chosen.threads * chosen.blocks_per_sm <= 512


def test_general_kernel_leaves_shared_memory_when_it_must():
    chosen = variant(64, 64, dtype="float64")
    assert dict(chosen.macros)["IN_SHARED"] == "1"
    chosen = variant(64, 64, dtype="float64", shared_limit=64 * 1024)
    assert dict(chosen.macros)["IN_SHARED"] == "0"
    assert chosen.workspace_scalars == 3 * 64 * 64


def test_many_depths_fall_back_when_their_sums_do_not_fit():
    assert variant(8, 8, emissions=20, fields=2, shared_limit=99 * 1024).source == "general.cu"


@pytest.mark.parametrize("layers", [1, 12, 100])
def test_gains_keep_constant_images_in_range(layers):
    gains = variant(layers=layers).gains
    assert len(gains) == layers
    growth = np.cumsum(np.log2(9 * np.array(gains)))
    assert growth.max() < 58
    assert abs(growth[11::12]).max(initial=0) < 2


def test_program_is_self_contained():
    chosen = variant(layers=2)
    constants = np.array([[np.pi, 1, 2, -0.6, 0.4, -0.25, 0.2, -0.1, 0.05, -0.01]] * 2, dtype=np.float32)
    text = plan.program(chosen, constants)
    assert "#include" not in text
    assert text.count("float fast_reciprocal(") == 1
    assert "#define GAIN 0x1.921fb60000000p+1f\n" in text
    assert "#define RESCALE 0x1.0000000000000p-58f\n" in text
    assert text == plan.program(chosen, constants)
    assert text.isascii()  # CuPy writes it in the encoding of the locale
