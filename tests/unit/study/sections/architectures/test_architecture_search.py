"""What is read off a grid of architectures: ranking, association, strategies of search, and the section of it all."""

import json
from pathlib import Path

import architecture_files
import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from synthetic import write_study

from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_result
from exact_cntk.study.sections import plan, read_pages, write_section
from exact_cntk.study.sections.architectures import page as architectures
from exact_cntk.study.sections.architectures.results import correlations, pairs, ranking, read_search
from exact_cntk.study.sections.architectures.strategies import SHORTLIST, pareto_front, strategies
from exact_cntk.study.show.style import to_svg

PROTOCOL = "accuracy_loo_ridge"


def read(documents):
    return read_search([(Path(f"{one['family']}.json"), one) for one in documents], resamples=100)


@pytest.fixture(scope="module")
def search():
    return read(architecture_files.grid())


def test_every_architecture_is_there_cheapest_first(search):
    table = search.architectures
    assert len(table) == 54 and table.architecture.is_unique
    assert table.element_layers_per_pair.is_monotonic_increasing
    assert (table.element_layers == table.element_layers_per_pair * pairs(200, 400)).all()
    assert (search.small, search.full, search.test_images, search.repeats(20)) == ([20, 40], 200, 400, 4)


def test_ranking_has_means_and_ranks(search):
    table = ranking(search)
    assert table.rank_small.is_monotonic_increasing and table[f"{PROTOCOL}_40"].is_monotonic_decreasing
    row = table.iloc[3]
    i = search.architectures.index[search.architectures.architecture == row.architecture][0]
    accuracies = search.correct[PROTOCOL, 40, i].mean(axis=1)
    assert row[f"{PROTOCOL}_40"] == pytest.approx(accuracies.mean())
    assert row[f"{PROTOCOL}_40_std"] == pytest.approx(accuracies.std(ddof=1))
    assert (
        row.rank_full
        == (table[f"{PROTOCOL}_full"] > row[f"{PROTOCOL}_full"]).sum()
        + 1
        + ((table[f"{PROTOCOL}_full"] == row[f"{PROTOCOL}_full"]).sum() - 1) / 2
    )
    assert ranking(search, 20).rank_small.iloc[0] == 1


def test_correlations_are_scipys(search):
    table, full = correlations(search), ranking(search)
    rows = table[(table.protocol == PROTOCOL) & (table.train_images == 40)].set_index(["scope", "statistic"])
    x, y = full[f"{PROTOCOL}_40"], full[f"{PROTOCOL}_full"]
    assert rows.value["all", "spearman"] == pytest.approx(spearmanr(x, y).statistic)
    assert rows.value["all", "pearson"] == pytest.approx(pearsonr(x, y).statistic)
    assert rows.value["all", "regret"] == pytest.approx(y.max() - y[x.idxmax()])
    vanilla = full.group == "vanilla"
    assert rows.value["vanilla", "spearman"] == pytest.approx(spearmanr(x[vanilla], y[vanilla]).statistic)
    assert rows.n["vanilla", "spearman"] == 18 and rows.n["better half at full data", "pearson"] == 27
    assert ("all, readouts' means removed", "pearson") in rows.index
    assert (rows.both_low <= rows.both_high).all()


def test_exhaustive_search_is_the_standard_and_costs_all_passes(search):
    table = strategies(search).set_index(["strategy", "search_on", "chosen_by"])
    exhaustive = table.loc["exhaustive", "n = 200", "test images"]
    entries = 3 * (64 + 1156 + 4096) * 5
    assert exhaustive.element_layers == entries * pairs(200, 400) and exhaustive.regret == 0
    one = table.loc["search", "n = 40, 1 training set", "leave-one-out"]
    # without test images, and with the kernel of what was chosen, at most the dearest pass
    assert entries * pairs(40, 0) < one.element_layers <= entries * pairs(40, 0) + 4096 * 5 * pairs(200, 400)
    four = table.loc["search", "n = 40, 4 training sets", "test images"]
    assert four.cost_percent == pytest.approx(100 * four.element_layers / exhaustive.element_layers)
    assert table.loc["at random", "", "chance"].accuracy < exhaustive.accuracy


