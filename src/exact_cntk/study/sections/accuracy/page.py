"""The study's own kernels: their accuracies, the ridge path, spectra, and the paper's table beside them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from exact_cntk.study.results import Study
from exact_cntk.study.sections.accuracy import results as kernels
from exact_cntk.study.sections.accuracy.figures import CAPTIONS, FIGURES
from exact_cntk.study.sections.accuracy.results import summary
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import counted, percent, signed_points, unbroken, with_notes

__all__ = [
    "CAPTIONS",
    "NAVIGATION",
    "TEXT",
    "TITLE",
    "figures",
    "headline",
    "load",
    "shown",
    "summary",
    "tables",
    "texts",
]

TITLE = "Accuracy of the kernels"
NAVIGATION = "Accuracy"
TEXT = (
    "<p>Kernel regression with the exact kernels. The paper regresses without ridge. Here a whole path of ridges is "
    "solved; leave-one-out predictions on the training images choose a ridge, and the test images have no part in the "
    "choice.</p>"
)


def load(study: Study, _files: Sequence[Path], *, resamples: int = 0, seed: int = 0) -> Study:
    """The loaded metrics are all that is shown; nothing is resampled."""
    return study


def tables(study: Study) -> dict[str, pd.DataFrame]:
    """Tidy: problems, their means by depth, ridge paths, spectra, the paper's table beside this study's."""
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
    """For people: beside the paper, by size and ridge, what the ridge changes, what was published."""
    beside = [
        (
            "Test accuracy in %, without ridge, beside the paper's Table 1; differences in points",
            kernels.beside_paper(study),
        ),
        ("Test accuracy in %, without ridge, beside the review's reproduction", kernels.beside_review(study)),
    ]
    rows = [(caption, table) for caption, table in beside if table is not None]
    for size in reversed(study.train_sizes):
        repeats = int(study.accuracy[study.accuracy.train_images == size].repeat.nunique())
        spread = f"; mean ± standard deviation over {repeats} disjoint subsets" if repeats > 1 else ""
        for column, ridge in kernels.RIDGES.items():
            caption = f"{size:,} training images, {ridge}{spread}; %"
            note = kernels.size_note(study, size) if column == "accuracy" else ""
            rows.append((with_notes(caption, note), kernels.own_accuracies(study, size, column)))
    caption = with_notes("Test accuracy without and with the chosen ridge", study.unsolved)
    return [
        *rows,
        (caption, kernels.ridge_gain(study)),
        ("What the paper says of its table, in points", kernels.paper_claims()),
        kernels.follow_ups(),
    ]


def headline(study: Study) -> list[str]:
    """The sentences that open the report and the notebook."""
    full = kernels.accuracy_by_depth(study).assign(gain=kernels.ridge_gains(study))
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
    table = kernels.table1(study)
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
