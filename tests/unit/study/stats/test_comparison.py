import numpy as np
import pytest
from scipy.stats import norm

from exact_cntk.errors import UserError
from exact_cntk.study.stats import statistics
from exact_cntk.study.stats.comparison import KINDS, Resampled, difference

NAMES = [3, 4, 6, 11]


def compare(small, full, *, architectures, families=None, resamples=2000, seed=0):
    """Answers of shape (architectures, repeats, images) from few images against those from all, (architectures, …)."""
    sides = {"small": small, "full": full[:, None]}
    answers = {(side, i): bits for side, values in sides.items() for i, bits in enumerate(values)}
    sample = Resampled(answers, {key: key[0] for key in answers}, resamples=resamples, seed=seed)
    labels = [""] * len(small) if families is None else families
    return sample.comparison(
        [("small", i) for i in range(len(small))],
        [("full", i) for i in range(len(full))],
        source="made up",
        dataset="random",
        proxy="small",
        target="full",
        scope="pooled",
        architectures=list(zip(labels, architectures, strict=True)),
    )


def _answers(shape, level=0.6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < level + 0.05 * np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))


@pytest.fixture(scope="module")
def comparison():
    return compare(
        _answers((4, 5, 90)),
        _answers((4, 90), 0.7, 1),
        architectures=NAMES,
        families=["V", "V", "GAP", "GAP"],
        resamples=400,
    )


class TestRows:
    def test_values_are_those_of_the_mean_accuracies(self, comparison):
        x, y = _answers((4, 5, 90)).mean(axis=(1, 2)), _answers((4, 90), 0.7, 1).mean(axis=1)
        rows = {row["statistic"]: row for row in comparison.rows()}
        for name, statistic in statistics.COEFFICIENTS.items():
            assert rows[name]["value"] == pytest.approx(float(statistic(x, y)))
            assert rows[name]["p"] == statistics.permutation_p(x, y, statistic)
        assert rows["regret"]["value"] == pytest.approx(y.max() - y[x.argmax()])
        assert {row["n"] for row in rows.values()} == {4}

    def test_one_subset_is_mean_and_range_over_subsets(self, comparison):
        x, y = _answers((4, 5, 90)).mean(axis=2), _answers((4, 90), 0.7, 1).mean(axis=1)
        each = [float(statistics.pearson(x[:, r], y)) for r in range(5)]
        row = comparison.rows()[0]
        assert row["one_subset"] == pytest.approx(np.mean(each))
        assert (row["one_subset_low"], row["one_subset_high"]) == pytest.approx((min(each), max(each)))

    def test_subsets_on_which_a_coefficient_is_not_defined_are_counted(self):
        small, full = _answers((4, 3, 40)), _answers((4, 40), 0.7, 1)
        small[:, 1] = small[0, 1]  # all architectures answer alike from the second subset
        row = compare(small, full, architectures=NAMES, resamples=10).rows()[0]
        each = [float(statistics.pearson(small[:, r].mean(axis=1), full.mean(axis=1))) for r in (0, 2)]
        assert (row["single_subsets"], row["single_subsets_defined"]) == (3, 2)
        assert row["one_subset"] == pytest.approx(np.mean(each))

    def test_all_three_intervals_are_there(self, comparison):
        for row in comparison.rows():
            for kind in KINDS:
                low, high = row[f"{kind}_low"], row[f"{kind}_high"]
                assert low <= high and (0 if row["statistic"] == "regret" else -1) <= low

    def test_family_means(self, comparison):
        removed = comparison.without_family_means()
        assert removed.scope == "pooled, family means removed"
        np.testing.assert_allclose(removed.x[:2].sum() + abs(removed.y[2:].sum()), 0, atol=1e-12)
        assert [row["statistic"] for row in removed.rows()] == ["pearson", "spearman", "kendall"]
        expected = statistics.permutation_p(removed.x, removed.y, statistics.pearson, comparison.families)
        assert removed.rows()[0]["p"] == expected

    def test_picks_are_named_with_their_family_where_there_are_several(self, comparison):
        assert comparison.rows()[-1]["best"].startswith(("V, depth", "GAP, depth"))
        alone = compare(_answers((2, 1, 30)), _answers((2, 30), 0.5, 1), architectures=["narrow", "wide"], resamples=5)
        assert alone.rows()[-1]["best"] in ("narrow", "wide")

    def test_changing_a_row_leaves_the_comparison(self, comparison):
        comparison.rows()[0]["value"] = 7
        assert comparison.rows()[0]["value"] != 7


class TestDegenerate:
    def test_two_architectures_have_a_regret_and_no_coefficient(self):
        rows = compare(_answers((2, 3, 40)), _answers((2, 40), 0.7, 1), architectures=[3, 4], resamples=10).rows()
        for row in rows[:3]:
            assert np.isnan([row["value"], row["p"], row["tests_low"], row["one_subset"]]).all()
            assert row["note"] == "fewer than 3 architectures"
        assert np.isfinite(rows[3]["value"]) and rows[3]["note"] == ""

    def test_a_constant_side_says_so(self):
        full = np.ones((4, 40), bool)
        rows = compare(_answers((4, 3, 40)), full, architectures=NAMES, resamples=10).rows()
        assert {row["note"] for row in rows[:3]} == {"target constant"}
        assert rows[3]["value"] == 0

    def test_one_architecture_per_family_leaves_nothing(self):
        comparison = compare(
            _answers((3, 1, 40)), _answers((3, 40), 0.7, 1), architectures=[3, 3, 3], families="abc", resamples=10
        )
        assert {row["note"] for row in comparison.without_family_means().rows()} == {"proxy and target constant"}

    def test_few_repeats_leave_the_interval_over_test_images_alone(self):
        (row, *_) = compare(_answers((4, 2, 40)), _answers((4, 40), 0.7, 1), architectures=NAMES, resamples=50).rows()
        assert np.isfinite(row["tests_low"])
        assert np.isnan([row["subsets_low"], row["both_low"]]).all()


