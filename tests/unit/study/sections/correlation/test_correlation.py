import itertools

import numpy as np
import pytest
from scipy import stats
from synthetic import write_study

from exact_cntk.study import results
from exact_cntk.study.sections.correlation import analysis as correlation
from exact_cntk.study.sections.correlation.analysis import Network
from exact_cntk.study.show import references
from exact_cntk.study.stats import statistics

# The paper's columns: computed once from Table 1 and rounded as written here.
PAPER = [
    ("CNTK-V-2K", "CNN-V", "across depths", 5, 0.405, 0.30),
    ("CNTK-V-2K", "CNTK-V", "across depths", 5, 0.715, 0.90),
    ("CNTK-GAP-2K", "CNN-GAP", "across depths", 5, 0.942, 0.70),
    ("CNTK-GAP-2K", "CNTK-GAP", "across depths", 5, 0.961, 0.90),
    ("CNTK-2K", "CNN", "pooled", 10, 0.779, 0.794),
    ("CNTK-2K", "CNTK", "pooled", 10, 0.974, 0.976),
    ("CNTK-2K", "CNN", "pooled, family means removed", 10, 0.699, 0.467),
    ("CNTK-2K", "CNTK", "pooled, family means removed", 10, 0.793, 0.782),
]


def _values(table, proxy, target, scope):
    rows = table[(table.proxy == proxy) & (table.target == target) & (table.scope == scope)]
    return rows.set_index("statistic")


class TestPaper:
    table = correlation.analyse(None).table()

    @pytest.mark.parametrize(("proxy", "target", "scope", "n", "r", "rho"), PAPER)
    def test_coefficients(self, proxy, target, scope, n, r, rho):
        rows = _values(self.table, proxy, target, scope)
        assert set(rows.n) == {n}
        assert rows.value["pearson"] == pytest.approx(r, abs=5e-4)
        assert rows.value["spearman"] == pytest.approx(rho, abs=5e-4)

    @pytest.mark.parametrize(
        ("proxy", "target", "picked", "regret"),
        [
            ("CNTK-V-2K", "CNN-V", "depth 6", 0.1146),
            ("CNTK-V-2K", "CNTK-V", "depth 6", 0.0),
            ("CNTK-GAP-2K", "CNN-GAP", "depth 21", 0.0045),
            ("CNTK-GAP-2K", "CNTK-GAP", "depth 21", 0.0035),
        ],
    )
    def test_regret(self, proxy, target, picked, regret):
        row = _values(self.table, proxy, target, "across depths").loc["regret"]
        assert row.picked == picked
        assert row.value == pytest.approx(regret)

    @pytest.mark.parametrize(("name", "reference"), [("pearson", stats.pearsonr), ("kendall", stats.kendalltau)])
    def test_by_another_way(self, name, reference):
        """Straight from the columns of the table as printed, v1's too, with scipy."""
        printed = references.table1_wide("all")
        families = {"V": "CNTK-V-2K", "GAP": "CNTK-GAP-2K"}
        for suffix in ("", " (v1)"):
            for family, small in families.items():
                row = _values(self.table, small, f"CNN-{family}{suffix}", "across depths").loc[name]
                assert row.value == pytest.approx(reference(printed[small], printed[f"CNN-{family}{suffix}"]).statistic)
            x, y = (
                np.concatenate([printed[c] - printed[c].mean() for c in columns])
                for columns in (families.values(), [f"CNN-{family}{suffix}" for family in families])
            )
            row = _values(self.table, "CNTK-2K", f"CNN{suffix}", "pooled, family means removed").loc[name]
            assert row.value == pytest.approx(reference(x, y).statistic)

    def test_p_of_five_depths_is_a_share_of_all_their_orders(self):
        rows = _values(self.table, "CNTK-V-2K", "CNN-V", "across depths")
        printed = references.table1_wide()
        x, y = printed["CNTK-V-2K"].to_numpy(), printed["CNN-V"].to_numpy()
        r = [stats.pearsonr(x, order).statistic for order in itertools.permutations(y)]
        assert rows.p["pearson"] == np.mean(np.array(r) >= stats.pearsonr(x, y).statistic - 1e-9)

    def test_binomial_spread(self):
        (pooled, *_) = [c for c in correlation.paper_comparisons() if c.scope == "pooled"]
        for side, values in zip(pooled.resampled["tests"], (pooled.x, pooled.y), strict=True):
            # 2,000 draws give a standard deviation within 1/√4,000; four times that
            np.testing.assert_allclose(side.std(axis=0), np.sqrt(values * (1 - values) / 10_000), rtol=0.065)

    def test_differences_are_those_of_the_rows(self):
        table = correlation.analyse(None, resamples=50).differences()
        assert set(table.target) == {"CNTK-V", "CNTK-GAP", "CNTK"}
        for row in table[table.statistic == "spearman"].itertuples():
            first = _values(self.table, row.proxy, row.target, row.scope).value["spearman"]
            second = _values(self.table, row.other_proxy, row.other_target, row.scope).value["spearman"]
            assert (row.first, row.second, row.value) == (first, second, first - second)

    def test_every_row_has_n_and_no_regret_without_family_means(self):
        assert self.table.n.notna().all()
        removed = self.table[self.table.scope.str.endswith("removed")]
        assert set(removed.statistic) == {"pearson", "spearman", "kendall"}

    def test_intervals_come_from_binomial_resampling_alone(self):
        assert self.table[["tests_low", "tests_high"]].notna().all(axis=None)
        assert self.table.filter(regex="^(subsets|both|one_subset)").isna().all(axis=None)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return results.load(folder)


