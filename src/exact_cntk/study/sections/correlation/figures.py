"""Figures of the correlation analysis: forest plot, scatter, regret, and the paper's table."""

import re
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exact_cntk.networks.labels import READOUT_NAMES
from exact_cntk.study.results import Study
from exact_cntk.study.sections.correlation.analysis import Analysis
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import MINUS
from exact_cntk.study.show.style import (
    BLUE,
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
    for panel, (_, comparisons) in zip(axes, groups, strict=True):
        rows = np.arange(len(comparisons))
        for statistic, offset, colour, marker in _COEFFICIENTS:
            low, high = np.transpose([c.interval(statistic, c.widest) for c in comparisons])
            panel.hlines(rows + offset, low, high, color=colour, lw=1.6, alpha=0.55)
            values = [c.value(statistic) for c in comparisons]
            panel.plot(values, rows + offset, ls="", marker=marker, color=colour, mec="white", ms=6.5)
        _texts_at_right(panel, [str(len(c.x)) for c in comparisons], fontsize=9)
        panel.text(1.03, -0.8, "n", transform=panel.get_yaxis_transform(), va="center", fontsize=9, color=GREY)
        panel.axvline(0, color=GREY, lw=0.8)
        panel.set(xlim=(-1.04, 1.04), xticks=np.linspace(-1, 1, 5))
    axes[-1].set_xlabel("correlation, with 95 % interval")
    title(figure, "How well does the proxy predict the target?", study)
    handles = [Line2D([], [], color=colour, marker=marker) for _, _, colour, marker in _COEFFICIENTS]
    legend(figure, handles, ["Pearson's r", "Spearman's ρ"], columns=2)
    return figure


@mpl.rc_context(SETTINGS)
def regret(study: Study, analysis: Analysis) -> Figure:
    """Accuracy lost by choosing the architecture that the proxy ranks first, in points, with its 95 % interval."""
    groups = [(name, [c for c in members if not c.within_families]) for name, members in _groups(study, analysis)]
    figure, axes = _stacked(groups)
    for panel, (_, comparisons) in zip(axes, groups, strict=True):
        rows, values = np.arange(len(comparisons)), [100 * c.value("regret") for c in comparisons]
        panel.barh(rows, values, height=0.55, color=BLUE, alpha=0.75)
        low, high = 100 * np.transpose([c.interval("regret", c.widest) for c in comparisons])
        panel.hlines(rows, low, high, color="black", lw=1.1)
        panel.plot([low, high], [rows, rows], color="black", marker="|", ls="", ms=6)
        _texts_at_right(panel, list(map(_picks, comparisons, values)), fontsize=8.5)
        panel.set_xlim(0, None if panel.get_xlim()[1] > 0.1 else 0.1)
    axes[-1].set_xlabel("regret (points of test accuracy of the target)")
    title(figure, "What is lost by choosing with the proxy?", study)
    return figure


@mpl.rc_context(SETTINGS)
def small_against_full(study: Study, analysis: Analysis) -> Figure:
    """Proxy against target, one row per comparison: as measured (left), and with the family means removed (right)."""
    rows = _scatter_rows(study, analysis)
    figure, axes = new_figure(len(rows), 2, row_height=2.35)
    unique = {name for _, comparison in rows for _, name in comparison.architectures}
    names = sorted(unique, key=lambda name: (not isinstance(name, int), name))
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}
    colours = _family_colours(study)
    for (left, right), (name, comparison) in zip(axes, rows, strict=True):
        proxy, target = short_side(comparison.proxy), short_side(comparison.target)
        _scatter(left, comparison, markers, colours, f"{name}: as measured")
        left.set(xlabel=f"{proxy} (%)", ylabel=f"{target} (%)")
        if len(set(comparison.families)) < 2:
            right.set_visible(False)
            continue
        _scatter(right, comparison.without_family_means(), markers, colours, "family means removed")
        right.set(xlabel=f"{proxy} (points)", ylabel="points")
    own = len(rows) > len(_paper_pooled(analysis))
    title(figure, "Proxy against target", study if own else None, data="" if own else _PAPER)
    used = dict.fromkeys(colours.get(family, GREEN) for _, comparison in rows for family in comparison.families)
    labels = {colour: READOUT_NAMES[readout] for readout, colour in READOUT_COLORS.items()}
    handles = [Line2D([], [], color=colour, marker="o", ls="") for colour in used]
    handles += [Line2D([], [], color=GREY, marker=marker, ls="") for marker in markers.values()]
    texts = [labels.get(colour, "other") for colour in used] + [f"depth {name}" for name in markers]
    legend(figure, handles, texts, columns=4)
    return figure


