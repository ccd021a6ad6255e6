"""What holds for every exact kernel, on small images of any shape, in every backend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_cntk import cntk

# Some of the images that are drawn are small squares, which may have either order.
pytestmark = pytest.mark.filterwarnings("ignore::exact_cntk.errors.LayoutWarning")

# Relative to √(K(x, x) K(x′, x′)). Between nearly parallel patches arccos turns a rounding error ε into √ε.
BACKENDS = {
    "reference": ({"backend": "reference"}, 1e-6),
    "cpu-float64": ({"backend": "cpu", "dtype": "float64"}, 1e-6),
    "cpu-float32": ({"backend": "cpu", "dtype": "float32"}, 2e-3),
}
LOCAL = [{"readout": "lap", "pooling_window": window} for window in (3, 5)]
few = settings(max_examples=15, deadline=None, derandomize=True, database=None)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request):
    return BACKENDS[request.param]


@st.composite
def problems(draw):
    """Images, some with black, repeated or proportional pixels, and an architecture."""
    shape = tuple(draw(st.integers(1, top)) for top in (5, 5, 3))
    n = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = rng.standard_normal((n, *shape))
    if draw(st.booleans()):
        images = np.trunc(images)  # mostly 0 and ±1
    if draw(st.booleans()):
        images[-1] = images[0]
    architecture = {
        "depths": sorted(draw(st.sets(st.integers(2, 6), min_size=1, max_size=2))),
        **draw(st.sampled_from([{"readout": "flatten"}, {"readout": "gap"}, *LOCAL])),
        "flips": draw(st.booleans()),
        "trained": ("all", "hidden"),
        "filter_size": draw(st.sampled_from([1, 3, 5])),
        "get": ("ntk", "nngp"),
    }
    return images, architecture


def scales(kernels):
    """√(K(x, x) K(x′, x′)) of each kernel of a symmetric problem."""
    return {key: np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal())) for key, kernel in kernels.items()}


def assert_close(found, expected, size, tolerance):
    assert found.keys() == expected.keys()
    for key, kernel in found.items():
        assert (np.abs(kernel - expected[key]) <= tolerance * size[key]).all(), key


@few
@given(problems())
def test_symmetric_and_positive_semidefinite(backend, problem):
    options, tolerance = backend
    images, architecture = problem
    for kernel in cntk(images, **architecture, **options).values():
        np.testing.assert_array_equal(kernel, kernel.T)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -tolerance * max(values[-1], 0)


@few
@given(problems(), st.floats(0.01, 100), st.floats(0.01, 100))
def test_homogeneous(backend, problem, a, b):
    """K(a·x, b·x′) = a·b·K(x, x′)."""
    options, tolerance = backend
    images, architecture = problem
    plain = cntk(images, images, **architecture, **options)
    scaled = cntk(a * images, b * images, **architecture, **options)
    size = scales(plain)
    assert_close({key: kernel / (a * b) for key, kernel in scaled.items()}, plain, size, 2 * tolerance)


@few
@given(problems(), st.randoms(use_true_random=False))
def test_images_may_come_in_any_order(backend, problem, random):
    options, tolerance = backend
    images, architecture = problem
    order = list(range(len(images)))
    random.shuffle(order)
    plain = cntk(images, **architecture, **options)
    shuffled = cntk(images[order], **architecture, **options)
    expected = {key: kernel[np.ix_(order, order)] for key, kernel in plain.items()}
    assert_close(shuffled, expected, scales(expected), tolerance)


@few
@given(problems(), st.data())
def test_a_block_is_a_part_of_the_whole(backend, problem, data):
    """To the last bit: whether two images meet in one block or another makes no difference."""
    options, _ = backend
    images, architecture = problem
    others = images[::-1] + 0.5
    whole = cntk(images, others, **architecture, **options)
    start = data.draw(st.integers(0, len(images) - 1))
    stop = data.draw(st.integers(start + 1, len(images)))
    rows, columns = slice(start, stop), slice(len(images) - stop, len(images))
    for key, block in cntk(images[rows], others[columns], **architecture, **options).items():
        np.testing.assert_array_equal(block, whole[key][rows, columns])
    symmetric = cntk(images, **architecture, **options)
    for key, block in cntk(images[rows], **architecture, **options).items():
        np.testing.assert_array_equal(block, symmetric[key][rows, rows])


@few
@given(problems())
def test_transposed_and_mirrored_images_have_the_same_kernel(backend, problem):
    options, tolerance = backend
    images, architecture = problem
    plain = cntk(images, **architecture, **options)
    size = scales(plain)
    moves = [images[:, ::-1], images[:, :, ::-1], images[..., ::-1]]
    if not architecture["flips"]:  # which are horizontal
        moves.append(images.transpose(0, 2, 1, 3))
    for moved in moves:
        assert_close(cntk(moved, **architecture, **options), plain, size, tolerance)


@few
@given(problems())
def test_threads_do_not_change_a_bit(problem):
    images, architecture = problem
    for dtype in ("float32", "float64"):
        alone = cntk(images, **architecture, backend="cpu", dtype=dtype, threads=1)
        for threads in (2, 5):
            together = cntk(images, **architecture, backend="cpu", dtype=dtype, threads=threads)
            for key, kernel in together.items():
                np.testing.assert_array_equal(kernel, alone[key])


@few
@given(problems())
def test_backends_agree(problem):
    images, architecture = problem
    reference = cntk(images, **architecture, backend="reference")
    size = scales(reference)
    for options, tolerance in BACKENDS.values():
        assert_close(cntk(images, **architecture, **options), reference, size, tolerance)
