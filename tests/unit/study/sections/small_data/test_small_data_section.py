"""What is shown of small training sets: paired statistics against scipy, tables, figures, refusals."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kernel_files import make_data, make_kernel
from scipy.stats import ttest_rel

from exact_cntk.errors import InputError, UserError
from exact_cntk.study.documents import write_result
from exact_cntk.study.params import check_params, load_params
from exact_cntk.study.results import load
from exact_cntk.study.sections import open_section, plan, write_section
from exact_cntk.study.sections._collect import section_contradictions
from exact_cntk.study.sections.small_data import cost as costs
from exact_cntk.study.sections.small_data import page as section
from exact_cntk.study.sections.small_data.baselines import Predictions
from exact_cntk.study.sections.small_data.jobs import Design, baseline_to_file, kernel_to_file, method_to_file
from exact_cntk.study.sections.small_data.results import accuracy, differences, paired, same_size
from exact_cntk.study.show.style import to_svg
from exact_cntk.study.solve import solve_to_files
from exact_cntk.study.subsets import Subset
from exact_cntk.study.work import Fits

ROOT = Path(__file__).parents[5]
RIDGES = [0.0, 1e-3, 1e-1]
DESIGN = Design([3, 6, 11], 4, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of made-up images with a kernel, a baseline and a network that tosses a coin."""
    folder = tmp_path_factory.mktemp("results") / "squares"
    folder.mkdir()
    data = make_data(folder / "squares.h5")
    images = np.concatenate([data.train_images, data.test_images]).reshape(-1, 16).astype(float)
    full = np.exp(-((images[:, None] - images[None, :24]) ** 2).sum(axis=2) / 32)
    kernel = make_kernel(folder, data, full)
    solve_to_files(kernel, folder / "squares.h5", folder / "metrics" / "a.json", subsets=[Subset(6, 2)], ridges=RIDGES)
    kernel_to_file(kernel, folder / "squares.h5", folder / "small_data" / "k.json", DESIGN, ridges=RIDGES)
    options = {"ridges": RIDGES, "bandwidths": [1.0], "penalties": [1.0], "trees": 3}
    baseline_to_file("rbf", folder / "squares.h5", folder / "small_data" / "rbf.json", DESIGN, **options)

    def toss(x, labels, x_test, seed):
        return Predictions(np.random.default_rng(seed).integers(0, 3, len(x_test)), {})

    network = {"depth": 3, "width": 4}
    out = folder / "small_data" / "cnn.json"
    only = Design([3, 6], 2, 0)
    method_to_file("cnn-v", toss, network, folder / "squares.h5", out, DESIGN, only=only)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return open_section("small_data", folder)[1]


def test_paired_differences_are_scipys():
    a, b = np.random.default_rng(0).random((2, 9))
    found, known = paired(a, b), ttest_rel(a, b).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((known.low, known.high), rel=1e-12)
    assert found["difference"] == pytest.approx((a - b).mean())
    assert (found["won"], found["lost"], found["tied"]) == ((a > b).sum(), (a < b).sum(), 0)


def test_one_set_has_no_interval():
    found = paired(np.array([0.5]), np.array([0.5]))
    assert np.isnan(found["low"]) and np.isnan(found["high"])
    assert (found["difference"], found["subsets"], found["tied"]) == (0, 1, 1)


def changed(folder, to, change, name="k"):
    """A copy of the study one file of which is changed."""
    shutil.copytree(folder, to)
    file = to / "small_data" / f"{name}.json"
    document = json.loads(file.read_text())
    change(document)
    write_result(file, document)
    return to


def test_flipped_kernels_have_a_name_of_their_own(folder, results, tmp_path):
    flipped = changed(folder, tmp_path / "flipped", lambda document: document["parameters"].update(flips=True))
    found = open_section("small_data", flipped)[1].methods
    assert any(name.startswith("CNTK-V") for name in results.methods.index)
    assert not any(name.startswith("CNTK-V") for name in found.index)
    assert any(name.startswith("cntk-v NTK") for name in found.index)


