"""Few training images against all of them: the paper's own columns, this study's kernels, and trained networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.errors import UserError
from exact_cntk.study.documents import read_documents, unpack_answers
from exact_cntk.study.results import Study
from exact_cntk.study.sections.correlation import figures as correlation_figures
from exact_cntk.study.sections.correlation.analysis import Analysis, Network, analyse, left_out
from exact_cntk.study.sections.correlation.figures import comparison_name, short_side, without_size
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import MINUS, WHY_DIVERGED, counted, percent, with_notes
from exact_cntk.study.stats.comparison import KINDS, Comparison
from exact_cntk.study.stats.statistics import COVERAGE

TITLE = "Few training images against all of them"
NAVIGATION = "Few images against all"
TEXT = (
    "<p>Does accuracy from a small training set (the proxy) rank architectures as accuracy from the full one does (the "
    "target), of kernels and of trained networks? Every row gives n, the number of architectures; Pearson’s r, "
    "Spearman’s ρ and Kendall’s τ; and the regret: what picking the architecture that the proxy likes best costs on "
    "the target. Pooling readouts mixes two effects: rows with the family means removed leave the effect of depth.</p>"
    f"<p>Intervals of {100 * COVERAGE:.0f} % come from a bootstrap over training subsets where there are at least "
    "three, seeds of trained networks, and test images: one draw of images and subsets serves all architectures and "
    "both sides. They are corrected for the noise in the accuracies, which pulls a correlation towards zero, and may "
    "lie above the coefficient. The architectures are not resampled: p, one-sided, says how far so few could agree by "
    "chance, as the share of reassignments of the target’s accuracies, within families where their means are removed, "
    "that give a coefficient as large.</p>"
)
CAPTIONS = correlation_figures.CAPTIONS

_NETWORK = ("family", "readout", "filter_size", "depth", "train_images", "accuracy")
_NEEDED = (*_NETWORK, "rate", "runs", "test_images", "test_correct_hex")
_HEADINGS = (("pearson", "Pearson r"), ("spearman", "Spearman ρ"), ("kendall", "Kendall τ"))
_KIND_NAMES = {"subsets": "subsets", "tests": "test images", "both": "all"}


@dataclass(frozen=True)
class Results:
    """A study's analysis.

    Attributes
    ----------
    study : Study
    analysis : Analysis
        All its comparisons.
    kernels_left_out, networks_left_out : str
        Which kernels, and which networks or seeds of them, are not among the compared, and why; empty where all are.
    """

    study: Study
    analysis: Analysis
    kernels_left_out: str = ""
    networks_left_out: str = ""


def load(study: Study, files: Sequence[str | Path], *, resamples: int = 2000, seed: int = 0) -> Results:
    """Read the study's trained networks, if it has any, and compare.

    Parameters
    ----------
    study : Study
    files : sequence of paths
        Those of the section ``cnns`` are read, files of other sections are passed over.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    UserError
        A file of networks that cannot be read, lacks a key, was made from other data, or whose answers are not those
        of the study's test images.
    """
    chosen = [path for path in map(Path, files) if path.parent.name == "cnns" and path.suffix == ".json"]
    documents = read_documents(study.data, chosen, keys=_NEEDED)
    # a network that diverged at every rate has no accuracy
    trained = {path: document for path, document in documents.items() if document["accuracy"] is not None}
    networks = [_network(path, document, study) for path, document in trained.items()]
    analysis = analyse(study, networks, resamples=resamples, seed=seed)
    return Results(study, analysis, left_out(study), _networks_left_out(list(documents.values())))


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """All comparisons, a row a statistic, and the differences between their coefficients."""
    return {"correlation": results.analysis.table(), "correlation_differences": results.analysis.differences()}


def figures(results: Results) -> dict[str, Figure]:
    """Forest plot, scatter, regret, and the paper's Table 1."""
    return {name: draw(results.study, results.analysis) for name, draw in correlation_figures.FIGURES.items()}


