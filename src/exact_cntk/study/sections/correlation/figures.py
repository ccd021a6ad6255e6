"""Figures of the correlation analysis: forest plot, scatter, regret, and the paper's table."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exact_cntk.networks.labels import READOUT_NAMES
from exact_cntk.study.results import Study
from exact_cntk.study.sections.correlation.analysis import Analysis
from exact_cntk.study.show import references
from exact_cntk.study.show.style import (
    BLUE,
    FAMILY_COLORS,
    GREEN,
    GREY,
    MARKERS,
    READOUT_COLORS,
    SETTINGS,
    VERMILION,
    WIDTH,
    depth_axis,
    legend,
    new_figure,
    title,
)
from exact_cntk.study.stats.comparison import Comparison
from exact_cntk.study.stats.statistics import FEWEST

# Pearson and Spearman side by side, in rows of a forest plot: name, offset, colour, marker.
_COEFFICIENTS = (("pearson", -0.16, BLUE, "o"), ("spearman", 0.16, VERMILION, "s"))
_ROW = 0.30  # inches that a row of a forest plot takes
_HEAD = 0.42  # and the title of a group of rows


@mpl.rc_context(SETTINGS)
def forest(study: Study, analysis: Analysis) -> Figure:
    """Both coefficients of every comparison with their 95 % intervals, and n."""
    groups = _groups(study, analysis)
    figure, axes = _stacked(groups)
    for panel, (name, comparisons) in zip(axes, groups, strict=True):
        for i, one in enumerate(comparisons):
            for statistic, offset, colour, marker in _COEFFICIENTS:
                _interval_mark(panel, one, statistic, i + offset, colour, marker)
            panel.text(1.03, i, f"{len(one.x)}", transform=panel.get_yaxis_transform(), va="center", fontsize=9)
        panel.text(1.03, -0.8, "n", transform=panel.get_yaxis_transform(), va="center", fontsize=9, color=GREY)
        panel.axvline(0, color=GREY, lw=0.8)
        panel.set(xlim=(-1.04, 1.04), xticks=np.linspace(-1, 1, 5))
        panel.set_title(name, loc="left")
    axes[-1].set_xlabel("correlation, with 95 % interval")
    title(figure, "How well does the proxy predict the target?", study)
    handles = [Line2D([], [], color=colour, marker=marker) for _, _, colour, marker in _COEFFICIENTS]
    legend(figure, handles, ["Pearson's r", "Spearman's ρ"], columns=2)
    return figure


@mpl.rc_context(SETTINGS)
def regret(study: Study, analysis: Analysis) -> Figure:
    """What picking the architecture that the proxy likes best costs, in points, with its 95 % interval."""
    groups = [
        (name, [one for one in comparisons if not one.within_families])
        for name, comparisons in _groups(study, analysis)
    ]
    figure, axes = _stacked([group for group in groups if group[1]])
    for panel, (name, comparisons) in zip(axes, groups, strict=True):
        for i, one in enumerate(comparisons):
            value, (low, high) = 100 * one.value("regret"), one.interval("regret", _kind(one))
            panel.barh(i, value, height=0.55, color=BLUE, alpha=0.75)
            if np.isfinite(low):
                panel.plot([100 * low, 100 * high], [i, i], color="black", lw=1.1, marker="|", ms=6)
            panel.text(1.03, i, _picks(one, value), transform=panel.get_yaxis_transform(), va="center", fontsize=8.5)
        panel.set_xlim(0, None if panel.get_xlim()[1] > 0.1 else 0.1)
        panel.set_title(name, loc="left")
    axes[-1].set_xlabel("regret (points of test accuracy of the target)")
    title(figure, "What does the proxy's pick cost?", study)
    return figure


@mpl.rc_context(SETTINGS)
def small_against_full(study: Study, analysis: Analysis) -> Figure:
    """Proxy against target, a row a comparison: as measured, and beside it with each family's mean removed."""
    rows = _scatter_rows(study, analysis)
    figure, axes = new_figure(len(rows), 2, row_height=2.35)
    names = sorted({name for _, one in rows for _, name in one.architectures}, key=str)
    names = sorted(names, key=lambda name: (not isinstance(name, int), name))
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}
    colours = _family_colours(study)
    for (left, right), (name, one) in zip(axes, rows, strict=True):
        _scatter(left, one, markers, colours, f"{name}: as measured", " (%)")
        left.set(xlabel=f"{short_side(one.proxy)} (%)", ylabel=f"{short_side(one.target)} (%)")
        if len(set(one.families)) < 2:
            right.set_visible(False)
            continue
        _scatter(right, one.without_family_means(), markers, colours, "family means removed", " (points)")
        right.set(xlabel=f"{short_side(one.proxy)} (points)", ylabel="points")
    own = len(rows) > len(_paper_pooled(analysis))
    paper = f"CIFAR-10, {references.citation('paper')}"
    title(figure, "Proxy against target", study if own else None, data="" if own else paper)
    used = dict.fromkeys(colours.get(family, GREEN) for _, one in rows for family in one.families)
    labels = {colour: READOUT_NAMES.get(readout, readout) for readout, colour in READOUT_COLORS.items()}
    handles = [Line2D([], [], color=colour, marker="o", ls="") for colour in used]
    handles += [Line2D([], [], color=GREY, marker=marker, ls="") for marker in markers.values()]
    texts = [labels.get(colour, "other") for colour in used] + [f"depth {name}" for name in markers]
    legend(figure, handles, texts, columns=4)
    return figure


