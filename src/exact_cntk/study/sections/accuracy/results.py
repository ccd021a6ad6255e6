"""The tables of the study's own kernels: tidy ones for programs, others for people, a summary for `dvc metrics`."""

from typing import Any

import pandas as pd

from exact_cntk.study.results import Study, binomial_error, median_conditions
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import (
    SINGULAR,
    WHY_SINGULAR,
    counted,
    percent,
    signed_points,
    to_markdown,
    unsolved_note,
)

RIDGES = {"accuracy": "without ridge", "accuracy_loo_ridge": "ridge chosen by leave-one-out"}
_KERNEL = ["family", "kernel", "kind", "readout", "trained", "filter_size"]
_AVERAGED = [*_KERNEL, "depth", "train_images"]


def accuracy_by_depth(study: Study) -> pd.DataFrame:
    """Accuracies averaged over the repeats of a subset size.

    Returns
    -------
    DataFrame
        One row a kernel, depth and `train_images`: `repeats`, `test_images`; for each of `accuracy` (without ridge)
        and `accuracy_loo_ridge` the mean (fraction), `…_std` over repeats (ddof 1; empty for a single one), `…_se`,
        the binomial standard error √(p(1 − p)/test_images) of a single repeat, and `…_solved`, the number of repeats
        that have an answer, over which the others are; `condition_number` is the median over all repeats (infinite,
        and empty here, where K is singular), `loo_ridge` the lower of the two middle ones where there is no middle
        one: it is solved.
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
    return table.reset_index()


def ridge_gains(study: Study) -> pd.Series:
    """Mean of the accuracy with the chosen ridge less that without, over the repeats that have both.

    For each row of `accuracy_by_depth`; NaN where no repeat has both.
    """
    both = study.accuracy[study.accuracy[list(RIDGES)].notna().all(axis=1)]
    means = both.groupby(_AVERAGED, sort=False)[list(RIDGES)].mean()
    table = accuracy_by_depth(study)
    gains = means.accuracy_loo_ridge - means.accuracy
    return gains.reindex(pd.MultiIndex.from_frame(table[_AVERAGED])).set_axis(table.index)


def table1(study: Study) -> pd.DataFrame:
    """This study's accuracies without ridge, then the paper's Table 1: tidy, one row a column and depth.

    Returns
    -------
    DataFrame
        `source` (the study's name, or the paper's citation), `dataset`, `column`, `depth`, `train_images`,
        `repeats`, `solved` (of them), `accuracy_percent`, `std_percent`; and, in this study's rows where the paper has
        the same kernel on the same data, `paper_percent` and `difference_points` (this study less the paper).
    """
    ours = accuracy_by_depth(study)
    ours = pd.DataFrame(
        {
            "source": study.name,
            "dataset": study.dataset,
            "column": ours.kernel,
            "depth": ours.depth,
            "train_images": ours.train_images,
            "repeats": ours.repeats,
            "solved": ours.accuracy_solved,
            "accuracy_percent": 100 * ours.accuracy,
            "std_percent": 100 * ours.accuracy_std,
            "paper_percent": [_paper_percent(study, row) for row in ours.itertuples()],
        }
    )
    ours["difference_points"] = ours.accuracy_percent - ours.paper_percent
    paper = references.table1()
    paper = pd.DataFrame(
        {
            "source": paper.source.map(references.citation),
            "dataset": references.read()["table1"]["dataset"],
            "column": paper.column,
            "depth": paper.depth,
            "train_images": paper.train_images,
            "accuracy_percent": 100 * paper.accuracy,
        }
    )
    table = pd.concat([ours, paper], ignore_index=True).round(6)
    return table.astype({"repeats": "Int64", "solved": "Int64"})


def own_accuracies(study: Study, train_images: int, column: str = "accuracy") -> pd.DataFrame:
    """One subset size for people: a row a depth, a column a kernel, percent as ``mean ± std`` over repeats.

    A cell ends in ``(2 of 3)`` where only so many repeats have an answer; `Study.unsolved` says why.

    Parameters
    ----------
    train_images : int
    column : {"accuracy", "accuracy_loo_ridge"}
        Without ridge, or with the one chosen by leave-one-out.
    """
    table = accuracy_by_depth(study)
    table = table[table.train_images == train_images]
    cells = _cells(table, column)
    wide = table.assign(cell=cells).pivot(index="depth", columns="kernel", values="cell")
    return wide[list(dict.fromkeys(table.kernel))].reset_index().rename_axis(columns=None)


def beside_paper(study: Study) -> pd.DataFrame | None:
    """The paper's kernel columns beside this study's and their difference; None where the paper has no such column.

    Only for the paper's own images: columns ``<heading>, paper``, ``…, here`` and ``…, difference``; percent.
    """
    ours = table1(study).query("source == @study.name")
    ours = ours[ours.paper_percent.notna()]
    if ours.empty:
        return None
    wide = pd.DataFrame({"depth": sorted(ours.depth.unique())})
    for (kernel, size), rows in ours.groupby(["column", "train_images"], sort=False):
        rows = rows.set_index("depth").reindex(wide.depth)
        heading = f"{kernel}-2K" if size == 2000 else kernel
        wide[f"{heading}, paper"] = [percent(value / 100) for value in rows.paper_percent]
        here = pd.DataFrame({"accuracy": rows.accuracy_percent / 100, "accuracy_std": rows.std_percent / 100})
        # a depth that this kernel does not have has no repeats either
        here = here.assign(accuracy_solved=rows.solved.fillna(0), repeats=rows.repeats.fillna(0))
        wide[f"{heading}, here"] = _cells(here)
        differences = zip(rows.difference_points / 100, wide[f"{heading}, here"], strict=True)
        # there is none where there is no answer here
        wide[f"{heading}, difference"] = [SINGULAR if cell == SINGULAR else signed_points(d) for d, cell in differences]
    return wide


def beside_review(study: Study) -> pd.DataFrame | None:
    """The review's two accuracies beside this study's distribution over subsets; None on other data or sizes."""
    if not study.is_paper_data:
        return None
    ours = accuracy_by_depth(study)
    rows = []
    for published in references.review().itertuples():
        same = (ours.kernel == published.column) & (ours.depth == published.depth)
        chosen = ours[same & (ours.train_images == published.train_images)]
        for row, cell in zip(chosen.itertuples(), _cells(chosen), strict=True):
            error = binomial_error(published.accuracy, published.test_images)
            rows.append(
                {
                    "kernel": row.kernel,
                    "depth": row.depth,
                    f"review ({published.test_images:,} test images; ± binomial error)": percent(
                        published.accuracy, error
                    ),
                    f"here ({row.test_images:,} test images; ± std)": cell,
                    "subsets": row.repeats,
                }
            )
    return pd.DataFrame(rows) if rows else None


def ridge_gain(study: Study) -> pd.DataFrame:
    """What the ridge chosen by leave-one-out changes, for people: a row a kernel, size and depth."""
    table = accuracy_by_depth(study).assign(gain=ridge_gains(study))
    order = {kernel: i for i, kernel in enumerate(dict.fromkeys(table.kernel))}
    table = table.sort_values(
        ["kernel", "train_images", "depth"], key=lambda c: c.map(order) if c.name == "kernel" else c, ignore_index=True
    )
    columns = {
        "kernel": table.kernel,
        "depth": table.depth,
        "training images": table.train_images,
        "subsets": table.repeats,
        "without ridge (%)": _cells(table),
        "chosen ridge (%)": _cells(table, "accuracy_loo_ridge"),
        "gain (points)": [
            counted(signed_points(row.gain), row.accuracy_solved, row.repeats) for row in table.itertuples()
        ],
        "ridge, median": table.loo_ridge.map("{:.1g}".format),
        "condition number, median": [
            SINGULAR if pd.isna(value) else f"{value:.1e}" for value in table.condition_number
        ],
    }
    return pd.DataFrame(columns)


def paper_claims() -> pd.DataFrame:
    """What the paper says of its Table 1 against what the table holds, in percentage points."""
    table, claims = references.table1_wide(), references.read()["claims"]
    comparisons = [
        ("GAP over vanilla, CNTK", table["CNTK-GAP"] - table["CNTK-V"], claims["gap_gain"]),
        ("GAP over vanilla, CNN", table["CNN-GAP"] - table["CNN-V"], claims["gap_gain"]),
        ("CNN over CNTK, vanilla", table["CNN-V"] - table["CNTK-V"], claims["cnn_over_cntk"]),
        ("CNN over CNTK, GAP", table["CNN-GAP"] - table["CNTK-GAP"], claims["cnn_over_cntk"]),
    ]
    rows = [
        {
            "gain": name,
            "as stated": f"{low} to {high}",
            "in the table": f"{signed_points(gain.min() / 100)} to {signed_points(gain.max() / 100)}",
        }
        for name, gain, (low, high) in comparisons
    ]
    return pd.DataFrame(rows)


def follow_ups() -> tuple[str, pd.DataFrame]:
    """Caption and table of what was published since."""
    table = references.follow_ups()
    sources = "; ".join(map(references.citation, table.source.unique()))
    table = table.assign(accuracy=table.accuracy.map(percent))[["method", "conv_layers", "accuracy"]]
    table = table.rename(columns={"conv_layers": "conv layers"})
    return f"Published since, on the whole of CIFAR-10, in %: {sources}", table


def paper_table1(version: str = "v2") -> pd.DataFrame:
    """Table 1 of the paper for people: percent with two decimals."""
    return references.table1_wide(version).map("{:.2f}".format).reset_index()


def table1_markdown(study: Study) -> str:
    """The page that ends a run: this study's accuracies, then the paper's Table 1 beside or below them."""
    n_test = int(study.accuracy.test_images.max())
    lines = [f"# {study.name}: test accuracy in percent", "", f"Data: {study.dataset}; {n_test:,} test images.", ""]
    if not study.verified:
        lines += ["**The data did not come from the official source; its digest is in its name.**", ""]
    for size in reversed(study.train_sizes):
        repeats = int(study.accuracy[study.accuracy.train_images == size].repeat.nunique())
        spread = f"; mean ± standard deviation of {repeats} disjoint subsets" if repeats > 1 else ""
        for column, ridge in RIDGES.items():
            lines += [f"## {size:,} training images, {ridge}{spread}", ""]
            lines += [to_markdown(own_accuracies(study, size, column)), ""]
            note = size_note(study, size) if column == "accuracy" else ""
            lines += [note, ""] if note else []
    for beside, title in (
        (beside_paper(study), f"Beside the paper's Table 1, {references.citation('paper')}"),
        (beside_review(study), "Beside the review's reproduction"),
    ):
        if beside is not None:
            lines += [f"## {title}", "", to_markdown(beside), ""]
    lines += [f"## The paper's Table 1: CIFAR-10, {references.citation('paper')}", "", to_markdown(paper_table1()), ""]
    return "\n".join(lines)


def summary(study: Study) -> dict[str, Any]:
    """What `dvc metrics` shows: {family: {kind: {"n=<images>": {"depth_<dd>": accuracies}}}}, means where repeated.

    Where some repeats have no answer, `repeats` says how many there are, and `<accuracy>_solved` how many have one.
    """
    tree: dict[str, Any] = {}
    for row in accuracy_by_depth(study).itertuples():
        leaf: dict[str, float | int | None] = {}
        for name in RIDGES:
            # JSON has no NaN
            leaf[name] = None if pd.isna(getattr(row, name)) else getattr(row, name)
            solved = getattr(row, f"{name}_solved")
            if solved > 1:
                leaf[f"{name}_std"] = getattr(row, f"{name}_std")
            if solved < row.repeats:
                leaf |= {f"{name}_solved": solved, "repeats": row.repeats}
        branch = tree.setdefault(row.family, {}).setdefault(row.kind, {}).setdefault(f"n={row.train_images}", {})
        branch[f"depth_{row.depth:02d}"] = leaf
    return tree


def _cells(table: pd.DataFrame, column: str = "accuracy") -> list[str]:
    """Means and standard deviations of rows of `accuracy_by_depth`, in percent."""
    names = [column, f"{column}_std", f"{column}_solved", "repeats"]
    return [
        counted(percent(mean, spread), solved, repeats)
        for mean, spread, solved, repeats in table[names].itertuples(index=False)
    ]


def size_note(study: Study, size: int) -> str:
    """Why a size has fewer subsets than its heading says, without ridge."""
    rows = accuracy_by_depth(study).query("train_images == @size")
    return unsolved_note(rows.accuracy_solved, rows.repeats, "subsets", WHY_SINGULAR)


def _paper_percent(study: Study, row: Any) -> float:
    if not study.is_paper_data or row.kernel not in ("CNTK-V", "CNTK-GAP"):
        return float("nan")
    column = references.paper_kernel(row.readout, row.train_images)
    match = [] if column is None else column[column.depth == row.depth].accuracy.tolist()
    return 100 * match[0] if match else float("nan")
