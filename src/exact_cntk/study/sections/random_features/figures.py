"""Figures of the section on random features."""

from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exact_cntk.study.results import Study, median_conditions
from exact_cntk.study.show.markup import mark_counts
from exact_cntk.study.show.style import (
    BLUE,
    FAMILY_COLORS,
    GREY,
    KIND_NAMES,
    MARKERS,
    SETTINGS,
    VERMILION,
    depth_colors,
    legend,
    new_figure,
    ridge_axis,
    ridge_positions,
    title,
)

EXACT, FEATURES = BLUE, VERMILION


@mpl.rc_context(SETTINGS)
def ridge_paths(study: Study, paths: pd.DataFrame, problems: pd.DataFrame) -> Figure:
    """Test accuracy of the NTK along the ridge path, largest training set: one row per depth, one column per family."""
    n = int(paths.train_images.max())
    paths, problems = (frame[(frame.kind == "ntk") & (frame.train_images == n)] for frame in (paths, problems))
    families, depths = list(dict.fromkeys(paths.family)), sorted(paths.depth.unique())
    figure, axes = new_figure(len(depths), len(families), row_height=1.75, sharex=True, sharey="col")
    for j, family in enumerate(families):
        for i, depth in enumerate(depths):
            path, fits = (f[(f.family == family) & (f.depth == depth)] for f in (paths, problems))
            _paths_of_kernel(axes[i, j], path, fits)
            name = f"{path.kernel.iloc[0]}, " if len(path) else ""
            axes[i, j].set_title(f"{name}depth {depth}", loc="left")
    ridge_axis(axes, paths.ridge)
    for panel in axes[:, 0]:
        panel.set_ylabel("test acc. (%)")
    # the section's own test images, which may be fewer than the study's
    title(figure, f"Random features along the ridge path, n = {n:,}", replace(study, accuracy=problems))
    handles = [
        Line2D([], [], color=EXACT, marker="o", ms=4),
        Line2D([], [], color=FEATURES, marker="s", ms=4),
        Line2D([], [], color="black", marker="x", ls="", mew=1.8),
    ]
    legend(figure, handles, ["exact kernel", "random features", "float32, plain solve"], columns=3)
    return figure


def _paths_of_kernel(axes: Axes, paths: pd.DataFrame, problems: pd.DataFrame) -> None:
    """Median and range over networks, and the exact kernel in its best precision."""
    exact = paths[paths.source == "exact"]
    drawn = paths[(paths.source == "features") & (paths.dtype == "float64")]
    curves = ((drawn, FEATURES, "s"), (exact[exact.dtype == exact.dtype.max()], EXACT, "o"))
    for rows, colour, marker in curves:
        x, percent = ridge_positions(rows.ridge.to_numpy()), 100 * rows.test_accuracy
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 3.5, "mec": colour}
        sns.lineplot(x=x, y=percent, estimator="median", errorbar=("pi", 100), ax=axes, err_kws={"lw": 0}, **style)
        groups = percent.groupby(x)
        mark_counts(axes, groups.median().items(), groups.count(), groups.size(), colour)
    axes.set_ylabel("")
    plain = 100 * problems[(problems.source == "features") & (problems.dtype == "float32")].unchecked_accuracy
    if len(drawn):
        zero = ridge_positions(drawn.ridge.to_numpy()).min()
        axes.plot([zero] * len(plain), plain, color="black", marker="x", ls="", ms=5, mew=1.2, zorder=5)


