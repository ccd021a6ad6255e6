import re
import warnings
from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import yaml

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError, LayoutWarning, UserError

ROOT = Path(__file__).parents[3]


class FakeTensor:
    """What is used of a torch tensor."""

    def __init__(self, array, error=None):
        self.array, self.error = array, error

    def detach(self): ...

    def cpu(self): ...

    def numpy(self, *, force):
        assert force  # from a GPU, without gradients
        if self.error:
            raise self.error
        return self.array


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("float16", "float32"),
        ("uint8", "float32"),
        ("int16", "float32"),
        ("bool", "float32"),
        ("int32", "float64"),
        ("int64", "float64"),
    ],
)
def test_images_become_the_narrowest_float_that_holds_them(given, expected):
    images = check.as_images("x1", np.ones((2, 3, 4, 1), dtype=given))
    assert images.dtype == expected
    assert images.flags.c_contiguous
    assert (images == 1).all()


def test_images_may_be_strided_lists_or_torch_tensors():
    array = np.arange(48.0).reshape(2, 4, 3, 2)
    for value in (np.asfortranarray(array), array.tolist(), FakeTensor(array)):
        np.testing.assert_array_equal(check.as_images("x1", value), array)
        assert check.as_images("x1", value).flags.c_contiguous


def test_images_of_the_right_kind_are_not_copied():
    array = np.ones((2, 3, 4, 1), dtype=np.float32)
    assert check.as_images("x1", array) is array


def image_with(value):
    images = np.zeros((2, 3, 4, 1))
    images[1, 0, 2, 0] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 4, 1)), r"x1 has shape \(3, 4, 1\); allowed are 4 dimensions.*a single image is x1\[None\]"),
        (
            np.zeros((3, 4)),
            r"x1 has shape \(3, 4\); allowed are 4 dimensions: \(images, rows, columns, channels\); .*np\.reshape",
        ),
        (np.zeros((0, 3, 4, 1)), "at least one image, pixel and channel"),
        (np.zeros((2, 3, 4, 0)), "at least one image, pixel and channel"),
        (image_with(np.nan), r"x1 must be finite, but x1\[1, 0, 2, 0\] is nan"),
        (image_with(-np.inf), r"x1\[1, 0, 2, 0\] is -inf"),
        (np.zeros((2, 3, 4, 1), dtype=complex), "x1 has dtype complex128; allowed are real numbers"),
        (np.full((2, 3, 4, 1), "a"), "x1 has dtype <U1; allowed are real numbers"),
        ([[1, 2], [3]], "x1 must be an array of numbers"),
        (None, "x1 has dtype object"),
        (FakeTensor(None, TypeError("unsupported ScalarType BFloat16")), r"BFloat16.*pass x1.float\(\)"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        check.as_images("x1", images)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3,)),
        ([11, 3, 3], (3, 11)),
        (range(2, 5), (2, 3, 4)),
        (np.int64(4), (4,)),
        (np.array([6, 5]), (5, 6)),
        (np.array(3), (3,)),
        (1000, (1000,)),
    ],
)
def test_depths(value, expected):
    depths = check.as_depths("depths", value)
    assert depths == expected
    assert all(type(depth) is int for depth in depths)


@pytest.mark.parametrize("value", [1, 0, -3, True, 3.0, "3", [3, 1], [True], [2.5], np.array([3.0]), [], None, [None]])
def test_bad_depths_are_refused(value):
    with pytest.raises(InputError, match=r"^depths is .*; allowed are .*≥ 2"):
        check.as_depths("depths", value)


@pytest.mark.parametrize("value", [1001, 10**8, 10**30, [2, 10**8]])
def test_depths_have_a_limit_with_its_reason(value):
    with pytest.raises(InputError, match=r"^depths is 10.*; allowed are integers from 2 to 1000, .* memory grow"):
        check.as_depths("depths", value)


