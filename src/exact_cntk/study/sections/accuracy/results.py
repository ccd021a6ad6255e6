"""The tables of the study's own kernels: tidy ones for programs, others for people, a summary for `dvc metrics`."""

from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.regression.result import LEAVE_ONE_OUT
from exact_cntk.study.results import SELECTION, Study, binomial_error, chosen_by, median_conditions, unsolved
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import (
    SINGULAR,
    counted,
    percent,
    signed_points,
    to_markdown,
    unsolved_note,
)

RIDGES = ("accuracy", "accuracy_loo_ridge")  # without ridge, and with the chosen one
_AVERAGED = ["family", "kernel", "kind", "readout", "trained", "filter_size", "depth", "train_images"]
_TABLE1 = ["source", "dataset", "column", "depth", "train_images", "repeats", "solved", "accuracy_percent"]
_TABLE1 += ["std_percent", "paper_percent", "difference_points"]


def ridge_names(problems: pd.DataFrame) -> dict[str, str]:
    """What the two of `RIDGES` are, in words, for these rows of `Study.accuracy`."""
    return dict(zip(RIDGES, ("without ridge", f"ridge chosen by {chosen_by(problems)}"), strict=True))


def accuracy_by_depth(study: Study) -> pd.DataFrame:
    """Accuracies averaged over the repeats of a subset size.

    Returns
    -------
    DataFrame
        One row per kernel, depth and `train_images`: `repeats`, `test_images`; for each of `accuracy` (without ridge)
        and `accuracy_loo_ridge` the mean (fraction), `…_std` over repeats (ddof 1; empty for a single one), `…_se`,
        the binomial standard error √(p(1 − p)/test_images) of a single repeat, and `…_solved`, the number of repeats
        with an answer, over which the others are; the median `condition_number` over all repeats (singular ones are
        infinite; an infinite median is empty); the median `loo_ridge`, the lower one of two, because it is solved; and
        `selection`, what chose the ridges, where `Study.accuracy` has it.
    """
    groups = study.accuracy.groupby(_AVERAGED, sort=False)
    table = groups.agg(repeats=("repeat", "size"), test_images=("test_images", "first"))
    for name in RIDGES:
        table[name] = groups[name].mean()
        table[f"{name}_std"] = groups[name].std(ddof=1)
        table[f"{name}_se"] = binomial_error(table[name], table.test_images)
        table[f"{name}_solved"] = groups[name].count()
    table["loo_ridge"] = groups["loo_ridge"].quantile(0.5, interpolation="lower")
    table["condition_number"] = median_conditions(study.accuracy, _AVERAGED)
    if SELECTION in study.accuracy:
        table[SELECTION] = groups[SELECTION].agg(lambda names: " or ".join(dict.fromkeys(names)))
    return table.reset_index()


def ridge_gains(study: Study) -> pd.Series:
    """Mean gain of the chosen ridge over none, for each row of `accuracy_by_depth`.

    Over the repeats that have an answer from both; NaN if there are none.
    """
    gains = study.accuracy.assign(gain=study.accuracy.accuracy_loo_ridge - study.accuracy.accuracy)
    return gains.groupby(_AVERAGED, sort=False).gain.mean().reset_index(drop=True)


def table1(study: Study) -> pd.DataFrame:
    """This study's accuracies without ridge, then the paper's Table 1: tidy, one row per column and depth.

    Returns
    -------
    DataFrame
        `source` (the study's name, or the paper's citation), `dataset`, `column`, `depth`, `train_images`,
        `repeats`, `solved` (of them), `accuracy_percent`, `std_percent`; and, in this study's rows if the paper has
        the same kernel on the same data, `paper_percent` and `difference_points` (this study − the paper).
    """
    here = accuracy_by_depth(study).rename(columns={"kernel": "column", "accuracy_solved": "solved"})
    here = here.assign(source=study.name, dataset=study.dataset, std_percent=100 * here.accuracy_std)
    paper = references.table1()
    key = ["readout", "train_images", "depth"]
    published = paper[paper.model == "cntk"].set_index(key).accuracy.reindex(pd.MultiIndex.from_frame(here[key]))
    same = here.column.isin(["CNTK-V", "CNTK-GAP"]) & study.is_paper_data
    here["paper_percent"] = np.where(same, 100 * published, np.nan)
    here["difference_points"] = 100 * here.accuracy - here.paper_percent
    paper = paper.assign(source=paper.source.map(references.citation), dataset=references.read()["table1"]["dataset"])
    table = pd.concat([here, paper], ignore_index=True)
    table["accuracy_percent"] = 100 * table.accuracy
    return table[_TABLE1].round(6).astype({"repeats": "Int64", "solved": "Int64"})


