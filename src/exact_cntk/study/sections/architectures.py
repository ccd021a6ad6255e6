"""Presentation of the grid of architectures: ranked by few training images, against all of them, with the cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from exact_cntk.study.architecture_search import FIELDS, PROTOCOLS, Search, correlations, ranking, read_search
from exact_cntk.study.architecture_strategies import pareto_front, strategies
from exact_cntk.study.architectures import FORMAT_VERSION
from exact_cntk.study.markup import percent, signed_points
from exact_cntk.study.results import Study
from exact_cntk.study.sections import read_documents
from exact_cntk.study.style import BLUE, GREEN, GREY, MARKERS, ORANGE, PURPLE, SETTINGS, VERMILION, legend, new_figure
from exact_cntk.study.style import title as put_title

TITLE = "Architecture search"
NAVIGATION = "Architectures"
TEXT = (
    "A grid of architectures: filter size, readout (vanilla: a dense layer on all pixels; LAP: local average pooling "
    "before it; GAP: global average pooling), depth, and kernel (NTK with all layers trained, NTK with the first and "
    "the last layer fixed, CNN-GP: only the last layer trained). Each is tested with few training images, several "
    "disjoint sets of them, and with the full training set. The question is how well the cheap accuracy finds the "
    "architecture that is best at full data, and what that saves. Costs are entries of covariance tensors taken "
    "through ReLU layers, exact counts, and seconds as measured."
)
CAPTIONS = {
    "architecture_ranking": (
        "Every architecture with few training images (mean over training sets; bars: standard deviation) and with "
        "the full training set. Colour: readout; marker: filter size; filled: NTK, open: CNN-GP. The ring marks what "
        "the search picks, the square what is best at full data."
    ),
    "architecture_cost": (
        "Accuracy at full data against the cost of the kernel. The line joins the architectures than which no other "
        "is cheaper and more accurate. The ring marks what few training images pick."
    ),
    "architecture_search": (
        "What a search costs, against training every architecture of the grid on the full set, and the accuracy of "
        "the architecture that it picks. Picks by test accuracy are made on one half of the test images and measured "
        "on the other."
    ),
}
PROTOCOL = "accuracy_loo_ridge"  # by which architectures are ranked: all of them have an answer with a ridge
_LAP_COLORS = (GREEN, ORANGE, PURPLE, GREY)
_MOST_ROWS = 40  # of the ranking in the report; the CSV file has all


def load(study: Study, files: Sequence[Path], *, resamples: int, seed: int) -> Search:
    """Read the files of all passes."""
    documents = read_documents(study, files, format_version=FORMAT_VERSION, keys=FIELDS)
    return read_search(list(documents.items()), resamples=resamples, seed=seed)


def tables(search: Search) -> dict[str, pd.DataFrame]:
    """Ranking of all architectures, association of small and full, and strategies of search."""
    chosen = [strategies(search, protocol).assign(protocol=protocol) for protocol in PROTOCOLS]
    return {
        "architectures": ranking(search).drop(columns="pass"),
        "architecture_correlation": correlations(search),
        "architecture_search": pd.concat([frame for frame in chosen if len(frame)], ignore_index=True),
    }


def figures(search: Search) -> dict[str, Figure]:
    """Small against full, accuracy against cost, and what searches cost and find."""
    return {
        "architecture_ranking": ranking_figure(search),
        "architecture_cost": cost_figure(search),
        "architecture_search": search_figure(search),
    }


@mpl.rc_context(SETTINGS)
def ranking_figure(search: Search) -> Figure:
    """Accuracy from the most of the few training images against that of the full set, a panel a protocol."""
    n, table = search.small[-1], ranking(search)
    figure, axes = new_figure(1, len(PROTOCOLS), row_height=3.6)
    for panel, (protocol, name) in zip(axes[0], PROTOCOLS.items(), strict=True):
        rows = table.dropna(subset=[f"{protocol}_{n}", f"{protocol}_full"])
        x, y, spread = rows[f"{protocol}_{n}"], rows[f"{protocol}_full"], rows[f"{protocol}_{n}_std"]
        panel.errorbar(100 * x, 100 * y, xerr=100 * spread, ls="", color="#cfcfcf", lw=0.7, zorder=1)
        _marks(panel, search, rows, 100 * x, 100 * y)
        if len(rows):
            picked, best = x.idxmax(), y.idxmax()
            panel.plot(100 * x[picked], 100 * y[picked], **_RING)
            panel.plot(100 * x[best], 100 * y[best], **_SQUARE)
        members = search.solved(protocol)
        rho = search.compare(protocol, n, members, "all").value("spearman") if len(members) > 1 else np.nan
        panel.set_title(f"{name}\nSpearman's ρ = {rho:.2f}, {len(members)} of {len(table)}", loc="left")
        panel.set_xlabel(f"accuracy, n = {n} (%)")
    axes[0, 0].set_ylabel(f"accuracy, n = {search.full} (%)")
    _finish(
        figure, search, "Few training images against all", extra=[_handle("picked", _RING), _handle("best", _SQUARE)]
    )
    return figure


@mpl.rc_context(SETTINGS)
def cost_figure(search: Search) -> Figure:
    """Accuracy at full data against element-layers of the full kernel, with the Pareto front."""
    table, n = ranking(search), search.small[-1]
    figure, axes = new_figure(1, 1, row_height=3.8)
    panel = axes[0, 0]
    cost, accuracy = table.element_layers.to_numpy(float), 100 * table[f"{PROTOCOL}_full"].to_numpy()
    front = pareto_front(cost, accuracy)
    panel.step(cost[front], accuracy[front], where="post", color=GREY, lw=1, zorder=1)
    _marks(panel, search, table, pd.Series(cost), pd.Series(accuracy))
    picked = table[f"{PROTOCOL}_{n}"].idxmax()
    panel.plot(cost[picked], accuracy[picked], **_RING)
    panel.set_xscale("log")
    panel.set_xlabel(f"cost of the kernel at n = {search.full}, element-layers")
    panel.set_ylabel(f"accuracy, n = {search.full} (%)")
    front_line = Line2D([], [], color=GREY, lw=1, label="Pareto front")
    _finish(figure, search, "Accuracy against cost", extra=[front_line, _handle(f"picked with n = {n}", _RING)])
    return figure


@mpl.rc_context(SETTINGS)
def search_figure(search: Search) -> Figure:
    """Accuracy of what a strategy finds against its cost, as a share of the exhaustive search's."""
    table = strategies(search, PROTOCOL)
    figure, axes = new_figure(1, 1, row_height=3.2)
    panel = axes[0, 0]
    styles = _strategy_styles(table)
    for (strategy, by), rows in table.groupby(["strategy", "chosen_by"], sort=False):
        color, marker = styles[strategy, by]
        label = strategy if strategy == "at random" else f"{strategy}, by {by}"
        panel.plot(rows.cost_percent, 100 * rows.accuracy, ls="", color=color, marker=marker, ms=7, label=label)
    panel.axhline(100 * table.accuracy[0], color=GREY, lw=0.8, ls=":")
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.set_xlabel("cost, % of the exhaustive search")
    panel.set_ylabel("accuracy of what is found (%)")
    put_title(figure, "What a search costs, and what it finds", data=_data_line(search))
    handles, labels = panel.get_legend_handles_labels()
    legend(figure, handles, labels, columns=2)
    return figure


