"""Small training sets: accuracy against the number of images, for kernels, networks and standard methods."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from exact_cntk.study.sections.small_data.results import (
    BASELINES,
    Results,
    accuracy,
    differences,
    load,
    same_size,
)
from exact_cntk.study.show.markup import (
    DIVERGED,
    SINGULAR,
    WHY_DIVERGED,
    WHY_SINGULAR,
    counted,
    mark_counts,
    percent,
    signed_points,
    unsolved_note,
    with_notes,
)
from exact_cntk.study.show.style import (
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SETTINGS,
    VERMILION,
    legend,
    new_figure,
    title,
)
from exact_cntk.study.stats.statistics import COVERAGE

TITLE = "Small training sets"
NAVIGATION = "Small data"
TEXT = (
    "<p>Random class-balanced training sets, the same ones for every method, so that differences are paired. Sets of "
    "the same size do not overlap until the training pool is used up; sets of different sizes are drawn independently "
    "and are not nested. Every setting is chosen on the training set: the ridge of the kernels, and the bandwidth and "
    "ridge of the RBF kernel, by leave-one-out, the penalty of logistic regression by cross-validation, the learning "
    "rate of networks on validation images taken from it. With one image of a class nothing can be left out: then "
    "kernels have no ridge, networks take the rate with the lowest training loss, other methods fixed settings. The "
    "RBF kernel, logistic regression and the random forest use the same normalised pixels as the kernels. The "
    "networks are small and briefly trained; larger ones would do better. A network whose training diverged has no "
    "accuracy. CNN-GP is the Gaussian process of the same network as the CNTK. Intervals are Student's t over training "
    "sets, without correction for their number. Where sets overlap they are too narrow, and they do not cover the "
    "choice of test images.</p>"
)
CAPTIONS = {
    "small_data_curves": "Test accuracy against the number of training images; bands: standard deviation over random "
    "class-balanced training sets. The ridge of all kernels is chosen by leave-one-out on the training images; with "
    "one image of a class, where nothing can be left out, there is no ridge.",
    "small_data_differences": "Accuracy of the CNTK − accuracy of each other method on the same training sets, both "
    "with all settings chosen on the training images; bars: 95 % intervals (Student's t over training sets). Below 0 "
    "the CNTK is worse.",
}
BASELINE_COLORS = (GREEN, ORANGE, PURPLE)
__all__ = ["CAPTIONS", "NAVIGATION", "TEXT", "TITLE", "figures", "headline", "load", "shown", "summary", "tables"]

_NO_ANSWER = {"kernel": SINGULAR, "network": DIVERGED}  # baselines always have one
NETWORK_COLORS = (GREY, "#000000", "#56B4E9")


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Tidy: accuracies of every method and size, and differences between the CNTK and every other method."""
    return {"small_data_accuracy": accuracy(results), "small_data_differences": differences(results)}


def shown(results: Results) -> list[tuple[str, pd.DataFrame]]:
    """Accuracies by size, then one table of differences per CNTK with its ridge chosen."""
    table = accuracy(results)
    cells = [_counted(percent(row.accuracy, row.accuracy_sd), row) for row in table.itertuples()]
    wide = _wide(table.assign(cell=cells))
    sizes = zip(results.sets["train_images"], results.sets["shared"], strict=True)
    shared = {"method": "images that two sets share", **{f"n = {n:,}": f"{100 * part:.0f}" for n, part in sizes}}
    wide = pd.concat([wide, pd.DataFrame([shared])], ignore_index=True)
    sets = f"mean ± standard deviation over {_sets(table)} random class-balanced training sets"
    blocks = [(with_notes(f"{results.study.dataset}: test accuracy in %, {sets}", *_notes(table)), wide)]
    gains = differences(results)
    for reference in results.references:
        rows = gains[gains.reference == reference]
        if rows.empty:
            continue
        caption = (
            f"{reference} − each other method, in points (negative: the CNTK is worse): mean, "
            f"{100 * COVERAGE:.0f} % interval, sets won"
        )
        why = "one of the two methods has no answer there"
        note = unsolved_note(rows.subsets, rows.sets, "training sets", why, "comparisons")
        blocks.append((with_notes(caption, note), _wide(rows.assign(cell=[_gain(row) for row in rows.itertuples()]))))
    return blocks