def shown(results: Results) -> list[tuple[str, pd.DataFrame]]:
    """Tables for people: comparisons by what they compare, what their intervals come from, differences, the paper's."""
    analysis, study = results.analysis, results.study
    counts = references.read()["table1"]["test_images"]
    *fewer, full = (f"{size:,}" for size in study.train_sizes)
    sizes = f"{', '.join(fewer)} against {full} training images"
    kernels, networks = results.kernels_left_out, results.networks_left_out
    parts = [
        (
            "The paper’s own columns (CIFAR-10, 2,000 against 50,000 training images); intervals from binomial "
            f"resampling of each published accuracy over {counts:,} test images",
            analysis.paper,
        ),
        (with_notes(f"This study’s kernels, {sizes}: {study.dataset}", kernels), analysis.kernels),
        (
            with_notes(f"This study’s kernels against trained networks: {study.dataset}", kernels, networks),
            analysis.networks,
        ),
        (
            with_notes(f"This study’s kernels against the paper’s columns: {study.dataset}", kernels),
            analysis.published,
        ),
    ]
    tables_ = [(caption, people_table(comparisons)) for caption, comparisons in parts if comparisons]
    repeated = [one for one in analysis.own if "both" in one.resampled]
    if repeated:
        caption = f"What the intervals of r come from, and what a single training subset gives: {study.dataset}"
        tables_.append((caption, sources_table(repeated)))
    caption = "Differences of Pearson’s r over the same architectures, resampled in pairs"
    tables_.append((caption, differences_table(analysis.differences())))
    paper = references.table1_wide("all").map("{:.2f}".format).reset_index()
    return [*tables_, (f"CIFAR-10, %; {references.citation('paper')}, and v1’s CNN columns", paper)]


def headline(results: Results) -> list[str]:
    """One sentence on this study's kernels, one on its networks, or else on the paper's columns."""
    return [sentence for sentence in (_kernels_sentence(results), _targets_sentence(results)) if sentence]


def summary(results: Results) -> dict[str, Any]:
    """Coefficients, p-values and regret of this study's comparisons, by what is compared; n counts those that are."""
    return {
        f"{one.proxy} ~ {one.target}{', family means removed' if one.within_families else ''}": _numbers(one)
        for one in results.analysis.kernels + results.analysis.networks
    }


def people_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A row a comparison: coefficients with their widest interval and p, what the proxy picks, and its regret."""
    lines = []
    for one in comparisons:
        rows = {row["statistic"]: row for row in one.rows()}
        line: dict[str, Any] = {"architectures": comparison_name(one), "n": len(one.x)}
        for statistic, heading in _HEADINGS:
            row, symbol = rows[statistic], heading[-1]
            line[heading] = f"undefined: {row['note']}" if row["note"] else _signed(row["value"], 3)
            line[f"{symbol}, {100 * COVERAGE:.0f} %"] = _bracket(*_widest(row))
            line[f"p of {symbol}"] = _p(row["p"])
        if "regret" in rows and not rows["regret"]["note"]:
            regret = rows["regret"]
            line |= {"picks": regret["picked"], "best": regret["best"]}
            line["regret (points)"] = percent(regret["value"])
            line[f"regret, {100 * COVERAGE:.0f} %"] = _points_bracket(*_widest(regret))
        lines.append(line)
    return _without_empty(pd.DataFrame(lines))


def sources_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A row a comparison: intervals of r by what is resampled, and r and regret of single training subsets."""
    lines = []
    for one in comparisons:
        rows = {row["statistic"]: row for row in one.rows()}
        line = {"architectures": comparison_name(one), "n": len(one.x), "r": _signed(rows["pearson"]["value"], 3)}
        for kind in KINDS:
            ends = rows["pearson"][f"{kind}_low"], rows["pearson"][f"{kind}_high"]
            line[f"r over {_KIND_NAMES[kind]}"] = _bracket(*ends)
        for statistic, heading in (("pearson", "r"), ("spearman", "ρ")):
            line[f"{heading} of one subset: mean, range"] = _mean_range(rows[statistic])
        if "regret" in rows:
            line["regret of one subset: mean (points)"] = percent(rows["regret"]["one_subset"])
        lines.append(line)
    return _without_empty(pd.DataFrame(lines))


def differences_table(differences: pd.DataFrame) -> pd.DataFrame:
    """A row a pair of comparisons: both coefficients and their difference with its widest interval."""
    lines = []
    for row in differences[differences.statistic == "pearson"].to_dict("records"):
        removed = ", family means removed" if row["scope"].endswith("removed") else ""
        line = {
            "first": f"{short_side(row['proxy'])} → {short_side(row['target'])}{removed}",
            "second": f"{short_side(row['other_proxy'])} → {short_side(row['other_target'])}",
            "n": row["n"],
            "r of the first": _signed(row["first"], 3),
            "r of the second": _signed(row["second"], 3),
            "difference": _signed(row["value"], 3),
            f"{100 * COVERAGE:.0f} %": _bracket(*_widest(row)),
        }
        lines.append(line)
    return pd.DataFrame(lines)


def _network(path: Path, document: Mapping[str, Any], study: Study) -> Network:
    n_test = int(study.accuracy.test_images.max())
    if document["test_images"] != n_test:
        raise UserError(f"{path}: test_images = {document['test_images']}; allowed: {n_test}, those of the metrics")
    runs = [run for run in document["runs"] if run["rate"] == document["rate"]]
    correct = [
        unpack_answers(text, n_test, str(path))
        for run, text in zip(runs, document["test_correct_hex"], strict=False)
        if text and not run["diverged"]
    ]
    if not correct:
        raise UserError(f"{path}: test_correct_hex holds the answers of no seed; train this network again")
    return Network(correct=np.stack(correct), **{key: document[key] for key in _NETWORK})


