"""Trained finite CNNs beside the exact kernels of the same depth on the same images, and the paper's Table 1."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.study.sections.cnns import figures as cnn_figures
from exact_cntk.study.sections.cnns.results import Results, comparison, load
from exact_cntk.study.show.markup import (
    DIVERGED,
    SINGULAR,
    WHY_DIVERGED,
    WHY_SINGULAR,
    counted,
    percent,
    signed_points,
    unsolved_note,
    with_notes,
)

__all__ = ["CAPTIONS", "NAVIGATION", "TEXT", "TITLE", "figures", "headline", "load", "shown", "summary", "tables"]

TITLE = "Trained CNNs beside the kernels"
NAVIGATION = "CNNs"
TEXT = (
    "<p>CNN-V and CNN-GAP in the paper's parametrisation, trained by stochastic gradient descent on the quadratic loss "
    "at a fixed rate, without momentum, decay or augmentation, until every training image is classified rightly and "
    "some epochs beyond, over which the test accuracy is averaged; where that is never reached, over the last epochs. "
    "The paper names the rate that does best on the test images; here the rate is chosen on images of the training "
    "pool that the networks do not see while it is chosen, and the paper's choice stands beside it, named so. The "
    "kernel is kernel regression without ridge on the same training images. The paper's own figures are for CIFAR-10 "
    "and much wider networks: they are beside this study's, not among them.</p>"
)
CAPTIONS = {
    "cnn_vs_cntk": "Test accuracy of trained CNNs and of kernel regression against depth: this study on the left, with "
    "standard deviations over seeds and the binomial errors of the kernels, the paper's Table 1 on the right.",
    "cnn_learning_curves": "Learning curves at the rate chosen on validation images: loss and training accuracy, and "
    "the error on the test images, which choose nothing; a line a seed, a dot where training accuracy is first full.",
    "cnn_rates": "How the rate is chosen: accuracy on validation images, with a ring around the highest, and test "
    "accuracy beside it; rates at which training diverges have no marker.",
}


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Tidy: networks beside kernels, rates, learning curves."""
    return {
        "cnn_vs_cntk": comparison(results),
        "cnn_rates": results.rates,
        "cnn_learning_curves": results.curves,
    }


def figures(results: Results) -> dict[str, Figure]:
    """Name → figure, those of `CAPTIONS`."""
    return {
        "cnn_vs_cntk": cnn_figures.against_depth(results.study, comparison(results)),
        "cnn_learning_curves": cnn_figures.learning_curves(results.study, results.networks, results.curves),
        "cnn_rates": cnn_figures.rates(results.study, results.rates),
    }


def shown(results: Results) -> list[tuple[str, pd.DataFrame]]:
    """For people: networks beside kernels beside the paper, then how each rate was chosen."""
    study, (width, *others) = results.study, results.networks.width.unique()
    channels = f"{width:,} channels" if not others else "channels of several numbers"
    images = f"{results.networks.train_images.iloc[0]:,} training images"
    caption = f"{study.dataset}: test accuracy in % ({images}, networks of {channels}), differences in points"
    return [
        (with_notes(caption, *_notes(results)), _table1(results)),
        (_rates_caption(results), _rates_table(results)),
    ]


def headline(results: Results) -> list[str]:
    """How far the networks are from the kernels, and what choosing the rate on the test images would add."""
    table = comparison(results)
    sentences = []
    parts = []
    for network, rows in table.dropna(subset=["difference"]).groupby("network", sort=False):
        some = " (over the seeds that did not diverge)" if (rows.solved_seeds < rows.seeds).any() else ""
        depths = ", ".join(map(str, rows.depth.unique()))
        parts.append(f"{network} by {_range(rows.difference)} points at depth {depths}{some}")
    if parts:
        missing = int((table.kernel.notna() & table.difference.isna()).sum())
        left_out = f", {missing} left out, where network or kernel has no answer" if missing else ""
        sentences.append(
            f"Trained CNNs of {results.networks.width.max():,} channels differ from kernel regression with the CNTK of "
            f"the same depth: {'; '.join(parts)}{left_out}."
        )
    known = results.networks.dropna(subset=["rate", "rate_test_chosen"])
    other = known[known.rate != known.rate_test_chosen]
    if len(known):
        # at the rate of the test images no seed diverged; those of the other rate are to be the same ones
        same = other[other.solved_seeds == other.seeds]
        gain = same.accuracy_test_chosen - same.accuracy
        missing = len(other) - len(same)
        changed = ", with seeds that diverged" if missing else ""
        if len(gain):
            left_out = f" ({missing} left out{changed})" if missing else ""
            changed = f", which changes their accuracy by {_range(gain)} points{left_out}"
        both = "" if len(known) == len(results.networks) else " that have both"
        sentences.append(
            f"Choosing the learning rate on the test images, as in the paper, instead of on validation images gives "
            f"{len(other)} of {len(known)} networks{both} another one{changed}."
        )
    return sentences