@mpl.rc_context(SETTINGS)
def paper_table1() -> Figure:
    """The paper's Table 1 as curves against depth; its data are CIFAR-10's, never this study's."""
    table = references.table1()
    table = table[table.source == "paper"]
    figure, axes = new_figure(1, 2, row_height=2.9, sharey=True)
    depths = sorted(table.depth.unique())
    for panel, (readout, name) in zip(axes[0], _PAPER_READOUTS.items(), strict=True):
        styles = {"cnn": ("--", "s", FAMILY_COLORS[1]), "cntk": ("-", "o", FAMILY_COLORS[0])}
        for (model, size), rows in table[table.readout == readout].groupby(["model", "train_images"], sort=False):
            ls, marker, colour = styles[model]
            label = f"{model.upper()}, {size:,} images"
            alpha = 1 if size > 2000 else 0.5
            panel.plot(rows.depth, 100 * rows.accuracy, ls=ls, marker=marker, color=colour, alpha=alpha, label=label)
        depth_axis(panel, depths)
        panel.set_title(name, loc="left")
    axes[0, 0].set_ylabel("test accuracy (%)")
    title(figure, "The paper's Table 1", data=f"CIFAR-10, {references.citation('paper')}")
    legend(figure, *axes[0, 0].get_legend_handles_labels(), columns=3)
    return figure


_PAPER_READOUTS = {readout: READOUT_NAMES[readout] for readout in ("flatten", "gap")}

FIGURES: dict[str, Callable[[Study, Analysis], Figure]] = {
    "correlation_forest": forest,
    "small_against_full": small_against_full,
    "correlation_regret": regret,
    "paper_table1": lambda _study, _analysis: paper_table1(),
}

CAPTIONS: dict[str, str] = {
    "correlation_forest": "Pearson's r and Spearman's ρ between proxy and target over n architectures. Bars: 95 % "
    "intervals from resampling training subsets, seeds and test images together, or test images alone where the proxy "
    "has fewer than three subsets; the paper's accuracies are resampled as binomial counts over its test images. The "
    "intervals correct for the noise that pulls correlations towards zero, so that they may lie above the mark. Rows "
    "with the family means removed show what is left when vanilla and GAP are compared only among themselves.",
    "small_against_full": "Left: accuracy of the proxy against accuracy of the target, a point an architecture; right: "
    "the same with each family's mean removed. Lines: least squares. Bars: standard deviation over resampled subsets, "
    "seeds and test images, or binomial. The paper's columns come first, for CIFAR-10 with 2,000 and 50,000 images.",
    "correlation_regret": "Regret: how much less accurate the target is for the architecture that the proxy "
    "picks than for the best one, in percentage points. Black lines: 95 % percentile intervals of the same resampling.",
    "paper_table1": "The accuracies of the paper's Table 1 on CIFAR-10, trained networks against exact kernels.",
}


def _groups(study: Study, analysis: Analysis) -> list[tuple[str, list[Comparison]]]:
    """Comparisons under the headings of the forest plot, each pooled one followed by its own without family means."""
    paper = _with_means_first(analysis.paper)
    first = [one for one in paper if "v1" in one.target]
    groups = [
        ("The paper, CIFAR-10: 2,000 images → 50,000", [one for one in paper if one not in first]),
        ("The same against the CNNs of its first version", first),
        (f"{study.name}: few images → all", analysis.kernels),
        (f"{study.name}: kernels → trained networks", _pooled(analysis.networks)),
        (f"{study.name} → the paper's columns", analysis.published),
    ]
    return [group for group in groups if group[1]]


