import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from exact_cntk import kernel_regression
from exact_cntk.errors import InputError
from exact_cntk.regression.inputs import DEFAULT_RIDGES, as_numbers, as_ridges, as_targets

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
        [np.array(code) for code in CODES],
        np.ma.array(CODES),
    ],
)
def test_integers_are_classes_however_they_are_held(labels):
    targets, classes = as_targets(labels, 6)
    np.testing.assert_array_equal(classes, range(4))
    assert classes.dtype.kind in "iu"
    np.testing.assert_allclose(targets, CODED)


@pytest.mark.parametrize(
    "labels",
    [
        [True, False],
        np.array([True, False], dtype=object),
        np.array([np.True_, np.False_], dtype=object),
        pd.Series([True, False], dtype="boolean"),
        pd.Categorical([True, False]),
    ],
)
def test_booleans_are_two_classes_however_they_are_held(labels):
    classes = as_targets(labels, 2)[1]
    np.testing.assert_array_equal(classes, [False, True])
    assert classes.dtype == bool


@pytest.mark.parametrize("labels", [[b"b", b"a"], np.array([b"b", b"a"]), np.array([b"b", b"a"], dtype=object)])
def test_bytes_are_classes(labels):
    np.testing.assert_array_equal(as_targets(labels, 2)[1], [b"a", b"b"])


def test_integers_of_64_bits_are_kept_apart():
    np.testing.assert_array_equal(as_targets([2**64 - 1, 2**64 - 2], 2)[1], np.array([2**64 - 2, 2**64 - 1], "uint64"))


@pytest.mark.parametrize(
    "targets",
    [
        np.arange(6.0),
        [0, 1, 2, 3, 4, 0.5],
        np.eye(6)[:, :4],
        np.arange(12).reshape(6, 2),
        np.arange(12).reshape(6, 2).tolist(),
        np.full((6, 1), 0.5),
        2 * np.eye(6)[:, :4] - 1,
    ],
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
        (2 * np.eye(4, dtype=int)[CODES] - 1, r"pass np\.argmax\(y, axis=1\), or np\.asarray\(y, dtype=float\) to fit"),
        (255 * np.eye(4, dtype=np.uint8)[CODES], r"pass np\.argmax\(y, axis=1\)"),
        (np.eye(4, dtype=int)[CODES].tolist(), r"pass np\.argmax\(y, axis=1\)"),
        (np.tri(6, 3, dtype=int), r"y has shape \(6, 3\) .* shape \(6,\): pass np\.asarray\(y, dtype=float\) to fit"),
        (np.array([CODES]), r"y has shape \(1, 6\); .* pass np\.ravel\(y\)"),
        (scipy.sparse.csr_array(np.eye(4)[CODES]), r"y is a sparse matrix; .* pass y\.toarray\(\)"),
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
        ([*CODES[:5], np.ma.masked], r"y\[5\] has 1 masked entries"),
        (["a", "b", np.nan] * 2, "y has values of the types float, str; .* none missing"),
        (["a", 1] * 3, "types int, str"),
        ([True, "a", 2] * 2, "types bool, int, str"),
        ([True, 2, 0] * 2, "types bool, int"),
        ([b"a", "a", "b"] * 2, "types bytes, str"),
        (["a", "a\0"] * 3, r"y has 'a\\x00'; allowed are texts that do not end in NUL"),
        (np.array([b"a", b"a\0"] * 3, dtype=object), r"y has b'a\\x00'; allowed are texts"),
        (np.array(["2020", "NaT"] * 3, dtype="datetime64[D]"), r"y has dtype datetime64\[D\]; allowed are labels"),
        (np.array(CODES) * 1j, "y has dtype complex128; allowed are labels"),
        ([1j, 2, 3] * 2, "types complex, int"),
        ([0, 1, np.nan] * 2, r"y must be finite, but y\[2\] is nan"),
        (pd.Series([0, 1, pd.NA] * 2, dtype="Int64"), r"y must be finite, but y\[2\] is nan"),
        (np.array([10**30, 1] * 3, dtype=object), "y has 1000.*; allowed are numbers of 64 bits"),
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
    with pytest.raises(InputError, match="labels has values of the types float, str"):
        fit.test_accuracy([*NAMES[:5], np.nan])
    numbered = kernel_regression(K, CODES, K, ridges=1.0)
    assert numbered.test_accuracy(list(map(float, CODES)))[0] == 1
    for missing in (np.array(["NaT"] * 6, dtype="datetime64[D]"), np.array(CODES) * 1j, [*CODES[:5], np.nan]):
        with pytest.raises(InputError, match=r"labels (has dtype (datetime|complex)|must be finite)"):
            numbered.test_accuracy(missing)


def test_predicted_labels_are_of_a_ridge_that_there_is():
    fit = kernel_regression(np.eye(6), CODES, np.eye(6), ridges=[1.0, 2.0, 3.0])
    for index in (None, 0, 2, -1, np.int64(1)):
        np.testing.assert_array_equal(fit.predicted_labels(index), CODES)
    for index in (7, 3, -4, 0.0, True):
        with pytest.raises(InputError, match=rf"index is {index}; allowed are integers from -3 to 2"):
            fit.predicted_labels(index)


@pytest.mark.parametrize(
    "targets",
    [[1, 2.5], [True, False], np.array([1, 2.5], dtype=object), pd.Series([1, 2], dtype="Int64"), torch.tensor([1, 2])],
)
def test_numbers_for_a_regressor(targets):
    np.testing.assert_array_equal(as_numbers("y", targets), np.asarray(targets, dtype=float))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["1", "2"], r"y has dtype <U1; allowed are numbers: .* np\.asarray\(y, dtype=float\); .* CNTKClassifier"),
        (pd.Categorical(["a", "b"]), "y has dtype object; .* CNTKClassifier"),
        ([1.0, None], "y must be finite|y has dtype object .*none missing"),
        (np.array(["2020", "NaT"], dtype="datetime64[D]"), r"y has dtype datetime64\[D\]; allowed are numbers$"),
        ([1.0, 1j], "y has dtype complex128; allowed are numbers$"),
    ],
)
def test_what_is_no_number_for_a_regressor(targets, message):
    with pytest.raises(InputError, match=message):
        as_numbers("y", targets)


def test_the_path_of_leave_one_out():
    np.testing.assert_array_equal(as_ridges("ridges", "loo"), DEFAULT_RIDGES)
    with pytest.raises(InputError, match="ridges is 'cv'; allowed are 'loo'"):
        as_ridges("ridges", "cv")