@mpl.rc_context(SETTINGS)
def curves(results: Results) -> Figure:
    """Accuracy against the number of training images: kernels on the left, CNTKs and other methods on the right."""
    table = accuracy(results)
    methods = results.methods
    figure, axes = new_figure(1, 2, row_height=3.3, sharey=True)
    bases = list(dict.fromkeys(methods.base[methods.type == "kernel"]))
    colors = dict(zip(bases, (BLUE, VERMILION, GREEN, PURPLE, ORANGE) * len(bases), strict=False))
    kernels = methods.index[(methods.type == "kernel") & (methods.ridge == "loo")]
    for method in kernels:
        plain = methods.kind[method] == "ntk"
        style = {"color": colors[methods.base[method]], "ls": "-" if plain else "--", "marker": "o" if plain else "s"}
        _curve(axes[0, 0], table[table.method == method], label=_short(method), **style)
    for method in results.references:
        style = {"color": colors[methods.base[method]], "marker": "o"}
        _curve(axes[0, 1], table[table.method == method], label="", **style)
    others = methods.index[methods.type != "kernel"]
    for method, (colour, marker) in _other_styles(methods.loc[others]).items():
        _curve(axes[0, 1], table[table.method == method], label=method, color=colour, ls=":", marker=marker)
    for panel, name in zip(axes[0], ("kernels", "CNTK and other methods"), strict=True):
        _size_axis(panel, results.sets["train_images"])
        panel.set_title(name, loc="left")
    axes[0, 0].set_ylabel("test accuracy (%)")
    title(figure, "Few training images", results.study)
    pairs = [axes[0, i].get_legend_handles_labels() for i in range(2)]
    legend(figure, pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1], columns=2)
    return figure


@mpl.rc_context(SETTINGS)
def gains(results: Results) -> Figure:
    """Differences between each CNTK and the other methods, with intervals, one panel per CNTK."""
    table = differences(results)
    references = results.references
    figure, axes = new_figure(1, len(references), row_height=3.3, sharey=True)
    methods = results.methods
    styles = _other_styles(methods[methods.type != "kernel"])
    for panel, reference in zip(axes[0], references, strict=True):
        rows = table[table.reference == reference]
        names = list(dict.fromkeys(rows.method))
        for i, method in enumerate(names):
            values = rows[rows.method == method]
            colour, marker = styles.get(method, (VERMILION, "s"))
            error = 100 * np.nan_to_num(values.high - values.difference)
            x = values.train_images * 1.05 ** (i - (len(names) - 1) / 2)  # side by side, so that no bar hides another
            label = "CNN-GP of the same network" if method not in styles else method
            style = {"color": colour, "marker": marker, "elinewidth": 1, "lw": 1.2, "ms": 4.5}
            panel.errorbar(x, 100 * values.difference, error, label=label, **style)
            points = zip(x, 100 * values.difference, strict=True)
            mark_counts(panel, points, values.subsets, values.sets, colour, "none in common")
        panel.axhline(0, color=GREY, lw=1)
        _size_axis(panel, results.sets["train_images"])
        panel.set_title(_short(reference), loc="left")
    axes[0, 0].set_ylabel("CNTK − other method (points)")
    title(figure, "Differences on the same training sets", results.study)
    legend(figure, *axes[0, 0].get_legend_handles_labels(), columns=2)
    return figure


def figures(results: Results) -> dict[str, Figure]:
    """Learning curves, and paired differences."""
    return {"small_data_curves": curves(results), "small_data_differences": gains(results)}


def headline(results: Results) -> list[str]:
    """The best methods at the smallest and the largest size, and how often the CNTKs are better than others."""
    table = accuracy(results)
    best, some = [], ""
    for size in (results.sets["train_images"][0], results.sets["train_images"][-1]):
        rows = table[(table.train_images == size) & (table.ridge != "none")]
        # Means over different training sets do not compare; without complete ones, the number of sets is stated.
        complete = rows[rows.accuracy.notna() & (rows.subsets == rows.sets)]
        if len(complete) < len(rows):
            some = ", for methods with an answer for each"
        first = (rows.dropna(subset="accuracy") if complete.empty else complete).nlargest(2, "accuracy")
        cells = [_counted(f"{percent(row.accuracy, row.accuracy_sd)} %", row) for row in first.itertuples()]
        if len(first) == 2:
            cells[1] += _significance(same_size(results, size, *first.method))
        named = [f"{method} ({cell})" for method, cell in zip(first.method, cells, strict=True)]
        best.append(f"with {size:,} images {', followed by '.join(named) or 'none'}")
    sentences = [f"Highest mean accuracy over {_sets(table)} random training sets{some}: {'; '.join(best)}."]
    table = differences(results)
    counts = []
    for reference in results.references:
        rows = table[table.reference == reference]
        wins = [
            f"{method} at {int((pairs.low > 0).sum())} of {int(pairs.low.notna().sum())}"
            for method, pairs in rows.groupby("method", sort=False)
        ]
        worse, few = int((rows.high < 0).sum()), int(((rows.subsets < 2) & (rows.sets > 1)).sum())
        left_out = f"; {few} not compared, with fewer than two training sets in common" if few else ""
        counts.append(
            f"{_short(reference)} is significantly better than {', '.join(wins)} sizes; "
            f"significantly worse in {worse} of {len(rows)} comparisons{left_out}"
        )
    if counts:
        sentences.append(f"By paired {100 * COVERAGE:.0f} % intervals, {'. '.join(counts)}.")
    return sentences


