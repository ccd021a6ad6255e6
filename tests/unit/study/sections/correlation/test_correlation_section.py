import json
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import results
from exact_cntk.study.documents import write_result
from exact_cntk.study.sections import plan
from exact_cntk.study.sections.correlation import figures as correlation_figures
from exact_cntk.study.sections.correlation import page as section
from exact_cntk.study.show import references

SHAPE = {"depths": (3, 4, 6), "subsets": ((100, 1), (20, 3)), "n_test": 61}


def write_networks(folder, depths=(3, 4, 6), n_test=61, **change):
    """Files of trained networks as the section `cnns` has them; random, and for these tests only."""
    data = json.loads(next((folder / "metrics").iterdir()).read_text())["data"]
    (folder / "cnns").mkdir(exist_ok=True)
    paths = []
    for family, readout in (("cnn-v", "flatten"), ("cnn-gap", "gap")):
        for depth in depths:
            bits = np.random.default_rng([len(family), depth]).random((3, n_test)) < 0.75 + 0.01 * depth
            document = {
                **{"format_version": 1, "study": folder.name, "data": data, "family": family, "readout": readout},
                **{"trained": "all", "filter_size": 3, "depth": depth, "train_images": 80, "test_images": n_test},
                **{"accuracy": float(bits.mean()), "rate": 1.0},
                "runs": [{"rate": rate, "seed": s, "diverged": False} for rate in (0.1, 1.0) for s in range(3)],
                "test_correct_hex": [np.packbits(row).tobytes().hex() for row in bits],
            }
            paths.append(folder / "cnns" / f"{family}-depth-{depth:02d}.json")
            write_result(paths[-1], document | change)
    return paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "made-up"
    write_study(folder, **SHAPE)
    write_networks(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    files = [*sorted((folder / "cnns").iterdir()), folder / "cnns" / "curves.csv", folder / "architectures" / "x.json"]
    return section.load(results.load(folder), files, resamples=40)


@pytest.fixture(scope="module")
def drawn(loaded):
    return section.figures(loaded)


def _texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_names_are_those_that_the_workflow_plans(loaded, drawn):
    files = plan("correlation").SECTION
    assert tuple(section.tables(loaded)) == files.tables
    assert tuple(drawn) == files.figures
    assert set(section.CAPTIONS) == set(files.figures)


def test_tables_name_the_data_and_every_n(loaded):
    table = section.tables(loaded)["correlation"]
    assert set(table.dataset) == {"CIFAR-10", DATASET}
    assert table.n.min() == 3
    assert set(table.target) >= {"CNN-V, n = 80", "CNN-V and CNN-GAP, n = 80", "CNTK-GAP, n = 100", "CNN-V (v1)"}


def test_shown_tables(loaded):
    shown = section.shown(loaded)
    starts = ["The paper’s own", "This study’s kernels, 20", "This study’s kernels against", "Unc", "Differences"]
    assert [caption.startswith(start) for (caption, _), start in zip(shown, starts, strict=False)] == [True] * 5
    (_, paper), *_, (caption, printed) = shown
    assert references.citation("paper") in caption and printed["CNTK-V-2K"].tolist()[0] == "40.94"
    row = paper.set_index("architectures").loc["CNTK-V-2K → CNN-V"]
    assert (row["n"], row["Pearson r"], row["regret (points)"]) == (5, "0.405", "11.46")
    assert "subsets" not in " ".join(paper.columns)
    for _, table in shown:
        assert not table.isna().any(axis=None)


def test_headline_says_what_the_table_holds(loaded):
    kernels, networks = section.headline(loaded)
    table = section.tables(loaded)["correlation"]
    pooled = table[(table.scope == "pooled") & (table.statistic == "pearson")].set_index(["proxy", "target"])
    names = "CNTK-V and CNTK-GAP, n = 20"
    assert f"r = {pooled.value[names, 'CNTK-V and CNTK-GAP, n = 100']:.2f} [" in kernels
    assert f"r = {pooled.value[names, 'CNN-V and CNN-GAP, n = 80']:.2f} [".replace("-", "\N{MINUS SIGN}") in networks
    assert "6 trained CNNs" in networks


def test_headline_without_networks_is_on_the_paper(folder):
    _, sentence = section.headline(section.load(results.load(folder), [], resamples=20))
    assert "0.97 [" in sentence and "0.78 [" in sentence and "0.70 [" in sentence


def test_summary_holds_numbers_alone(loaded):
    summary = section.summary(loaded)
    assert len(summary) == len(loaded.analysis.kernels) + len(loaded.analysis.networks)
    assert all(isinstance(value, float | int) for values in summary.values() for value in values.values())
    assert {"n", "pearson", "pearson_p", "regret"} <= set(summary["CNTK-V, n = 20 ~ CNTK-V, n = 100"])


class TestFigures:
    def test_the_data_are_named(self, drawn):
        for name, figure in drawn.items():
            expected = f"CIFAR-10, {references.citation('paper')}" if "paper" in name else f"{DATASET}, 61 test images"
            assert expected in _texts(figure)

    def test_forest_has_a_mark_an_interval_and_n_in_each_row(self, loaded, drawn):
        panels = drawn["correlation_forest"].axes
        first = panels[0]
        labels = [label.get_text() for label in first.get_yticklabels()]
        assert labels[:2] == ["CNTK-V-2K → CNN-V", "CNTK-V-2K → CNTK-V"]
        assert labels[4:6] == ["CNTK-2K → CNN, pooled", "family means removed"]
        (marks,) = [line for line in first.get_lines() if line.get_marker() == "o"]
        assert marks.get_xdata()[:2] == pytest.approx([0.4054, 0.7150], abs=1e-4)
        assert [len(bars.get_segments()) for bars in first.collections] == [8, 8]
        assert [text.get_text() for text in first.texts[:4]] == ["5", "5", "5", "5"]
        assert [panel.get_title("left") for panel in panels[2:4]] == [
            "made-up: few images → all",
            "made-up: kernels → trained networks",
        ]

    def test_regret_bars_are_in_points_and_say_what_is_picked(self, drawn):
        panel = drawn["correlation_regret"].axes[0]
        assert panel.patches[0].get_width() == pytest.approx(11.46)
        assert panel.texts[0].get_text() == "11.46: depth 6; best: depth 21"
        assert panel.texts[1].get_text() == "0.00: depth 6, the best"

    def test_scatter_gives_coefficients_with_n_before_and_after(self, drawn):
        titles = [axes.get_title("left") for axes in drawn["small_against_full"].axes]
        assert titles[:4] == [
            "The paper: as measured\nr = 0.78, ρ = 0.79, n = 10",
            "family means removed\nr = 0.70, ρ = 0.47, n = 10",
            "The paper: as measured\nr = 0.97, ρ = 0.98, n = 10",
            "family means removed\nr = 0.79, ρ = 0.78, n = 10",
        ]
        # two kinds of kernel; the NTK of both sizes against networks
        assert len(titles) == 2 * (2 + 2 + 2) and all(title.endswith("n = 6") for title in titles[4:])

    @pytest.mark.parametrize(
        "shape",
        [
            {"families": {"one": ("gap", "all")}},
            {"kinds": ("nngp",)},
            {"subsets": ((50, 1),)},
            {"depths": (6,)},
            {"depths": (3, 4), "subsets": ((50, 1), (10, 1))},
        ],
        ids=str,
    )
    def test_studies_of_any_shape(self, tmp_path, shape):
        write_study(tmp_path, **(SHAPE | shape))
        write_networks(tmp_path)
        loaded = section.load(results.load(tmp_path), sorted((tmp_path / "cnns").iterdir()), resamples=10)
        assert all(figure.axes for figure in section.figures(loaded).values())
        assert section.shown(loaded) and section.headline(loaded) and section.summary(loaded) is not None

    def test_one_training_set_size_leaves_the_paper_s_rows_under_its_name(self, tmp_path):
        write_study(tmp_path, depths=(3, 6), subsets=((50, 1),), n_test=23)
        loaded = section.load(results.load(tmp_path), [], resamples=10)
        figure = correlation_figures.small_against_full(loaded.study, loaded.analysis)
        assert len(figure.axes) == 4
        assert not any(DATASET in text for text in _texts(figure))


class TestUnsolved:
    @pytest.fixture
    def found(self, tmp_path):
        """GAP is singular on one of the small subsets at depth 4; a network diverged, and a seed of another."""

        def singular(family, depth, result):
            return family == "cntk-gap" and depth == 4 and (result["train_images"], result["repeat"]) == (20, 1)

        write_study(tmp_path, **SHAPE, singular=singular)
        files = write_networks(tmp_path)
        seed = [{"rate": 1.0, "seed": s, "diverged": s == 0} for s in range(3)]
        for path, change in ((files[0], {"accuracy": None, "rate": None}), (files[1], {"runs": seed})):
            write_result(path, json.loads(path.read_text()) | change)
        return section.load(results.load(tmp_path), files, resamples=10)

    def test_captions_say_what_is_left_out(self, found):
        captions = [caption for caption, _ in section.shown(found)]
        kernels = "Left out: 2 of 24 pairs of kernel and training-set size (no answer from some subset)"
        assert f"{DATASET}. {kernels}: without ridge, the kernel matrix is singular" in captions[1]
        assert kernels in captions[2]
        assert "Left out: 1 of 6 networks and 1 of 15 seeds at the chosen learning rate: training div" in captions[2]
        assert "Left out" not in captions[0] and not found.analysis.differences().isna().all(axis=None)

    def test_headline_says_so(self, found, loaded):
        first, second = section.headline(found)
        # of GAP there are two depths left, too few; a network lacks the kernel, another one diverged
        assert "Across 6 kernels (CNTK-V and CNN-GP-V)" in first and first.endswith("; singular kernels are left out.")
        assert "that of 4 trained CNNs" in second and second.endswith("; networks that diverged are left out.")
        assert not any("left out" in sentence for sentence in section.headline(loaded))

    def test_a_subset_without_any_answer(self, tmp_path):
        """A duplicate image in one of three subsets: all kernels are singular there, and compared on the others."""
        write_study(tmp_path, **SHAPE, singular=lambda family, depth, result: result["repeat"] == 1)
        found = section.load(results.load(tmp_path), [], resamples=10)
        caption, _ = section.shown(found)[1]
        assert "Left out: 1 of 4 training subsets (no kernel has an answer): without ridge" in caption
        assert len(found.analysis.kernels[0].x_repeats) == 2

    def test_no_kernel_has_an_answer(self, tmp_path):
        write_study(tmp_path, **SHAPE, singular=lambda family, depth, result: True)
        found = section.load(results.load(tmp_path), write_networks(tmp_path), resamples=10)
        assert "Left out: 4 of 4 training subsets" in section.headline(found)[0]
        assert found.analysis.own == [] and section.tables(found) and section.figures(found)

    def test_too_few_kernels(self, tmp_path):
        write_study(tmp_path, **SHAPE, singular=lambda family, depth, result: result["repeat"] == depth % 2)
        found = section.load(results.load(tmp_path), [], resamples=10)
        assert section.headline(found)[0].startswith(
            "Too few kernels have answers for a comparison of training sets. L"
        )
        assert section.shown(found) and section.tables(found) and section.figures(found)

    def test_single_subsets_without_a_coefficient(self, loaded):
        comparison = next(c for c in loaded.analysis.kernels if c.scope == "pooled")
        repeats = comparison.x_repeats.copy()
        repeats[1] = 0.5
        table = section.sources_table([replace(comparison, x_repeats=repeats)])
        assert table["r from one subset: mean, range"][0].endswith("(2 of 3)")
        assert "of" not in section.sources_table([comparison])["r from one subset: mean, range"][0]


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"test_images": 60}, "test_images = 60; allowed: 61"),
            ({"test_correct_hex": ["00"]}, "its answers are 1 bytes for 61 test images"),
            ({"test_correct_hex": []}, "test_correct_hex has no answers from any seed"),
            ({"format_version": 9}, "format_version = 9"),
        ],
    )
    def test_a_file_that_does_not_fit_is_named(self, tmp_path, change, message):
        write_study(tmp_path, depths=(3,), subsets=((50, 1),), n_test=61)
        (path, *_) = write_networks(tmp_path, depths=(3,), **change)
        with pytest.raises(UserError, match=rf"{path.name}.*{message}"):
            section.load(results.load(tmp_path), [path], resamples=5)

    def test_a_network_that_diverged_at_every_rate_is_left_out(self, tmp_path):
        write_study(tmp_path, **SHAPE)
        paths = write_networks(tmp_path, accuracy=None, rate=None)
        assert section.load(results.load(tmp_path), paths, resamples=5).analysis.networks == []

    def test_a_seed_that_diverged_is_left_out(self, tmp_path):
        write_study(tmp_path, **SHAPE)
        runs = [{"rate": 1.0, "seed": seed, "diverged": seed == 1} for seed in range(3)]
        (path, *_) = write_networks(tmp_path, runs=runs)
        network = section._network(path, json.loads(path.read_text()), results.load(tmp_path))
        assert network.correct.shape == (2, 61)
