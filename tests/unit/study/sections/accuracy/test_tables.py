import json
from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import results
from exact_cntk.study.sections import plan, write_section
from exact_cntk.study.sections.accuracy import page
from exact_cntk.study.sections.accuracy import results as tables
from exact_cntk.study.show import markup, references
from exact_cntk.study.summary import write_summary

UNVERIFIED = "CIFAR-10 (unverified source, sha256 1234abcd1234)"


@pytest.fixture(autouse=True)
def empty_figures(monkeypatch):
    """Drawing takes seconds, and is tested elsewhere."""
    empty = dict.fromkeys(page.FIGURES, lambda study: Figure(figsize=(1, 1)))
    monkeypatch.setattr(page, "FIGURES", empty)


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
    written = write_section("accuracy", folder)
    planned = plan("accuracy").SECTION
    tidy = [f"{name}.csv" for name in planned.tables]
    drawn = [f"{name}.svg" for name in planned.figures]
    assert [path.name for path in written] == [*tidy, *planned.texts, *drawn, "accuracy.json"]
    for path in written[:4]:
        assert set(pd.read_csv(path).dataset) == {DATASET}
    assert DATASET in set(pd.read_csv(written[4]).dataset)
    assert DATASET in (folder / "tables" / "table1.md").read_text()


def test_same_metrics_same_bytes(folder):
    first = [path.read_bytes() for path in write_section("accuracy", folder)]
    assert [path.read_bytes() for path in write_section("accuracy", folder)] == first


def test_files_left_from_another_configuration_stay_out(folder):
    chosen = [path for path in (folder / "metrics").iterdir() if "depth-21" not in path.name]
    write_section("accuracy", folder, chosen)
    assert set(pd.read_csv(folder / "tables" / "accuracy.csv").depth) == {3, 4, 6, 11}


def test_no_metrics_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="holds no metrics"):
        write_section("accuracy", tmp_path)


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
        assert tables.compared_with_paper(study) is None
        assert tables.compared_with_review(study) is None
        table = tables.table1(study)
        assert table.paper_percent.isna().all()
        assert set(table[table.source != "made-up"].dataset) == {"CIFAR-10"}
        assert set(table[table.source == "made-up"].dataset) == {DATASET}

    def test_the_same_kernel_and_size_are(self, cifar):
        table = tables.compared_with_paper(cifar)
        assert list(table.columns) == ["depth"] + [
            f"CNTK-{name}-2K, {what}" for name in ("V", "GAP") for what in ("paper", "here", "difference")
        ]
        assert table["CNTK-V-2K, paper"].tolist() == ["40.94", "42.54", "43.43", "43.42", "42.53"]

    def test_differences_are_this_study_minus_the_paper(self, cifar):
        table = tables.table1(cifar)
        known = table[table.paper_percent.notna()]
        assert set(known.column) == {"CNTK-V", "CNTK-GAP"} and set(known.train_images) == {2000}
        paper = references.table1_wide()["CNTK-V-2K"]
        for row in known[known.column == "CNTK-V"].itertuples():
            assert row.difference_points == pytest.approx(row.accuracy_percent - paper[row.depth])

    def test_beside_the_review(self, cifar):
        table = tables.compared_with_review(cifar)
        assert table.kernel.tolist() == ["CNTK-V", "CNTK-GAP"]
        assert table.iloc[:, 2].tolist() == ["25.00 ± 4.33", "37.00 ± 4.83"]
        assert table.subsets.tolist() == [3, 3]

    def test_markdown_says_that_the_source_is_unverified(self, cifar, study):
        assert "did not come from the official source" in tables.table1_markdown(cifar)
        assert UNVERIFIED in tables.table1_markdown(cifar)
        assert "official" not in tables.table1_markdown(study)

    def test_claims(self):
        table = tables.paper_claims().set_index("gain")
        assert table["in the table"]["GAP − vanilla, CNTK"] == "+6.00 to +12.99"
        assert table["in the table"]["GAP − vanilla, CNN"] == "+3.84 to +20.73"


def test_summary_is_what_dvc_shows(folder, study):
    write_section("accuracy", folder)
    written, made_from = write_summary(folder)
    assert made_from.name == "summary.made_from.json"
    summary = json.loads(written.read_text())
    assert summary == tables.summary(study)
    leaf = summary["cntk-v"]["ntk"]["n=200"]["depth_03"]
    assert set(leaf) == {"accuracy", "accuracy_std", "accuracy_loo_ridge", "accuracy_loo_ridge_std"}
    assert set(summary["cntk-gap"]["nngp"]["n=1000"]["depth_21"]) == {"accuracy", "accuracy_loo_ridge"}


