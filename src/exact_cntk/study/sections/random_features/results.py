"""Tables of the section on random features, for programs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.study.results import Study, median_conditions
from exact_cntk.study.show import references

# Columns of the paper's Table 2, by kernel.
PAPER_COLUMNS = {"CNTK-V": ("RF vanilla", "exact vanilla"), "CNTK-GAP": ("RF GAP", "exact GAP")}
KERNEL = ["family", "kernel", "kind", "readout", "trained", "filter_size"]
PROBLEM = [*KERNEL, "depth", "source", "width", "dtype", "train_images", "test_images", "features"]
VALUES = ["accuracy", "accuracy_loo_ridge", "unchecked_accuracy", "loo_ridge", "condition_number", "rank", "rounding"]
TABLE2 = ["source", "dataset", "column", "depth", "train_images", "draws", "solved", "accuracy_percent"]
TABLE2 += ["low_percent", "high_percent", "loo_ridge_percent"]
PRECISIONS = ("float32", "float64")
ACCURACIES = ("accuracy", "accuracy_loo_ridge", "unchecked_accuracy")


@dataclass(frozen=True)
class Results:
    """Results of random features and exact kernels, and the sweeps.

    Attributes
    ----------
    study : Study
    problems : DataFrame
        One row per kernel, source ("features" or "exact"), precision, number of training images and draw (−1: exact).
        `features` and `width` are 0 for exact kernels, `rank` counts eigenvalues above n·ε·λ_max in the precision,
        `rounding` is ‖K − K₆₄‖ / ‖K₆₄‖ of a kernel in float32. Accuracies are fractions, without a ridge and with the
        ridge of leave-one-out; `unchecked_accuracy` is by Gaussian elimination without a ridge.
    ridge_path : DataFrame
        One row per problem and ridge: `test_accuracy`, `loo_accuracy`, `loo_error`, `condition_number`.
    sweeps : DataFrame
        One row per kernel, width and network: `deviation`, and the fit's `slope`, `low`, `high`, `confidence`.
    """

    study: Study
    problems: pd.DataFrame
    ridge_path: pd.DataFrame
    sweeps: pd.DataFrame

    @property
    def train_images(self) -> int:
        """The largest number of training images."""
        return int(self.problems.train_images.max())


def medians(results: Results) -> pd.DataFrame:
    """One row per problem: `draws` (`solved`: those with an answer without a ridge), medians, ranges of accuracies.

    Medians and ranges of an accuracy are over the `<accuracy>_solved` draws that have one. The median condition number
    is over all draws, infinite for singular kernels; an infinite median is left empty.
    """
    groups = results.problems.groupby(PROBLEM, sort=False)
    table = groups.agg(draws=("draw", "size"), solved=("accuracy", "count"))
    for name in VALUES:
        table[name] = groups[name].median()
    table["condition_number"] = median_conditions(results.problems, PROBLEM)
    for name in ACCURACIES:
        table[f"{name}_low"], table[f"{name}_high"] = groups[name].min(), groups[name].max()
        table[f"{name}_solved"] = groups[name].count()
    return table.reset_index()


def _with_all_parts(results: Results) -> Results:
    """The largest training set, without the networks that lack one of the accuracies which `losses` compares."""
    rows = results.problems[results.problems.train_images == results.train_images]
    networks = pd.MultiIndex.from_frame(rows[[*KERNEL, "depth", "draw"]])
    lacking = (rows.source == "features") & rows[["unchecked_accuracy", "accuracy_loo_ridge"]].isna().any(axis=1)
    return replace(results, problems=rows[~networks.isin(networks[lacking])])


def losses(results: Results) -> pd.DataFrame:
    """Loss of random features against the exact kernel, in fractions of the test images.

    Returns
    -------
    DataFrame
        One row per kernel, on the largest training set (`train_images`): accuracies of the exact kernel with the chosen
        ridge (`exact`) and of random features in float32 by a plain solve (`features`); their difference `lost` and
        its parts `lost_to_width`, `lost_without_ridge` and `lost_to_rounding`, which add up to it: medians over the
        `solved` of `draws` networks that have all of these accuracies; `condition_number` and `rounding` of random
        features, their product `rounding_at_smallest` (above 1 rounding may exceed the smallest eigenvalue), `weights`
        (number of features) and `rank`; `exact_condition_number`; `condition_exponent` and `exact_condition_exponent`,
        p of condition ∝ n^p over the sizes, NaN where one is singular; `images_at_limit`, the number of training images
        at which `rounding_at_smallest` reaches 1 by that power law (extrapolated), NaN if it does not grow.
    """
    table = medians(results)
    largest = table[table.train_images == results.train_images].set_index([*KERNEL, "depth"])
    single, double = (largest[(largest.source == "features") & (largest.dtype == name)] for name in PRECISIONS)
    exact = largest[largest.source == "exact"].groupby(level=[*KERNEL, "depth"], sort=False).last()  # float64 is last
    exact = exact.reindex(double.index)
    same = medians(_with_all_parts(results)).set_index([*KERNEL, "depth"])
    same = same[same.source == "features"]
    known_single, known_double = (same[same.dtype == name].reindex(double.index) for name in PRECISIONS)
    frame = pd.DataFrame(
        {
            "train_images": results.train_images,
            "exact": exact.accuracy_loo_ridge,
            "draws": double.draws,
            "solved": known_double.draws.fillna(0).astype(int),
            "features": known_single.unchecked_accuracy,
            "lost": exact.accuracy_loo_ridge - known_single.unchecked_accuracy,
            "lost_to_width": exact.accuracy_loo_ridge - known_double.accuracy_loo_ridge,
            "lost_without_ridge": known_double.accuracy_loo_ridge - known_double.unchecked_accuracy,
            "lost_to_rounding": known_double.unchecked_accuracy - known_single.unchecked_accuracy,
            "condition_number": double.condition_number,
            "rounding": single.rounding,
            "rounding_at_smallest": double.condition_number * single.rounding,
            "weights": double.features,
            "rank": double["rank"],
            "exact_condition_number": exact.condition_number,
            "condition_exponent": [_exponent(table, key, "features") for key in double.index],
            "exact_condition_exponent": [_exponent(table, key, "exact") for key in double.index],
        },
        index=double.index,
    )
    growing = frame.condition_exponent.where(frame.condition_exponent > 0)
    frame["images_at_limit"] = results.train_images * frame.rounding_at_smallest ** (-1 / growing)
    return frame.reset_index()


def table2(results: Results) -> pd.DataFrame:
    """The same kernels of this study and of the paper's Table 2: tidy, one row per depth and column; percent.

    Returns
    -------
    DataFrame
        `source` (the study's name, or the paper's citation), `dataset`, `column`, `depth`, `train_images`, `draws`,
        `solved` (of the draws), `accuracy_percent` without a ridge (random features: median, float32, plain solve), its
        `low_percent` and `high_percent` over draws, `loo_ridge_percent` with the ridge of leave-one-out.
    """
    table = medians(results)
    table = table[(table.train_images == results.train_images) & table.kernel.isin(PAPER_COLUMNS)]
    # Exact kernels in their best precision, which is last; random features in the paper's.
    table = table[(table.source == "exact") | (table.dtype == "float32")]
    table = table.drop_duplicates(["kernel", "depth", "source"], keep="last")
    rows = [_table2_row(results.study, row) for row in table.to_dict("records")]
    published = references.read()["table2"]
    paper = {"source": references.citation(published["source"]), "dataset": published["dataset"]}
    rows += [
        paper | {"column": column["name"], "depth": depth, "accuracy_percent": value}
        for column in published["columns"]
        for depth, value in zip(published["depths"], column["accuracy"], strict=True)
    ]
    return pd.DataFrame(rows, columns=TABLE2).astype(dict.fromkeys(["train_images", "draws", "solved"], "Int64"))


def _exponent(table: pd.DataFrame, key: tuple, source: str) -> float:
    """p of condition ∝ n^p by least squares on logarithms, best precision; NaN with one size or a singular kernel."""
    chosen = (table[[*KERNEL, "depth"]] == list(key)).all(axis=1) & (table.source == source)
    rows = table[chosen].drop_duplicates("train_images", keep="last")
    if len(rows) < 2 or rows.condition_number.isna().any():
        return float("nan")
    return float(np.polyfit(np.log(rows.train_images), np.log(rows.condition_number), 1)[0])


def _table2_row(study: Study, row: dict[str, Any]) -> dict[str, Any]:
    drawn = row["source"] == "features"
    name = "unchecked_accuracy" if drawn else "accuracy"
    ends = [("", ""), ("low_", "_low"), ("high_", "_high")] if drawn else [("", "")]
    percents = {f"{start or 'accuracy_'}percent": round(100 * row[f"{name}{end}"], 6) for start, end in ends}
    return {
        "source": study.name,
        "dataset": study.dataset,
        "column": PAPER_COLUMNS[row["kernel"]][0 if drawn else 1],
        "depth": row["depth"],
        "train_images": row["train_images"],
        "draws": row["draws"] if drawn else None,
        "solved": row[f"{name}_solved"] if drawn else None,
        **percents,
        "loo_ridge_percent": round(100 * row["accuracy_loo_ridge"], 6),
    }
