"""The figures of the study's own kernels; each function takes the loaded results and returns a figure."""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exact_cntk.networks.labels import READOUT_NAMES
from exact_cntk.study.results import Study
from exact_cntk.study.sections.accuracy.results import RIDGES, accuracy_by_depth
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import mark_counts
from exact_cntk.study.show.style import (
    FAMILY_COLORS,
    GREY,
    KIND_COLORS,
    KIND_NAMES,
    SETTINGS,
    depth_axis,
    depth_colors,
    legend,
    new_figure,
    ridge_axis,
    ridge_positions,
    title,
)


@mpl.rc_context(SETTINGS)
def accuracy(study: Study) -> Figure:
    """Test accuracy against depth: a row of axes a training-set size, a column a readout."""
    table = accuracy_by_depth(study)
    families = list(dict.fromkeys(table.family))
    sizes = study.train_sizes[::-1]
    figure, axes = new_figure(len(sizes), len(families), sharey="row", sharex=True)
    for i, size in enumerate(sizes):
        for j, family in enumerate(families):
            rows = table[(table.family == family) & (table.train_images == size)]
            _accuracy_curves(axes[i, j], rows)
            _paper_curve(axes[i, j], study, rows)
            depth_axis(axes[i, j], study.depths)
            axes[i, j].set_title(f"{_family_title(rows)}, n\u00a0=\u00a0{size}", loc="left")
            axes[i, j].label_outer()
        axes[i, 0].set_ylabel("test accuracy (%)")
    title(figure, "Test accuracy against depth", study)
    handles = {
        line.get_label(): line for panel in axes.flat for line in panel.get_lines() if line.get_label()[0] != "_"
    }
    legend(figure, list(handles.values()), list(handles), columns=2)
    return figure


def _accuracy_curves(axes: Axes, rows: pd.DataFrame) -> None:
    kinds = list(dict.fromkeys(rows.kind))
    for k, (kind, (column, ridge)) in enumerate((kind, item) for kind in kinds for item in RIDGES.items()):
        values = rows[rows.kind == kind]
        # over several subsets their spread, else the binomial error of the one
        error = values[f"{column}_std"].fillna(values[f"{column}_se"])
        colour, plain = KIND_COLORS[kind], column == "accuracy"
        axes.errorbar(
            values.depth * 1.012 ** (2 * k - 3),  # side by side, so that no bar hides another
            100 * values[column],
            100 * error,
            color=colour,
            ls="-" if plain else "--",
            marker="o",
            mfc=colour if plain else "white",
            elinewidth=1,
        )
        points = zip(values.depth, 100 * values[column], strict=True)
        mark_counts(axes, points, values[f"{column}_solved"], values.repeats, colour)
        label = f"{KIND_NAMES[kind]}, {ridge}"
        axes.plot(
            [], [], color=colour, ls="-" if plain else "--", marker="o", mfc=colour if plain else "white", label=label
        )


def _paper_curve(axes: Axes, study: Study, rows: pd.DataFrame) -> None:
    """The paper's column of Table 1, only where it is the same kernel on the same data and as many images."""
    if not study.is_paper_data or not set(rows.kernel) & {"CNTK-V", "CNTK-GAP"}:
        return
    column = references.paper_kernel(rows.readout.iloc[0], int(rows.train_images.iloc[0]))
    if column is not None:
        axes.plot(column.depth, 100 * column.accuracy, color=GREY, ls=":", marker="x", label="NTK, the paper's Table 1")


@mpl.rc_context(SETTINGS)
def ridge_path(study: Study, train_images: int | None = None) -> Figure:
    """Test accuracy and leave-one-out error along the ridge path, the chosen ridge marked.

    Parameters
    ----------
    train_images : int, optional
        The size shown; default: the largest.
    """
    size = train_images or study.train_sizes[-1]
    paths = study.ridge_path[study.ridge_path.train_images == size]
    chosen = study.accuracy[study.accuracy.train_images == size]
    families, kinds = list(dict.fromkeys(paths.family)), list(dict.fromkeys(paths.kind))
    figure, axes = new_figure(2 * len(kinds), len(families), row_height=2.1, sharex=True, sharey="row")
    quantities = {"test_accuracy": ("test accuracy (%)", 100), "loo_error": ("leave-one-out\nsquared error", 1)}
    colors = depth_colors(study.depths)
    for j, family in enumerate(families):
        for i, (kind, name) in enumerate((kind, name) for kind in kinds for name in quantities):
            panel, (label, scale) = axes[i, j], quantities[name]
            rows = paths[(paths.family == family) & (paths.kind == kind)]
            for depth, path in rows.groupby("depth"):
                picked = chosen[(chosen.family == family) & (chosen.kind == kind) & (chosen.depth == depth)].loo_ridge
                _draw_path(panel, path.groupby("ridge")[name], scale, picked, colors[depth])
            if name == "test_accuracy":
                panel.set_title(rows.kernel.iloc[0] if len(rows) else "", loc="left")
            if j == 0:
                panel.set_ylabel(label)
    ridge_axis(axes, paths.ridge)
    title(figure, f"Along the ridge path, n = {size}", study)
    handles = [Line2D([], [], color=colour) for colour in colors.values()]
    star = Line2D([], [], color="black", marker="*", ls="", ms=10)
    legend(figure, [*handles, star], [*map(str, colors), "chosen"], columns=6, heading="depth")
    return figure


