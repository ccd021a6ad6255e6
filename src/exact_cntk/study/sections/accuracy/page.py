"""The study's own kernels: accuracies, the ridge path, spectra, and a comparison with the paper's table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.study.results import Study, chosen_by
from exact_cntk.study.sections.accuracy import results as kernels
from exact_cntk.study.sections.accuracy.figures import CAPTIONS, FIGURES
from exact_cntk.study.sections.accuracy.results import points_range, summary
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import counted, percent, unbroken, with_notes

__all__ = ["CAPTIONS", "summary"]  # names of the protocol that are defined elsewhere

TITLE = "Accuracy of the kernels"
NAVIGATION = "Accuracy"
TEXT = (
    "<p>Kernel regression with the exact kernels: the CNTK, and the CNN-GP, the kernel of the Gaussian process of the "
    "same network at initialisation. Does a ridge help? The paper uses none. Here a whole path of ridges is solved, "
    "and predictions of training images from the others choose a ridge: by leave-one-out, or, for sets too large for "
    "it, of a held-out tenth from the other nine. No choice uses the test images.</p>"
)


def load(study: Study, _files: Sequence[Path], *, resamples: int = 0, seed: int = 0) -> Study:
    """The loaded metrics are all that is shown; nothing is resampled."""
    return study


def tables(study: Study) -> dict[str, pd.DataFrame]:
    """Tidy: problems, their means by depth, ridge paths, spectra, this study's accuracies and the paper's table."""
    return {
        "accuracy": study.accuracy,
        "accuracy_by_depth": kernels.accuracy_by_depth(study),
        "ridge_path": study.ridge_path,
        "spectra": study.spectra,
        "table1": kernels.table1(study),
    }


def texts(study: Study) -> dict[str, str]:
    """The table that ends a run."""
    return {"table1.md": kernels.table1_markdown(study)}


def figures(study: Study) -> dict[str, Figure]:
    """Name → figure, those of `CAPTIONS`."""
    return {name: draw(study) for name, draw in FIGURES.items()}


def shown(study: Study) -> list[tuple[str, pd.DataFrame]]:
    """For people: comparisons with published numbers, accuracies by size and ridge, gains of the ridge, claims."""
    own = [(with_notes(caption, note), table) for caption, note, table in kernels.own_tables(study)]
    gains = with_notes("Test accuracy without ridge and with the chosen one; gain: with − without", study.unsolved)
    claims = "The paper's stated gains against its own Table 1, in points"
    return [
        *kernels.comparisons(study),
        *own,
        (gains, kernels.ridge_gain(study)),
        (claims, kernels.paper_claims()),
        kernels.follow_ups(),
    ]


def headline(study: Study) -> list[str]:
    """The sentences that open the report and the notebook."""
    full = kernels.accuracy_by_depth(study).assign(gain=kernels.ridge_gains(study))
    full = full[full.train_images == study.train_sizes[-1]]
    sentences = [_best(full), _ridge(study, full), _pooling(study), _paper(study), study.unsolved]
    return [unbroken(sentence) for sentence in sentences if sentence]


def _best(full: pd.DataFrame) -> str:
    known = full[full.accuracy.notna()]
    if known.empty:
        return ""
    # means over different subsets cannot be compared; if there are no others, the number of subsets is stated
    complete = known[known.accuracy_solved == known.repeats]
    row = known.loc[(known if complete.empty else complete).accuracy.idxmax()]
    among = ""
    if len(complete) < len(full):
        among = f", of the {len(complete)} of {len(full)} kernels that have an answer from every training set"
        among = ", where no kernel has an answer from every training set" if complete.empty else among
    if row.repeats == 1:
        share = f"{round(row.accuracy * row.test_images):,}"
        error = f"{percent(row.accuracy, row.accuracy_se)} %"
    else:
        share = counted(f"{percent(row.accuracy, row.accuracy_std)} %", row.accuracy_solved, row.repeats)
        error = f"binomial standard error {percent(row.accuracy_se)}"
    return (
        f"Best without ridge, as in the paper{among}: {row.kernel} at depth {row.depth} classifies {share} of the "
        f"{row.test_images:,} test images correctly ({error}; {row.train_images:,} training images)."
    )


def _ridge(study: Study, full: pd.DataFrame) -> str:
    gain = full.gain.dropna()
    if gain.empty:
        return ""
    partial = "; kernels with an answer without ridge" if (full.accuracy_solved < full.repeats).any() else ""
    selection = chosen_by(study.accuracy[study.accuracy.train_images == study.train_sizes[-1]])
    return (
        f"Choosing a ridge by {selection} changes test accuracy by {points_range(gain)} points "
        f"({full.train_images.iloc[0]:,} training images{partial})."
    )


def _pooling(study: Study) -> str:
    """The gain over the training sets from which both kernels of a depth have an answer."""
    rows = study.accuracy[(study.accuracy.kind == "ntk") & (study.accuracy.train_images == study.train_sizes[-1])]
    flat, pooled = (
        rows[rows.kernel == name].groupby(["depth", "repeat"]).accuracy.mean() for name in ("CNTK-V", "CNTK-GAP")
    )
    both = pd.concat([flat, pooled], axis=1, keys=["flat", "pooled"], join="inner")
    gains = (both.pooled - both.flat).dropna()
    if gains.empty:
        return ""
    by_depth = gains.groupby(level="depth").mean()
    low, high = references.read()["claims"]["gap_gain"]
    partial = f" (over {len(gains)} of {len(both)} training sets: those from which both have an answer)"
    return (
        f"Global average pooling changes the accuracy of the CNTK by {points_range(by_depth)} points at depth "
        f"{', '.join(map(str, by_depth.index))}{partial if len(gains) < len(both) else ''}; "
        f"the paper states {low} to {high} points on CIFAR-10."
    )


def _paper(study: Study) -> str:
    table = kernels.table1(study)
    known = table[table.difference_points.notna()]
    if known.empty:
        return ""
    row = known.loc[known.difference_points.abs().idxmax()]
    here = counted(f"{row.accuracy_percent:.2f} % here", row.solved, row.repeats)
    return (
        f"Of {len(known)} accuracies that are also in the paper's Table 1, the largest difference is "
        f"{abs(row.difference_points):.2f} points ({row.column}, depth {row.depth}: {here}, {row.paper_percent:.2f} % "
        "in the paper)."
    )