@mpl.rc_context(SETTINGS)
def condition(study: Study, problems: pd.DataFrame) -> Figure:
    """Condition number of the NTK without a ridge against training images, one panel per family.

    Exact kernels also have the training-set sizes of the study's metrics.
    """
    table = _condition_numbers(study, problems)
    families = list(dict.fromkeys(table.family))
    figure, axes = new_figure(1, len(families), row_height=3.0, sharey=True)
    colors = depth_colors(sorted(table.depth.unique()))
    for panel, family in zip(axes[0], families, strict=True):
        for (source, depth), rows in table[table.family == family].groupby(["source", "depth"]):
            # a singular kernel counts as infinite in the median, and an infinite median has no point
            line = median_conditions(rows, ["train_images"]).sort_index()
            plain = source == "exact"
            style = {"ls": "-" if plain else "--", "marker": "o" if plain else "s"}
            panel.plot(line.index, line, color=colors[depth], mfc=colors[depth] if plain else "white", **style)
            mark_counts(panel, line.items(), line.notna(), [True] * len(line), colors[depth])
        panel.axhline(1 / np.finfo(np.float32).eps, color=GREY, ls=":", lw=1.2)
        panel.set(xscale="log", yscale="log", xlabel="training images")
        panel.minorticks_off()
        panel.set_title(table[table.family == family].kernel.iloc[0], loc="left")
        sizes = sorted(table[table.family == family].train_images.unique())
        panel.set_xticks(sizes, [str(size) for size in sizes], rotation=45 if len(sizes) > 4 else 0)
    axes[0, 0].set_ylabel("condition number")
    title(figure, "Condition number of the NTK without a ridge", study)
    handles = [Line2D([], [], color=colour) for colour in colors.values()]
    handles += [Line2D([], [], color=GREY, marker="o"), Line2D([], [], color=GREY, marker="s", ls="--", mfc="white")]
    handles += [Line2D([], [], color=GREY, ls=":")]
    names = [*(f"depth {depth}" for depth in colors), "exact", "random features", "1/ε of float32"]
    legend(figure, handles, names, columns=4)
    return figure


def _condition_numbers(study: Study, problems: pd.DataFrame) -> pd.DataFrame:
    """Of NTKs: `family`, `kernel`, `depth`, `source`, `train_images`, `condition_number`."""
    names = ["family", "kernel", "depth", "source", "train_images", "condition_number"]
    tangent = problems[problems.kind == "ntk"]
    best = tangent[tangent.dtype == tangent.groupby("source").dtype.transform("max")]
    metrics = study.accuracy[(study.accuracy.kind == "ntk") & study.accuracy.family.isin(best.family)]
    metrics = metrics[metrics.depth.isin(best.depth)].assign(source="exact")
    return pd.concat([best[names], metrics[names]], ignore_index=True)


@mpl.rc_context(SETTINGS)
def width_sweep(study: Study, sweeps: pd.DataFrame) -> Figure:
    """Deviation from the exact kernel against width, with the fitted line, one panel per kind of kernel."""
    kinds = list(dict.fromkeys(sweeps.kind)) or ["none"]
    figure, axes = new_figure(1, len(kinds), row_height=3.0, sharey=True)
    families = list(dict.fromkeys(sweeps.family))
    for panel, kind in zip(axes[0], kinds, strict=True):
        for i, family in enumerate(families):
            rows = sweeps[(sweeps.kind == kind) & (sweeps.family == family)]
            _sweep_of_kernel(panel, rows, FAMILY_COLORS[i % len(FAMILY_COLORS)], MARKERS[i % len(MARKERS)])
        if sweeps.empty:
            panel.text(0.5, 0.5, "no sweep in this study", transform=panel.transAxes, ha="center", color=GREY)
            continue
        panel.set(xscale="log", yscale="log", xlabel="width (channels)")
        panel.minorticks_off()
        widths = sorted(sweeps.width.unique())
        panel.set_xticks(widths, [str(width) for width in widths])
        panel.set_title(KIND_NAMES[kind], loc="left")
    axes[0, 0].set_ylabel("relative deviation")
    lines = [line for panel in axes[0] for line in panel.get_legend_handles_labels()[0]]
    legend(figure, lines, [str(line.get_label()) for line in lines], columns=min(2, len(families)) or 1)
    depths = ", ".join(map(str, sorted(sweeps.depth.unique())))
    title(figure, "Empirical kernels converge to the exact ones" + (f", depth {depths}" if depths else ""), study)
    return figure


def _sweep_of_kernel(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    if rows.empty:
        return
    fit: Any = rows.iloc[0]
    half = (fit.high - fit.low) / 2
    label = f"{fit.kernel}: {fit.slope:.2f} ± {half:.2f}".replace("-0", "−0")
    axes.plot(rows.width, rows.deviation, color=colour, marker=marker, ls="", ms=4, alpha=0.55)
    widths = np.array([rows.width.min(), rows.width.max()])
    # a least-squares line passes through the means
    intercept = np.log(rows.deviation).mean() - fit.slope * np.log(rows.width).mean()
    axes.plot(widths, np.exp(intercept + fit.slope * np.log(widths)), color=colour, label=label)