def test_choices_are_measured_on_the_half_that_had_no_say():
    # two architectures, one right on even test images, the other on odd ones: each wins its half and fails the other
    one = architecture_files.one_pass(3, "flatten", qualities={(3, "ntk", "all"): 0.5, (4, "ntk", "all"): 0.5})
    for result in one["results"]:
        bits = np.arange(architecture_files.TEST_IMAGES) % 2 == (result["depth"] == 3)
        packed = np.packbits(bits).tobytes().hex()
        result |= {"accuracy": 0.5, PROTOCOL: 0.5, "test_correct_hex": packed, "test_correct_loo_ridge_hex": packed}
    table = strategies(read([one])).set_index(["strategy", "chosen_by"])
    assert (table.loc[("search", "test images")].accuracy == 0).all()
    assert table.loc[("exhaustive", "test images")].accuracy.item() == 0


def test_architectures_without_an_answer_are_left_out_of_that_protocol():
    documents = architecture_files.grid()
    first = documents[0]["results"][0]
    first |= {"accuracy": None, "test_correct_hex": None}
    search = read(documents)
    assert len(search.solved("accuracy")) == 53 and len(search.solved(PROTOCOL)) == 54
    table = ranking(search)
    assert table.accuracy_20.isna().sum() == 1 and table[f"{PROTOCOL}_20"].notna().all()
    assert table[table.accuracy_20.isna()].accuracy_20_solved.tolist() == [3]
    assert architectures.summary(search)["architectures"] == 54
    chosen = architectures.tables(search)["architecture_search"].groupby("protocol").architectures.unique()
    assert chosen["accuracy"].tolist() == [53] and chosen[PROTOCOL].tolist() == [54]


def test_what_has_no_answer_is_explained(search):
    documents = architecture_files.grid()
    for result in documents[0]["results"]:  # vanilla, filters 1×1
        result |= {"accuracy": None, "test_correct_hex": None}
    found = read(documents)
    _, (association, table), (best, shown) = architectures.shown(found)
    note = "No answer in 54 of 486 fits: without ridge, the kernel matrix is singular to working precision"
    assert note in association and "after a number" not in association
    assert "No answer in 6 of 54 fits: without ridge" in best
    assert (shown["n = 200, no ridge"] == "singular").sum() == architectures.shown_ranking(found).iloc[:40][
        "architecture"
    ].str.startswith("vanilla, 1×1").sum()
    assert table["n, no ridge"].tolist()[0] == "48" and table["n, ridge"].tolist()[0] == "54"
    assert ", for the 48 that can be solved so)" in architectures.headline(found)[0]
    assert not any("No answer" in caption for caption, _ in architectures.shown(search))


def test_section_of_kernels_that_are_all_singular_without_ridge():
    documents = architecture_files.grid()
    for result in (one for document in documents for one in document["results"]):
        result |= {"accuracy": None, "test_correct_hex": None}
    search = read(documents)
    tables = architectures.tables(search)
    assert set(tables["architecture_search"].protocol) == set(tables["architecture_correlation"].protocol) == {PROTOCOL}
    assert tables["architectures"].accuracy_full.isna().all()
    assert architectures.shown(search) and architectures.summary(search)
    assert (
        " (without a ridge only 0 of 54 have all answers). Best with 40 images: " in architectures.headline(search)[0]
    )
    for figure in architectures.figures(search).values():
        assert not any("nan" in axes.get_title("left") for axes in figure.axes)
        assert "<svg" in to_svg(figure)


def test_pareto_front():
    cost, accuracy = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.4, 0.7, 0.7, 0.9])
    assert pareto_front(cost, accuracy).tolist() == [0, 2, 4]


def test_section_shows_what_it_promises(search):
    names = plan("architectures").SECTION
    tables, figures = architectures.tables(search), architectures.figures(search)
    assert tuple(tables) == names.tables and tuple(figures) == names.figures == tuple(architectures.CAPTIONS)
    assert to_svg(figures["architecture_search"]) == to_svg(architectures.search_figure(search))
    assert len(tables["architectures"]) == 54 and set(tables["architecture_search"].protocol) == {"accuracy", PROTOCOL}
    line, cost = architectures.headline(search)
    overall = correlations(search).query("scope == 'all' and statistic == 'spearman' and train_images == 40")
    assert "54 architectures" in line and f"{overall.value.iloc[-1]:.2f}" in line
    assert "one training set of 40 images costs" in cost
    assert [len(frame) for _, frame in architectures.shown(search)][1:] == [14, 40]
    assert any(str(SHORTLIST) in name for name in tables["architecture_search"].strategy)