ANSWERS = {"a": _answers((5, 60), 0.5), "b": _answers((5, 60), 0.5, 1), "one": _answers((1, 60), 0.7, 2)}


class TestResampled:
    def test_one_draw_serves_all_keys_of_a_label(self):
        twice = {"a": ANSWERS["a"], "copy": ANSWERS["a"]}
        shared = Resampled(twice, {"a": "s", "copy": "s"}, resamples=40, seed=0)
        own = Resampled(twice, {"a": "s", "copy": "t"}, resamples=40, seed=0)
        for kind in KINDS:
            np.testing.assert_array_equal(getattr(shared, kind)["a"], getattr(shared, kind)["copy"])
        np.testing.assert_array_equal(own.tests["a"], own.tests["copy"])
        assert (own.subsets["a"] != own.subsets["copy"]).any() and (own.both["a"] != own.both["copy"]).any()

    def test_variances_are_unbiased(self):
        """Over subsets s²/R, over images p(1 − p)/n of the mean over subsets: R − 1 draws, not R, give the first."""
        sample = Resampled(ANSWERS, dict.fromkeys(ANSWERS, "s"), resamples=20_000, seed=0)
        bits = ANSWERS["a"]
        # 20,000 draws give a variance within 1/√10,000, five times that as tolerance
        assert sample.subsets["a"].var() == pytest.approx(bits.mean(axis=1).var(ddof=1) / 5, rel=0.05)
        assert sample.tests["a"].var() == pytest.approx(bits.mean(axis=0).var() / 60, rel=0.05)

    def test_accuracies_are_counts_over_answers(self):
        """Exactly so, in whatever order BLAS adds: its number of threads must not show in a table."""
        sample = Resampled(ANSWERS, dict.fromkeys(ANSWERS, "s"), resamples=50, seed=0)
        for key, bits in ANSWERS.items():
            np.testing.assert_array_equal(np.rint(sample.tests[key] * bits.size) / bits.size, sample.tests[key])

    def test_reported_accuracies_shift_all_resamples(self):
        plain = Resampled(ANSWERS, dict.fromkeys(ANSWERS, "s"), resamples=30, seed=0)
        shifted = Resampled(ANSWERS, dict.fromkeys(ANSWERS, "s"), accuracies={"a": 0.9}, resamples=30, seed=0)
        gap = 0.9 - plain.mean["a"]
        assert shifted.mean["a"] == 0.9 and shifted.mean["b"] == plain.mean["b"]
        for kind in KINDS:
            np.testing.assert_allclose(getattr(shifted, kind)["a"], getattr(plain, kind)["a"] + gap)


class TestDifference:
    def test_of_a_comparison_with_itself_is_zero_with_no_width(self, comparison):
        for row in difference(comparison, comparison):
            assert row["value"] == row["both_low"] == row["both_high"] == 0

    def test_pairs_shrink_the_interval(self, comparison):
        """The same noise on both sides: the difference varies less than its two parts would apart."""
        noisy = _answers((4, 90), 0.7, 1)
        noisy[0, :3] = ~noisy[0, :3]
        other = compare(_answers((4, 5, 90)), noisy, architectures=NAMES, families=comparison.families, resamples=400)
        together = (comparison.draws("pearson", "tests") - other.draws("pearson", "tests")).std()
        assert together < 0.5 * comparison.draws("pearson", "tests").std()

    def test_other_architectures_are_refused(self, comparison):
        other = compare(_answers((4, 3, 90)), _answers((4, 90), 0.7, 1), architectures=[3, 4, 6, 21], resamples=5)
        with pytest.raises(UserError, match="its architectures are not those of"):
            difference(comparison, other)


def test_coverage_of_the_interval():
    """Twelve architectures whose true accuracies are known, in 100 studies of 300 test images and five subsets.

    The bias-corrected interval must hold the correlation of the true accuracies in about 95 % of them; the binomial
    error of 100 studies is 2 points, and the interval is an approximation. Percentiles of the same bootstrap repeat the
    attenuation by noise and fall far short: that is why they are not used.
    """
    rng = np.random.default_rng(5)
    small = np.linspace(-0.25, 0.25, 12)
    full = 0.8 + small + rng.normal(0, 0.12, 12)
    true = float(statistics.pearson(norm.cdf(small / np.sqrt(3)), norm.cdf(full / np.sqrt(2.5))))
    covered = percentile = 0
    for study in range(100):
        image, subset = rng.normal(size=300), rng.normal(size=(5, 300))
        proxy = small[:, None, None] + image + subset + rng.normal(size=(12, 5, 300)) > 0
        target = full[:, None] + image + np.sqrt(0.5) * rng.normal(size=300) + rng.normal(size=(12, 300)) > 0
        comparison = compare(proxy, target, architectures=range(12), resamples=200, seed=study)
        low, high = comparison.interval("pearson", "both")
        covered += low <= true <= high
        low, high = statistics.percentiles(comparison.draws("pearson", "both"))
        percentile += low <= true <= high
    assert covered >= 90
    assert percentile < 80