def _with_means_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Each comparison followed by its own without family means."""
    order = [one for one in comparisons if not one.within_families]
    for one in comparisons:
        if one.within_families:
            place = [_raw(other) == _raw(one) and not other.within_families for other in order].index(True)
            order.insert(place + 1, one)
    return order


def _pooled(comparisons: list[Comparison]) -> list[Comparison]:
    """The pooled ones; all, where there is one family."""
    return [one for one in comparisons if one.scope.startswith("pooled")] or comparisons


def _raw(one: Comparison) -> tuple[str, str, str]:
    return one.proxy, one.target, one.scope.removesuffix(", family means removed")


def _stacked(groups: Sequence[tuple[str, list[Comparison]]]) -> tuple[Figure, list[Axes]]:
    """One axes a group, as high as its rows need, with their names on the left."""
    heights = [_HEAD + _ROW * len(comparisons) for _, comparisons in groups]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.3))
    axes = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, (_, comparisons) in zip(axes, groups, strict=True):
        panel.set_yticks(range(len(comparisons)), [short_name(one) for one in comparisons], fontsize=8.5)
        panel.set_ylim(len(comparisons) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=9)
    return figure, list(axes)


def short_name(one: Comparison) -> str:
    """A comparison in some thirty characters; without family means it stands below its own with them."""
    return "family means removed" if one.within_families else comparison_name(one, sizes=False)


def comparison_name(one: Comparison, *, sizes: bool = True) -> str:
    """Proxy and target, the kernels' name once where both are the same; `sizes`: with the target's, too."""
    proxy, target = short_side(one.proxy), short_side(one.target)
    kernels = without_size(proxy)
    if kernels == without_size(target):
        name = f"{kernels}, {proxy.rpartition(' ')[2]} → {target.rpartition(' ')[2]}"
    else:
        name = f"{proxy} → {target if sizes else without_size(target)}"
    return name + {"across depths": "", "pooled": ", pooled"}.get(one.scope, ", pooled, family means removed")


def short_side(side: str) -> str:
    """The name of a side, shorter: CNTK-V and CNTK-GAP are the CNTK."""
    return re.sub(r"(\S+)-V and \1-GAP", r"\1", side)


def without_size(side: str) -> str:
    """The name of a side without its number of training images."""
    return side.rpartition(", n = ")[0] or side


def _kind(one: Comparison) -> str:
    """The widest bootstrap that a comparison has."""
    return "both" if "both" in one.resampled else "tests"


def _interval_mark(axes: Axes, one: Comparison, statistic: str, y: float, colour: str, marker: str) -> None:
    low, high = one.interval(statistic, _kind(one))
    if np.isfinite(low):
        axes.plot([low, high], [y, y], color=colour, lw=1.6, alpha=0.55, solid_capstyle="butt")
    value = one.value(statistic)
    if np.isfinite(value):
        axes.plot(value, y, ls="", marker=marker, color=colour, mec="white", ms=6.5)


def _picks(one: Comparison, points: float) -> str:
    picked, best = one.label(one.x), one.label(one.y)
    if not one.proxy.startswith("all kernels"):  # pooled kernels of one kind differ in the readout alone
        picked, best = (re.sub(r"^(CNTK|CNN-GP)-", "", label) for label in (picked, best))
    rest = ", the best" if picked == best else f"; best: {best}"
    return f"{points:.2f}: {picked}" + (rest if len(picked + rest) < 32 else rest.replace("; ", ";\n"))


def _scatter_rows(study: Study, analysis: Analysis) -> list[tuple[str, Comparison]]:
    """Pooled comparisons, or those across depths of a study with one family; each with the heading of its row."""
    rows = [("The paper", one) for one in _paper_pooled(analysis)]
    kernels = [one for one in analysis.kernels if one.scope == "pooled" and not one.proxy.startswith("all kernels")]
    rows += [(study.name, one) for one in kernels or analysis.kernels]
    networks = [one for one in _pooled(analysis.networks) if not one.within_families]
    # the first kind of kernel is enough here, from few images and from all
    kinds = [without_size(one.proxy) for one in networks]
    return rows + [(study.name, one) for one, kind in zip(networks, kinds, strict=True) if kind == kinds[0]]


def _paper_pooled(analysis: Analysis) -> list[Comparison]:
    return [one for one in analysis.paper if one.scope == "pooled" and "v1" not in one.target]


def _scatter(
    axes: Axes, one: Comparison, markers: dict[Any, str], colours: dict[str, str], name: str, unit: str
) -> None:
    x, y = 100 * one.x, 100 * one.y
    spread_x, spread_y = (100 * side.std(axis=0, ddof=1) for side in one.resampled[_kind(one)])
    for i, (family, architecture) in enumerate(one.architectures):
        colour = colours.get(family, GREEN)
        axes.errorbar(x[i], y[i], spread_y[i], spread_x[i], color=colour, lw=0.8, alpha=0.35, zorder=1)
        axes.plot(x[i], y[i], ls="", marker=markers[architecture], color=colour, mec="white", ms=7.5)
    axes.locator_params(nbins=5)
    if len(x) >= FEWEST and np.ptp(x) > 0:
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=GREY, lw=1.2, zorder=0)
    r, rho = one.value("pearson"), one.value("spearman")
    axes.set_title(f"{name}\nr = {r:.2f}, ρ = {rho:.2f}, n = {len(x)}".replace("-", "\N{MINUS SIGN}"), loc="left")


def _family_colours(study: Study) -> dict[str, str]:
    """Family names of comparisons → colour of their readout."""
    kernels = study.accuracy.drop_duplicates("kernel")
    readouts = {"V": "flatten", "GAP": "gap"} | dict(zip(kernels.kernel, kernels.readout, strict=True))
    return {family: READOUT_COLORS.get(readout, GREEN) for family, readout in readouts.items()}