def test_costs_in_seconds(search):
    passes = search.architectures.groupby("pass").filter_size.first()
    timed = search.in_seconds(2.0 * passes)
    # a pass gives depth 3 with the layers that depth 6 needs: 2 of 5
    table = timed.architectures
    gap = table[(table["pass"] == "arch-f3-gap") & (table.variant == "NTK")].set_index("depth").element_layers
    assert gap[6] == pytest.approx(6.0) and gap[3] == pytest.approx(6.0 * 2 / 5)
    layers, seconds = strategies(search), strategies(timed)
    assert seconds.element_layers[0] == pytest.approx(3 * 2.0 * (1 + 3 + 5))
    assert (seconds.chosen == layers.chosen).all() and (seconds.accuracy == layers.accuracy).all()
    assert strategies(search.in_seconds({"arch-f3-gap": 1.0})).element_layers.isna()[0]


def test_measured_seconds_are_in_tables_of_their_own(search, tmp_path):
    searches, passes = architectures.measured(search, tmp_path)
    assert set(searches[1].seconds) == set(passes[1].seconds) == {""}
    for name in search.architectures["pass"].unique():
        write_result(tmp_path / "architectures" / f"{name}.json", {"seconds": 2.0})
    searches, passes = architectures.measured(search, tmp_path)
    assert searches[1].seconds[0] == "18" and set(passes[1].seconds) == {"2"}
    assert list(searches[1].strategy) == list(strategies(search).strategy)
    assert not any("seconds" in frame for frame in architectures.tables(search).values())
    assert not any("seconds" in frame for _, frame in architectures.shown(search))


def test_grid_without_repeats():
    documents = [
        architecture_files.one_pass(3, "flatten", qualities={(3, "ntk", "all"): 0.6, (4, "nngp", None): 0.7}, repeats=1)
    ]
    search = read(documents)
    assert architectures.figures(search)
    line, _ = architectures.headline(search)
    assert "ρ = undefined (fewer than 3 architectures), each" in line and "nan" not in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one | {"train_images": 300}, r"b\.json: train_images is 300, but a\.json has 200"),
        (lambda one: one | {"family": "arch-f1-flatten"}, r"b\.json: pass arch-f1-flatten is in a\.json too"),
        (lambda one: one | {"results": []}, r"b\.json holds no results"),
        (
            lambda one: one | {"results": [one["results"][0] | {"test_correct_hex": "00"}]},
            "answers are 1 bytes for 400 test images",
        ),
        (
            lambda one: one | {"results": [one["results"][0] | {"test_correct_hex": "00" * 50}]},
            "its answers give an accuracy of",
        ),
    ],
)
def test_files_that_do_not_fit(change, words):
    first, second, *_ = architecture_files.grid()
    with pytest.raises(UserError, match=words):
        read_search([(Path("a.json"), first), (Path("b.json"), change(second))])


def test_no_files():
    with pytest.raises(UserError, match="architectures: no results: run its jobs first"):
        read_search([])


def test_section_is_written_from_a_study_folder(tmp_path):
    write_study(tmp_path, depths=(3,), subsets=((100, 1), (20, 3)), n_test=61, kinds=("ntk",))
    digest = json.loads(next((tmp_path / "metrics").glob("*.json")).read_text())["data"]["digest"]
    for one in architecture_files.grid():
        one["data"] = architecture_files.DATA | {"digest": digest}
        write_result(tmp_path / "architectures" / f"{one['family']}.json", one)
    paths = write_section("architectures", tmp_path, resamples=20)
    assert all(path.stat().st_size for path in paths)
    names = plan("architectures").SECTION
    assert {path.stem for path in paths} >= {*names.tables, *names.figures, "architectures"}
    # what is measured changes no file of results
    first = {path: path.read_bytes() for path in paths}
    tables = read_pages([tmp_path / "sections" / "architectures.json"])[0]["tables"]
    for one in architecture_files.grid():
        write_result(tmp_path / "benchmarks" / "architectures" / f"{one['family']}.json", {"seconds": 2.0})
    write_section("architectures", tmp_path, resamples=20)
    assert {path: path.read_bytes() for path in paths} == first
    assert read_pages([tmp_path / "sections" / "architectures.json"])[0]["tables"] != tables
    # made from other images than the metrics
    write_result(tmp_path / "architectures" / "other.json", architecture_files.grid()[0])
    with pytest.raises(UserError, match=r"other\.json was made from other images"):
        write_section("architectures", tmp_path, resamples=20)
