"""Can a small training set rank kernels? The paper's own columns, this study's kernels, and trained networks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.errors import UserError
from exact_cntk.study.documents import read_documents, unpack_answers
from exact_cntk.study.results import Study
from exact_cntk.study.sections.correlation.analysis import Analysis, Network, analyse, left_out, left_out_note
from exact_cntk.study.sections.correlation.figures import CAPTIONS, FIGURES, comparison_name, short_side, without_size
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import MINUS, WHY_DIVERGED, counted, percent, with_notes
from exact_cntk.study.stats.comparison import Comparison
from exact_cntk.study.stats.statistics import COVERAGE

__all__ = ["CAPTIONS"]  # a name of the protocol that is defined elsewhere

TITLE = "Can a small training set rank kernels?"
NAVIGATION = "Small training sets"
TEXT = (
    "<p>Accuracy from a small training set (the proxy) is compared with accuracy from the full one (the target) over "
    "the same n architectures, both of kernels and of trained networks: Pearson’s r, Spearman’s ρ, Kendall’s τ, and "
    "the regret, the accuracy lost on the target by choosing the architecture that the proxy ranks first. Pooling "
    "readouts mixes two effects; rows with the family means removed show the effect of depth alone.</p>"
    f"<p>Intervals of {100 * COVERAGE:.0f} % are from a bootstrap over training subsets (if there are at least three), "
    "seeds of trained networks, and test images: one draw of images and subsets is used for all architectures and both "
    "sides. They are corrected for the noise in the accuracies, which attenuates correlations, and may lie above the "
    "coefficient. The architectures are not resampled. p is from a one-sided permutation test: the share of random "
    "reassignments of the target accuracies (within families if their means are removed) with a coefficient at least "
    "as large.</p>"
)
_LEVEL = f"{100 * COVERAGE:.0f} %"

_NETWORK = ("family", "readout", "filter_size", "depth", "train_images", "accuracy")
_NEEDED = (*_NETWORK, "rate", "runs", "test_images", "test_correct_hex")
_HEADINGS = (("pearson", "Pearson r"), ("spearman", "Spearman ρ"), ("kendall", "Kendall τ"))
_RESAMPLED = {"subsets": "subsets", "tests": "test images", "both": "all"}


@dataclass(frozen=True)
class Results:
    """A study's analysis.

    Attributes
    ----------
    study : Study
    analysis : Analysis
        All its comparisons.
    kernels_left_out, networks_left_out : str
        Which kernels, and which networks or seeds of them, are not compared, and why; empty if all are.
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
        Those of the section ``cnns`` are read, those of other sections ignored.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    UserError
        A file of networks cannot be read, lacks a key, was made from other data, or has no answers to the study's
        test images.
    """
    chosen = [path for path in map(Path, files) if path.parent.name == "cnns" and path.suffix == ".json"]
    documents = read_documents(study.data, chosen, keys=_NEEDED)
    # a network that diverged at every rate has no accuracy
    trained = {path: document for path, document in documents.items() if document["accuracy"] is not None}
    networks = [_network(path, document, study) for path, document in trained.items()]
    analysis = analyse(study, networks, resamples=resamples, seed=seed)
    return Results(study, analysis, left_out(study), _networks_left_out(list(documents.values())))


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """All comparisons, one row per statistic, and the differences between their coefficients."""
    return {"correlation": results.analysis.table(), "correlation_differences": results.analysis.differences()}


def figures(results: Results) -> dict[str, Figure]:
    """Forest plot, scatter, regret, and the paper's Table 1."""
    return {name: draw(results.study, results.analysis) for name, draw in FIGURES.items()}