@pytest.fixture(scope="module")
def table(study):
    table = correlation.analyse(study, resamples=300, seed=0).table()
    return table[table.source != "paper"]


class TestStudy:
    def test_values_are_those_of_the_mean_accuracies(self, study, table):
        rows = _values(table, "CNTK-V, n = 200", "CNTK-V, n = 1000", "across depths")
        accuracy = study.accuracy[study.accuracy.kernel == "CNTK-V"]
        x, y = (accuracy[accuracy.train_images == n].groupby("depth").accuracy.mean() for n in (200, 1000))
        assert rows.value["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert rows.value["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert set(rows.n) == {5}

    def test_families_and_kinds_are_pooled(self, table):
        pooled = table[table.scope == "pooled"].drop_duplicates("proxy").set_index("proxy").n
        assert pooled.to_dict() == {
            "CNTK-V and CNTK-GAP, n = 200": 10,
            "CNN-GP-V and CNN-GP-GAP, n = 200": 10,
            "all kernels, n = 200": 20,
        }

    def test_both_kinds_of_interval_hold_plausible_values(self, table):
        for kind in ("subsets", "tests", "both"):
            low, high = table[f"{kind}_low"], table[f"{kind}_high"]
            assert (low <= high).all()
            coefficients = table.statistic != "regret"
            assert low[coefficients].between(-1, 1).all() and high[coefficients].between(-1, 1).all()
            assert (low[~coefficients] >= 0).all()

    def test_the_seed_alone_decides(self, study, table):
        again = correlation.analyse(study, resamples=300, seed=0).table()
        other = correlation.analyse(study, resamples=300, seed=1).table()
        assert again[again.source != "paper"].equals(table)
        assert (other[other.source != "paper"].tests_low != table.tests_low).any()

    def test_resampled_accuracies_are_counts_over_answers(self, study):
        """Exactly so, in whatever order BLAS adds: its number of threads must not show in a table."""
        sample = correlation.resample(study, resamples=50, seed=0)
        for key, accuracies in sample.tests.items():
            answers = sample.bits[key].size
            np.testing.assert_array_equal(np.rint(accuracies * answers) / answers, accuracies)


def test_interval_over_test_images_covers_the_resampled_statistic(tmp_path):
    write_study(tmp_path, kinds=("ntk",), subsets=((1000, 1), (200, 1)), n_test=101)
    study = results.load(tmp_path)
    table = correlation.analyse(study, resamples=1500, seed=3).table()
    row = _values(table, "CNTK-V, n = 200", "CNTK-V, n = 1000", "across depths").loc["pearson"]
    # the same bootstrap, one resample at a time, as its definition says
    x, y = (np.stack([study.correct["cntk-v", "ntk", depth, n, 0] for depth in study.depths]) for n in (200, 1000))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(101, size=101) for _ in range(1500)]
    r = [statistics.pearson(x[:, i].mean(axis=1), y[:, i].mean(axis=1)) for i in drawn]
    middle, half = 2 * row.value - np.mean(r), 1.96 * np.std(r)
    # two Monte Carlo estimates of a mean and a deviation from 1,500 draws each
    np.testing.assert_allclose(
        [row.tests_low, row.tests_high], np.clip([middle - half, middle + half], -1, 1), atol=0.08
    )
    assert np.isnan(row.subsets_low)