def _draw_path(axes: Axes, values: Any, scale: int, picked: pd.Series, colour: tuple) -> None:
    """The mean of `values`, which are grouped by ridge, over repeats."""
    curve = values.mean() * scale
    positions = ridge_positions(curve.index.to_numpy())
    axes.plot(positions, curve.to_numpy(), color=colour, marker=".", ms=4)
    mark_counts(axes, zip(positions, curve, strict=True), values.count(), values.size(), colour)
    # of several repeats the (lower) middle one, which is on the path
    ridge = np.sort(picked.to_numpy())[(len(picked) - 1) // 2]
    at = int(np.argmin(np.abs(curve.index.to_numpy() - ridge)))
    axes.plot(positions[at], curve.iloc[at], color=colour, marker="*", ms=11, mec="black", mew=0.6, zorder=5)


@mpl.rc_context(SETTINGS)
def spectra(study: Study) -> Figure:
    """Eigenvalues of the training kernel, relative to the largest, against rank."""
    size = study.train_sizes[-1]
    table = study.spectra
    table = table[(table.train_images == size) & (table.repeat == 0)]
    names = study.accuracy.drop_duplicates(["family", "kind"])
    families, kinds = list(dict.fromkeys(names.family)), list(dict.fromkeys(names.kind))
    figure, axes = new_figure(len(kinds), len(families), sharex=True, sharey=True)
    colors = depth_colors(study.depths)
    for j, family in enumerate(families):
        for i, kind in enumerate(kinds):
            panel, rows = axes[i, j], table[(table.family == family) & (table.kind == kind)]
            for depth, values in rows.groupby("depth"):
                panel.plot(values["rank"], values.eigenvalue / values.eigenvalue.max(), color=colors[depth])
            if rows.empty:
                panel.text(0.5, 0.5, "no spectrum was recorded", transform=panel.transAxes, ha="center", color=GREY)
            panel.set(xscale="log", yscale="log")
            panel.minorticks_off()
            label = names[(names.family == family) & (names.kind == kind)].kernel
            panel.set_title(label.iloc[0] if len(label) else "", loc="left")
    for panel in axes[-1]:
        panel.set_xlabel("rank")
    for panel in axes[:, 0]:
        panel.set_ylabel("eigenvalue / largest")
    title(figure, f"Spectra of the training kernels, n = {size}", study)
    handles = [Line2D([], [], color=colour) for colour in colors.values()]
    legend(figure, handles, [str(depth) for depth in colors], columns=9, heading="depth")
    return figure


@mpl.rc_context(SETTINGS)
def condition_number(study: Study) -> Figure:
    """Condition number of the training kernel against depth, an axes a training-set size."""
    table = accuracy_by_depth(study)
    kernels = table.drop_duplicates(["family", "kind"])
    families = list(dict.fromkeys(table.family))
    sizes = study.train_sizes[::-1]
    figure, axes = new_figure(1, len(sizes), row_height=2.8, sharey=True)
    for panel, size in zip(axes[0], sizes, strict=True):
        for kernel in kernels.itertuples():
            rows = table[(table.kernel == kernel.kernel) & (table.train_images == size)]
            plain, colour = kernel.kind == "ntk", FAMILY_COLORS[families.index(kernel.family) % len(FAMILY_COLORS)]
            style = {"color": colour, "ls": "-" if plain else "--", "marker": "o" if plain else "s"}
            panel.plot(
                rows.depth, rows.condition_number, mfc=colour if plain else "white", label=kernel.kernel, **style
            )
            # a singular kernel counts in the median; where that is infinite there is no point
            finite = rows.condition_number.notna()
            points = zip(rows.depth, rows.condition_number, strict=True)
            mark_counts(panel, points, finite, [True] * len(finite), colour)
        panel.set_yscale("log")
        panel.minorticks_off()
        depth_axis(panel, study.depths)
        panel.set_title(f"n = {size}", loc="left")
    axes[0, 0].set_ylabel("condition number")
    title(figure, "Condition number of the training kernels", study)
    legend(figure, *axes[0, 0].get_legend_handles_labels(), columns=4)
    return figure


def _family_title(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    readout = rows.readout.iloc[0]
    return f"{rows.family.iloc[0]} ({READOUT_NAMES.get(readout, readout.upper())})"


FIGURES: dict[str, Callable[[Study], Figure]] = {
    "accuracy": accuracy,
    "ridge_path": ridge_path,
    "spectra": spectra,
    "condition_number": condition_number,
}

CAPTIONS: dict[str, str] = {
    "accuracy": "Test accuracy against depth. Bars: standard deviation over disjoint training subsets where there are "
    "several, else the binomial standard error of the test set.",
    "ridge_path": "Test accuracy and leave-one-out mean squared error along the ridge path of the largest training "
    "set; ridges are relative to the mean of the kernel's diagonal. Stars: the ridge of the best leave-one-out "
    "accuracy; the squared error decides only between equal ones.",
    "spectra": "Eigenvalues of the largest training kernel against rank, relative to the largest eigenvalue.",
    "condition_number": "Condition number of the training kernel without ridge, largest eigenvalue over smallest, or "
    "an estimate in the 1-norm where the kernel was too large for eigenvalues; median over subsets where there are "
    "several.",
}
