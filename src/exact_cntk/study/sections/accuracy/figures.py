"""The figures of the study's own kernels; each function takes the loaded results and returns a figure."""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from exact_cntk.networks.labels import READOUT_NAMES
from exact_cntk.study.results import Study, chosen_by, unsolved
from exact_cntk.study.sections.accuracy.results import RIDGES, accuracy_by_depth, ridge_names
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
    """Test accuracy against depth: one row of axes per training-set size, one column per readout."""
    table = accuracy_by_depth(study)
    families, sizes = table.family.unique(), study.train_sizes[::-1]
    figure, axes = new_figure(len(sizes), len(families), sharey="row", sharex=True)
    for i, size in enumerate(sizes):
        for panel, family in zip(axes[i], families, strict=True):
            rows = table[(table.family == family) & (table.train_images == size)]
            problems = study.accuracy[study.accuracy.train_images == size]
            _accuracy_curves(panel, rows, ridge_names(study.accuracy), unsolved(problems)[0])
            _paper_curve(panel, study, rows)
            depth_axis(panel, study.depths)
            panel.set_title(f"{_family_title(rows)}, n\u00a0=\u00a0{size}", loc="left")
            panel.label_outer()
        axes[i, 0].set_ylabel("test accuracy (%)")
    title(figure, "Test accuracy against depth", study)
    handles = {label: h for panel in axes.flat for h, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    legend(figure, list(handles.values()), list(handles), columns=2)
    return figure


def _accuracy_curves(axes: Axes, rows: pd.DataFrame, names: dict[str, str], word: str) -> None:
    curves = [(kind, column) for kind in rows.kind.unique() for column in RIDGES]
    for k, (kind, column) in enumerate(curves):
        values = rows[rows.kind == kind]
        # the spread over several subsets, or the binomial error of a single one
        error = values[f"{column}_std"].fillna(values[f"{column}_se"])
        colour, plain = KIND_COLORS[kind], column == "accuracy"
        style = {"color": colour, "ls": "-" if plain else "--", "marker": "o", "mfc": colour if plain else "white"}
        shifted = values.depth * 1.012 ** (2 * k - 3)  # so that no bar hides another
        axes.errorbar(shifted, 100 * values[column], 100 * error, elinewidth=1, **style)
        points = zip(values.depth, 100 * values[column], strict=True)
        mark_counts(axes, points, values[f"{column}_solved"], values.repeats, colour, word)
        axes.plot([], [], label=f"{KIND_NAMES[kind]}, {names[column]}", **style)


def _paper_curve(axes: Axes, study: Study, rows: pd.DataFrame) -> None:
    """The paper's column of Table 1, only for the same kernel, data and number of training images."""
    if not study.is_paper_data or not set(rows.kernel) & {"CNTK-V", "CNTK-GAP"}:
        return
    column = references.paper_kernel(rows.readout.iloc[0], int(rows.train_images.iloc[0]))
    if column is not None:
        axes.plot(column.depth, 100 * column.accuracy, color=GREY, ls=":", marker="x", label="NTK, the paper's Table 1")


@mpl.rc_context(SETTINGS)
def ridge_path(study: Study, train_images: int | None = None) -> Figure:
    """Test accuracy, and the error that chooses the ridge, along the ridge path, the chosen ridge marked.

    Parameters
    ----------
    train_images : int, optional
        The size shown; default: the largest.
    """
    size = train_images or study.train_sizes[-1]
    paths = study.ridge_path[study.ridge_path.train_images == size]
    problems = study.accuracy[study.accuracy.train_images == size]
    chosen = problems.groupby(["family", "kind", "depth"]).loo_ridge
    # of several repeats the lower middle one, which is on the path
    chosen = chosen.quantile(0.5, interpolation="lower")
    families, kinds = paths.family.unique(), paths.kind.unique()
    figure, axes = new_figure(2 * len(kinds), len(families), row_height=2.1, sharex=True, sharey="row")
    quantities = {
        "test_accuracy": ("test accuracy (%)", 100),
        "loo_error": (f"{chosen_by(problems)}\nsquared error", 1),
    }
    colors, (word, _) = depth_colors(study.depths), unsolved(problems)
    curves = [(kind, name) for kind in kinds for name in quantities]
    for row, (kind, name) in zip(axes, curves, strict=True):
        label, scale = quantities[name]
        row[0].set_ylabel(label)
        for panel, family in zip(row, families, strict=True):
            rows = paths[(paths.family == family) & (paths.kind == kind)]
            for depth, path in rows.groupby("depth"):
                _draw_path(panel, path.groupby("ridge")[name], scale, chosen[family, kind, depth], colors[depth], word)
            if name == "test_accuracy":
                panel.set_title(rows.kernel.iloc[0] if len(rows) else "", loc="left")
    ridge_axis(axes, paths.ridge)
    title(figure, f"Does a ridge help? n = {size}", study)
    handles = [Line2D([], [], color=colour) for colour in colors.values()]
    star = Line2D([], [], color="black", marker="*", ls="", ms=10)
    legend(figure, [*handles, star], [*map(str, colors), "chosen"], columns=6, heading="depth")
    return figure


def _draw_path(axes: Axes, values: Any, scale: int, chosen: float, colour: tuple, word: str) -> None:
    """The mean over repeats of `values`, which are grouped by ridge."""
    curve = values.mean() * scale
    positions = ridge_positions(curve.index.to_numpy())
    axes.plot(positions, curve.to_numpy(), color=colour, marker=".", ms=4)
    mark_counts(axes, zip(positions, curve, strict=True), values.count(), values.size(), colour, word)
    at = int(np.argmin(np.abs(curve.index.to_numpy() - chosen)))
    axes.plot(positions[at], curve.iloc[at], color=colour, marker="*", ms=11, mec="black", mew=0.6, zorder=5)


@mpl.rc_context(SETTINGS)
def spectra(study: Study) -> Figure:
    """Eigenvalues of the largest training kernels that have a recorded spectrum, relative to the largest, by rank."""
    size = study.train_sizes[-1] if study.spectra.empty else int(study.spectra.train_images.max())
    names = study.accuracy.drop_duplicates(["family", "kind"]).set_index(["family", "kind"]).kernel
    table = study.spectra[(study.spectra.train_images == size) & (study.spectra.repeat == 0)]
    families, kinds = (names.index.unique(level) for level in ("family", "kind"))
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
            panel.set_title(names.get((family, kind), ""), loc="left")
    for panel in axes[-1]:
        panel.set_xlabel("rank")
    for panel in axes[:, 0]:
        panel.set_ylabel("eigenvalue / largest")
    title(figure, f"Spectra of the training kernels, n = {size}", study)
    handles = [Line2D([], [], color=colour) for colour in colors.values()]
    legend(figure, handles, list(map(str, colors)), columns=9, heading="depth")
    return figure


@mpl.rc_context(SETTINGS)
def condition_number(study: Study) -> Figure:
    """Condition number of the training kernel against depth, one axes per training-set size."""
    table = accuracy_by_depth(study)
    kernels = table.drop_duplicates("kernel").set_index("kernel")
    plain = {name: kind == "ntk" for name, kind in kernels.kind.items()}
    families = list(kernels.family.unique())
    colors = {name: FAMILY_COLORS[families.index(f) % len(FAMILY_COLORS)] for name, f in kernels.family.items()}
    styles = {
        "palette": colors,
        "dashes": {name: "" if solid else (4, 2) for name, solid in plain.items()},
        "markers": {name: "o" if solid else "s" for name, solid in plain.items()},
    }
    sizes = study.train_sizes[::-1]
    figure, axes = new_figure(1, len(sizes), row_height=2.8, sharey=True)
    for panel, size in zip(axes[0], sizes, strict=True):
        rows = table[table.train_images == size]
        word, _ = unsolved(study.accuracy[study.accuracy.train_images == size])
        sns.lineplot(
            rows, x="depth", y="condition_number", hue="kernel", style="kernel", estimator=None, ax=panel, **styles
        )
        for name, values in rows.groupby("kernel", sort=False):
            # a singular kernel counts in the median; where that is infinite there is no point
            points = zip(values.depth, values.condition_number, strict=True)
            mark_counts(panel, points, values.condition_number.notna(), [1] * len(values), colors[name], word)
        panel.set_yscale("log")
        panel.minorticks_off()
        depth_axis(panel, study.depths)
        panel.set_title(f"n = {size}", loc="left")
        panel.get_legend().remove()
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
    "accuracy": "Test accuracy against depth. Bars: standard deviation over disjoint training subsets, or the binomial "
    "standard error of the test set if there is one subset. CNN-GP: the Gaussian process of the same network.",
    "ridge_path": "Does a ridge help? Test accuracy, and mean squared error on training images that the fit does not "
    "see (by leave-one-out, or in a held-out tenth of a set too large for it), along the ridge path of the largest "
    "training set; ridges are relative to the mean of the kernel's diagonal. Stars: the ridge with the best accuracy "
    "on such training images (ties are broken by the squared error).",
    "spectra": "Eigenvalues of the training kernels against rank, relative to the largest eigenvalue, for the largest "
    "training sets small enough for an eigendecomposition.",
    "condition_number": "Condition number of the training kernel without ridge: largest eigenvalue over smallest, or, "
    "for kernels too large for eigenvalues, an estimate in the 1-norm or, by conjugate gradients, a lower bound; the "
    "median over subsets.",
}
