"""Trained finite CNNs compared with the exact kernels of the same depth on the same images."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.study.results import unsolved
from exact_cntk.study.sections.cnns import figures as cnn_figures
from exact_cntk.study.sections.cnns.results import Results, comparison, load
from exact_cntk.study.show.markup import (
    DIVERGED,
    WHY_DIVERGED,
    counted,
    percent,
    signed_points,
    unsolved_note,
    with_notes,
)

__all__ = ["CAPTIONS", "NAVIGATION", "TEXT", "TITLE", "figures", "headline", "load", "shown", "summary", "tables"]

TITLE = "Are trained CNNs better?"
NAVIGATION = "CNNs"
TEXT = (
    "<p>CNN-V and CNN-GAP in the paper's parametrisation, trained by stochastic gradient descent on the quadratic loss "
    "at a constant learning rate, without momentum, weight decay or augmentation, until all training images are "
    "classified correctly and then for a few more epochs; test accuracy is the mean over as many last epochs. The "
    "paper reports the learning rate that is best on the test images. Here it is chosen on images of the training pool "
    "that the networks are not trained on meanwhile; the paper's choice is also shown and labelled. The kernel is the "
    "CNTK, with kernel regression without a ridge on the same training images. The paper's own numbers are for "
    "CIFAR-10 and much wider networks: they are shown for reference only. Differences are CNN − CNTK in percentage "
    "points: negative where the network is worse.</p>"
)
CAPTIONS = {
    "cnn_vs_cntk": "Test accuracy of trained CNNs and of kernel regression against depth. Left: this study, with "
    "standard deviations over seeds and binomial standard errors of the kernels. Right: the paper's Table 1.",
    "cnn_learning_curves": "Learning curves at the rate chosen on validation images: loss, training accuracy, and the "
    "error on the test images, which are not used for any choice. One line per seed; the dot marks the first epoch "
    "with all training images classified correctly.",
    "cnn_rates": "Choice of the learning rate: accuracy on validation images (ring: the highest) and on test images. "
    "Rates at which training diverges have no marker.",
}


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Tidy: networks and kernels, rates, learning curves."""
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
    """Networks, kernels and the paper's numbers; then how each rate was chosen."""
    study, (width, *others) = results.study, results.networks.width.unique()
    channels = f"{width:,} channels" if not others else "several widths"
    images = f"{results.networks.train_images.iloc[0]:,} training images"
    caption = f"{study.dataset}: test accuracy in % ({images}, networks of {channels}), differences in points"
    return [
        (with_notes(caption, *_notes(results)), _table1(results)),
        (_rates_caption(results), _rates_table(results)),
    ]


def headline(results: Results) -> list[str]:
    """Differences between networks and kernels, and the effect of choosing the rate on the test images."""
    table = comparison(results)
    parts = []
    for network, rows in table.dropna(subset=["difference"]).groupby("network", sort=False):
        some = " (over the seeds that did not diverge)" if (rows.solved_seeds < rows.seeds).any() else ""
        depths = ", ".join(map(str, rows.depth.unique()))
        parts.append(f"{network} by {_range(rows.difference)} points at depth {depths}{some}")
    missing = int((table.kernel.notna() & table.difference.isna()).sum())
    left_out = f" ({missing} left out because network or kernel has no answer)" if missing else ""
    compared = (
        f"Trained CNNs with {results.networks.width.max():,} channels differ from kernel regression with the CNTK of "
        f"the same depth (CNN − CNTK): {'; '.join(parts)}{left_out}."
    )
    rates = _rate_sentence(results.networks.dropna(subset=["rate", "rate_test_chosen"]))
    return [compared, *rates] if parts else rates


def _rate_sentence(networks: pd.DataFrame) -> list[str]:
    """The effect of choosing the rate on the test images, for the networks with both rates; nothing without any."""
    if networks.empty:
        return []
    changed = networks[networks.rate != networks.rate_test_chosen]
    # At the rate of the test images no seed diverged, so only networks whose seeds all have an answer are compared.
    comparable = changed[changed.solved_seeds == changed.seeds]
    gain, missing = comparable.accuracy_test_chosen - comparable.accuracy, len(changed) - len(comparable)
    text = (
        "Choosing the learning rate on the test images, as in the paper, would change it for "
        f"{len(changed)} of {len(networks)} networks"
    )
    text += f" and their accuracy by {_range(gain)} points" if len(gain) else ""
    return [text + (f" ({missing} not compared because seeds diverged)" if missing else "") + "."]


