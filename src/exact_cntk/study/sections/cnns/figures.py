"""Figures of trained networks: accuracy against depth, learning curves, choice of the rate."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from exact_cntk.study.results import Study, binomial_error
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import DIVERGED, mark_counts
from exact_cntk.study.show.style import (
    GREY,
    MARKERS,
    READOUT_COLORS,
    SETTINGS,
    depth_axis,
    depth_colors,
    legend,
    new_figure,
    title,
)

SUFFIXES = {"flatten": "V", "gap": "GAP"}
CNN_STYLE: dict[str, Any] = {"ls": "-", "marker": "o"}
CNTK_STYLE: dict[str, Any] = {"ls": "--", "marker": "s", "mfc": "white"}


@mpl.rc_context(SETTINGS)
def against_depth(study: Study, table: pd.DataFrame) -> Figure:
    """Networks and kernels against depth; the paper's Table 1 in a second panel with its own axis."""
    figure, axes = new_figure(1, 2, row_height=3.2)
    panel, paper = axes[0]
    depths = sorted(table.depth.unique())
    for i, (_, rows) in enumerate(table.groupby("family", sort=False)):
        colour = READOUT_COLORS[rows.readout.iloc[0]]
        networks = rows.drop_duplicates("depth").sort_values("depth")
        x = networks.depth * 1.02 ** (2 * i - 1)  # side by side, so that no bar hides another
        style: dict[str, Any] = {"color": colour, "elinewidth": 1}
        spread = 100 * networks.accuracy_sd.fillna(0)
        panel.errorbar(x, 100 * networks.accuracy, spread, label=networks.network.iloc[0], **style, **CNN_STYLE)
        points = zip(x, 100 * networks.accuracy, strict=True)
        mark_counts(panel, points, networks.solved_seeds, networks.seeds, colour, DIVERGED)
        for kernel, line in rows.dropna(subset=["kernel"]).groupby("kernel", sort=False):
            line = line.sort_values("depth")
            error = 100 * binomial_error(line.cntk_accuracy, line.test_images)
            x = line.depth * 1.02 ** (2 * i - 1)
            panel.errorbar(x, 100 * line.cntk_accuracy, error, label=kernel, **style, **CNTK_STYLE)
            points = zip(x, 100 * line.cntk_accuracy, strict=True)
            mark_counts(panel, points, line.cntk_accuracy.notna(), [True] * len(line), colour)
    published = references.table1_wide()
    for readout, suffix in SUFFIXES.items():
        for name, look in (("CNN", CNN_STYLE), ("CNTK", CNTK_STYLE)):
            values = published[f"{name}-{suffix}"]
            paper.plot(values.index, values, color=READOUT_COLORS[readout], label=f"{name}-{suffix}", **look)
    depth_axis(panel, depths)
    depth_axis(paper, list(published.index))
    panel.set_ylabel("test accuracy (%)")
    panel.set_title(f"this study, n = {table.train_images.iloc[0]:,}", loc="left")
    paper.set_title("the paper's Table 1, CIFAR-10", loc="left")
    title(figure, "Trained CNNs and kernel regression", study)
    handles: dict[str, Any] = {}
    for drawn in (paper, panel):
        handles |= dict(zip(*reversed(drawn.get_legend_handles_labels()), strict=True))
    legend(figure, list(handles.values()), list(handles), columns=4)
    return figure


