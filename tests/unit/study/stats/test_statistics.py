import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from exact_cntk.study.stats import statistics

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}


@settings(deadline=None, max_examples=60)  # no timing asserts: the first example imports
@given(st.data())
def test_coefficients_agree_with_scipy_ties_and_all(data):
    x = np.array(data.draw(st.lists(st.integers(0, 8), min_size=3, max_size=12)), dtype=float)
    y = np.array(data.draw(st.lists(st.integers(0, 30), min_size=len(x), max_size=len(x))), dtype=float)
    for name, coefficient in statistics.COEFFICIENTS.items():
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(coefficient(x, y))
        else:
            assert coefficient(x, y) == pytest.approx(SCIPY[name](x, y).statistic, abs=1e-12)


def test_all_work_along_the_last_axis():
    x, y = np.random.default_rng(0).random((2, 7, 5))
    for function in (*statistics.COEFFICIENTS.values(), statistics.regret):
        np.testing.assert_allclose(function(x, y), [function(a, b) for a, b in zip(x, y, strict=True)])


class TestPermutation:
    x = np.array([0.41, 0.43, 0.44, 0.42, 0.47, 0.45])
    y = np.array([0.61, 0.62, 0.66, 0.64, 0.67, 0.63])

    @pytest.mark.parametrize("name", SCIPY)
    def test_exact_p_agrees_with_scipy(self, name):
        def statistic(y, axis=-1):
            return statistics.COEFFICIENTS[name](np.broadcast_to(self.x, y.shape), y)

        reference = stats.permutation_test(
            (self.y,),
            statistic,
            permutation_type="pairings",
            alternative="greater",
            n_resamples=np.inf,
            vectorized=True,
        )
        p = statistics.permutation_p(self.x, self.y, statistics.COEFFICIENTS[name])
        assert p == pytest.approx(reference.pvalue, abs=1e-12)

    def test_within_groups_only_their_own_orders_count(self):
        groups = ["a", "b", "a", "b", "a", "b"]
        x, y = (statistics.remove_means(side, groups) for side in (self.x, self.y))
        observed, hits = stats.pearsonr(x, y).statistic, 0
        for first, second in itertools.product(itertools.permutations([0, 2, 4]), itertools.permutations([1, 3, 5])):
            order = [first[0], second[0], first[1], second[1], first[2], second[2]]
            hits += stats.pearsonr(x, y[order]).statistic >= observed - 1e-9
        assert statistics.permutation_p(x, y, statistics.pearson, groups) == hits / 36

    def test_the_best_order_of_n_has_p_of_one_in_n_factorial(self):
        for n in (3, 4, 5):
            x = np.arange(n, dtype=float)
            assert statistics.permutation_p(x, x**2, statistics.spearman) == 1 / math.factorial(n)

    def test_many_architectures_are_sampled_and_never_give_zero(self):
        x = np.arange(30.0)
        assert statistics.permutation_p(x, x, statistics.kendall) == 1 / (1 + statistics.SAMPLED)
        y = np.random.default_rng(0).permutation(x)
        p = statistics.permutation_p(x, y, statistics.pearson)
        # standard error of the sampled share: √(p(1 − p)/9,999) < 0.005
        assert p == pytest.approx(stats.pearsonr(x, y, alternative="greater").pvalue, abs=0.02)
        assert p == statistics.permutation_p(x, y, statistics.pearson)

    def test_undefined_has_none(self):
        assert np.isnan(statistics.permutation_p(np.ones(4), self.y[:4], statistics.pearson))


class TestDegenerate:
    @pytest.mark.parametrize(
        ("x", "y", "reason"),
        [
            ([1, 2], [1, 3], "fewer than 3 architectures"),
            ([1, 1, 1], [1, 2, 3], "proxy constant"),
            ([1, 2, 3], [2, 2, 2], "target constant"),
            ([0.1, 0.1, 0.1 + 1e-16], [2, 2, 2], "proxy and target constant"),
            ([1, 1, 2], [1, 2, 2], ""),
        ],
    )
    def test_reasons(self, x, y, reason):
        assert statistics.undefined_reason(np.array(x, float), np.array(y, float)) == reason

    def test_intervals_of_undefined_resamples(self):
        mostly = np.array([np.nan] * 6 + [0.5] * 4)
        assert np.isnan(statistics.interval(0.5, mostly)).all()
        assert np.isnan(statistics.percentiles(mostly)).all()
        assert not np.isnan(statistics.interval(0.5, mostly[3:])).any()


class TestInterval:
    def test_is_the_normal_one_less_the_bias(self):
        resampled = np.random.default_rng(0).normal(0.4, 0.1, 4000)
        low, high = statistics.interval(0.5, resampled)
        assert (low + high) / 2 == pytest.approx(2 * 0.5 - resampled.mean())
        assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * resampled.std(ddof=1))

    def test_ends_are_cut(self):
        assert statistics.interval(0.9, np.array([0.2, 0.8, 0.9, 1.0]))[1] == 1.0
        assert statistics.interval(0.9, np.array([0.2, 0.8, 0.9, 1.0]), bound=2.0)[1] > 1.0

    def test_all_beyond_the_end_reaches_to_the_measured_value(self):
        resampled = np.random.default_rng(0).normal(0.5, 0.01, 100)
        assert statistics.interval(0.95, resampled) == (0.95, 1.0)
        assert statistics.interval(-0.95, -resampled) == (-1.0, -0.95)

    def test_percentiles(self):
        values = np.linspace(0, 1, 1001)
        assert statistics.percentiles(values) == pytest.approx((0.025, 0.975))


def test_regret():
    assert statistics.regret(np.array([1.0, 3.0, 2.0]), np.array([0.9, 0.7, 0.8])) == pytest.approx(0.2)
    # a tie goes to the first, the cheapest
    assert statistics.regret(np.array([1.0, 3.0, 3.0]), np.array([0.5, 0.6, 0.9])) == pytest.approx(0.3)


def test_partial_correlation_is_that_of_residuals():
    rng = np.random.default_rng(3)
    groups = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
    x, y = rng.random((2, 12)) + np.repeat([0.0, 1.0, 3.0], [5, 4, 3])
    dummies = np.array([[group == name for name in "abc"] for group in groups], dtype=float)
    residuals = [side - dummies @ np.linalg.lstsq(dummies, side, rcond=None)[0] for side in (x, y)]
    removed = [statistics.remove_means(side, groups) for side in (x, y)]
    np.testing.assert_allclose(removed, residuals, atol=1e-12)
    assert statistics.pearson(*removed) == pytest.approx(stats.pearsonr(*residuals).statistic)
