import itertools
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import DATASET, write_study

from exact_cntk.errors import UserError
from exact_cntk.study import results
from exact_cntk.study.sections import write_section
from exact_cntk.study.sections.accuracy import figures
from exact_cntk.study.show import references, style

UNVERIFIED = "CIFAR-10 (unverified source, sha256 1234abcd1234)"


@pytest.fixture(scope="module")
def study(drawn_study):
    return results.load(drawn_study)


@pytest.fixture
def written(drawn_study):
    return [drawn_study / "figures" / f"{name}.svg" for name in figures.FIGURES]


def _texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_each_figure_is_an_svg_file(written):
    assert {path.name for path in written} <= {path.name for path in written[0].parent.iterdir()}
    for path in written:
        assert ET.parse(path).getroot().tag.endswith("svg")


@pytest.mark.parametrize("name", ["accuracy", "ridge_path"])
def test_same_metrics_same_bytes(written, study, name):
    (path,) = [path for path in written if path.stem == name]
    assert path.read_text() == style.to_svg(figures.FIGURES[name](study))


def test_nothing_is_loaded_from_the_web_and_no_date_is_left(written):
    for path in written:
        content = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", path.read_text())
        assert "http" not in content
        assert "date" not in content


def test_every_figure_has_a_caption():
    assert set(figures.CAPTIONS) == set(figures.FIGURES)


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_the_data_are_named(study, name):
    assert f"{DATASET}, 61 test images" in _texts(figures.FIGURES[name](study))


def test_unverified_data_are_named_in_red(tmp_path):
    write_study(tmp_path, dataset=UNVERIFIED, verified=False, depths=(3, 6), subsets=((50, 1),), n_test=40)
    figure = figures.accuracy(results.load(tmp_path))
    (label,) = [text for text in figure.findobj(mpl.text.Text) if UNVERIFIED in text.get_text()]
    assert label.get_color() == "#b00020"


def test_accuracy_shows_both_ridges_of_both_kinds_in_percent(study):
    figure = figures.accuracy(study)
    assert len(figure.axes) == 4  # two sizes, two families
    labels = {text for text in _texts(figure) if "ridge" in text}
    assert labels == {
        f"{k}, {r}" for k in ("NTK", "CNN-GP") for r in ("without ridge", "ridge chosen by leave-one-out")
    }
    drawn = {float(y) for line in figure.axes[0].get_lines() for y in line.get_ydata()}
    rows = study.accuracy[(study.accuracy.kernel == "CNTK-V") & (study.accuracy.train_images == 100)]
    assert {round(100 * a, 9) for a in rows.accuracy} <= {round(y, 9) for y in drawn}


def test_figures_say_what_chose_the_ridge(tmp_path):
    write_study(tmp_path, depths=(3, 6), subsets=((50, 1), (20, 2)), n_test=40, held_out_above=30)
    study = results.load(tmp_path)
    chosen = {text for text in _texts(figures.accuracy(study)) if text.startswith("NTK, ridge")}
    assert chosen == {"NTK, ridge chosen by leave-one-out or a held-out tenth"}
    assert "a held-out tenth\nsquared error" in _texts(figures.ridge_path(study))
    assert "leave-one-out\nsquared error" in _texts(figures.ridge_path(study, 20))


def test_spectra_are_those_of_the_largest_sets_that_have_one(tmp_path):
    write_study(tmp_path / "a", depths=(3, 6), subsets=((50, 1), (20, 2)), n_test=40, held_out_above=30)
    figure = figures.spectra(results.load(tmp_path / "a"))
    texts = _texts(figure)
    assert "Spectra of the training kernels, n = 20" in texts and "no spectrum was recorded" not in texts
    assert all(len(panel.get_lines()) == 2 for panel in figure.axes)
    write_study(tmp_path / "b", depths=(3, 6), subsets=((50, 1),), n_test=40, held_out_above=30)
    assert "no spectrum was recorded" in _texts(figures.spectra(results.load(tmp_path / "b")))


def test_the_paper_s_curve_only_on_the_paper_s_data(tmp_path, study):
    assert not any("paper" in text for text in _texts(figures.accuracy(study)))
    write_study(tmp_path, dataset="CIFAR-10", image_shape=(32, 32, 3), subsets=((2000, 1),), n_test=40)
    figure = figures.accuracy(results.load(tmp_path))
    assert "NTK, the paper's Table 1" in _texts(figure)
    (line,) = [one for one in figure.axes[0].get_lines() if "paper" in one.get_label()]
    np.testing.assert_allclose(line.get_ydata(), references.table1_wide()["CNTK-V-2K"])