def shown(results: Results) -> list[tuple[str, pd.DataFrame]]:
    """Tables for people: comparisons by what they compare, sources of uncertainty, differences, the paper's table."""
    analysis, study = results.analysis, results.study
    *fewer, full = (f"{size:,}" for size in study.train_sizes)
    kernels, networks = results.kernels_left_out, results.networks_left_out
    paper = (
        "The paper’s own columns (CIFAR-10, 2,000 against 50,000 training images); intervals from binomial resampling "
        f"of each published accuracy over {references.read()['table1']['test_images']:,} test images"
    )
    own = f"This study’s kernels, {', '.join(fewer)} against {full} training images: {study.dataset}"
    trained = f"This study’s kernels against trained networks: {study.dataset}"
    published = f"This study’s kernels against the paper’s columns: {study.dataset}"
    parts = [
        (paper, analysis.paper),
        (with_notes(own, kernels), analysis.kernels),
        (with_notes(trained, kernels, networks), analysis.networks),
        (with_notes(published, kernels), analysis.published),
    ]
    shown_tables = [(caption, people_table(comparisons)) for caption, comparisons in parts if comparisons]
    repeated = [comparison for comparison in analysis.own if "both" in comparison.resampled]
    if repeated:
        caption = f"Uncertainty of r by source, and coefficients from a single training subset: {study.dataset}"
        shown_tables.append((caption, sources_table(repeated)))
    differences = "Differences of Pearson’s r (first − second) over the same architectures, resampled in pairs"
    table1 = f"CIFAR-10, %; {references.citation('paper')}, and v1’s CNN columns"
    return [
        *shown_tables,
        (differences, differences_table(analysis.differences())),
        (table1, references.table1_printed("all")),
    ]


def headline(results: Results) -> list[str]:
    """One sentence on this study's kernels, one on its networks, or else on the paper's columns."""
    return [sentence for sentence in (_kernels_sentence(results), _targets_sentence(results)) if sentence]


def summary(results: Results) -> dict[str, Any]:
    """Coefficients, p-values and regret of this study's comparisons, by what is compared; n counts architectures."""
    return {
        f"{c.proxy} ~ {c.target}{', family means removed' if c.within_families else ''}": _numbers(c)
        for c in results.analysis.kernels + results.analysis.networks
    }


def people_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row per comparison: coefficients with their widest interval and p, the choice of the proxy, its regret."""
    lines = []
    for line, rows in _lines(comparisons):
        for statistic, heading in _HEADINGS:
            row, symbol = rows[statistic], heading[-1]
            line[heading] = f"undefined: {row['note']}" if row["note"] else _signed(row["value"], 3)
            line[f"{symbol}, {_LEVEL}"] = _bracket(*_widest(row))
            line[f"p ({symbol})"] = _p(row["p"])
        if "regret" in rows and not rows["regret"]["note"]:
            regret = rows["regret"]
            line |= {"picks": regret["picked"], "best": regret["best"], "regret (points)": percent(regret["value"])}
            low, high = map(percent, _widest(regret))
            line[f"regret, {_LEVEL}"] = f"[{low}, {high}]" if low else ""
        lines.append(line)
    return _without_empty(pd.DataFrame(lines))


def sources_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row per comparison: intervals of r by what is resampled, and r and regret of single training subsets."""
    lines = []
    for line, rows in _lines(comparisons):
        pearson = rows["pearson"]
        line["r"] = _signed(pearson["value"], 3)
        for kind, name in _RESAMPLED.items():
            line[f"r over {name}"] = _bracket(pearson[f"{kind}_low"], pearson[f"{kind}_high"])
        for statistic, symbol in (("pearson", "r"), ("spearman", "ρ")):
            line[f"{symbol} from one subset: mean, range"] = _mean_range(rows[statistic])
        if "regret" in rows:
            line["regret from one subset: mean (points)"] = percent(rows["regret"]["one_subset"])
        lines.append(line)
    return _without_empty(pd.DataFrame(lines))