@mpl.rc_context(SETTINGS)
def paper_table1() -> Figure:
    """The paper's Table 1 as curves against depth, for CIFAR-10."""
    table = references.table1()
    table = table[table.source == "paper"].assign(percent=lambda rows: 100 * rows.accuracy)
    table["column"] = [f"{m.upper()}, {n:,} images" for m, n in zip(table.model, table.train_images, strict=True)]
    styles = {
        "palette": {"CNN, 50,000 images": VERMILION, "CNTK, 50,000 images": BLUE, "CNTK, 2,000 images": "#80b9d9"},
        "dashes": {"CNN, 50,000 images": (4, 2), "CNTK, 50,000 images": "", "CNTK, 2,000 images": ""},
        "markers": {"CNN, 50,000 images": "s", "CNTK, 50,000 images": "o", "CNTK, 2,000 images": "o"},
    }
    figure, axes = new_figure(1, 2, row_height=2.9, sharey=True)
    for panel, readout in zip(axes[0], ("flatten", "gap"), strict=True):
        rows = table[table.readout == readout]
        sns.lineplot(rows, x="depth", y="percent", hue="column", style="column", ax=panel, **styles)
        depth_axis(panel, sorted(table.depth.unique()))
        panel.set_title(READOUT_NAMES[readout], loc="left")
        panel.get_legend().remove()
    axes[0, 0].set_ylabel("test accuracy (%)")
    title(figure, "The paper's Table 1", data=_PAPER)
    legend(figure, *axes[0, 0].get_legend_handles_labels(), columns=3)
    return figure


_PAPER = f"CIFAR-10, {references.citation('paper')}"

FIGURES: dict[str, Callable[[Study, Analysis], Figure]] = {
    "correlation_forest": forest,
    "small_against_full": small_against_full,
    "correlation_regret": regret,
    "paper_table1": lambda _study, _analysis: paper_table1(),
}

CAPTIONS: dict[str, str] = {
    "correlation_forest": "Pearson's r and Spearman's ρ between proxy and target over n architectures. Bars: 95 % "
    "intervals from resampling training subsets, seeds and test images together, or test images alone if there are "
    "fewer than three subsets; the paper's accuracies are resampled as binomial counts over its test images. Intervals "
    "are corrected for noise, which attenuates correlations, and may lie above the mark. Rows with the family means "
    "removed compare vanilla and GAP architectures only among themselves.",
    "small_against_full": "Left: accuracy of the proxy against accuracy of the target, one point per architecture. "
    "Right: the same with each family's mean removed. Lines: least squares. Bars: standard deviation over resampled "
    "subsets, seeds and test images, or binomial. The first rows are the paper's columns for CIFAR-10, with 2,000 and "
    "50,000 images.",
    "correlation_regret": "Regret: accuracy lost on the target by choosing the architecture that the proxy ranks first "
    "instead of the best one, in percentage points. Black lines: 95 % percentile intervals from the same resampling.",
    "paper_table1": "Accuracies in the paper's Table 1 on CIFAR-10: trained networks (CNN) and exact kernels (CNTK).",
}


def _groups(study: Study, analysis: Analysis) -> list[tuple[str, list[Comparison]]]:
    """Comparisons under the headings of the forest plot, each pooled one followed by its own without family means."""
    order = {(c.proxy, c.target): i for i, c in enumerate(analysis.paper) if not c.within_families}
    paper = sorted(analysis.paper, key=lambda c: (order[c.proxy, c.target], c.within_families))
    groups = [
        ("The paper, CIFAR-10: 2,000 images → 50,000", [c for c in paper if "v1" not in c.target]),
        ("The same against the CNNs of its first version", [c for c in paper if "v1" in c.target]),
        (f"{study.name}: few images → all", analysis.kernels),
        (f"{study.name}: kernels → trained networks", _pooled(analysis.networks)),
        (f"{study.name} → the paper's columns", analysis.published),
    ]
    return [group for group in groups if group[1]]


def _pooled(comparisons: list[Comparison]) -> list[Comparison]:
    """The pooled ones, or all if there is one family."""
    return [c for c in comparisons if c.scope.startswith("pooled")] or comparisons


def _stacked(groups: Sequence[tuple[str, list[Comparison]]]) -> tuple[Figure, list[Axes]]:
    """One axes per group, as high as its rows need, with their names on the left."""
    heights = [_HEAD + _ROW * len(comparisons) for _, comparisons in groups]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.3))
    axes = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, (name, comparisons) in zip(axes, groups, strict=True):
        panel.set_title(name, loc="left")
        labels = ["family means removed" if c.within_families else comparison_name(c, sizes=False) for c in comparisons]
        panel.set_yticks(range(len(comparisons)), labels, fontsize=8.5)
        panel.set_ylim(len(comparisons) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=9)
    return figure, list(axes)