def test_points_over_fewer_subsets_say_so(tmp_path):
    def singular(family, depth, result):
        return family == "cntk-v" and (result["train_images"] == 50 or result["repeat"] == 1)

    write_study(tmp_path, depths=(3, 6), subsets=((50, 1), (10, 3)), n_test=23, singular=singular)
    study = results.load(tmp_path)
    labels = [
        [text.get_text() for text in panel.texts if text.get_text() in ("2 of 3", "singular")]
        for panel in figures.accuracy(study).axes
    ]
    # 50 images, then 10; vanilla, then GAP: two kinds at two depths each
    assert labels == [["singular"] * 4, [], ["2 of 3"] * 4, []]
    assert _texts(figures.ridge_path(study, 10)).count("2 of 3") == 2 * 2 * 2  # of accuracy and error
    assert _texts(figures.condition_number(study)).count("singular") == 4
    for draw in figures.FIGURES.values():
        assert "<svg" in style.to_svg(draw(study))


def test_ridge_zero_has_a_place_left_of_the_others():
    positions = figures.ridge_positions(np.array([0, 1e-8, 1e-4, 1]))
    np.testing.assert_allclose(positions, [-9.5, -8, -4, 0])


def test_the_chosen_ridge_is_marked(study):
    figure = figures.ridge_path(study)
    rows = study.accuracy[(study.accuracy.kernel == "CNTK-V") & (study.accuracy.train_images == 100)]
    stars = [line for line in figure.axes[0].get_lines() if line.get_marker() == "*"]
    marked = sorted(float(np.atleast_1d(star.get_xdata())[0]) for star in stars)
    np.testing.assert_allclose(marked, np.sort(np.log10(rows.loo_ridge)))


@pytest.mark.parametrize("n", [20, 100])
def test_ridge_path_of_any_size(study, n):
    assert f"Does a ridge help? n = {n}" in _texts(figures.ridge_path(study, n))


@pytest.mark.parametrize(
    "shape",
    [
        {"families": {"one": ("gap", "all")}},
        {"kinds": ("nngp",)},
        {"subsets": ((50, 1),)},
        {"depths": (6,)},
        {"eigenvalues": False},
    ],
    ids=str,
)
def test_studies_of_any_shape_can_be_drawn(tmp_path, shape):
    write_study(tmp_path, **({"depths": (3, 6), "subsets": ((50, 1), (10, 2)), "n_test": 23} | shape))
    study = results.load(tmp_path)
    for draw in figures.FIGURES.values():
        assert draw(study).axes


def test_no_metrics_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="holds no metrics"):
        write_section("accuracy", tmp_path)


@mpl.rc_context(style.SETTINGS)
def test_labels_of_axes_above_each_other_do_not_overlap():
    figure, axes = style.new_figure(3, 1, row_height=1.5)
    for panel in axes[:, 0]:
        panel.set_ylabel("the accuracy of several kernels with long names (%)")
    style.to_svg(figure)
    figure.draw_without_rendering()
    boxes = [panel.yaxis.label.get_window_extent() for panel in axes[:, 0]]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


@mpl.rc_context(style.SETTINGS)
def test_text_of_many_panels_is_broken_where_it_would_overlap():
    figure, axes = style.new_figure(1, 4)
    long, short = "a family with a long name (vanilla), n = 1000", "short"
    for panel, text in zip(axes[0], (long, short, long, long), strict=True):
        panel.set_title(text, loc="left")
        panel.set_xlabel("depth (convolutional layers + 1)")
    names = [f"a kernel with a long name, number {i}" for i in range(5)]
    style.legend(figure, [mpl.lines.Line2D([], []) for _ in names], names, columns=4)
    style.to_svg(figure)
    figure.draw_without_rendering()
    found = [text for panel in axes[0] for text in panel.findobj(mpl.text.Text)]
    texts = [text for text in found if text.get_text().startswith(("a family", "depth"))]
    assert len(texts) == 3 + 4
    boxes = [text.get_window_extent() for text in texts] + [figure.legends[0].get_window_extent()]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert axes[0, 1].get_title(loc="left") == short
    assert axes[0, 0].get_title(loc="left").split() == long.split()
