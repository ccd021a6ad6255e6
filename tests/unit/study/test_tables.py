import json
from dataclasses import replace

import pandas as pd
import pytest
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import markup, references, results, tables

UNVERIFIED = "CIFAR-10 (unverified source, sha256 1234abcd1234)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "made-up"
    write_study(folder)
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return results.load(folder)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """The 2K study, with repeats, and the review's size."""
    folder = tmp_path_factory.mktemp("results") / "cifar"
    sizes = ((2000, 2), (200, 3))
    write_study(folder, dataset=UNVERIFIED, verified=False, image_shape=(32, 32, 3), subsets=sizes, n_test=100)
    return results.load(folder)


def test_every_file_is_written_and_names_the_data(folder):
    paths = tables.write_tables(folder)
    assert [path.name for path in paths] == [*tables.FILES, tables.SUMMARY]
    for path in paths[:4]:
        assert set(pd.read_csv(path).dataset) == {DATASET}
    assert DATASET in set(pd.read_csv(paths[4]).dataset)
    assert DATASET in (folder / "tables" / "table1.md").read_text()


def test_same_metrics_same_bytes(folder):
    first = [path.read_bytes() for path in tables.write_tables(folder)]
    assert [path.read_bytes() for path in tables.write_tables(folder)] == first


def test_files_left_from_another_configuration_stay_out(folder):
    chosen = [path for path in (folder / "metrics").iterdir() if "depth-21" not in path.name]
    tables.write_tables(folder, chosen)
    assert set(pd.read_csv(folder / "tables" / "accuracy.csv").depth) == {3, 4, 6, 11}


def test_no_metrics_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="holds no metrics"):
        tables.write_tables(tmp_path)


def test_accuracy_by_depth_averages_repeats(study):
    table = tables.accuracy_by_depth(study)
    assert len(table) == 2 * 2 * 5 * 2
    row = table[(table.kernel == "CNTK-V") & (table.depth == 6) & (table.train_images == 200)].iloc[0]
    one = study.accuracy[
        (study.accuracy.kernel == "CNTK-V") & (study.accuracy.depth == 6) & (study.accuracy.train_images == 200)
    ]
    assert row.repeats == 5
    assert row.accuracy == pytest.approx(one.accuracy.mean())
    assert row.accuracy_std == pytest.approx(one.accuracy.std(ddof=1))
    assert row.accuracy_se == pytest.approx((row.accuracy * (1 - row.accuracy) / 797) ** 0.5)
    assert table[table.train_images == 1000].accuracy_std.isna().all()


def test_the_middle_ridge_is_one_of_the_path(cifar):
    of_two = cifar.accuracy.repeat.map({0: 0.1, 1: 0.01, 2: 0.01})
    table = tables.accuracy_by_depth(replace(cifar, accuracy=cifar.accuracy.assign(loo_ridge=of_two)))
    assert set(table[table.repeats == 2].loo_ridge) == {0.01}


def test_own_accuracies_read_as_mean_and_deviation(study):
    table = tables.own_accuracies(study, 200)
    assert list(table.columns) == ["depth", "CNTK-V", "CNN-GP-V", "CNTK-GAP", "CNN-GP-GAP"]
    assert table["CNTK-V"].str.fullmatch(r"\d\d\.\d\d ± \d\.\d\d").all()
    assert tables.own_accuracies(study, 1000)["CNTK-V"].str.fullmatch(r"\d\d\.\d\d").all()