@pytest.fixture(scope="module")
def duplicates(tmp_path_factory):
    """Vanilla kernels are singular on the second of three subsets, at depth 3 on all, and on the whole pool."""
    folder = tmp_path_factory.mktemp("results") / "duplicates"

    def singular(family, depth, result):
        return family == "cntk-v" and (depth == 3 or (result["train_images"], result["repeat"]) == (200, 1))

    data = {"dataset": "CIFAR-10", "image_shape": (32, 32, 3)}
    write_study(folder, depths=(3, 6), subsets=((2000, 1), (200, 3)), n_test=100, singular=singular, **data)
    write_section("accuracy", folder)
    return folder


class TestUnsolved:
    @pytest.fixture
    def study(self, duplicates):
        return results.load(duplicates)

    @pytest.fixture
    def two(self, study):
        """Accuracies without ridge of CNTK-V at depth 6 from the two subsets that have one."""
        rows = study.accuracy[(study.accuracy.kernel == "CNTK-V") & (study.accuracy.depth == 6)]
        return rows[(rows.train_images == 200) & rows.accuracy.notna()]

    def test_cells_say_over_how_many_subsets_they_are(self, study, two):
        small = tables.own_accuracies(study, 200)
        mean, spread = 100 * two.accuracy.mean(), 100 * two.accuracy.std(ddof=1)
        assert small["CNTK-V"].tolist() == ["singular", f"{mean:.2f} ± {spread:.2f} (2 of 3)"]
        assert small["CNTK-GAP"].str.fullmatch(r"\d\d\.\d\d ± \d+\.\d\d").all()
        assert tables.own_accuracies(study, 2000)["CNTK-V"][0] == "singular"
        chosen = tables.own_accuracies(study, 200, "accuracy_loo_ridge")
        assert not any("of" in cell for cell in chosen["CNTK-V"])
        assert tables.compared_with_review(study).iloc[0, 3].endswith("(2 of 3)")
        beside = tables.compared_with_paper(study)
        assert beside["CNTK-V-2K, here"][0] == beside["CNTK-V-2K, difference"][0] == "singular"

    def test_markdown_explains_what_is_missing(self, duplicates):
        text = (duplicates / "tables" / "table1.md").read_text(encoding="utf-8")
        blocks = text.split("## ")[1:]
        why = (
            "without ridge, the kernel matrix is singular to working precision, for example because of duplicate images"
        )
        whole, chosen, small = blocks[0], blocks[1], blocks[2]
        assert f"No answer in 2 of 8 fits: {why}." in whole
        assert "No answer" not in chosen
        # of depth 3 none of three, of depth 6 two of three, of both kinds
        assert f"No answer in 8 of 24 fits: {why}. (2 of 3) after a number: it is over the 2 of 3 subsets" in small
        assert "nan" not in text

    def test_csv_files_count_what_is_solved(self, duplicates):
        table = pd.read_csv(duplicates / "tables" / "accuracy_by_depth.csv")
        row = table.set_index(["kernel", "depth", "train_images"]).loc["CNTK-V", 6, 200]
        assert (row.repeats, row.accuracy_solved, row.accuracy_loo_ridge_solved) == (3, 2, 3)
        own = pd.read_csv(duplicates / "tables" / "table1.csv").query("source == 'duplicates'")
        assert own.set_index(["column", "depth", "train_images"]).solved.loc["CNTK-V"].to_dict() == {
            (3, 200): 0,
            (3, 2000): 0,
            (6, 200): 2,
            (6, 2000): 1,
        }

    def test_gains_are_over_the_subsets_that_have_both(self, study, two):
        gain = 100 * (two.accuracy_loo_ridge - two.accuracy).mean()
        table = tables.ridge_gain(study).set_index(["kernel", "depth", "training images"])
        assert table["gain (points)"]["CNTK-V", 6, 200] == f"{gain:+.2f} (2 of 3)"
        assert table["gain (points)"]["CNTK-V", 3, 200] == "singular"

    def test_a_singular_kernel_counts_in_the_median_condition_number(self, study):
        table = tables.ridge_gain(study).set_index(["kernel", "depth", "training images"])
        conditions = table["condition number, median"]
        assert conditions["CNTK-V", 3, 200] == "singular"
        assert conditions["CNTK-V", 6, 200] == f"{10**3.5:.1e}"

    def test_summary_counts_and_is_json(self, duplicates, study, two):
        def refuse(constant):
            raise AssertionError(constant)

        written, _ = write_summary(duplicates)
        summary = json.loads(written.read_text(), parse_constant=refuse)
        leaf = summary["cntk-v"]["ntk"]["n=200"]["depth_06"]
        assert leaf["accuracy"] == pytest.approx(two.accuracy.mean())
        assert (leaf["accuracy_solved"], leaf["repeats"]) == (2, 3) and "accuracy_loo_ridge_solved" not in leaf
        none = summary["cntk-v"]["ntk"]["n=200"]["depth_03"]
        assert none["accuracy"] is None and none["accuracy_solved"] == 0 and "accuracy_std" not in none
        assert set(summary["cntk-gap"]["ntk"]["n=2000"]["depth_03"]) == {"accuracy", "accuracy_loo_ridge"}