@mpl.rc_context(SETTINGS)
def learning_curves(study: Study, networks: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Loss, training accuracy and test error against epochs at the chosen rate: one column per family."""
    curves = curves.assign(test_error=1 - curves.test_accuracy)
    families = list(dict.fromkeys(networks.family))
    depths = sorted(networks.depth.unique())
    colors = depth_colors(depths)
    quantities = {"loss": "loss", "train_accuracy": "training\naccuracy (%)", "test_error": "test\nerror (%)"}
    figure, axes = new_figure(len(quantities), len(families), row_height=1.9, sharex="col", sharey="row")
    for j, family in enumerate(families):
        for network in networks[networks.family == family].itertuples():
            chosen = curves[(curves.family == family) & (curves.depth == network.depth)]
            chosen = chosen[(chosen.split == "test") & (chosen.rate == network.rate)]
            for _, run in chosen.groupby("seed"):
                _curve(axes[:, j], run, quantities, colors[network.depth])
        axes[0, j].set_title(networks.network[networks.family == family].iloc[0], loc="left")
        axes[-1, j].set_xlabel("epoch")
        axes[-1, j].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for row, label in zip(axes, quantities.values(), strict=True):
        row[0].set_ylabel(label)
    for row in axes[[0, 2], 0]:
        row.set_yscale("log")
    axes[2, 0].yaxis.set_major_formatter(ScalarFormatter())
    axes[2, 0].yaxis.set_minor_formatter(NullFormatter())
    figure.align_ylabels(axes[:, 0])
    title(figure, "Learning curves at the chosen rate, one line per seed", study)
    handles = [Line2D([], [], color=colors[depth], label=f"depth {depth}") for depth in depths]
    handles.append(Line2D([], [], color=GREY, ls="", marker="o", label="all training images correct"))
    legend(figure, handles, [str(handle.get_label()) for handle in handles], columns=4)
    return figure


def _curve(panels: Sequence[Axes], run: pd.DataFrame, quantities: dict[str, str], colour: tuple) -> None:
    """Draw one run in the panels of a column."""
    full = run[run.train_accuracy == 1].head(1)
    for panel, name in zip(panels, quantities, strict=True):
        scale = 1 if name == "loss" else 100
        panel.plot(run.epoch, scale * run[name], color=colour, lw=1.2)
        panel.plot(full.epoch, scale * full[name], color=colour, ls="", marker="o", ms=4.5)


@mpl.rc_context(SETTINGS)
def rates(study: Study, table: pd.DataFrame) -> Figure:
    """Validation and test accuracy against the rate: one panel per family, one colour per depth."""
    families = list(dict.fromkeys(table.family))
    depths = sorted(table.depth.unique())
    colors = depth_colors(depths)
    figure, axes = new_figure(1, len(families), row_height=3.0)
    for panel, family in zip(axes[0], families, strict=True):
        rows = table[table.family == family]
        for k, depth in enumerate(depths):
            line = rows[rows.depth == depth].sort_values("rate")
            shift = 1.04 ** (2 * k - len(depths) + 1)
            style = {"color": colors[depth], "marker": MARKERS[k % len(MARKERS)]}
            panel.plot(line.rate * shift, 100 * line.validation_accuracy, **style)
            error = 100 * line.test_accuracy_sd.fillna(0)
            panel.errorbar(
                line.rate * shift, 100 * line.test_accuracy, error, ls=":", mfc="white", elinewidth=1, **style
            )
            points = zip(line.rate * shift, 100 * line.test_accuracy, strict=True)
            mark_counts(panel, points, line.seeds - line.diverged_seeds, line.seeds, colors[depth], DIVERGED)
            best = line[line.chosen]
            panel.plot(best.rate * shift, 100 * best.validation_accuracy, "o", ms=12, mfc="none", mec=colors[depth])
        panel.set_xscale("log")
        ticks = np.unique(rows.rate)
        panel.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        panel.minorticks_off()
        panel.set_xlim(ticks.min() / 1.6, ticks.max() * 1.6)
        panel.set_xlabel("learning rate")
        panel.set_title(rows.network.iloc[0], loc="left")
    axes[0, 0].set_ylabel("accuracy (%)")
    title(figure, "The learning rate is chosen on validation images", study)
    handles = [
        Line2D([], [], color=colors[depth], marker=MARKERS[k % len(MARKERS)], label=f"depth {depth}")
        for k, depth in enumerate(depths)
    ]
    handles.append(Line2D([], [], color=GREY, marker="o", label="validation"))
    handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ls=":", label="test, mean over seeds"))
    handles.append(Line2D([], [], color=GREY, marker="o", ms=12, mfc="none", ls="", label="chosen"))
    legend(figure, handles, [str(handle.get_label()) for handle in handles], columns=3)
    return figure