def own_accuracies(study: Study, train_images: int, column: str = "accuracy") -> pd.DataFrame:
    """One subset size for people: one row per depth, one column per kernel, percent as ``mean ± std`` over repeats.

    A cell ends in ``(2 of 3)`` if only so many repeats have an answer; `Study.unsolved` says why.

    Parameters
    ----------
    train_images : int
    column : {"accuracy", "accuracy_loo_ridge"}
        Without ridge, or with the chosen one.
    """
    table = accuracy_by_depth(study)
    table = table[table.train_images == train_images]
    word, _ = unsolved(study.accuracy)
    wide = table.assign(cell=_cells(table, column, word)).pivot(index="depth", columns="kernel", values="cell")
    return wide[list(dict.fromkeys(table.kernel))].reset_index().rename_axis(columns=None)


def own_tables(study: Study) -> list[tuple[str, str, pd.DataFrame]]:
    """Caption, note and table of `own_accuracies` for each size, the largest first, without and with a ridge."""
    tables = []
    for size in reversed(study.train_sizes):
        rows = accuracy_by_depth(study).query("train_images == @size")
        problems = study.accuracy[study.accuracy.train_images == size]
        note = unsolved_note(rows.accuracy_solved, rows.repeats, "subsets", unsolved(problems)[1])
        repeats = rows.repeats.max()
        spread = f"; mean ± standard deviation over {repeats} disjoint subsets" if repeats > 1 else ""
        for column, ridge in ridge_names(problems).items():
            caption = f"{size:,} training images, {ridge}{spread}; %"
            tables.append((caption, note if column == "accuracy" else "", own_accuracies(study, size, column)))
    return tables


def compared_with_paper(study: Study) -> pd.DataFrame | None:
    """The paper's kernel columns, this study's, and their difference; None if the paper has no such column.

    For the paper's own images only: columns ``<heading>, paper``, ``…, here`` and ``…, difference``; percent.
    """
    table = table1(study)
    table = table[table.paper_percent.notna()]
    if table.empty:
        return None
    wide, (word, _) = pd.DataFrame({"depth": sorted(table.depth.unique())}), unsolved(study.accuracy)
    for (kernel, size), rows in table.groupby(["column", "train_images"], sort=False):
        rows = rows.set_index("depth").reindex(wide.depth)
        heading = f"{kernel}-2K" if size == 2000 else kernel
        wide[f"{heading}, paper"] = [percent(value / 100) for value in rows.paper_percent]
        here = pd.DataFrame({"accuracy": rows.accuracy_percent / 100, "accuracy_std": rows.std_percent / 100})
        # a depth that this kernel does not have has no repeats either
        here = here.assign(accuracy_solved=rows.solved.fillna(0), repeats=rows.repeats.fillna(0))
        cells = _cells(here, unsolved_as=word)
        differences = zip(rows.difference_points / 100, cells, strict=True)
        wide[f"{heading}, here"] = cells
        wide[f"{heading}, difference"] = [word if cell == word else signed_points(d) for d, cell in differences]
    return wide


def compared_with_review(study: Study) -> pd.DataFrame | None:
    """The review's two accuracies and this study's distribution over subsets; None for other data or sizes."""
    here = accuracy_by_depth(study).rename(columns={"kernel": "column"})
    here = here.assign(cell=_cells(here, unsolved_as=unsolved(study.accuracy)[0]))
    both = references.review().merge(here, on=["column", "depth", "train_images"], suffixes=("", "_here"))
    if both.empty or not study.is_paper_data:
        return None
    review, own = both.test_images[0], both.test_images_here[0]
    errors = binomial_error(both.accuracy, both.test_images)
    columns = {
        "kernel": both.column,
        "depth": both.depth,
        f"review ({review:,} test images; ± binomial error)": list(map(percent, both.accuracy, errors)),
        f"here ({own:,} test images; ± std)": both.cell,
        "subsets": both.repeats,
    }
    return pd.DataFrame(columns)


def comparisons(study: Study) -> list[tuple[str, pd.DataFrame]]:
    """Caption and table of the comparisons with published numbers that are possible."""
    tables = [
        (
            f"Test accuracy in %, without ridge, and the paper's Table 1 ({references.citation('paper')}); difference: "
            "this study − the paper, in points (negative: worse than the paper)",
            compared_with_paper(study),
        ),
        (
            "Test accuracy in %, without ridge, and a small reproduction: "
            f"{references.citation('review')} ({references.read()['review']['train_images']} training images)",
            compared_with_review(study),
        ),
    ]
    return [(caption, table) for caption, table in tables if table is not None]


