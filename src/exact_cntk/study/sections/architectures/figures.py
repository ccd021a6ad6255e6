"""Figures of the grid of architectures."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from exact_cntk.study.sections.architectures.results import PROTOCOLS, Search, ranking
from exact_cntk.study.sections.architectures.strategies import pareto_front, strategies
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
)
from exact_cntk.study.show.style import title as put_title

PROTOCOL = "accuracy_loo_ridge"  # that ranks architectures: with a ridge all of them have an answer
_READOUT_COLORS = {"vanilla": BLUE, "GAP": VERMILION}
_OTHER_COLORS = (GREEN, ORANGE, PURPLE, GREY)  # of windows and flips, in order of appearance
_KIND_FACES = ((GREY, "NTK"), ("white", "CNN-GP"))
_RING = {"marker": "o", "ms": 13, "mfc": "none", "mec": "black", "mew": 1.2, "ls": ""}
_SQUARE = {"marker": "s", "ms": 13, "mfc": "none", "mec": "black", "mew": 1.2, "ls": ""}
# Percentages for ticks, the roundest first; those of a later list where there is room.
_TICKS = (
    [5, 10, 20, 30, 50, 70, 80, 90, 95, 98, 99, 99.5],
    [1, 2, 15, 25, 35, 40, 45, 55, 60, 65, 75, 85, 97],
    list(range(1, 100)),
)
_ROOM = 0.11  # between two ticks, as a fraction of the axis


@mpl.rc_context(SETTINGS)
def ranking_figure(search: Search) -> Figure:
    """Accuracy with the largest small training sets against accuracy with the full one, one panel per protocol."""
    n, table = search.small[-1], ranking(search)
    figure, axes = new_figure(1, len(PROTOCOLS), row_height=3.6)
    for panel, (protocol, name) in zip(axes[0], PROTOCOLS.items(), strict=True):
        rows = table.dropna(subset=[f"{protocol}_{n}", f"{protocol}_full"])
        x, y, spread = rows[f"{protocol}_{n}"], rows[f"{protocol}_full"], rows[f"{protocol}_{n}_std"].fillna(0)
        low, high = (_inside(search, end) for end in (x - spread, x + spread))
        panel.hlines(100 * y, 100 * low, 100 * high, color="#cfcfcf", lw=0.7, zorder=1)
        _marks(panel, search, rows, 100 * x, 100 * y)
        if len(rows):
            panel.plot(100 * x[x.idxmax()], 100 * y[x.idxmax()], **_RING)
            panel.plot(100 * x[y.idxmax()], 100 * y[y.idxmax()], **_SQUARE)
            _logit_axis(panel, "x", [low.min(), high.max()])
            _logit_axis(panel, "y", [y.min(), y.max()])
        members = search.solved(protocol)
        rho = search.compare(protocol, n, members, "all").value("spearman") if len(members) > 1 else np.nan
        some = "" if len(members) == len(table) else f", {len(members)} of {len(table)}"
        shown = "undefined" if np.isnan(rho) else f"{rho:.2f}"
        panel.set_title(f"{name}{some}\nSpearman's ρ = {shown}", loc="left")
        panel.set_xlabel(f"accuracy, n = {n} (%)")
    axes[0, 0].set_ylabel(f"accuracy, n = {search.full} (%)")
    marks = [_handle("chosen", _RING), _handle("best", _SQUARE)]
    _finish(figure, search, "Accuracy with few and with all training images", marks)
    return figure


@mpl.rc_context(SETTINGS)
def cost_figure(search: Search) -> Figure:
    """Accuracy with all training images against element-layers of the full kernel, with the Pareto front."""
    table, n = ranking(search), search.small[-1]
    figure, axes = new_figure(1, 1, row_height=3.8)
    panel = axes[0, 0]
    cost, accuracy = table.element_layers.astype(float), table[f"{PROTOCOL}_full"]
    front = pareto_front(cost.to_numpy(), accuracy.to_numpy())
    panel.step(cost[front], 100 * accuracy[front], where="post", color=GREY, lw=1, zorder=1)
    _marks(panel, search, table, cost, 100 * accuracy)
    chosen = table[f"{PROTOCOL}_{n}"].idxmax()
    panel.plot(cost[chosen], 100 * accuracy[chosen], **_RING)
    panel.set_xscale("log")
    _logit_axis(panel, "y", [accuracy.min(), accuracy.max()])
    panel.set_xlabel(f"cost of the kernel at n = {search.full}, element-layers")
    panel.set_ylabel(f"accuracy, n = {search.full} (%)")
    front_line = Line2D([], [], color=GREY, lw=1, label="Pareto front")
    _finish(figure, search, "Accuracy against cost", [front_line, _handle(f"chosen with n = {n}", _RING)])
    return figure


@mpl.rc_context(SETTINGS)
def search_figure(search: Search) -> Figure:
    """Accuracy of each strategy's choice against its cost relative to the exhaustive search."""
    table = strategies(search, PROTOCOL)
    figure, axes = new_figure(1, 1, row_height=3.2)
    panel = axes[0, 0]
    kinds = table.groupby(["strategy", "chosen_by"], sort=False)
    colors = (GREY, "#999999", BLUE, VERMILION, GREEN, ORANGE)
    for ((strategy, by), rows), color, marker in zip(kinds, colors, MARKERS, strict=False):
        label = strategy if by == "chance" else f"{strategy}, by {by}"
        panel.plot([], [], ls="", color=color, marker=marker, ms=7, label=label)
        for row in rows.itertuples():
            face = "white" if row.search_on.endswith(", 1 training set") else color
            panel.plot(row.cost_percent, 100 * row.accuracy, ls="", color=color, marker=marker, ms=7, mfc=face)
    panel.axhline(100 * table.accuracy[0], color=GREY, lw=0.8, ls=":")
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    _logit_axis(panel, "y", [table.accuracy.min(), table.accuracy.max()])
    panel.set_xlabel("cost, % of the exhaustive search")
    panel.set_ylabel("accuracy of the choice (%)")
    put_title(figure, "Cost of a search, and accuracy of its choice", data=_data_line(search))
    legend(figure, *panel.get_legend_handles_labels(), columns=2)
    return figure