def test_one_size_gives_the_paper_s_rows_alone(tmp_path):
    write_study(tmp_path, subsets=((100, 2),))
    table = correlation.analyse(results.load(tmp_path), resamples=10).table()
    assert set(table.source) == {"paper"}


def test_on_the_paper_s_data_its_columns_are_targets_too(tmp_path):
    write_study(tmp_path, dataset="CIFAR-10", image_shape=(32, 32, 3), subsets=((2000, 1),), n_test=200)
    table = correlation.analyse(results.load(tmp_path), resamples=20).table()
    own = table[table.source != "paper"]
    assert set(own.proxy) == {"CNTK-V, n = 2000", "CNTK-GAP, n = 2000"}
    assert set(own.target) == {
        f"{name} (paper)" for name in ("CNN-V", "CNTK-V", "CNTK-V-2K", "CNN-GAP", "CNTK-GAP", "CNTK-GAP-2K")
    }


def test_a_kernel_without_an_answer_is_left_out(tmp_path):
    write_study(tmp_path, kinds=("ntk",))
    study = results.load(tmp_path)
    for key in [key for key in study.correct if key[0] == "cntk-v" and key[2] == 21]:
        del study.correct[key]
    table = correlation.analyse(study, resamples=10).table()
    assert set(_values(table, "CNTK-V, n = 200", "CNTK-V, n = 1000", "across depths").n) == {4}


def test_a_kernel_without_an_answer_from_one_subset_is_left_out_at_that_size(tmp_path):
    write_study(tmp_path, kinds=("ntk",))
    study = results.load(tmp_path)
    repeats = [key for key in study.correct if key[:4] == ("cntk-v", "ntk", 21, 200)]
    assert len(repeats) > 1
    del study.correct[repeats[0]]
    sample = correlation.resample(study, resamples=10, seed=0)
    assert ("cntk-v", "ntk", 21, 200) not in sample.bits
    assert ("cntk-v", "ntk", 21, 1000) in sample.bits and ("cntk-v", "ntk", 11, 200) in sample.bits


def test_what_is_left_out_is_counted(tmp_path):
    write_study(tmp_path / "all", depths=(3, 6))
    assert correlation.left_out(results.load(tmp_path / "all")) == ""

    def singular(family, depth, result):
        return result["repeat"] == 4 or (family == "cntk-v" and depth == 6 and result["repeat"] == 3)

    write_study(tmp_path / "some", depths=(3, 6), singular=singular)
    assert correlation.left_out(results.load(tmp_path / "some")).startswith(
        "Left out: 1 of 6 training subsets (no kernel has an answer) and 2 of 16 pairs of kernel and training-set size "
        "(no answer from some subset): without ridge, the kernel matrix is singular"
    )


def _networks(families=(("cnn-v", "flatten"), ("cnn-gap", "gap")), depths=(3, 4, 6), n_test=797):
    rng = np.random.default_rng(7)
    correct = {
        key: rng.random((3, n_test)) < 0.8 + 0.01 * key[2] for key in ((*f, d) for f in families for d in depths)
    }
    return [Network(f, r, 3, d, 800, float(bits.mean()) + 0.001, bits) for (f, r, d), bits in correct.items()]