def test_limits_are_those_of_the_parameters_of_a_study():
    defined = yaml.safe_load((ROOT / "workflow/schemas/params.schema.yaml").read_text(encoding="utf-8"))["$defs"]
    assert defined["depth"]["maximum"] == check.DEEPEST == check.as_depth("depth", 1000)
    assert defined["filter_size"]["maximum"] == check.LARGEST_FILTER == check.as_filter_size("filter_size", 1001)


@pytest.mark.parametrize("value", [2, 4, 0, -1, 3.0, True, "3", 1003, 2**31 + 1])
def test_bad_filters_are_refused(value):
    with pytest.raises(InputError, match=r"^filter_size is .*; allowed are"):
        check.as_filter_size("filter_size", value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("Gap", "did you mean 'gap'"),
        ("flaten", "did you mean 'flatten'"),
        ("mean", "'flatten', 'gap'$"),
        (None, "None"),
    ],
)
def test_unknown_names_come_with_the_nearest_one(value, hint):
    with pytest.raises(InputError, match=hint):
        check.as_choice("readout", value, ("flatten", "gap"))


def test_choices():
    assert check.as_choices("get", "ntk", ("ntk", "nngp")) == ("ntk",)
    assert check.as_choices("get", ["nngp", "ntk", "nngp"], ("ntk", "nngp")) == ("nngp", "ntk")
    for bad in ([], None, ["ntk", 3], "both"):
        with pytest.raises(InputError, match="get is"):
            check.as_choices("get", bad, ("ntk", "nngp"))


def test_progress():
    assert check.as_progress("progress", True) is True
    assert check.as_progress("progress", print) is print
    for bad in (None, 1, "yes"):
        with pytest.raises(InputError, match="progress is"):
            check.as_progress("progress", bad)


def test_input_errors_are_both_value_errors_and_user_errors():
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, UserError)


@pytest.mark.parametrize(
    "shape", [(6, 3, 32, 32), (6, 1, 28, 28), (2, 3, 5, 7), (1, 1, 32, 48), (6, 4, 32, 32), (6, 2, 9, 9), (6, 3, 4, 4)]
)
def test_shapes_with_channels_first_are_refused_unless_meant(shape):
    array = np.arange(float(np.prod(shape))).reshape(shape)
    with pytest.raises(InputError, match=r"looks like \(images, channels, rows, columns\).*x\.transpose\(0, 2, 3, 1\)"):
        check.as_images("x", array, None)
    assert check.as_images("x", array, False) is array
    turned = check.as_images("x", array, True)
    np.testing.assert_array_equal(turned, array.transpose(0, 2, 3, 1))
    assert turned.flags.c_contiguous


@pytest.mark.parametrize(
    "shape",
    [
        (6, 3, 32, 3),
        (6, 1, 64, 1),
        (6, 1, 100, 4),
        (6, 3, 4, 9),
        (6, 32, 32, 3),
        (6, 28, 28, 1),
        (2, 5, 5, 5),
        (6, 4, 4, 3),
    ],
)
def test_shapes_with_channels_last_are_taken(shape):
    assert check.as_images("x", np.ones(shape), None).shape == shape


@pytest.mark.parametrize("shape", [(6, 4, 4, 4), (6, 3, 3, 3), (6, 2, 4, 4), (6, 1, 3, 3)])
def test_shapes_of_either_order_are_warned_of_unless_the_order_is_said(shape):
    array = np.arange(float(np.prod(shape))).reshape(shape)
    with pytest.warns(
        LayoutWarning, match=r"taken for \(images, rows, columns, channels\); .* channels_first=False"
    ) as seen:
        assert check.as_images("x", array, None) is array
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check.as_images("x", array, False) is array
        np.testing.assert_array_equal(check.as_images("x", array, True), array.transpose(0, 2, 3, 1))
        check.as_images("x", np.ones((6, 1, 1, 1)), None)  # the same in both