def test_diverged_networks_have_no_accuracy(folder, results, tmp_path):
    def diverge(document):
        document["results"][0]["chosen"] = {"rate": 1.0, "diverged": 1}

    found = open_section("small_data", changed(folder, tmp_path / "diverged", diverge, "cnn"))[1]
    before, after = (one.accuracy[one.accuracy.type == "network"].accuracy for one in (results, found))
    assert before.notna().all() and after.isna().sum() == 1
    table = accuracy(found).set_index(["type", "train_images"])
    assert table.loc[("network", 3), "subsets"] == 1 and table.loc[("network", 6), "subsets"] == 2


class TestUnsolved:
    """The CNTK without ridge is singular on two of four sets of 11 images, on all of 3; a network diverged on one."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, folder, tmp_path_factory):
        def singular(document):
            for row in document["results"]:
                few = row["train_images"] == 3 or (row["train_images"] == 11 and row["repeat"] < 2)
                if (row["kind"], row["ridge"]) == ("ntk", "none") and few:
                    row |= {"accuracy": None, "correct": None, "chosen": {}}

        def diverge(document):
            for row in document["results"]:
                if (row["train_images"], row["repeat"]) == (6, 1):
                    row["chosen"] = {"diverged": 1}

        kernels = changed(folder, tmp_path_factory.mktemp("unsolved") / "kernels", singular)
        return open_section("small_data", changed(kernels, kernels.parent / "both", diverge, "cnn"))[1]

    def test_tables_count_and_explain(self, found):
        (caption, cells), *_ = section.shown(found)
        cells = cells.set_index("method")
        assert cells["n = 3"]["CNTK-V, depth 3, no ridge"] == "singular"
        assert cells["n = 11"]["CNTK-V, depth 3, no ridge"].endswith(" (2 of 4)")
        network = cells.loc["CNN-V, depth 3, width 4"]
        assert network["n = 6"].endswith(" (1 of 2)") and "±" not in network["n = 6"]
        assert "over 2 to 4 random class-balanced training sets. No answer in 6 of 48 fits of kernels: wit" in caption
        assert "No answer in 1 of 4 fits of networks: training diverged. (1 of 2) after a number" in caption
        table = accuracy(found).set_index(["method", "train_images"])
        assert tuple(table.loc[("CNTK-V, depth 3, no ridge", 11), ["sets", "subsets"]]) == (4, 2)

    def test_differences_are_over_the_sets_that_both_have(self, found):
        table = differences(found).set_index(["reference", "method", "train_images"])
        row = table.loc["CNTK-V, depth 3, no ridge", "RBF kernel", 11]
        wide = found.accuracy[found.accuracy.train_images == 11].pivot(index="repeat", columns="method")["accuracy"]
        gains = (wide["CNTK-V, depth 3, no ridge"] - wide["RBF kernel"]).dropna()
        assert (row.sets, row.subsets, row.difference) == (4, 2, pytest.approx(gains.mean()))
        none = table.loc["CNTK-V, depth 3, no ridge", "RBF kernel", 3]
        assert (none.sets, none.subsets) == (4, 0) and np.isnan(none.difference)
        caption, cells = section.shown(found)[1]
        assert "No answer in 1 of 28 comparisons: one of the two methods has no answer there." in caption
        assert cells.set_index("method")["n = 6"]["CNN-V, depth 3, width 4"].endswith("/1 (1 of 2)")

    def test_headline_and_summary_say_so(self, found, results):
        best, ahead = section.headline(found)
        assert "random training sets, for methods with an answer for each: with 3" not in best  # all have there
        assert "nan" not in best + ahead
        assert "; 1 not compared, with fewer than two training sets in common" in ahead
        summary = section.summary(found)["CNTK-V, depth 3, no ridge"]
        assert summary["n=3"] == {"sets": 4, "subsets": 0}
        assert (summary["n=11"]["sets"], summary["n=11"]["subsets"]) == (4, 2)
        assert set(section.summary(results)["CNTK-V, depth 3, no ridge"]["n=11"]) == {"accuracy", "accuracy_sd"}

    def test_figures_mark_points_over_fewer_sets(self, found):
        figures = section.figures(found)
        marks = [[text.get_text() for text in panel.texts] for panel in figures["small_data_curves"].axes]
        assert marks == [[], ["1 of 2"]]  # kernels are shown with their ridge chosen
        assert all("<svg" in to_svg(figure) for figure in figures.values())


def test_unfinished_jobs_are_no_results(folder, tmp_path):
    copy = changed(folder, tmp_path / "unfinished", lambda document: None)
    (copy / "small_data" / ".a.json.parts").mkdir()
    (copy / "small_data" / ".a.json.parts" / "b.json").write_text("{}")
    assert open_section("small_data", copy)[1].sets["seed"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", "high"),
        ("accuracy", 5.0),
        ("train_images", 6.5),
        ("repeat", True),
        ("correct", "3"),
        ("chosen", []),
    ],
)
def test_another_form_is_named(folder, tmp_path, name, value):
    damaged = changed(folder, tmp_path / "bad", lambda document: document["results"][0].update({name: value}))
    with pytest.raises(
        UserError, match=rf"\.json is not as results are written, results\[0\]\.{name}: .*; compute this"
    ):
        write_section("small_data", damaged)


def test_accuracies_are_those_of_the_files(folder, results):
    table = accuracy(results).set_index(["method", "train_images"])
    document = json.loads((folder / "small_data" / "rbf.json").read_text())
    values = [row["accuracy"] for row in document["results"] if row["train_images"] == 6]
    row = table.loc["RBF kernel", 6]
    assert (row.accuracy, row.accuracy_sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (row.subsets, row.test_images, row.shared) == (4, 10, 0)
    assert table.shared[:, 11].iloc[0] > 0
    assert list(results.methods.index) == [
        "CNTK-V, depth 3, no ridge",
        "CNTK-V, depth 3, ridge chosen",
        "CNN-GP-V, depth 3, no ridge",
        "CNN-GP-V, depth 3, ridge chosen",
        "RBF kernel",
        "CNN-V, depth 3, width 4",
    ]


def test_differences_are_on_the_same_sets(folder, results):
    table = differences(results).set_index(["reference", "method", "train_images"])
    kernel, rbf, cnn = (
        json.loads((folder / "small_data" / f"{name}.json").read_text()) for name in ("k", "rbf", "cnn")
    )
    ours = [r["accuracy"] for r in kernel["results"] if (r["kind"], r["ridge"], r["train_images"]) == ("ntk", "loo", 6)]
    reference = "CNTK-V, depth 3, ridge chosen"
    for name, document in (("RBF kernel", rbf), ("CNN-V, depth 3, width 4", cnn)):
        theirs = [row["accuracy"] for row in document["results"] if row["train_images"] == 6]
        row = table.loc[reference, name, 6]
        assert row.subsets == len(theirs)
        assert row.difference == pytest.approx(np.mean(np.subtract(ours[: len(theirs)], theirs)))
    # with its own CNN-GP at the same ridge, and with no other CNTK
    assert (reference, "CNN-GP-V, depth 3, ridge chosen", 6) in table.index
    assert (reference, "CNN-GP-V, depth 3, no ridge", 6) not in table.index
    assert (reference, "CNTK-V, depth 3, no ridge", 6) not in table.index


def test_all_that_is_planned_is_made(results):
    planned = plan("small_data").SECTION
    assert set(section.tables(results)) == set(planned.tables)
    assert set(section.figures(results)) == set(planned.figures) == set(section.CAPTIONS)
    (caption, accuracies), (_, gains) = section.shown(results)
    assert "2 to 4 random class-balanced" in caption
    assert accuracies.columns.tolist() == ["method", "n = 3", "n = 6", "n = 11"]
    assert gains["n = 6"].str.endswith("/4").sum() == 2 and gains["n = 6"].str.endswith("/2").sum() == 1
    best, ahead = section.headline(results)
    assert "with 3 images" in best and "with 11 images" in best and ", followed by " in best
    assert "CNTK-V, depth 3 is significantly better than CNN-GP-V, depth 3, ridge chosen at " in ahead
    assert set(section.summary(results)["RBF kernel"]) == {"n=3", "n=6", "n=11"}


def test_pairs_of_one_size_are_tested_as_by_scipy(results):
    wide = results.accuracy[results.accuracy.train_images == 6].pivot(
        index="repeat", columns="method", values="accuracy"
    )
    verdicts = set()
    for first, second in itertools.combinations(wide.columns, 2):
        pair = wide[[first, second]].dropna()
        significant = ttest_rel(pair[first], pair[second]).pvalue < 0.05
        cell = section._significance(same_size(results, 6, first, second))
        assert cell == ("; significantly different" if significant else "; not significantly different")
        verdicts.add(significant)
    assert len(verdicts) == 2
    assert section._significance(paired(np.ones(1), np.zeros(1))) == ""
    best, _ = section.headline(results)
    assert best.endswith("; not significantly different).")  # both classify every image correctly


def test_other_training_sets_are_refused(tmp_path, folder):
    document = json.loads((folder / "small_data" / "rbf.json").read_text())
    document["sets"]["digest"] = "0" * 64
    other = tmp_path / "other.json"
    write_result(other, document)
    with pytest.raises(UserError, match=r"other\.json was made on other training sets"):
        section.load(load(folder), [folder / "small_data" / "k.json", other])


def test_no_results(folder):
    with pytest.raises(UserError, match="no results of small training sets"):
        section.load(load(folder), [])


def small(**changes):
    params = load_params(ROOT / "config/digits.yaml")
    cnns = params["small_data"]["cnns"] | {key[6:]: value for key, value in changes.items() if key.startswith("cnns__")}
    others = {key: value for key, value in changes.items() if not key.startswith("cnns__")}
    return params | {"small_data": params["small_data"] | {"cnns": cnns} | others}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": [20, 10]}, ["small_data.train_images: [20, 10]", "increase"]),
        ({"train_images": [10, 2000]}, ["small_data.train_images: 2000", "1000"]),
        ({"kernels": [{"family": "cntk-w", "depth": 3}]}, ["kernels[0].family: 'cntk-w'", "cntk-v"]),
        ({"kernels": [{"family": "cntk-v", "depth": 5}]}, ["depth 5 of cntk-v is not computed", "3, 4, 6"]),
        ({"bandwidths": [1, 1]}, ["small_data.bandwidths: [1, 1]"]),
        ({"inverse_penalties": [2, 1]}, ["small_data.inverse_penalties: [2, 1]"]),
        ({"cnns__rates": [2, 1]}, ["small_data.cnns.rates: [2, 1]"]),
        ({"cnns__subsets": 11}, ["small_data.cnns.subsets: 11", "10"]),
        ({"cnns__max_train_images": 9}, ["small_data.cnns.max_train_images: 9", "null"]),
    ],
)
def test_contradictions(changes, words):
    with pytest.raises(InputError) as error:
        check_params(small(**changes))
    assert all(word in str(error.value) for word in words)


def test_costs():
    params = small()
    assert not list(section_contradictions(params))
    section, kinds = params["small_data"], len(params["kernels"]["kinds"])
    kernels, *baselines, network = costs.expected_work(params)
    assert kernels.jobs == len(section["kernels"]) and len(baselines) == len(section["baselines"])
    assert kernels.fits == tuple(Fits(n, 2, section["subsets"] * kinds) for n in section["train_images"])
    assert network.torch and network.convolutions.operations > 1e10
    assert all(work.fits or work.products or work.seconds for work in baselines)
    assert costs.expected_memory(params) > 8 * 4 * 640**2 and costs.expected_disk(params) > 0
    methods = plan("small_data").jobs(params)
    assert [name for name, job in methods.items() if job.step == "small_data_cnn"] == ["network-cnn-v"]
    assert plan("small_data").jobs(params | {"small_data": None}) == {}