def _significance(pair: dict[str, Any]) -> str:
    """Whether the interval of a paired difference leaves out 0, as the end of a cell; nothing without an interval."""
    if pd.isna(pair["low"]):
        return ""
    return "; significantly different" if pair["low"] > 0 or pair["high"] < 0 else "; not significantly different"


def summary(results: Results) -> dict[str, Any]:
    """{method: {"n=<images>": {"accuracy", "accuracy_sd"}}}, fractions; unknown values are left out.

    Where some training sets have no answer: also `sets`, their number, and `subsets`, how many of them have one.
    """
    tree: dict[str, Any] = {}
    for row in accuracy(results).itertuples():
        values = {"accuracy": row.accuracy, "accuracy_sd": row.accuracy_sd}
        known = {name: float(value) for name, value in values.items() if pd.notna(value)}
        counts = {"sets": row.sets, "subsets": row.subsets} if row.subsets < row.sets else {}
        tree.setdefault(row.method, {})[f"n={row.train_images}"] = known | counts
    return tree


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method, one column per size, of the texts in `cell`."""
    wide = table.pivot(index="method", columns="train_images", values="cell").reindex(table.method.unique()).fillna("")
    wide.columns = [f"n = {n:,}" for n in wide.columns]
    return wide.reset_index()


def _sets(table: pd.DataFrame) -> str:
    """Number of training sets per size, "5" or "2 to 5"."""
    low, high = int(table.sets.min()), int(table.sets.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _counted(text: str, row: Any) -> str:
    """The cell of a row of `accuracy`, with the number of training sets if not all have an answer."""
    return counted(text, row.subsets, row.sets, _NO_ANSWER.get(row.type, ""))


def _gain(row: Any) -> str:
    """The cell of a row of `differences`."""
    text = f"{signed_points(row.difference)} {_bracket(row.low, row.high)} {row.won}/{row.subsets}".replace("  ", " ")
    return counted(text, row.subsets, row.sets, "none in common")


def _notes(table: pd.DataFrame) -> list[str]:
    """Why kernels and networks have no answer."""
    kinds = (("kernel", WHY_SINGULAR), ("network", WHY_DIVERGED))
    chosen = [(table[table.type == kind], why, f"fits of {kind}s") for kind, why in kinds]
    return [unsolved_note(rows.subsets, rows.sets, "training sets", why, fits) for rows, why, fits in chosen]


def _bracket(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{signed_points(low)}, {signed_points(high)}]"


def _short(method: str) -> str:
    """A kernel's label without its ridge."""
    return method.removesuffix(", ridge chosen")


def _other_styles(methods: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and marker of all methods other than kernels."""
    styles = {
        name: (BASELINE_COLORS[i], MARKERS[2 + i]) for i, name in enumerate(BASELINES.values()) if name in methods.index
    }
    networks = methods.index[methods.type == "network"]
    for i, name in enumerate(networks):
        styles[name] = (NETWORK_COLORS[i % len(NETWORK_COLORS)], MARKERS[5 + i % 3])
    return styles


def _curve(panel: Axes, rows: pd.DataFrame, *, label: str, **style: Any) -> None:
    mean, spread = 100 * rows.accuracy, 100 * rows.accuracy_sd.fillna(0)
    panel.fill_between(rows.train_images, mean - spread, mean + spread, color=style["color"], alpha=0.13, lw=0)
    panel.plot(rows.train_images, mean, label=label or "_", ms=4.5, **style)
    no_answer = _NO_ANSWER.get(rows.type.iloc[0], "")
    points = zip(rows.train_images, mean, strict=True)
    mark_counts(panel, points, rows.subsets, rows.sets, style["color"], no_answer)


def _size_axis(panel: Axes, sizes: Sequence[int]) -> None:
    """Numbers of images on a logarithmic axis; every second has a label where there are many."""
    panel.set_xscale("log")
    shown = sizes[:: 1 if len(sizes) < 5 else 2]
    panel.set_xticks(list(shown), [f"{n:,}" for n in shown])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("training images")