def ridge_gain(study: Study) -> pd.DataFrame:
    """What the chosen ridge changes, for people: one row per kernel, size and depth."""
    table = accuracy_by_depth(study).assign(gain=ridge_gains(study))
    table["kernel"] = pd.Categorical(table.kernel, list(dict.fromkeys(table.kernel)))
    table = table.sort_values(["kernel", "train_images", "depth"], ignore_index=True)
    gains = zip(table.gain.map(signed_points), table.accuracy_solved, table.repeats, strict=True)
    word, _ = unsolved(study.accuracy)
    columns = {
        "kernel": table.kernel,
        "depth": table.depth,
        "training images": table.train_images,
        "subsets": table.repeats,
        "without ridge (%)": _cells(table, unsolved_as=word),
        "chosen ridge (%)": _cells(table, "accuracy_loo_ridge", word),
        "gain (points)": [counted(*gain, word) for gain in gains],
        "ridge, median": table.loo_ridge.map("{:.1g}".format),
        "condition number, median": [word if pd.isna(c) else f"{c:.1e}" for c in table.condition_number],
    }
    return pd.DataFrame(columns)


def paper_claims() -> pd.DataFrame:
    """The gains that the paper states, and those in its Table 1, in percentage points."""
    table, claims = references.table1_wide(), references.read()["claims"]
    gains = {
        "GAP − vanilla, CNTK": ("CNTK-GAP", "CNTK-V", "gap_gain"),
        "GAP − vanilla, CNN": ("CNN-GAP", "CNN-V", "gap_gain"),
        "CNN − CNTK, vanilla": ("CNN-V", "CNTK-V", "cnn_over_cntk"),
        "CNN − CNTK, GAP": ("CNN-GAP", "CNTK-GAP", "cnn_over_cntk"),
    }
    rows = [
        {
            "gain": name,
            "as stated": " to ".join(map(str, claims[claim])),
            "in the table": points_range((table[first] - table[second]) / 100),
        }
        for name, (first, second, claim) in gains.items()
    ]
    return pd.DataFrame(rows)


def points_range(fractions: pd.Series) -> str:
    """The smallest and the largest difference, in points."""
    return " to ".join(dict.fromkeys(signed_points(end) for end in (fractions.min(), fractions.max())))


def follow_ups() -> tuple[str, pd.DataFrame]:
    """Caption and table of later results."""
    table = references.follow_ups()
    sources = "; ".join(map(references.citation, table.source.unique()))
    table = table.assign(accuracy=table.accuracy.map(percent))[["method", "conv_layers", "accuracy"]]
    return f"Later results on the whole of CIFAR-10, in %: {sources}", table.rename(
        columns={"conv_layers": "conv layers"}
    )


def table1_markdown(study: Study) -> str:
    """The page that ends a run: this study's accuracies, comparisons with published ones, and the paper's Table 1."""
    n_test = int(study.accuracy.test_images.max())
    lines = [f"# {study.name}: test accuracy in percent", "", f"Data: {study.dataset}; {n_test:,} test images.", ""]
    if not study.verified:
        lines += ["**The data did not come from the official source; its digest is in its name.**", ""]
    for caption, note, table in own_tables(study):
        lines += [f"## {caption}", "", to_markdown(table), "", *([note, ""] if note else [])]
    paper = f"The paper's Table 1: CIFAR-10, {references.citation('paper')}"
    for caption, table in [*comparisons(study), (paper, references.table1_printed())]:
        lines += [f"## {caption}", "", to_markdown(table), ""]
    return "\n".join(lines)


def summary(study: Study) -> dict[str, Any]:
    """What `dvc metrics` shows: {family: {kind: {"n=<images>": {"depth_<dd>": accuracies}}}}, means if repeated.

    If some repeats have no answer, `repeats` says how many there are, and `<accuracy>_solved` how many have one. Ridges
    not chosen by leave-one-out have a `selection`.
    """
    tree: dict[str, Any] = {}
    for row in accuracy_by_depth(study).itertuples():
        leaf: dict[str, float | int | str | None] = {}
        for name in RIDGES:
            # JSON has no NaN
            leaf[name] = None if pd.isna(getattr(row, name)) else getattr(row, name)
            solved = getattr(row, f"{name}_solved")
            if solved > 1:
                leaf[f"{name}_std"] = getattr(row, f"{name}_std")
            if solved < row.repeats:
                leaf |= {f"{name}_solved": solved, "repeats": row.repeats}
        if (selection := getattr(row, SELECTION, LEAVE_ONE_OUT)) != LEAVE_ONE_OUT:
            leaf[SELECTION] = selection
        branch = tree.setdefault(row.family, {}).setdefault(row.kind, {}).setdefault(f"n={row.train_images}", {})
        branch[f"depth_{row.depth:02d}"] = leaf
    return tree


def _cells(table: pd.DataFrame, column: str = "accuracy", unsolved_as: str = SINGULAR) -> list[str]:
    """Means and standard deviations of rows of `accuracy_by_depth`, in percent."""
    means = map(percent, table[column], table[f"{column}_std"])
    counts = zip(means, table[f"{column}_solved"], table.repeats, strict=True)
    return [counted(*count, unsolved_as) for count in counts]