class TestPaper:
    def test_other_data_are_never_set_beside_the_paper(self, study):
        assert tables.beside_paper(study) is None
        assert tables.beside_review(study) is None
        table = tables.table1(study)
        assert table.paper_percent.isna().all()
        assert set(table[table.source != "made-up"].dataset) == {"CIFAR-10"}
        assert set(table[table.source == "made-up"].dataset) == {DATASET}

    def test_the_same_kernel_and_size_are(self, cifar):
        table = tables.beside_paper(cifar)
        assert list(table.columns) == ["depth"] + [
            f"CNTK-{name}-2K, {what}" for name in ("V", "GAP") for what in ("paper", "here", "difference")
        ]
        assert table["CNTK-V-2K, paper"].tolist() == ["40.94", "42.54", "43.43", "43.42", "42.53"]

    def test_differences_are_here_less_the_paper(self, cifar):
        table = tables.table1(cifar)
        known = table[table.paper_percent.notna()]
        assert set(known.column) == {"CNTK-V", "CNTK-GAP"} and set(known.train_images) == {2000}
        paper = references.table1_wide()["CNTK-V-2K"]
        for row in known[known.column == "CNTK-V"].itertuples():
            assert row.difference_points == pytest.approx(row.accuracy_percent - paper[row.depth])

    def test_beside_the_review(self, cifar):
        table = tables.beside_review(cifar)
        assert table.kernel.tolist() == ["CNTK-V", "CNTK-GAP"]
        assert table.iloc[:, 2].tolist() == ["25.00 ± 4.33", "37.00 ± 4.83"]
        assert table.subsets.tolist() == [3, 3]

    def test_markdown_says_that_the_source_is_unverified(self, cifar, study):
        assert "did not come from the official source" in tables.table1_markdown(cifar)
        assert UNVERIFIED in tables.table1_markdown(cifar)
        assert "official" not in tables.table1_markdown(study)

    def test_claims(self):
        table = tables.paper_claims().set_index("gain")
        assert table["in the table"]["GAP over vanilla, CNTK"] == "+6.00 to +12.99"
        assert table["in the table"]["GAP over vanilla, CNN"] == "+3.84 to +20.73"


def test_summary_is_what_dvc_shows(folder, study):
    tables.write_tables(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == tables.summary(study)
    leaf = summary["cntk-v"]["ntk"]["n=200"]["depth_03"]
    assert set(leaf) == {"accuracy", "accuracy_std", "accuracy_loo_ridge", "accuracy_loo_ridge_std"}
    assert set(summary["cntk-gap"]["nngp"]["n=1000"]["depth_21"]) == {"accuracy", "accuracy_loo_ridge"}


def test_a_singular_kernel_leaves_a_gap(study):
    accuracy = study.accuracy.copy()
    accuracy.loc[accuracy.depth == 3, "accuracy"] = float("nan")
    broken = results.Study(study.name, study.data, accuracy, study.ridge_path, study.spectra, study.correct)
    assert tables.own_accuracies(broken, 1000)["CNTK-V"][0] == ""
    assert tables.summary(broken)["cntk-v"]["ntk"]["n=1000"]["depth_03"]["accuracy"] is None


class TestMarkup:
    frame = pd.DataFrame({"name": ["a<b", "c"], "value": ["1.5", ""]})

    def test_markdown_is_aligned(self):
        assert markup.to_markdown(self.frame).splitlines() == [
            "| name | value |",
            "| ---- | ----: |",
            "| a<b  |   1.5 |",
            "| c    |       |",
        ]

    def test_a_narrow_column_of_numbers_has_a_rule_with_a_dash(self):
        assert markup.to_markdown(pd.DataFrame({"n": ["5"]})).splitlines() == ["|  n |", "| -: |", "|  5 |"]

    def test_html_is_escaped_and_scrolls(self):
        page = markup.to_html(self.frame, "x & y")
        assert "a&lt;b" in page and "x &amp; y" in page
        assert '<div class="scroll" role="region" aria-label="x &amp; y"' in page
        assert page.count('<td class="number"') == 2

    def test_signs(self):
        assert markup.signed_points(-0.0123) == "\u22121.23"
        assert markup.signed_points(0.0123) == "+1.23"
        assert markup.signed_points(-1e-9) == "0.00"
        assert markup.percent(float("nan")) == ""