def _networks_left_out(documents: Sequence[Mapping[str, Any]]) -> str:
    """Networks without an accuracy, and seeds that diverged of the others."""
    trained = [one for one in documents if one["accuracy"] is not None]
    seeds = [run["diverged"] for one in trained for run in one["runs"] if run["rate"] == one["rate"]]
    counts = (
        (len(documents) - len(trained), f"of {len(documents)} networks"),
        (sum(seeds), f"of {len(seeds)} seeds of networks at their rate"),
    )
    parts = [f"{count} {of}" for count, of in counts if count]
    return f"Left out are {' and '.join(parts)}: {WHY_DIVERGED}." if parts else ""


def _kernels_sentence(results: Results) -> str:
    pooled = [one for one in results.analysis.kernels if one.scope == "pooled"] or results.analysis.kernels
    sizes = results.study.train_sizes
    if not pooled:
        few = len(sizes) > 1 and results.kernels_left_out
        return (
            f"Too few kernels have answers for a comparison of training sets. {results.kernels_left_out}" if few else ""
        )
    one = pooled[0]
    some = "; what is singular is left out" if results.kernels_left_out else ""
    return (
        f"Accuracy from {sizes[0]:,} images goes with accuracy from {sizes[-1]:,} over {len(one.x)} kernels "
        f"({without_size(one.proxy)}) with r = {_with_interval(one, 'pearson')} and "
        f"ρ = {_with_interval(one, 'spearman')}; picking the kernel by the former costs "
        f"{percent(one.value('regret'))} points{some}."
    )


def _targets_sentence(results: Results) -> str:
    analysis = results.analysis
    pooled = [one for one in analysis.networks if one.scope == "pooled"]
    if pooled:
        one = pooled[0]
        size = one.proxy.rpartition(" ")[2]
        some = "; what diverged is left out" if results.networks_left_out else ""
        return (
            f"Accuracy from {int(size):,} images goes with that of {len(one.x)} trained CNNs with "
            f"r = {_with_interval(one, 'pearson')}, and with the readouts’ means removed with "
            f"r = {_with_interval(one.without_family_means(), 'pearson')}; picking by it costs "
            f"{percent(one.value('regret'))} points{some}."
        )
    by_name = {(one.target, one.within_families): one for one in analysis.paper if one.scope.startswith("pooled")}
    kernels, networks, removed = by_name["CNTK", False], by_name["CNN", False], by_name["CNN", True]
    return (
        f"In the paper’s own table, r over {len(kernels.x)} architectures is {_with_interval(kernels, 'pearson')} "
        f"against kernels on all images, {_with_interval(networks, 'pearson')} against trained CNNs, and "
        f"{_with_interval(removed, 'pearson')} against them with the readouts’ means removed."
    )


def _with_interval(one: Comparison, statistic: str) -> str:
    interval = _bracket(*one.interval(statistic, "both" if "both" in one.resampled else "tests"))
    value = one.value(statistic)
    return f"{_signed(value, 2)} {interval}".strip()


def _numbers(one: Comparison) -> dict[str, Any]:
    numbers: dict[str, Any] = {"n": len(one.x)}
    for row in one.rows():
        numbers[row["statistic"]] = row["value"]
        if not np.isnan(row["p"]):
            numbers[f"{row['statistic']}_p"] = row["p"]
    return numbers


def _widest(row: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of all that is resampled, else that of test images."""
    kind = "tests" if np.isnan(row["both_low"]) else "both"
    return row[f"{kind}_low"], row[f"{kind}_high"]


def _mean_range(row: Mapping[str, Any]) -> str:
    defined, subsets = row["single_subsets_defined"], row["single_subsets"]
    if row["note"] or subsets < 2:
        return ""
    text = f"{_signed(row['one_subset'], 2)} {_bracket(row['one_subset_low'], row['one_subset_high'])}"
    return counted(text, defined, subsets, "undefined")


def _signed(value: float, decimals: int) -> str:
    return "undefined" if np.isnan(value) else f"{value:.{decimals}f}".replace("-", MINUS)


def _bracket(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"[{_signed(low, 2)}, {_signed(high, 2)}]"


def _points_bracket(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"[{percent(low)}, {percent(high)}]"


def _p(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1g}" if value < 0.01 else f"{value:.2f}"


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.fillna("")
    return frame.loc[:, [any(cell != "" for cell in frame[name]) for name in frame]]
