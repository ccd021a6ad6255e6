"""Presentation of the grid of architectures: the ranking with few training images and with all, and the cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from exact_cntk._support.stated_files import read_stated
from exact_cntk.study.documents import read_documents, rounded
from exact_cntk.study.results import Study
from exact_cntk.study.sections.architectures.figures import PROTOCOL, cost_figure, ranking_figure, search_figure
from exact_cntk.study.sections.architectures.plan import FORMAT_VERSION, KEY
from exact_cntk.study.sections.architectures.results import (
    PROTOCOLS,
    SCHEMA,
    Search,
    correlations,
    ranking,
    read_search,
)
from exact_cntk.study.sections.architectures.strategies import strategies
from exact_cntk.study.show.markup import (
    MINUS,
    SINGULAR,
    WHY_SINGULAR,
    percent,
    signed_points,
    unsolved_note,
    with_notes,
)
from exact_cntk.study.stats.comparison import Comparison
from exact_cntk.study.stats.statistics import FEWEST

TITLE = "Architecture search"
NAVIGATION = "Architectures"
TEXT = (
    "A grid of architectures: filter size, readout (vanilla: a dense layer on all pixels; LAP: local average pooling "
    "before it; GAP: global average pooling), depth, and kernel (NTK with all layers trained, NTK with the first and "
    "the last layer fixed, CNN-GP with only the last layer trained: the Gaussian process of the same network). Each is "
    "tested with few training images, on several disjoint sets, and with the full training set. The question is how "
    "well the ranking with few images finds the architecture that is best with all, and how much time it saves. Costs "
    "are exact counts of covariance entries passed through ReLU layers. Seconds, which only the report shows, are "
    "measured and differ from run to run."
)
CAPTIONS = {
    "architecture_ranking": (
        "Accuracy of every architecture with few training images (mean over training sets; bars: standard deviation) "
        "and with all. Colour: readout; marker: filter size; filled: NTK, open: CNN-GP. Ring: chosen with few images. "
        "Square: best with all. Both axes use a log-odds scale, which spreads out values near 100 %."
    ),
    "architecture_cost": (
        "Accuracy with all training images against the cost of the kernel. Line: Pareto front (no architecture is both "
        "cheaper and more accurate). Ring: chosen with few training images."
    ),
    "architecture_search": (
        "Cost of a search, relative to training every architecture of the grid on the full set, and accuracy of the "
        "architecture that it chooses. Choices by test accuracy are made on one half of the test images and measured "
        "on the other. Open markers: one training set, averaged over sets. Filled markers: all sets together."
    ),
}
_MOST_ROWS = 40  # of the ranking in the report; the CSV file has all


def load(study: Study, files: Sequence[Path], *, resamples: int, seed: int) -> Search:
    """Read the files of all passes."""
    documents = read_documents(study.data, files, format_version=FORMAT_VERSION, schema=SCHEMA)
    return read_search(list(documents.items()), resamples=resamples, seed=seed)


def tables(search: Search) -> dict[str, pd.DataFrame]:
    """Ranking of all architectures, agreement of small and full, and strategies of search."""
    # without a ridge there may be no answer at all
    answered = [protocol for protocol in PROTOCOLS if protocol == PROTOCOL or search.solved(protocol)]
    chosen = [strategies(search, protocol).assign(protocol=protocol) for protocol in answered]
    return {
        "architectures": ranking(search).drop(columns="pass"),
        "architecture_correlation": correlations(search),
        "architecture_search": pd.concat(chosen, ignore_index=True),
    }


def figures(search: Search) -> dict[str, Figure]:
    """Small against full, accuracy against cost, and cost and result of searches."""
    return {
        "architecture_ranking": ranking_figure(search),
        "architecture_cost": cost_figure(search),
        "architecture_search": search_figure(search),
    }


def shown(search: Search) -> list[tuple[str, pd.DataFrame]]:
    """Strategies, association, and the ranking."""
    dataset, n = search.data["dataset"], search.small[-1]
    searches = (
        f"{dataset}: cost and result of a search, {PROTOCOLS[PROTOCOL]}. Loss: accuracy of the exhaustive search − "
        "accuracy of this one, positive where this one is worse"
    )
    association = (
        f"{dataset}: agreement of n = {n} with n = {search.full}, without a ridge (where all training sets have an "
        "answer) and with the ridge chosen by leave-one-out; 95 % intervals over training sets and test images. "
        "Regret: accuracy lost by choosing with few images"
    )
    best = (
        f"{dataset}: the {min(_MOST_ROWS, len(search.architectures))} best of {len(search.architectures)} "
        f"architectures with n = {n}, {PROTOCOLS[PROTOCOL]} (%)"
    )
    full = search.accuracy[search.accuracy.train_images == search.full]
    return [
        (searches, _shown_strategies(search)),
        (with_notes(association, _note(search.accuracy)), _shown_correlations(search)),
        (with_notes(best, _note(full)), shown_ranking(search).head(_MOST_ROWS)),
    ]


def measured(search: Search, benchmarks: Path) -> list[tuple[str, pd.DataFrame]]:
    """Seconds of searches and of passes, as far as they were measured."""
    seconds = {name: _seconds(benchmarks / KEY / f"{name}.json") for name in search.architectures["pass"].unique()}
    table = strategies(search.in_seconds(seconds), PROTOCOL)
    names = {"strategy": "strategy", "search_on": "searched with", "chosen_by": "chosen by"}
    searches = table[list(names)].rename(columns=names).assign(seconds=table.element_layers.map(_three_digits))
    passes = pd.Series(seconds).map(_three_digits).rename_axis("pass").reset_index(name="seconds")
    return [
        ("Measured: seconds of the kernels that each search computes", searches),
        (f"Measured: seconds of the kernels of each pass, n = {search.full}", passes),
    ]


def _seconds(path: Path) -> float:
    """Seconds of the kernels of a pass; NaN where they were not measured."""
    try:
        return float(read_stated(path)["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return float("nan")


def _three_digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"


def _note(accuracy: pd.DataFrame) -> str:
    """Why answers without a ridge are missing."""
    return unsolved_note(accuracy.accuracy.notna(), [1] * len(accuracy), "", WHY_SINGULAR)


def shown_ranking(search: Search) -> pd.DataFrame:
    """The ranking of all architectures, as texts."""
    table, n = ranking(search), search.small[-1]
    small, full = f"{PROTOCOL}_{n}", f"{PROTOCOL}_full"
    frame = {
        f"rank, n = {n}": [f"{rank:g}" for rank in table.rank_small],
        f"rank, n = {search.full}": [f"{rank:g}" for rank in table.rank_full],
        "architecture": table.architecture,
        f"n = {n}": [percent(*pair) for pair in zip(table[small], table[f"{small}_std"], strict=True)],
        f"n = {search.full}": table[full].map(percent),
        f"n = {search.full}, no ridge": [percent(value) or SINGULAR for value in table.accuracy_full],
        "element-layers": [f"{count:.2g}" for count in table.element_layers],
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
            "accuracy (%)": table.accuracy.map(percent),
            "loss against exhaustive (points)": table.regret.map(signed_points),
            "choice": table.chosen,
        }
    )


_SHORT = {"accuracy": "no ridge", "accuracy_loo_ridge": "ridge"}


def _shown_correlations(search: Search) -> pd.DataFrame:
    table = correlations(search)
    table = table[table.train_images == search.small[-1]]
    rows = []
    for scope, group in table.groupby("scope", sort=False):
        row: dict[str, Any] = {"architectures": scope}
        for protocol, short in _SHORT.items():
            by = group[group.protocol == protocol].set_index("statistic")
            row[f"n, {short}"] = str(by.n.iloc[0]) if len(by) else f"fewer than {FEWEST}"
            for name, label in (("spearman", "Spearman"), ("pearson", "Pearson")):
                row[f"{label}, {short}"] = _with_interval(by.loc[name]) if len(by) else ""
            row[f"regret, {short} (points)"] = percent(by.value["regret"]) if "regret" in by.index else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _with_interval(row: pd.Series) -> str:
    if np.isnan(row.value):
        return ""
    kind = "tests" if np.isnan(row.both_low) else "both"
    interval = "" if np.isnan(row[f"{kind}_low"]) else f" [{row[f'{kind}_low']:.2f}, {row[f'{kind}_high']:.2f}]"
    return f"{row.value:.2f}{interval}".replace("-", MINUS)


def headline(search: Search) -> list[str]:
    """Agreement of the rankings, and cost and result of the cheap search."""
    n = search.small[-1]
    overall = _overall(search)
    chosen, best = (overall.architectures[int(side.argmax())][1] for side in (overall.x, overall.y))
    single = _single_search(search)
    sets = f" (mean over {search.repeats(n)} training sets)" if search.repeats(n) > 1 else ""
    return [
        f"The ranking of {len(overall.x)} architectures on {search.data['dataset']} with {n} images{sets} agrees with "
        f"that with {search.full} images with Spearman's ρ = {_spearman(overall)}{_within(overall)}, each with a ridge "
        f"chosen by leave-one-out{_without_ridge(search)}. Best with {n} images: {chosen}; with {search.full}: {best}, "
        f"which is {percent(overall.value('regret'))} points better.",
        f"A search with one training set of {n} images costs {_cost(single.cost_percent)} % of testing every "
        f"architecture at n = {search.full}; its choice is {_behind(single.regret)} that of the full search (measured "
        "on test images not used for choosing).",
    ]


def _overall(search: Search) -> Comparison:
    return search.compare(PROTOCOL, search.small[-1], search.solved(PROTOCOL), "all")


def _spearman(comparison: Comparison) -> str:
    """The coefficient with its 95 % interval."""
    row = pd.Series(next(row for row in comparison.rows() if row["statistic"] == "spearman"))
    return _with_interval(row) or f"undefined ({row.note})"


def _within(overall: Comparison) -> str:
    """The association after removing the readouts' means."""
    if len(set(overall.families)) == 1:
        return ""
    rho = overall.without_family_means().value("spearman")
    return f" ({'undefined' if np.isnan(rho) else f'{rho:.2f}'} within readouts)"