def summary(results: Results) -> dict[str, Any]:
    """{family: {depth_<dd>: accuracies}}; where seeds diverged, how many there are and how many have an accuracy."""
    tree: dict[str, Any] = {}
    names = ["accuracy", "accuracy_sd", "accuracy_test_chosen", "rate"]
    for row in results.networks.to_dict("records"):
        counts = ["seeds", "solved_seeds"] if row["solved_seeds"] < row["seeds"] else []
        found = {name: row[name] for name in [*names, *counts]}
        tree.setdefault(row["family"], {})[f"depth_{row['depth']:02d}"] = found
    return tree


def _table1(results: Results) -> pd.DataFrame:
    table = comparison(results)
    here, there = "this study", "the paper (CIFAR-10)"
    rows = list(table.itertuples())
    return pd.DataFrame(
        {
            "network": table.network,
            "depth": table.depth,
            f"CNN, {here}": [
                counted(percent(row.accuracy, row.accuracy_sd), row.solved_seeds, row.seeds, DIVERGED) for row in rows
            ],
            "rate": table.rate.map(_rate),
            "CNN, rate chosen on the test images, as in the paper": [
                percent(row.accuracy_test_chosen) or DIVERGED for row in rows
            ],
            "kernel": table.kernel.fillna(""),
            f"CNTK, {here}": [percent(row.cntk_accuracy) or SINGULAR * bool(row.kernel) for row in rows],
            "CNN less CNTK": [_difference(row) for row in rows],
            f"CNN, {there}": table.paper_cnn.map(percent),
            f"CNTK, {there}": table.paper_cntk.map(percent),
            f"CNN less CNTK, {there}": table.paper_difference.map(signed_points),
        }
    )


def _rates_caption(results: Results) -> str:
    protocol, rates = results.protocol, results.rates
    caption = (
        f"Choice of the rate: accuracy in % on {protocol['validation_images']:,} images of the training pool left out, "
        f"{protocol['validation_seeds']} trial a rate, and then, trained on the whole pool, on the test images "
        f"(mean ± standard deviation over {protocol['seeds']} seeds); at most {protocol['max_epochs']:,} epochs of "
        f"batches of {protocol['batch_images']:,}, the last {protocol['averaged_epochs']:,} averaged"
    )
    note = unsolved_note(rates.seeds - rates.diverged_seeds, rates.seeds, "seeds", WHY_DIVERGED, "runs on the pool")
    return with_notes(caption, note)


def _notes(results: Results) -> tuple[str, str]:
    """Why networks and kernels have no answer."""
    networks, table = results.networks, comparison(results).dropna(subset=["kernel"])
    why = f"{WHY_DIVERGED}, at the chosen rate or at every one"
    return (
        unsolved_note(networks.solved_seeds, networks.seeds, "seeds", why, "runs"),
        unsolved_note(table.cntk_accuracy.notna(), [1] * len(table), "", WHY_SINGULAR, "fits of kernels"),
    )


def _rates_table(results: Results) -> pd.DataFrame:
    table = results.rates
    marks = {(True, True): "by both", (True, False): "by validation", (False, True): "by test images"}
    rows = list(table.itertuples())
    picks = zip(table.chosen, table.test_chosen, strict=True)
    return pd.DataFrame(
        {
            "network": table.network,
            "depth": table.depth,
            "rate": table.rate.map(_rate),
            "validation": [percent(row.validation_accuracy) or DIVERGED for row in rows],
            "test": [
                counted(
                    percent(row.test_accuracy, row.test_accuracy_sd),
                    row.seeds - row.diverged_seeds,
                    row.seeds,
                    DIVERGED,
                )
                for row in rows
            ],
            "diverged": [f"{row.diverged_seeds} of {row.seeds}" for row in rows],
            "full training accuracy, epoch": [_full_accuracy(row) for row in rows],
            "chosen": [marks.get((bool(one), bool(other)), "") for one, other in picks],
        }
    )


def _rate(value: float) -> str:
    return "" if pd.isna(value) else f"{value:g}"


def _full_accuracy(row: Any) -> str:
    """The median epoch; where one seed does not reach it and there is no median, how many do."""
    if pd.isna(row.full_accuracy_epoch):
        return f"{row.full_accuracy_seeds} of {row.seeds} seeds"
    return f"{row.full_accuracy_epoch:g}"


def _difference(row: Any) -> str:
    """What is shown of a network less a kernel; nothing without a kernel."""
    if not row.kernel or pd.isna(row.cntk_accuracy):
        return SINGULAR * bool(row.kernel)
    return counted(_points(row.difference, row.difference_se), row.solved_seeds, row.seeds, DIVERGED)


def _points(value: float, error: float) -> str:
    text = signed_points(value)
    return text if not text or pd.isna(error) else f"{text} ± {100 * error:.2f}"


def _range(fractions: pd.Series) -> str:
    low, high = signed_points(fractions.min()), signed_points(fractions.max())
    return low if low == high else f"{low} to {high}"