@pytest.fixture(scope="module")
def analysis(study):
    return correlation.analyse(study, _networks(), resamples=200)


class TestNetworks:
    def test_kernels_of_both_sizes_meet_networks_of_their_readout(self, analysis):
        proxies = dict.fromkeys((c.proxy, c.target) for c in analysis.networks if c.scope == "across depths")
        assert list(proxies)[:4] == [
            ("CNTK-V, n = 200", "CNN-V, n = 800"),
            ("CNTK-GAP, n = 200", "CNN-GAP, n = 800"),
            ("CNTK-V, n = 1000", "CNN-V, n = 800"),
            ("CNTK-GAP, n = 1000", "CNN-GAP, n = 800"),
        ]
        assert [c.scope for c in analysis.networks if c.scope.startswith("pooled")] == [
            "pooled",
            "pooled, family means removed",
        ] * 4

    def test_values_pair_depth_with_depth_and_are_the_reported_ones(self, analysis, study):
        (comparison,) = [
            c for c in analysis.networks if c.scope == "pooled" and c.proxy == "CNTK-V and CNTK-GAP, n = 200"
        ]
        networks = {(n.family, n.depth): n.accuracy for n in _networks()}
        rows = study.accuracy[(study.accuracy.kind == "ntk") & (study.accuracy.train_images == 200)]
        kernels = rows.groupby(["family", "depth"]).accuracy.mean()
        order = [(name, depth) for name in ("v", "gap") for depth in (3, 4, 6)]
        np.testing.assert_allclose(comparison.x, [kernels[f"cntk-{name}", depth] for name, depth in order])
        np.testing.assert_allclose(comparison.y, [networks[f"cnn-{name}", depth] for name, depth in order])

    def test_seeds_are_resampled_each_network_on_its_own(self, analysis):
        (comparison,) = [
            c for c in analysis.networks if c.scope == "pooled" and c.proxy == "CNTK-V and CNTK-GAP, n = 1000"
        ]
        assert set(comparison.resampled) == {"tests", "both"}  # a single subset of all images, three seeds
        assert comparison.resampled["both"][1].std(axis=0).min() > comparison.resampled["tests"][1].std(axis=0).min()

    def test_differences_say_what_predicts_networks_better(self, analysis):
        table = analysis.differences()
        own = table[(table.source != "paper") & (table.statistic == "pearson")]
        assert len(own) == 2 * (2 + 2 + 1)  # with and without means: full kernels, few images; NTK, CNN-GP
        assert set(own.n) == {6} and own.both_low.notna().any()

    def test_differences_are_over_the_networks_that_both_have_kernels_for(self, tmp_path):
        def singular(family, depth, result):
            return (family, depth, result["train_images"]) == ("cntk-v", 4, 200)

        write_study(tmp_path, singular=singular)
        analysis = correlation.analyse(results.load(tmp_path), _networks(), resamples=20)
        own = [pair for pair in analysis.pairs if pair[0].source != "paper"]
        assert len(own) == 2 * (2 + 2 + 1)  # as many as without a gap
        assert {len(comparison.x) for pair in own for comparison in pair} == {5}
        assert all(first.architectures == second.architectures for first, second in own)

    def test_networks_without_a_kernel_are_left_out(self, study):
        networks = [
            *_networks([("cnn-lap", "lap")]),
            *_networks([("cnn-v", "flatten")], depths=(3, 4, 5)),
        ]
        assert correlation.analyse(study, networks, resamples=10).networks == []

    def test_of_two_families_with_the_same_network_the_paper_s_is_taken(self, tmp_path):
        families = {"a-variant": ("flatten", "hidden"), "cntk-v": ("flatten", "all")}
        write_study(tmp_path, families=families, kinds=("ntk",), depths=(3, 4, 6), subsets=((50, 3),), n_test=40)
        networks = _networks([("cnn-v", "flatten")], n_test=40)
        (comparison,) = correlation.analyse(results.load(tmp_path), networks, resamples=10).networks
        assert comparison.proxy == "CNTK-V, n = 50"