def test_one_answer_of_two_has_no_deviation(cifar):
    accuracy = cifar.accuracy.copy()
    accuracy.loc[(accuracy.train_images == 2000) & (accuracy.repeat == 1), "accuracy"] = float("nan")
    study = replace(cifar, accuracy=accuracy)
    assert tables.own_accuracies(study, 2000)["CNTK-V"].str.fullmatch(r"\d\d\.\d\d \(1 of 2\)").all()
    assert "accuracy_std" not in tables.summary(study)["cntk-v"]["ntk"]["n=2000"]["depth_03"]


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

    def test_counts(self):
        assert markup.counted("1.00", 3, 3) == "1.00"
        assert markup.counted("1.00", 2, 3) == "1.00 (2 of 3)"
        assert markup.counted("", 0, 3, markup.DIVERGED) == "diverged"
        assert markup.unsolved_note([3, 1], [3, 1], "seeds", "why") == ""
        note = markup.unsolved_note([0, 2], [3, 3], "seeds", "training diverged", "runs")
        assert note == (
            "No answer in 4 of 6 runs: training diverged. "
            "(2 of 3) after a number: it is over the 2 of 3 seeds that have an answer."
        )

    def test_columns_of_numbers_that_lack_some_stay_to_the_right(self):
        table = pd.DataFrame({"a": ["1.00", "singular"]})
        assert markup.to_markdown(table).splitlines()[1] == "| -------: |"

    def test_signs(self):
        assert markup.signed_points(-0.0123) == "\u22121.23"
        assert markup.signed_points(0.0123) == "+1.23"
        assert markup.signed_points(-1e-9) == "0.00"
        assert markup.percent(float("nan")) == ""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "large"
    write_study(
        folder,
        families={"cntk-v": ("flatten", "all")},
        depths=(3, 6),
        subsets=((2000, 1), (200, 3)),
        held_out_above=1000,
        singular=lambda family, depth, result: (depth, result["train_images"]) == (3, 2000),
    )
    return folder


class TestRidgesChosenOnAHeldOutTenth:
    """A large training set, solved by conjugate gradients, beside small ones; without ridge they did not converge."""

    def test_no_table_takes_one_for_the_other(self, large):
        study = results.load(large)
        names = study.accuracy.set_index("train_images").selection
        assert set(names[2000]) == {"held-out tenth"} and set(names[200]) == {"leave-one-out"}
        captions = [caption for caption, *_ in tables.own_tables(study)]
        assert captions[1].startswith("2,000 training images, ridge chosen by a held-out tenth")
        assert captions[3].startswith("200 training images, ridge chosen by leave-one-out")
        by_depth = tables.accuracy_by_depth(study).set_index("train_images").selection
        assert set(by_depth[2000]) == {"held-out tenth"} and set(by_depth[200]) == {"leave-one-out"}

    def test_the_headline_and_the_summary_say_it(self, large):
        study = results.load(large)
        assert any("Choosing a ridge by a held-out tenth changes" in text for text in page.headline(study))
        tree = tables.summary(study)["cntk-v"]["ntk"]
        assert tree["n=2000"]["depth_06"]["selection"] == "held-out tenth"
        assert "selection" not in tree["n=200"]["depth_06"]

    def test_what_did_not_converge_is_not_called_singular(self, large):
        study = results.load(large)
        assert tables.own_accuracies(study, 2000)["CNTK-V"][0] == "unsolved"
        gain = tables.ridge_gain(study).set_index(["kernel", "depth", "training images"])
        assert gain["gain (points)"]["CNTK-V", 3, 2000] == "unsolved"
        assert "or so nearly that conjugate gradients do not converge" in study.unsolved
        assert "singular" not in tables.to_markdown(tables.ridge_gain(study))

    def test_files_say_it_and_those_of_leave_one_out_do_not(self, large, folder):
        for study, states in ((large, True), (folder, False)):
            write_section("accuracy", study)
            for name in ("accuracy", "accuracy_by_depth"):
                assert ("selection" in pd.read_csv(study / "tables" / f"{name}.csv").columns) == states
