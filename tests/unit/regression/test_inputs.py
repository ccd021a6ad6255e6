import numpy as np
import pandas as pd
import pytest
import torch

from exact_cntk import kernel_regression
from exact_cntk.errors import InputError
from exact_cntk.regression.inputs import DEFAULT_RIDGES, as_ridges, as_targets

NAMES = list("abcabd")
CODES = [0, 1, 2, 0, 1, 3]
CODED = np.where(np.arange(4) == np.array(CODES)[:, None], 0.9, -0.1)


@pytest.mark.parametrize(
    "labels",
    [
        NAMES,
        np.array(NAMES),
        np.array(NAMES, dtype=object),
        np.array(NAMES, dtype=np.dtypes.StringDType()),
        pd.Series(NAMES),
        pd.Series(NAMES, dtype="string"),
        pd.Categorical(NAMES),
        pd.Series(NAMES, dtype="category"),
        pd.Categorical(NAMES, categories=list("dcba"), ordered=True),
    ],
)
def test_texts_are_classes_however_they_are_held(labels):
    targets, classes = as_targets(labels, 6)
    np.testing.assert_array_equal(classes, list("abcd"))
    np.testing.assert_allclose(targets, CODED)


@pytest.mark.parametrize(
    "labels",
    [
        CODES,
        np.array(CODES, dtype=np.uint8),
        np.array(CODES, dtype=object),
        pd.Series(CODES, dtype="Int64"),
        pd.Categorical(CODES),
        torch.tensor(CODES),
        list(torch.tensor(CODES)),
        np.ma.array(CODES),
    ],
)
def test_integers_are_classes_however_they_are_held(labels):
    targets, classes = as_targets(labels, 6)
    np.testing.assert_array_equal(classes, range(4))
    assert classes.dtype.kind in "iu"
    np.testing.assert_allclose(targets, CODED)


def test_booleans_as_objects_are_two_classes():
    np.testing.assert_array_equal(as_targets(np.array([True, False], dtype=object), 2)[1], [False, True])


@pytest.mark.parametrize(
    "targets", [np.arange(6.0), np.eye(6)[:, :4], np.arange(12).reshape(6, 2), np.full((6, 1), 0.5)]
)
def test_numbers_stay_numbers(targets):
    found, classes = as_targets(targets, 6)
    assert classes is None
    np.testing.assert_array_equal(found, targets)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(CODES)[:, None], r"y has shape \(6, 1\) and dtype int64; .* pass np\.ravel\(y\)"),
        (np.array(NAMES)[:, None], r"y has shape \(6, 1\) and dtype <U1; .* pass np\.ravel\(y\)"),
        (pd.DataFrame({"label": NAMES}), r"y has shape \(6, 1\) .* pass np\.ravel\(y\)"),
        (np.eye(4, dtype=int)[CODES], r"y has shape \(6, 4\) .* pass np\.argmax\(y, axis=1\)"),
        (np.eye(4, dtype=bool)[CODES], r"pass np\.argmax\(y, axis=1\)"),
        (torch.nn.functional.one_hot(torch.tensor(CODES)), r"pass np\.argmax\(y, axis=1\)"),
        (
            np.array([*NAMES[:5], None], dtype=object),
            "y has dtype object, with values of the types NoneType, str; .* missing",
        ),
        (pd.Categorical([*NAMES[:5], None]), "types float, str; .* none missing"),
        (np.array([0, 1, 0, 1, 0, "a"], dtype=object), "types int, str"),
        (np.array([0.0, 1.5] * 3, dtype=object), r"types float; .* np\.asarray\(y, dtype=float\)"),
        (np.ma.array(CODES, mask=[0, 0, 1, 0, 1, 0]), "y has 2 masked entries"),
        (np.array(NAMES).reshape(3, 2), r"y has shape \(3, 2\)"),
    ],
)
def test_labels_that_would_be_misread_are_refused_with_what_mends_them(labels, message):
    with pytest.raises(InputError, match=message):
        as_targets(labels, 6)


def test_labels_that_equal_no_class_are_no_accuracy_of_0():
    K = np.eye(6)
    fit = kernel_regression(K, NAMES, K, ridges=1.0)
    assert fit.test_accuracy(pd.Categorical(NAMES))[0] == fit.test_accuracy(np.array(NAMES, dtype=object))[0] == 1
    with pytest.raises(InputError, match=r"labels has dtype int64, but the classes that were fitted have <U1 .*'a'"):
        fit.test_accuracy(CODES)
    with pytest.raises(InputError, match=r"labels has shape \(6, 1\); .* pass np\.ravel\(labels\)"):
        fit.test_accuracy(np.array(NAMES)[:, None])


def test_the_path_of_leave_one_out():
    np.testing.assert_array_equal(as_ridges("ridges", "loo"), DEFAULT_RIDGES)
    with pytest.raises(InputError, match="ridges is 'cv'; allowed are 'loo'"):
        as_ridges("ridges", "cv")
