"""What a study says in a few sentences, each number computed from its metrics."""

import pandas as pd

from exact_cntk.study.results import Study
from exact_cntk.study.sections.accuracy import results as tables
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import counted, percent, signed_points, unbroken


def headline(study: Study) -> list[str]:
    """The sentences that open the report and the notebooks.

    Parameters
    ----------
    study : Study
    """
    full = tables.accuracy_by_depth(study).assign(gain=tables.ridge_gains(study))
    full = full[full.train_images == study.train_sizes[-1]]
    sentences = [_best(full), _ridge(full), _pooling(study), _paper(study), study.unsolved]
    return [unbroken(sentence) for sentence in sentences if sentence]


def _best(full: pd.DataFrame) -> str:
    known = full[full.accuracy.notna()]
    if known.empty:
        return ""
    # means over other subsets do not compare; where there are no others, the number of subsets is said
    complete = known[known.accuracy_solved == known.repeats]
    row = known.loc[(known if complete.empty else complete).accuracy.idxmax()]
    among = ""
    if len(complete) < len(full):
        among = f", of the {len(complete)} of {len(full)} kernels that have an answer from every training set"
        among = ", where no kernel has an answer from every training set" if complete.empty else among
    return (
        f"Best without ridge, the paper's protocol{among}: {row.kernel} at depth {row.depth}, which classifies "
        f"{counted(f'{percent(row.accuracy, row.accuracy_std)} %', row.accuracy_solved, row.repeats)} "
        f"of the {row.test_images:,} test images rightly "
        f"(binomial standard error {percent(row.accuracy_se)}) from {row.train_images:,} training images."
    )


def _ridge(full: pd.DataFrame) -> str:
    gain = full.gain.dropna()
    if gain.empty:
        return ""
    some = ", where there is an answer without one" if (full.accuracy_solved < full.repeats).any() else ""
    return (
        "The ridge that leave-one-out chooses on the training images changes test accuracy by "
        f"{_range(gain)} points{some}."
    )


def _pooling(study: Study) -> str:
    """The gain over the training sets from which both kernels of a depth have an answer."""
    rows = study.accuracy[(study.accuracy.kind == "ntk") & (study.accuracy.train_images == study.train_sizes[-1])]
    flat, pooled = (
        rows[rows.kernel == name].groupby(["depth", "repeat"]).accuracy.mean() for name in ("CNTK-V", "CNTK-GAP")
    )
    both = pd.concat([flat, pooled], axis=1, keys=["flat", "pooled"], join="inner")
    pairs = both.dropna()
    if pairs.empty:
        return ""
    means = pairs.groupby(level="depth").mean()
    gain = means.pooled - means.flat
    low, high = references.read()["claims"]["gap_gain"]
    depths = ", ".join(map(str, gain.index))
    some = f" (over {len(pairs)} of {len(both)} training sets: those from which both have an answer)"
    return (
        f"Global average pooling changes the accuracy of the CNTK by {_range(gain)} points at depth "
        f"{depths}{some if len(pairs) < len(both) else ''}; the paper speaks of {low} to {high} points on CIFAR-10."
    )


def _paper(study: Study) -> str:
    table = tables.table1(study)
    known = table[table.difference_points.notna()]
    if known.empty:
        return ""
    row = known.loc[known.difference_points.abs().idxmax()]
    here = counted(f"{row.accuracy_percent:.2f} % here", row.solved, row.repeats)
    return (
        f"Of {len(known)} accuracies that the paper's Table 1 has too, the one farthest from it differs by "
        f"{abs(row.difference_points):.2f} points "
        f"({row.column}, depth {row.depth}: {here}, {row.paper_percent:.2f} % there)."
    )


def _range(fractions: pd.Series) -> str:
    low, high = signed_points(fractions.min()), signed_points(fractions.max())
    return low if low == high else f"{low} to {high}"