_RING = {"marker": "o", "ms": 13, "mfc": "none", "mec": "black", "mew": 1.2, "ls": ""}
_SQUARE = {"marker": "s", "ms": 13, "mfc": "none", "mec": "black", "mew": 1.2, "ls": ""}


def _handle(label: str, look: dict[str, Any]) -> Line2D:
    return Line2D([], [], label=label, **look | {"ms": 9})


def _strategy_styles(table: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    keys = list(dict.fromkeys(zip(table.strategy, table.chosen_by, strict=True)))
    colors = (GREY, "#999999", BLUE, VERMILION, GREEN, ORANGE)
    return {key: (colors[i % len(colors)], MARKERS[i % len(MARKERS)]) for i, key in enumerate(keys)}


def _marks(panel: Axes, search: Search, rows: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    colors, markers = _colors(search), _markers(search)
    for (_, row), across, up in zip(rows.iterrows(), x, y, strict=True):
        color = colors[row.group]
        face = "white" if row.kind == "nngp" else color
        panel.plot(across, up, ls="", marker=markers[row.filter_size], color=color, mfc=face, ms=5.5, mew=1.1, zorder=2)


def _colors(search: Search) -> dict[str, str]:
    """Colours of readouts: vanilla and GAP as everywhere, windows and flips between them as they come."""
    named = {"vanilla": BLUE, "GAP": VERMILION}
    others = iter(_LAP_COLORS * 8)
    table = search.architectures.sort_values(["flips", "element_layers_per_pair", "pooling_window"], kind="stable")
    return {group: named.get(group) or next(others) for group in dict.fromkeys(table.group)}


def _markers(search: Search) -> dict[int, str]:
    return dict(zip(sorted(search.architectures.filter_size.unique()), MARKERS, strict=False))


def _data_line(search: Search) -> str:
    return f"{search.data['dataset']}, {search.test_images:,} test images"


def _finish(figure: Figure, search: Search, text: str, *, extra: Sequence[Line2D]) -> None:
    put_title(figure, text, data=_data_line(search))
    handles = [Line2D([], [], ls="", marker="o", color=color, label=name) for name, color in _colors(search).items()]
    handles += [
        Line2D([], [], ls="", marker=marker, color=GREY, label=f"filters {size}×{size}")
        for size, marker in _markers(search).items()
    ]
    handles += [Line2D([], [], ls="", marker="o", color=GREY, mfc=face, label=name) for face, name in _KIND_FACES]
    handles += extra
    legend(figure, handles, [str(handle.get_label()) for handle in handles], columns=4)


_KIND_FACES = ((GREY, "NTK"), ("white", "CNN-GP"))


def shown(search: Search) -> list[tuple[str, pd.DataFrame]]:
    """Strategies, association, and the ranking."""
    dataset, n = search.data["dataset"], search.small[-1]
    return [
        (f"{dataset}: what a search costs and finds, {PROTOCOLS[PROTOCOL]}", _shown_strategies(search)),
        (f"{dataset}: small against full, by what is compared (95 % intervals)", _shown_correlations(search)),
        (
            f"{dataset}: the {min(_MOST_ROWS, len(search.architectures))} best of {len(search.architectures)} "
            f"architectures by n = {n}, {PROTOCOLS[PROTOCOL]} (%)",
            shown_ranking(search).head(_MOST_ROWS),
        ),
    ]


def shown_ranking(search: Search) -> pd.DataFrame:
    """The ranking of all architectures for people."""
    table, n = ranking(search), search.small[-1]
    small, full = f"{PROTOCOL}_{n}", f"{PROTOCOL}_full"
    frame = {
        f"rank, n = {n}": [f"{rank:g}" for rank in table.rank_small],
        f"rank, n = {search.full}": [f"{rank:g}" for rank in table.rank_full],
        "architecture": table.architecture,
        f"n = {n}": [percent(*pair) for pair in zip(table[small], table[f"{small}_std"], strict=True)],
        f"n = {search.full}": table[full].map(percent),
        f"n = {search.full}, no ridge": table.accuracy_full.map(percent),
        "element-layers": [f"{count:.2g}" for count in table.element_layers],
        "seconds": ["" if np.isnan(seconds) else f"{seconds:.2g}" for seconds in table.seconds],
    }
    return pd.DataFrame(frame)


def _shown_strategies(search: Search) -> pd.DataFrame:
    table = strategies(search, PROTOCOL)
    return pd.DataFrame(
        {
            "strategy": table.strategy,
            "searched with": table.search_on,
            "chosen by": table.chosen_by,
            "cost (% of exhaustive)": table.cost_percent.map(_cost),
            "seconds": ["" if np.isnan(seconds) else f"{seconds:.3g}" for seconds in table.seconds],
            "accuracy (%)": table.accuracy.map(percent),
            "below exhaustive (points)": table.regret.map(signed_points),
            "picks": table.chosen,
        }
    )


def _shown_correlations(search: Search) -> pd.DataFrame:
    table = correlations(search)
    table = table[(table.train_images == search.small[-1]) & (table.protocol == PROTOCOL)]
    rows = []
    for scope, group in table.groupby("scope", sort=False):
        by = group.set_index("statistic")
        row = {"architectures": scope, "n": int(by.n.iloc[0])}
        for name, label in (("spearman", "Spearman"), ("pearson", "Pearson")):
            row[label] = _with_interval(by.loc[name])
        if "regret" in by.index:
            row["regret (points)"] = percent(by.value["regret"])
            row["regret, one set (points)"] = percent(by.one_subset["regret"])
        rows.append(row)
    return pd.DataFrame(rows)


def _with_interval(row: pd.Series) -> str:
    if np.isnan(row.value):
        return ""
    kind = "tests" if np.isnan(row.both_low) else "both"
    interval = "" if np.isnan(row[f"{kind}_low"]) else f" [{row[f'{kind}_low']:.2f}, {row[f'{kind}_high']:.2f}]"
    return f"{row.value:.2f}{interval}"


def headline(search: Search) -> list[str]:
    """What the cheap search picks, at which cost."""
    n, count = search.small[-1], len(search.architectures)
    overall = search.compare(PROTOCOL, n, search.solved(PROTOCOL), "all")
    picked, best = (overall.architectures[int(side.argmax())][1] for side in (overall.x, overall.y))
    found = _single_search(search)
    sets = f", the mean of {search.repeats(n)} training sets," if search.repeats(n) > 1 else ""
    return [
        f"Accuracy with {n} training images{sets} ranks {count} architectures on {search.data['dataset']} as accuracy "
        f"with {search.full} does with Spearman's ρ = {overall.value('spearman'):.2f}; it picks {picked}, where "
        f"{best} is best, {percent(overall.value('regret'))} points above it.",
        f"A search with one training set of {n} images costs {_cost(found.cost_percent)} % of trying every "
        f"architecture at n = {search.full}, and its pick is {_behind(found.regret)} what that finds (on test images "
        "that had no say).",
    ]


def _single_search(search: Search) -> Any:
    """The row of the search with one training set of the largest small size, as the paper's 2,000 images are one."""
    table = strategies(search, PROTOCOL)
    table = table[(table.strategy == "search") & (table.chosen_by == "test images")]
    return table[table.search_on == f"n = {search.small[-1]}, 1 training set"].iloc[0]


def _cost(cost_percent: float) -> str:
    return f"{cost_percent:.0f}" if cost_percent >= 9.5 else f"{cost_percent:.2g}"


def _behind(regret: float) -> str:
    text = signed_points(abs(regret)).lstrip("+")
    return "as accurate as" if text == "0.00" else f"{text} points {'below' if regret > 0 else 'above'}"


def summary(search: Search) -> dict[str, Any]:
    """For `dvc metrics`."""
    n = search.small[-1]
    overall = search.compare(PROTOCOL, n, search.solved(PROTOCOL), "all")
    return {
        "architectures": len(search.architectures),
        "spearman": round(overall.value("spearman"), 6),
        "pearson": round(overall.value("pearson"), 6),
        "regret": round(overall.value("regret"), 6),
        "best_full_accuracy": round(float(overall.y.max()), 6),
        "picked_full_accuracy": round(float(overall.y[overall.x.argmax()]), 6),
        "search_cost_percent": round(float(_single_search(search).cost_percent), 6),
        "search_regret": round(float(_single_search(search).regret), 6),
    }
