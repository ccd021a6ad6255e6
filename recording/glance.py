"""The paper's kernels at a glance: each number of Table 1, what was measured here, and whether the two agree."""

import math

import pandas as pd
from scipy import stats

from exact_cntk.study.results import binomial_error
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import percent, signed_points

CONFIDENCE = 0.95
CLASSIC = ("CNTK-V", "CNTK-GAP")  # the paper's kernels


def at_a_glance(accuracies: pd.DataFrame) -> pd.DataFrame:
    """One row per column and depth of Table 1, for people.

    Parameters
    ----------
    accuracies : DataFrame
        Rows of `recording.recorded.Recorded.accuracies`, those of the images to be preferred first.
    """
    table = references.table1()
    paper_test_images = references.read()["table1"]["test_images"]
    rows = []
    for published in table[table.model == "cntk"].itertuples():
        same = accuracies[
            accuracies.kernel.isin(CLASSIC)
            & (accuracies.readout == published.readout)
            & (accuracies.train_images == published.train_images)
            & (accuracies.depth == published.depth)
        ]
        row = {"column": published.column, "depth": published.depth, "paper (%)": percent(published.accuracy)}
        if same.empty:
            rows.append(row | {"here (%)": "not measured"})
            continue
        here = same.iloc[0]
        half_width = prediction_half_width(
            here.accuracy, here.accuracy_std, int(here.repeats), int(here.test_images), paper_test_images
        )
        low, high = max(0.0, here.accuracy - half_width), min(1.0, here.accuracy + half_width)
        subsets = f", {here.repeats} subsets" if here.repeats > 1 else ""
        rows.append(
            row
            | {
                "here (%)": percent(here.accuracy, here.accuracy_std),
                "95 % prediction interval": f"[{percent(low)}, {percent(high)}]",
                "verdict": verdict(published.accuracy, low, high, here.accuracy),
                "measured on": f"{here.images}{subsets}",
            }
        )
    return pd.DataFrame(rows)


def prediction_half_width(
    accuracy: float, spread: float, repeats: int, test_images: int, other_test_images: int
) -> float:
    """Half of the interval in which another measurement of the same kind lies with 95 % probability.

    Of several subsets of the training images, all with the same test images: by Student's t, one more subset. Of a
    single training set: the same training set and another test set of `other_test_images`, as normal.

    Parameters
    ----------
    accuracy, spread : float
        Mean and standard deviation (ddof 1) over subsets; fractions.
    repeats : int
        Subsets.
    test_images, other_test_images : int
        Of the measurement here, and of the other.
    """
    if repeats > 1:
        return float(stats.t.ppf((1 + CONFIDENCE) / 2, repeats - 1)) * spread * math.sqrt(1 + 1 / repeats)
    variance = binomial_error(accuracy, test_images) ** 2 + binomial_error(accuracy, other_test_images) ** 2
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance)


def verdict(published: float, low: float, high: float, here: float) -> str:
    """Whether the published accuracy is where another measurement would be, in words."""
    difference = f"{signed_points(here - published)} points"
    if low <= published <= high:
        return f"agrees ({difference})"
    return f"differs ({difference}): the paper's is {'below' if published < low else 'above'} the interval"
