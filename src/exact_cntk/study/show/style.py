"""How figures look: colours, markers, one size of text, and SVG that is the same bytes for the same data."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from exact_cntk._support.stated_files import stated_text
from exact_cntk.study.results import Study

# Okabe and Ito's palette, told apart with any kind of colour blindness.
BLUE, ORANGE, GREEN, PURPLE, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#555555"
KIND_COLORS = {"ntk": BLUE, "nngp": VERMILION}
KIND_NAMES = {"ntk": "NTK", "nngp": "CNN-GP"}
READOUT_COLORS = {"flatten": BLUE, "gap": VERMILION}
FAMILY_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

# Narrow figures with text of 10 points: on a phone's 360 pixels the smallest text is still 7 pixels high.
WIDTH = 6.4
SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: every machine draws the same
    "font.size": 10,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "exact-cntk",
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}


def new_figure(rows: int, columns: int, *, row_height: float = 2.5, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of the report's width with a 2-D array of rows × columns axes; call within `SETTINGS`."""
    figure = Figure(figsize=(WIDTH, row_height * rows + 0.8))
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def depth_colors(depths: Sequence[int]) -> dict[int, tuple[float, float, float]]:
    """Depth is ordered: shades from dark to light, without the palest, which vanish on white."""
    palette = sns.color_palette("viridis", n_colors=256)
    return {depth: palette[round(215 * i / max(len(depths) - 1, 1))] for i, depth in enumerate(depths)}


def depth_axis(axes: Axes, depths: Sequence[int]) -> None:
    """Depth on a logarithmic axis whose ticks are the depths themselves."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(depths) / 1.15, max(depths) * 1.15)
    axes.set_xticks(list(depths), [str(depth) for depth in depths], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("depth (convolutional layers + 1)")


def title(figure: Figure, text: str, study: Study | None = None, data: str = "") -> None:
    """What is shown, and below it the data: those of `study`, or named by `data`; an unverified source is in red."""
    if study is not None:
        data = f"{study.dataset}, {int(study.accuracy.test_images.max()):,} test images"
    colour = "#b00020" if "unverified source" in data else GREY  # part of the name of such data
    height = 72 * figure.get_figheight()  # in points, as the sizes of text are
    figure.text(0.01, 1 - 4 / height, text, fontsize=11.5, fontweight="bold", ha="left", va="top", in_layout=False)
    figure.text(0.01, 1 - 21 / height, data, fontsize=9, color=colour, ha="left", va="top", in_layout=False)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - 34 / height))


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], *, columns: int, heading: str = "") -> None:
    """One legend for all axes, below them, in as many of the columns as fit the width."""
    look = {"loc": "outside lower center", "title": heading or None, "title_fontsize": SETTINGS["legend.fontsize"]}
    drawn = figure.legend(handles, labels, ncols=columns, **look)
    if columns > 1 and drawn.get_window_extent().width > figure.bbox.width:
        drawn.remove()
        legend(figure, handles, labels, columns=columns - 1, heading=heading)


def to_svg(figure: Figure) -> str:
    """The figure as SVG text without date, version or web links: same data, same bytes."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context(SETTINGS):
        _break_long_lines(figure)
        figure.savefig(buffer, format="svg", metadata=metadata)
    return stated_text(buffer.getvalue(), before="<svg")


def _break_long_lines(figure: Figure) -> None:
    """Break titles and labels that would run into the axes next to their own, or out of the figure."""
    texts = {axes: (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes}
    for axes in texts:  # a text that is too long would make the axes smaller
        axes.set_title("", loc="left")
        axes.set(xlabel="", ylabel="")
    figure.draw_without_rendering()
    boxes = {axes: axes.get_window_extent() for axes in texts}
    points = 0.96 * 72 / figure.dpi  # a pixel, less a space between two texts
    for axes, (heading, below, left) in texts.items():
        box = boxes[axes]
        to_the_right = [b.x0 for b in boxes.values() if b.x0 >= box.x1 and b.y0 < box.y1 and b.y1 > box.y0]
        room = points * (min(to_the_right, default=figure.bbox.x1) - box.x0)
        axes.set_title(_broken(heading, room, SETTINGS["axes.titlesize"]), loc="left")
        axes.set_xlabel(_broken(below, room, SETTINGS["axes.labelsize"]))
        axes.set_ylabel(_broken(left, points * box.height, SETTINGS["axes.labelsize"]))


def _broken(text: str, room: float, size: float) -> str:
    """The text with lines of more than `room` points broken."""
    lines = []
    for line in text.split("\n"):
        width = _width(line, size)
        lines += [line] if width <= room else textwrap.wrap(line, max(1, int(len(line) * room / width)))
    return "\n".join(lines)


def _width(text: str, size: float) -> float:
    """Of a line, in points."""
    font = FontProperties(family=SETTINGS["font.family"])
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) if text.strip() else 0.0


def ridge_positions(ridges: np.ndarray) -> np.ndarray:
    """log₁₀ of the ridges; λ = 0 is drawn a decade and a half left of the smallest."""
    positive = ridges[ridges > 0]
    zero = positive.min() / 10**1.5 if positive.size else 1.0
    return np.log10(np.where(ridges > 0, ridges, zero))


def ridge_axis(axes: np.ndarray, ridges: pd.Series) -> None:
    """Ticks at decades, and at 0 beyond a broken line, of all axes; the label below the lowest."""
    values = np.sort(ridges.unique())
    positions = ridge_positions(values)
    decades = [p for v, p in zip(values, positions, strict=True) if v > 0 and abs(p - round(p)) < 1e-9]
    ticks = {p: f"$10^{{{round(p)}}}$" for p in decades[:: max(1, len(decades) // 4)]}
    if values[0] == 0:
        ticks = {positions[0]: "0"} | ticks
    for panel in axes.flat:
        panel.set_xticks(list(ticks), list(ticks.values()))
        if values[0] == 0 and len(values) > 1:  # the axis is broken here
            panel.axvline(positions[0] + 0.75, color="#bbbbbb", lw=0.8, ls=":")
    for panel in axes[-1]:
        panel.set_xlabel("ridge / mean diagonal")
