"""Fits: what is right is counted by hand, whole or in parts, and what fails says which training set it was."""

import numpy as np
import pytest

from exact_cntk.errors import InputError, UserError
from exact_cntk.study.documents import unpack_answers
from exact_cntk.study.fits import check_ridges, fit_and_test, fit_labels, right_answers

RIDGES = [0.0, 1e-3, 1e-1]
N, N_TEST = 18, 11


def problem(*, twins=False):
    """Kernels of points in three groups, the labels 2, 5 and 7; of the first point twice where asked for."""
    rng = np.random.default_rng(0)
    labels = np.tile([5, 2, 7], 10)[: N + N_TEST]
    x = rng.standard_normal((N + N_TEST, 2)) + labels[:, None]
    if twins:
        x[3] = x[0]
    squares = ((x[:, None] - x[None, :N]) ** 2).sum(axis=2)
    K = np.exp(-squares / 8)
    return K[:N], labels[:N], K[N:], labels[N:]


def by_hand(K, labels, K_test, test_labels, ridge):
    classes = np.unique(labels)
    coded = (labels[:, None] == classes) - 0.1
    dual = np.linalg.solve(K + ridge * K.diagonal().mean() * np.eye(len(K)), coded)
    return classes[(K_test @ dual).argmax(axis=1)] == test_labels


@pytest.mark.parametrize("rows", [N_TEST, 4, 1])
def test_every_ridge_is_tested_on_all_images_in_any_parts(rows):
    K, labels, K_test, test_labels = problem()
    parts = (K_test[start : start + rows] for start in range(0, N_TEST, rows))
    fit = fit_and_test(K, labels, parts, test_labels, name="k", ridges=RIDGES)
    expected = [by_hand(K, labels, K_test, test_labels, ridge) for ridge in RIDGES]
    np.testing.assert_array_equal(fit.correct, expected)
    assert [fit.accuracy(i) for i in range(3)] == [hits.mean() for hits in expected]
    assert not np.array_equal(fit.correct[0], fit.correct[2])  # else ridges could be mixed up unseen


def test_both_entries_say_the_same_of_both_protocols():
    K, labels, K_test, test_labels = problem()
    # the ridge 0 is not the first
    fit = fit_and_test(K, labels, [K_test], test_labels, name="k", ridges=[1e-1, 0.0, 1e-3])
    whole, both = fit.whole_path(), fit.both_protocols()
    assert fit.plain == 1
    for name in ("accuracy", "accuracy_loo_ridge", "loo_ridge", "test_correct_hex"):
        assert whole[name] == both[name]
    best = whole["ridges"].index(both["loo_ridge"])
    assert (both["accuracy"], both["accuracy_loo_ridge"]) == (whole["test_accuracy"][1], whole["test_accuracy"][best])
    assert both["loo_accuracy"] == pytest.approx(whole["loo_accuracy"][best])
    for name, row in (("test_correct_hex", 1), ("test_correct_loo_ridge_hex", best)):
        np.testing.assert_array_equal(unpack_answers(both[name], N_TEST, "k"), fit.correct[row])


def test_what_cannot_be_solved_is_none():
    K, labels, K_test, test_labels = problem(twins=True)
    fit = fit_and_test(K, labels, [K_test], test_labels, name="k", ridges=RIDGES)
    assert fit.accuracy(0) is fit.answers(0) is None and None not in (fit.accuracy(1), fit.answers(1))
    both, whole = fit.both_protocols(), fit.whole_path()
    assert both["accuracy"] is both["test_correct_hex"] is whole["accuracy"] is whole["test_correct_hex"] is None
    assert both["accuracy_loo_ridge"] == whole["accuracy_loo_ridge"] is not None
    assert whole["loo_error"][0] is whole["condition_number"][0] is None


def test_what_chose_the_ridge_is_said_where_it_is_not_leave_one_out(monkeypatch):
    monkeypatch.setattr("exact_cntk.regression.solvers.cg.HELD_OUT", 9)
    K, labels, K_test, test_labels = problem()
    exact, tenth = (
        fit_and_test(K, labels, [K_test], test_labels, name="k", ridges=RIDGES, method=method)
        for method in ("direct", "cg")
    )
    assert tenth.whole_path()["selection"] == tenth.both_protocols()["selection"] == "held-out tenth"
    assert "selection" not in exact.whole_path() | exact.both_protocols()


def test_errors_name_the_training_set():
    K, labels, K_test, test_labels = problem()
    options = {"name": "k.h5: ntk on images 0:18", "ridges": RIDGES}
    for function in (
        lambda K: fit_labels(K, labels, **options),
        lambda K: fit_and_test(K, labels, [K_test], test_labels, **options),
    ):
        with pytest.raises(UserError, match=r"^k\.h5: ntk on images 0:18: K is not positive semi-definite"):
            function(K - np.eye(N))
    K_test[3, 2] = np.nan
    with pytest.raises(UserError, match=r"^k\.h5: ntk on images 0:18: K_test must be finite"):
        fit_and_test(K, labels, [K_test], test_labels, **options)


def test_right_answers_of_one_ridge_and_of_several():
    scores = np.array([[[0.1, 0.9], [0.8, 0.2]], [[0.9, 0.1], [0.7, 0.3]]])
    classes, labels = np.array([3, 8]), np.array([8, 3])
    np.testing.assert_array_equal(right_answers(scores[0], classes, labels), [True, True])
    np.testing.assert_array_equal(right_answers(scores, classes, labels), [[True, True], [False, True]])


def test_the_paper_s_protocol_is_always_among_the_ridges():
    check_ridges([1e-3, 0])
    with pytest.raises(InputError, match=r"ridges are \[0\.001\], but must include 0"):
        check_ridges([1e-3])