def _without_ridge(search: Search) -> str:
    """The association in the paper's protocol, over the architectures that have an answer there."""
    members = search.solved("accuracy")
    if len(members) < FEWEST:
        return f" (without a ridge only {len(members)} of {len(search.architectures)} have all answers)"
    plain = search.compare("accuracy", search.small[-1], members, "all")
    some = "" if len(members) == len(search.architectures) else f", for the {len(members)} that can be solved so"
    return f" (ρ = {_spearman(plain)}{_within(plain)} without a ridge{some})"


def _single_search(search: Search) -> Any:
    """The row of the search with one training set of the largest small size."""
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
    overall, single, solved = _overall(search), _single_search(search), search.solved("accuracy")
    plain = search.compare("accuracy", search.small[-1], solved, "all").value("spearman") if solved else float("nan")
    return {
        "architectures": len(search.architectures),
        "architectures_without_ridge": len(solved),
        "spearman_without_ridge": rounded(plain),
        "spearman": rounded(overall.value("spearman")),
        "pearson": rounded(overall.value("pearson")),
        "spearman_within_readouts": rounded(overall.without_family_means().value("spearman")),
        "regret": rounded(overall.value("regret")),
        "best_full_accuracy": round(float(overall.y.max()), 6),
        "picked_full_accuracy": round(float(overall.y[overall.x.argmax()]), 6),
        "search_cost_percent": round(float(single.cost_percent), 6),
        "search_regret": round(float(single.regret), 6),
    }