def _inside(search: Search, accuracy: pd.Series) -> pd.Series:
    """Accuracies at least half a test image from 0 and 1, which a log-odds scale can show."""
    return accuracy.clip(0.5 / search.test_images, 1 - 0.5 / search.test_images)


def _log_odds(percent: np.ndarray | float) -> np.ndarray:
    inside = np.clip(percent, 0.01, 99.99)  # matplotlib also asks for values outside the axis
    return np.log(inside / (100 - inside))


def _percent(log_odds: np.ndarray | float) -> np.ndarray:
    return 100 / (1 + np.exp(-np.asarray(log_odds)))


def _logit_axis(panel: Axes, side: str, ends: Sequence[float]) -> None:
    """A log-odds scale, which shows architectures at 10 % and those between 97 and 98 % in one figure."""
    low, high = _log_odds(100 * np.asarray(ends))
    margin = 0.06 * (high - low) or 0.1
    low, high = low - margin, high + margin
    ticks: list[float] = []
    for percents in _TICKS:
        for percent in percents:
            value = _log_odds(percent)
            near = any(abs(_log_odds(tick) - value) < _ROOM * (high - low) for tick in ticks)
            if low < value < high and not near:
                ticks.append(percent)
    getattr(panel, f"set_{side}scale")("function", functions=(_log_odds, _percent))
    axis = getattr(panel, f"{side}axis")
    axis.set_ticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    axis.set_minor_locator(NullLocator())
    getattr(panel, f"set_{side}lim")(_percent(low), _percent(high))


def _marks(panel: Axes, search: Search, rows: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    colors, markers = _colors(search), _markers(search)
    for (_, row), across, up in zip(rows.iterrows(), x, y, strict=True):
        color = colors[row.group]
        face = "white" if row.kind == "nngp" else color
        panel.plot(across, up, ls="", marker=markers[row.filter_size], color=color, mfc=face, ms=5.5, mew=1.1, zorder=2)


def _colors(search: Search) -> dict[str, str]:
    """Colours of readouts, the cheapest first."""
    others = iter(_OTHER_COLORS * len(search.architectures))
    table = search.architectures.sort_values(["flips", "element_layers_per_pair", "pooling_window"], kind="stable")
    return {group: _READOUT_COLORS.get(group) or next(others) for group in dict.fromkeys(table.group)}


def _markers(search: Search) -> dict[int, str]:
    return dict(zip(sorted(search.architectures.filter_size.unique()), MARKERS, strict=False))


def _handle(label: str, look: dict[str, Any]) -> Line2D:
    return Line2D([], [], label=label, **look | {"ms": 9})


def _data_line(search: Search) -> str:
    return f"{search.data['dataset']}, {search.test_images:,} test images"


def _finish(figure: Figure, search: Search, text: str, extra: Sequence[Line2D]) -> None:
    put_title(figure, text, data=_data_line(search))
    handles = [Line2D([], [], ls="", marker="o", color=color, label=name) for name, color in _colors(search).items()]
    handles += [
        Line2D([], [], ls="", marker=marker, color=GREY, label=f"filters {size}×{size}")
        for size, marker in _markers(search).items()
    ]
    handles += [Line2D([], [], ls="", marker="o", color=GREY, mfc=face, label=name) for face, name in _KIND_FACES]
    handles += extra
    legend(figure, handles, [str(handle.get_label()) for handle in handles], columns=4)