def summary(results: Results) -> dict[str, Any]:
    """{family: {depth_<dd>: accuracies}}; where seeds diverged, how many there are and how many have an accuracy."""
    tree: dict[str, Any] = {}
    names = ["accuracy", "accuracy_sd", "accuracy_test_chosen", "rate"]
    for row in results.networks.to_dict("records"):
        counts = ["seeds", "solved_seeds"] if row["solved_seeds"] < row["seeds"] else []
        tree.setdefault(row["family"], {})[f"depth_{row['depth']:02d}"] = {name: row[name] for name in names + counts}
    return tree


def _table1(results: Results) -> pd.DataFrame:
    table = comparison(results)
    there = "the paper (CIFAR-10)"
    rows, (word, _) = list(table.itertuples()), unsolved(results.study.accuracy)
    return pd.DataFrame(
        {
            "network": table.network,
            "depth": table.depth,
            "CNN, this study": [
                counted(percent(row.accuracy, row.accuracy_sd), row.solved_seeds, row.seeds, DIVERGED) for row in rows
            ],
            "rate": table.rate.map(_rate),
            "CNN, rate chosen on the test images, as in the paper": [
                percent(row.accuracy_test_chosen) or DIVERGED for row in rows
            ],
            "kernel": table.kernel.fillna(""),
            "CNTK, this study": [percent(row.cntk_accuracy) or word * bool(row.kernel) for row in rows],
            "CNN − CNTK": [_difference(row, word) for row in rows],
            f"CNN, {there}": table.paper_cnn.map(percent),
            f"CNTK, {there}": table.paper_cntk.map(percent),
            f"CNN − CNTK, {there}": table.paper_difference.map(signed_points),
        }
    )


def _rates_caption(results: Results) -> str:
    protocol, rates = results.protocol, results.rates
    caption = (
        f"Choice of the learning rate. Validation: accuracy in % on {protocol['validation_images']:,} images of the "
        f"training pool, {protocol['validation_seeds']} run per rate. Test: accuracy in % after training on the whole "
        f"pool, mean ± standard deviation over {protocol['seeds']} seeds. At most {protocol['max_epochs']:,} epochs, "
        f"batches of {protocol['batch_images']:,} images, mean over the last {protocol['averaged_epochs']:,} epochs"
    )
    note = unsolved_note(rates.seeds - rates.diverged_seeds, rates.seeds, "seeds", WHY_DIVERGED, "runs on the pool")
    return with_notes(caption, note)


def _notes(results: Results) -> tuple[str, str]:
    """Why networks and kernels have no answer."""
    networks, table = results.networks, comparison(results).dropna(subset=["kernel"])
    _, why_unsolved = unsolved(results.study.accuracy)
    why = f"{WHY_DIVERGED}, at the chosen rate or at every one"
    return (
        unsolved_note(networks.solved_seeds, networks.seeds, "seeds", why, "runs"),
        unsolved_note(table.cntk_accuracy.notna(), [1] * len(table), "", why_unsolved, "fits of kernels"),
    )


def _rates_table(results: Results) -> pd.DataFrame:
    table = results.rates
    marks = {(True, True): "by both", (True, False): "by validation", (False, True): "by test images"}
    rows = list(table.itertuples())
    choices = zip(table.chosen, table.test_chosen, strict=True)
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
            "epoch with all training images correct": [_full_accuracy(row) for row in rows],
            "chosen": [marks.get((bool(validation), bool(test)), "") for validation, test in choices],
        }
    )


def _rate(value: float) -> str:
    return "" if pd.isna(value) else f"{value:g}"


def _full_accuracy(row: Any) -> str:
    """The median epoch; how many seeds reach it, where not all do."""
    if pd.isna(row.full_accuracy_epoch):
        return f"{row.full_accuracy_seeds} of {row.seeds} seeds"
    return f"{row.full_accuracy_epoch:g}"


def _difference(row: Any, word: str) -> str:
    """The cell of network − kernel; empty without a kernel."""
    if not row.kernel or pd.isna(row.cntk_accuracy):
        return word * bool(row.kernel)
    return counted(_points(row.difference, row.difference_se), row.solved_seeds, row.seeds, DIVERGED)


def _points(value: float, error: float) -> str:
    text = signed_points(value)
    return text if not text or pd.isna(error) else f"{text} ± {100 * error:.2f}"


def _range(fractions: pd.Series) -> str:
    low, high = signed_points(fractions.min()), signed_points(fractions.max())
    return low if low == high else f"{low} to {high}"