@pytest.mark.parametrize(
    "wrap",
    [
        lambda array: [torch.tensor(image, requires_grad=True) for image in array],
        lambda array: [[torch.tensor(row) for row in image] for image in array],
        lambda array: [[np.ma.array(row) for row in image] for image in array],
        lambda array: torch.complex(torch.zeros(array.shape).double(), -torch.tensor(array)).conj().imag,
    ],
)
def test_parts_and_views_of_images_are_read_as_whole_arrays_are(wrap):
    array = np.arange(48.0).reshape(2, 4, 3, 2)
    np.testing.assert_array_equal(check.as_images("x", wrap(array)), array)


ROWS = np.ones((3, 8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [[np.ma.masked_equal(row, 1) for row in np.ones((2, 3, 1))]],
            "x[0][0] has 3 masked entries; allowed are none",
        ),
        (deque([np.ma.masked_equal(ROWS, 1)]), "x[0] has 24 masked entries"),
        (pd.Series([np.ma.masked_equal(ROWS, 1), ROWS]), "x[0] has 24 masked entries"),
        (torch.tensor(ROWS).to_sparse(), "pass x.to_dense()"),
        ([torch.tensor(row).bfloat16() for row in ROWS], "x[0] is a torch tensor that NumPy cannot hold"),
        (
            scipy.sparse.csr_array(ROWS),
            "x is a sparse matrix; allowed are arrays that hold all entries: pass x.toarray()",
        ),
        (pd.Series(list(np.ones((2, 3, 3, 1)))), "np.stack(list(x)) makes one array of these 2"),
        (pd.DataFrame(ROWS), "np.reshape(np.asarray(x), (-1, rows, columns, channels)) makes images"),
    ],
)
def test_what_holds_images_otherwise_comes_with_what_mends_it(images, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check.as_images("x", images)


@pytest.mark.parametrize("value", [1, 0, "yes", np.array([True])])
def test_an_order_is_said_by_none_false_or_true(value):
    with pytest.raises(InputError, match=r"channels_first is .*; allowed are None, False and True"):
        check.is_channels_first(value)


def test_a_second_set_in_the_other_order_is_recognised():
    images = np.ones((2, 6, 7, 3))
    with pytest.raises(
        InputError, match=r"x2 has images of shape \(3, 6, 7\); .*channels of x2 are first: pass x2\.tr"
    ):
        check.as_image_sets(images, images.transpose(0, 3, 1, 2), None)


@pytest.mark.parametrize(
    ("shape", "first", "hint"),
    [
        ((5, 8, 8), None, r"a stack of grey images is x\[\.\.\., None\], a single image is x\[None\]"),
        ((5, 8, 8), True, r"a stack of grey images is x\[:, None\]"),
    ],
)
def test_missing_axes_come_with_what_adds_them(shape, first, hint):
    with pytest.raises(InputError, match=hint):
        check.as_images("x", np.ones(shape), first)


def test_image_shapes_are_checked_as_images_are():
    assert check.as_image_shape("s", (8, 8, 3), None) == check.as_image_shape("s", [3, 8, 8], True) == (8, 8, 3)
    assert check.as_image_shape("s", np.array([8, 8, 3]), None) == (8, 8, 3)
    assert check.as_image_shape("s", (3, 8, 8), False) == (3, 8, 8)
    with pytest.raises(InputError, match=r"s is \(3, 8, 8\), which looks like .* here \(8, 8, 3\)"):
        check.as_image_shape("s", (3, 8, 8), None)


@pytest.mark.parametrize("wrap", [lambda array: array, list, tuple])
def test_masked_entries_are_refused_and_empty_masks_are_not(wrap):
    array = np.ma.masked_greater(np.ones((2, 4, 4, 1)) * [[[[5.0]]], [[[1.0]]]], 3)
    name = r"x" if type(wrap(array)) is type(array) else r"x\[0\]"
    with pytest.raises(InputError, match=rf"^{name} has 16 masked entries; allowed are none: {name}\.filled\(value\)"):
        check.as_images("x", wrap(array))
    assert (check.as_images("x", wrap(np.ma.masked_greater(array.data, 9))) == array.data).all()