def _texts_at_right(axes: Axes, texts: Sequence[str], fontsize: float) -> None:
    for row, text in enumerate(texts):
        axes.text(1.03, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=fontsize)


def comparison_name(comparison: Comparison, *, sizes: bool = True) -> str:
    """Proxy and target, the name of the kernels once if it is the same; `sizes`: with that of the target, too."""
    proxy, target = short_side(comparison.proxy), short_side(comparison.target)
    kernels = without_size(proxy)
    if kernels == without_size(target):
        name = f"{kernels}, {proxy.rpartition(' ')[2]} → {target.rpartition(' ')[2]}"
    else:
        name = f"{proxy} → {target if sizes else without_size(target)}"
    return name + {"across depths": "", "pooled": ", pooled"}.get(comparison.scope, ", pooled, family means removed")


def short_side(side: str) -> str:
    """The name of a side, shorter: CNTK-V and CNTK-GAP are the CNTK."""
    return re.sub(r"(\S+)-V and \1-GAP", r"\1", side)


def without_size(side: str) -> str:
    """The name of a side without its number of training images."""
    return side.rpartition(", n = ")[0] or side


def _picks(comparison: Comparison, points: float) -> str:
    picked, best = comparison.label(comparison.x), comparison.label(comparison.y)
    if not comparison.proxy.startswith("all kernels"):  # pooled kernels of one kind differ in the readout alone
        picked, best = (re.sub(r"^(CNTK|CNN-GP)-", "", label) for label in (picked, best))
    rest = ", the best" if picked == best else f"; best: {best}"
    return f"{points:.2f}: {picked}" + (rest if len(picked + rest) < 32 else rest.replace("; ", ";\n"))


def _scatter_rows(study: Study, analysis: Analysis) -> list[tuple[str, Comparison]]:
    """Pooled comparisons, or those across depths of a study with one family; each with the heading of its row."""
    kernels = [c for c in analysis.kernels if c.scope == "pooled" and not c.proxy.startswith("all kernels")]
    networks = [c for c in _pooled(analysis.networks) if not c.within_families]
    # the first kind of kernel is enough here, from few images and from all
    networks = [c for c in networks if without_size(c.proxy) == without_size(networks[0].proxy)]
    own = [(study.name, c) for c in (kernels or analysis.kernels) + networks]
    return [("The paper", c) for c in _paper_pooled(analysis)] + own


def _paper_pooled(analysis: Analysis) -> list[Comparison]:
    return [c for c in analysis.paper if c.scope == "pooled" and "v1" not in c.target]


def _scatter(
    axes: Axes, comparison: Comparison, markers: dict[object, str], colours: dict[str, str], name: str
) -> None:
    families, names = zip(*comparison.architectures, strict=True)
    palette = {family: colours.get(family, GREEN) for family in families}
    points = pd.DataFrame({"x": 100 * comparison.x, "y": 100 * comparison.y, "family": families, "name": names})
    spread = [100 * side.std(axis=0, ddof=1) for side in comparison.resampled[comparison.widest]]
    axes.errorbar(points.x, points.y, *spread[::-1], ls="", ecolor=points.family.map(palette), lw=0.8, alpha=0.35)
    sns.scatterplot(
        points, x="x", y="y", hue="family", style="name", palette=palette, markers=markers, s=56, legend=False, ax=axes
    )
    axes.locator_params(nbins=5)
    if len(points) >= FEWEST and np.ptp(points.x) > 0:
        sns.regplot(
            points, x="x", y="y", ci=None, scatter=False, color=GREY, line_kws={"lw": 1.2, "zorder": 0}, ax=axes
        )
    r, rho = comparison.value("pearson"), comparison.value("spearman")
    axes.set_title(f"{name}\nr = {r:.2f}, ρ = {rho:.2f}, n = {len(points)}".replace("-", MINUS), loc="left")


def _family_colours(study: Study) -> dict[str, str]:
    """Family names of comparisons → colour of their readout."""
    kernels = study.accuracy.drop_duplicates("kernel")
    readouts = {"V": "flatten", "GAP": "gap"} | dict(zip(kernels.kernel, kernels.readout, strict=True))
    return {family: READOUT_COLORS.get(readout, GREEN) for family, readout in readouts.items()}
