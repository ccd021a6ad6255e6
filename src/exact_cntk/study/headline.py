"""What a study says in a few sentences, each number computed from its metrics."""

import pandas as pd

from exact_cntk.study import references, tables
from exact_cntk.study.markup import percent, signed_points, unbroken
from exact_cntk.study.results import Study


def headline(study: Study) -> list[str]:
    """The sentences that open the report and the notebooks.

    Parameters
    ----------
    study : Study
    """
    full = tables.accuracy_by_depth(study)
    full = full[full.train_images == study.train_sizes[-1]]
    sentences = [_best(full), _ridge(full), _pooling(full), _paper(study)]
    return [unbroken(sentence) for sentence in sentences if sentence]


def _best(full: pd.DataFrame) -> str:
    known = full[full.accuracy.notna()]
    if known.empty:
        return ""
    row = known.loc[known.accuracy.idxmax()]
    return (
        f"Best without ridge, the paper's protocol: {row.kernel} at depth {row.depth}, which classifies "
        f"{percent(row.accuracy, row.accuracy_std)} % of the {row.test_images:,} test images rightly "
        f"(binomial standard error {percent(row.accuracy_se)}) from {row.train_images:,} training images."
    )


def _ridge(full: pd.DataFrame) -> str:
    gain = (full.accuracy_loo_ridge - full.accuracy).dropna()
    if gain.empty:
        return ""
    return (
        f"The ridge that leave-one-out chooses on the training images changes test accuracy by {_range(gain)} points."
    )


def _pooling(full: pd.DataFrame) -> str:
    ntk = full[full.kind == "ntk"].pivot_table(index="depth", columns="kernel", values="accuracy")
    if not {"CNTK-V", "CNTK-GAP"} <= set(ntk.columns):
        return ""
    gain = (ntk["CNTK-GAP"] - ntk["CNTK-V"]).dropna()
    low, high = references.read()["claims"]["gap_gain"]
    depths = ", ".join(map(str, gain.index))
    return (
        f"Global average pooling changes the accuracy of the CNTK by {_range(gain)} points at depth "
        f"{depths}; the paper speaks of {low} to {high} points on CIFAR-10."
    )


def _paper(study: Study) -> str:
    table = tables.table1(study)
    known = table[table.difference_points.notna()]
    if known.empty:
        return ""
    row = known.loc[known.difference_points.abs().idxmax()]
    return (
        f"Of {len(known)} accuracies that the paper's Table 1 has too, the one farthest from it differs by "
        f"{abs(row.difference_points):.2f} points "
        f"({row.column}, depth {row.depth}: {row.accuracy_percent:.2f} % here, {row.paper_percent:.2f} % there)."
    )


def _range(fractions: pd.Series) -> str:
    low, high = signed_points(fractions.min()), signed_points(fractions.max())
    return low if low == high else f"{low} to {high}"