def differences_table(differences: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of comparisons: both coefficients and their difference with its widest interval."""
    lines = [
        {
            "first": f"{short_side(row['proxy'])} → {short_side(row['target'])}"
            + (", family means removed" if row["scope"].endswith("removed") else ""),
            "second": f"{short_side(row['other_proxy'])} → {short_side(row['other_target'])}",
            "n": row["n"],
            "r (first)": _signed(row["first"], 3),
            "r (second)": _signed(row["second"], 3),
            "difference": _signed(row["value"], 3),
            _LEVEL: _bracket(*_widest(row)),
        }
        for row in differences[differences.statistic == "pearson"].to_dict("records")
    ]
    return pd.DataFrame(lines)


def _lines(comparisons: Sequence[Comparison]) -> Iterator[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    """For each comparison, the start of its line in a table, and its rows by statistic."""
    for comparison in comparisons:
        line = {"architectures": comparison_name(comparison), "n": len(comparison.x)}
        yield line, {row["statistic"]: row for row in comparison.rows()}


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
        raise UserError(f"{path}: test_correct_hex has no answers from any seed; train this network again")
    return Network(correct=np.stack(correct), **{key: document[key] for key in _NETWORK})


def _networks_left_out(documents: Sequence[Mapping[str, Any]]) -> str:
    """Networks without an accuracy, and seeds of the others that diverged."""
    trained = [document for document in documents if document["accuracy"] is not None]
    seeds = [run["diverged"] for document in trained for run in document["runs"] if run["rate"] == document["rate"]]
    counts = {
        f"of {len(documents)} networks": len(documents) - len(trained),
        f"of {len(seeds)} seeds at the chosen learning rate": sum(seeds),
    }
    return left_out_note(counts, WHY_DIVERGED)


def _kernels_sentence(results: Results) -> str:
    kernels, sizes = results.analysis.kernels, results.study.train_sizes
    pooled = next((c for c in kernels if c.scope == "pooled"), kernels[0] if kernels else None)
    if pooled is None:
        few = "Too few kernels have answers for a comparison of training sets."
        return f"{few} {results.kernels_left_out}" if len(sizes) > 1 and results.kernels_left_out else ""
    missing = "; singular kernels are left out" if results.kernels_left_out else ""
    return (
        f"Across {len(pooled.x)} kernels ({without_size(pooled.proxy)}), accuracy with {sizes[0]:,} images correlates "
        f"with accuracy with {sizes[-1]:,} (r = {_with_interval(pooled, 'pearson')}, "
        f"ρ = {_with_interval(pooled, 'spearman')}); choosing by the small set loses {percent(pooled.value('regret'))} "
        f"points{missing}."
    )


def _targets_sentence(results: Results) -> str:
    analysis = results.analysis
    pooled = next((c for c in analysis.networks if c.scope == "pooled"), None)
    if pooled is not None:
        missing = "; networks that diverged are left out" if results.networks_left_out else ""
        return (
            f"The correlation between the accuracy of kernels with {int(pooled.proxy.rpartition(' ')[2]):,} images and "
            f"that of {len(pooled.x)} trained CNNs is r = {_with_interval(pooled, 'pearson')} (with the readouts’ "
            f"means removed r = {_with_interval(pooled.without_family_means(), 'pearson')}); choosing by the kernels "
            f"loses {percent(pooled.value('regret'))} points{missing}."
        )
    by_name = {(c.target, c.within_families): c for c in analysis.paper if c.scope.startswith("pooled")}
    kernels, networks, removed = by_name["CNTK", False], by_name["CNN", False], by_name["CNN", True]
    return (
        f"In the paper’s own table, accuracy with 2,000 images correlates, across {len(kernels.x)} architectures, with "
        f"accuracy of kernels on all images (r = {_with_interval(kernels, 'pearson')}) and of trained CNNs "
        f"(r = {_with_interval(networks, 'pearson')}; with the readouts’ means removed "
        f"r = {_with_interval(removed, 'pearson')})."
    )


def _with_interval(comparison: Comparison, statistic: str) -> str:
    interval = _bracket(*comparison.interval(statistic, comparison.widest))
    return f"{_signed(comparison.value(statistic), 2)} {interval}".strip()


def _numbers(comparison: Comparison) -> dict[str, Any]:
    numbers: dict[str, Any] = {"n": len(comparison.x)}
    for row in comparison.rows():
        numbers[row["statistic"]] = row["value"]
        if not np.isnan(row["p"]):
            numbers[f"{row['statistic']}_p"] = row["p"]
    return numbers


def _widest(row: Mapping[str, Any]) -> tuple[float, float]:
    """The interval from resampling all, or else test images."""
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


def _p(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1g}" if value < 0.01 else f"{value:.2f}"


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.fillna("")
    return frame.loc[:, [any(cell != "" for cell in frame[name]) for name in frame]]
