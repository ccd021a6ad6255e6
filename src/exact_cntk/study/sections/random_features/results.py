"""Tables of the section on random features, for programs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.study.results import Study, median_conditions
from exact_cntk.study.show import references

# Of the paper's Table 2, by kernel.
PAPER_COLUMNS = {"CNTK-V": ("RF vanilla", "exact vanilla"), "CNTK-GAP": ("RF GAP", "exact GAP")}
KERNEL = ["family", "kernel", "kind", "readout", "trained", "filter_size"]
PROBLEM = [*KERNEL, "depth", "source", "width", "dtype", "train_images", "test_images", "features"]
VALUES = ["accuracy", "accuracy_loo_ridge", "unchecked_accuracy", "loo_ridge", "condition_number", "rank", "rounding"]
TABLE2 = ["source", "dataset", "column", "depth", "train_images", "draws", "solved", "accuracy_percent"]
TABLE2 += ["low_percent", "high_percent", "loo_ridge_percent"]
PRECISIONS = ("float32", "float64")
# Of a problem.
ACCURACIES = ("accuracy", "accuracy_loo_ridge", "unchecked_accuracy")


@dataclass(frozen=True)
class Results:
    """Results of random features and exact kernels, and the sweeps.

    Attributes
    ----------
    study : Study
    problems : DataFrame
        A row a kernel, source ("features" or "exact"), precision, number of training images and draw (−1: exact).
        `features` and `width` are 0 for exact kernels, `rank` counts eigenvalues above n·ε·λ_max of the precision,
        `rounding` is ‖K − K₆₄‖ / ‖K₆₄‖ of a kernel in float32. Accuracies are fractions, without ridge and with the one
        chosen by leave-one-out; `unchecked_accuracy` is by Gaussian elimination without ridge.
    ridge_path : DataFrame
        A row a problem and ridge: `test_accuracy`, `loo_accuracy`, `loo_error`, `condition_number`.
    sweeps : DataFrame
        A row a kernel, width and network: `deviation`, and the fit's `slope`, `low`, `high`, `confidence`.
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
    """A row a problem: `draws` (with an answer without ridge: `solved`), medians, and ranges of the accuracies.

    Medians and ranges of an accuracy are over the `<accuracy>_solved` draws that have one; that of the condition number
    is over all of them, infinite for singular kernels, and empty where it is infinite itself.
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
    """Where random features fall behind the exact kernel, in fractions of the test images.

    Returns
    -------
    DataFrame
        A row a kernel, on the largest training set (`train_images`): accuracies of the exact kernel with the chosen
        ridge (`exact`) and of random features in float32, unchecked (`features`); `lost` between them, and its parts
        `lost_to_width`, `lost_without_ridge` and `lost_to_rounding`, which add up to it: medians over the `solved` of
        `draws` networks that have all of these accuracies; `condition_number` and `rounding` of random features, their
        product `rounding_at_smallest` (above 1 rounding may exceed the smallest eigenvalue), `weights` (features) and
        `rank`; `exact_condition_number`; `condition_exponent` and `exact_condition_exponent`, p of condition ∝ n^p over
        the sizes, NaN where one is singular; and `images_at_limit`, the number of training images at which
        `rounding_at_smallest` is 1 by that law, an extrapolation; NaN if it does not grow.
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
    """The paper's Table 2 beside the same kernels of this study: tidy, a row a depth and column; percent.

    Returns
    -------
    DataFrame
        `source` (the study's name, or the paper's citation), `dataset`, `column`, `depth`, `train_images`,
        `draws`, `solved` (of them), `accuracy_percent` without ridge (random features: float32, unchecked, median), its
        `low_percent` and `high_percent` over draws, `loo_ridge_percent` with the ridge of leave-one-out.
    """
    ours = medians(results)
    ours = ours[(ours.train_images == results.train_images) & ours.kernel.isin(PAPER_COLUMNS)]
    # Of an exact kernel the best precision, which is last; of random features the paper's.
    ours = ours[(ours.source == "exact") | (ours.dtype == "float32")]
    ours = ours.drop_duplicates(["kernel", "depth", "source"], keep="last")
    rows = [_table2_row(results.study, row) for row in ours.to_dict("records")]
    published = references.read()["table2"]
    for column in published["columns"]:
        for depth, value in zip(published["depths"], column["accuracy"], strict=True):
            rows.append(
                {
                    "source": references.citation(published["source"]),
                    "dataset": published["dataset"],
                    "column": column["name"],
                    "depth": depth,
                    "accuracy_percent": value,
                }
            )
    return pd.DataFrame(rows, columns=TABLE2).astype(dict.fromkeys(["train_images", "draws", "solved"], "Int64"))


def _exponent(table: pd.DataFrame, key: tuple, source: str) -> float:
    """p of condition ∝ n^p by least squares on logarithms, in the kernel's best precision.

    NaN of fewer than two sizes, and where the kernel is singular on one of them.
    """
    chosen = (table[[*KERNEL, "depth"]] == list(key)).all(axis=1) & (table.source == source)
    rows = table[chosen].drop_duplicates("train_images", keep="last")
    if len(rows) < 2 or rows.condition_number.isna().any():
        return float("nan")
    return float(np.polyfit(np.log(rows.train_images), np.log(rows.condition_number), 1)[0])


def _table2_row(study: Study, row: dict[str, Any]) -> dict[str, Any]:
    drawn = row["source"] == "features"
    name = "unchecked_accuracy" if drawn else "accuracy"
    found: dict[str, Any] = {
        "source": study.name,
        "dataset": study.dataset,
        "column": PAPER_COLUMNS[row["kernel"]][0 if drawn else 1],
    }
    found |= {"depth": row["depth"], "train_images": row["train_images"], "draws": row["draws"] if drawn else None}
    found["solved"] = row[f"{name}_solved"] if drawn else None
    found["accuracy_percent"] = round(100 * row[name], 6)
    if drawn:
        found |= {f"{end}_percent": round(100 * row[f"{name}_{end}"], 6) for end in ("low", "high")}
    return found | {"loo_ridge_percent": round(100 * row["accuracy_loo_ridge"], 6)}
