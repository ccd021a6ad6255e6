"""Random features: kernels of random finite networks compared with the exact ones, and their conditioning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.study.documents import read_documents
from exact_cntk.study.results import Study, binomial_error, kernel_columns
from exact_cntk.study.sections.random_features.figures import condition, ridge_paths, width_sweep
from exact_cntk.study.sections.random_features.results import (
    ACCURACIES,
    KERNEL,
    PAPER_COLUMNS,
    PROBLEM,
    VALUES,
    Results,
    losses,
    medians,
    table2,
)
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import SINGULAR, counted, percent, signed_points, unsolved_note, with_notes

TITLE = "Random features"
NAVIGATION = "Random features"
TEXT = (
    "<p>The gradients of a random network of finite width are features. Their inner products are its empirical kernel, "
    "which converges to the exact NTK as the width grows; the kernel of the last layer's features converges to the "
    "CNN-GP, the Gaussian process of the same network. Both are solved like the exact kernels of the same images: "
    "without a ridge and along the ridge path, in float32 and in float64, with all training images, half and a quarter "
    "of them. Numbers are medians over networks. <em>Plain solve</em> means Gaussian elimination without a ridge, "
    "however badly conditioned the matrix is, as in the paper's code; all other numbers come from eigenvalues, and "
    "there is none where the kernel matrix is singular to working precision. The ridge is chosen by leave-one-out on "
    "the training images. The loss of random features against the exact kernel is split into three parts: finite width "
    "(both with the chosen ridge), no ridge (in float64), and rounding (plain solve, float64 − float32).</p>"
)
CAPTIONS = {
    "random_features_ridge_path": "Test accuracy of the NTK along the ridge path, in float64: exact kernel, and median "
    "and range over random networks. Crosses: random features in float32, plain solve without a ridge.",
    "random_features_condition": "Condition number of the NTK without a ridge against the number of training images: "
    "exact kernels, and medians over random networks in float64. Above the dotted line float32 cannot resolve the "
    "smallest eigenvalue.",
    "width_sweep": "Relative deviation of the empirical from the exact kernel, ‖K_width − K‖ / ‖K‖, against width: one "
    "dot per network, the fitted line, and its slope with a 95 % interval (theory: −1/2).",
}


def load(study: Study, files: Sequence[str | Path], *, resamples: int = 0, seed: int = 0) -> Results:
    """Read the section's files; nothing is resampled, ranges are over networks.

    Raises
    ------
    UserError
        A file is damaged or was made from other images than the study, or there are no draws or no exact kernels.
    """
    problems: list[dict[str, Any]] = []
    path_rows: list[dict[str, Any]] = []
    sweeps: list[dict[str, Any]] = []
    for path, document in read_documents(study.data, files, schema=SCHEMA).items():
        if document["source"] == "sweep":
            sweeps.extend(_sweep_rows(document))
            continue
        for result in document["results"]:
            try:
                row = _row(document, result)
                problems.append(row | {name: result[name] for name in VALUES if name != "condition_number"})
                problems[-1]["condition_number"] = result["condition_number"][result["ridges"].index(0)]
                columns = zip(*(result[name] for name in ("ridges", *PATH)), strict=True)
                path_rows.extend(row | dict(zip(("ridge", *PATH), values, strict=True)) for values in columns)
            except (KeyError, ValueError) as error:
                raise UserError(f"{path}: a result lacks {error}; compute this file again") from error
    present = {row["source"] for row in problems}
    if missing := {"features", "exact"} - present:
        raise UserError(
            f"no results of {' and '.join(sorted(missing))}: run its jobs first, see "
            "`exact-cntk section run random_features`"
        )
    frame, paths = pd.DataFrame(problems), pd.DataFrame(path_rows)
    frame[VALUES], paths[PATH] = frame[VALUES].astype(float), paths[PATH].astype(float)
    swept = pd.DataFrame(sweeps, columns=_SWEEP)
    swept = swept.sort_values(["readout", "family", "kind"], key=_by_kind, kind="stable", ignore_index=True)
    return Results(study, _ordered(frame), _ordered(paths), swept)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Tidy: every draw, medians over draws, ridge paths, comparison with the paper's Table 2, and the sweep."""
    return {
        "random_features_draws": results.problems,
        "random_features": medians(results),
        "random_features_ridge_path": results.ridge_path,
        "random_features_losses": losses(results),
        "table2": table2(results),
        "width_sweep": results.sweeps,
    }


def figures(results: Results) -> dict[str, Any]:
    """Ridge paths, condition numbers, the sweep."""
    return {
        "random_features_ridge_path": ridge_paths(results.study, results.ridge_path, results.problems),
        "random_features_condition": condition(results.study, results.problems),
        "width_sweep": width_sweep(results.study, results.sweeps),
    }


def shown(results: Results) -> list[tuple[str, pd.DataFrame]]:
    """Comparison with the paper's Table 2; losses and their causes; slopes."""
    n, m = results.train_images, int(results.problems.test_images.max())
    draws = results.problems[results.problems.source == "features"].draw.nunique()
    width = int(results.problems.width.max())
    networks = "one network" if draws == 1 else f"{draws} networks"
    where = f"{results.study.dataset}, {n:,} training and {m:,} test images; {width} channels, {networks}"
    table = losses(results)
    why = "Gaussian elimination meets a pivot of 0, because the kernel matrix is singular"
    compared = f"Test accuracy (%) compared with the paper's Table 2 ({where}{'; ranges over networks' * (draws > 1)})"
    lost = (
        "Accuracy (points) that random features in float32 with a plain solve lose against the exact kernel with its "
        f"chosen ridge (negative: gained), and the condition numbers of the kernels ({where})"
    )
    note = unsolved_note(table.solved, table.draws, "networks", why, "networks")
    blocks = [(compared, beside_paper(results)), (with_notes(lost, note), losses_shown(results))]
    if len(results.sweeps):
        blocks.append(("Convergence with width: slope of log deviation against log width", slopes(results)))
    return blocks


def beside_paper(results: Results) -> pd.DataFrame:
    """One row per NTK and depth: the paper's two columns and this study's, as texts."""
    table = medians(results)
    table = table[(table.train_images == results.train_images) & (table.kind == "ntk")]
    published = references.table2()
    rows = []
    for (kernel, depth), group in table.groupby(["kernel", "depth"], sort=False):
        drawn = {row.dtype: row for row in group[group.source == "features"].itertuples()}
        exact = group[group.source == "exact"].iloc[-1]
        known = kernel in PAPER_COLUMNS and depth in published.index
        paper = [f"{published[name][depth]:.2f}" if known else "" for name in PAPER_COLUMNS.get(kernel, ("", ""))]
        rows.append(
            {
                "kernel": kernel,
                "depth": depth,
                "RF, paper": paper[0],
                "RF, float32, plain solve": _ranged(drawn["float32"], "unchecked_accuracy"),
                "RF, float64, no ridge": _ranged(drawn["float64"], "accuracy"),
                "RF, chosen ridge": _ranged(drawn["float64"], "accuracy_loo_ridge"),
                "exact, paper": paper[1],
                "exact, no ridge": percent(exact.accuracy) or SINGULAR,
                "exact, chosen ridge": percent(exact.accuracy_loo_ridge),
            }
        )
    return pd.DataFrame(rows)


def losses_shown(results: Results) -> pd.DataFrame:
    """`losses` as texts."""
    table = losses(results)
    rows = list(table.itertuples())
    return pd.DataFrame(
        {
            "kernel": table.kernel,
            "depth": table.depth,
            **{
                label: [counted(_points(getattr(row, name)), row.solved, row.draws) for row in rows]
                for label, name in _PARTS.items()
            },
            "condition, RF": table.condition_number.map(_power),
            "condition, exact": table.exact_condition_number.map(_power),
            "condition × ε(float32)": table.rounding_at_smallest.map(_power),
            "images at which float32 fails (extrapolated)": [
                SINGULAR if pd.isna(row.condition_number) else _images(row.images_at_limit) for row in rows
            ],
            "rank": [_rank(row, results.train_images) for row in rows],
        }
    )


def slopes(results: Results) -> pd.DataFrame:
    """One row per kernel of the sweep, as texts."""
    rows = []
    for (kernel, depth), group in results.sweeps.groupby(["kernel", "depth"], sort=False):
        fit = group.iloc[0]
        rows.append(
            {
                "kernel": kernel,
                "depth": depth,
                "widths": ", ".join(map(str, sorted(group.width.unique()))),
                "networks": len(group),
                "slope": f"{fit.slope:.3f}".replace("-", "−"),
                f"{100 * fit.confidence:.0f} % interval": f"[{fit.low:.3f}, {fit.high:.3f}]".replace("-", "−"),
            }
        )
    return pd.DataFrame(rows)


def headline(results: Results) -> list[str]:
    """The largest loss of random features with its parts, and the slopes."""
    table = losses(results).query("kind == 'ntk'").dropna(subset="lost")
    sentences = []
    if len(table):
        row, images = table.loc[table.lost.idxmax()], int(results.problems.test_images.max())
        some = f"; {row.solved} of {row.draws} networks have all answers" if row.solved < row.draws else ""
        sentences.append(
            f"Random features of the NTK lose most for {row.kernel} at depth {row.depth}: {_points(row.lost)} points "
            f"(finite width {_points(row.lost_to_width)}, no ridge {_points(row.lost_without_ridge)}, rounding to "
            f"float32 {_points(row.lost_to_rounding)}; {_condition(row.condition_number)}{some}). With {images:,} test "
            f"images the standard error of one accuracy is {_points(binomial_error(row.exact, images))} points."
        )
    if len(results.sweeps):
        fits = results.sweeps.drop_duplicates(["kernel", "depth"])
        agreeing = ((fits.low <= -0.5) & (fits.high >= -0.5)).sum()
        sentences.append(
            f"Empirical kernels converge to the exact ones at a rate width^p, p from {fits.slope.min():.2f} to "
            f"{fits.slope.max():.2f} (theory: −1/2, which {agreeing} of {len(fits)} 95 % intervals include).".replace(
                "-", "−"
            )
        )
    return sentences


def explanation(results: Results) -> list[str]:
    """What the numbers say about conditioning, one paragraph per kernel, in Markdown, for the notebook."""
    return [
        f"**{row.kernel}, depth {row.depth}.** {row.weights:,} features for {row.train_images:,} training images"
        + (_too_few(row) if row.weights < row.train_images else _enough(row))
        for row in losses(results).itertuples()
    ]


def _too_few(row: Any) -> str:
    text = ": the rank of the kernel matrix is at most the number of features, so it is singular in any precision."
    if pd.isna(row.lost):
        return text
    return (
        f"{text} With a plain solve, random features classify {percent(row.features)} % of the test images correctly; "
        f"even with a ridge they are {_points(row.lost_to_width)} points below the exact kernel."
    )


def _enough(row: Any) -> str:
    if pd.isna(row.condition_number) or pd.isna(row.lost):
        return f", {_condition(row.condition_number)}, for at least half of the networks."
    text = (
        f", condition number {_power(row.condition_number)}. Rounding to float32 changes eigenvalues by up to "
        f"{_power(row.rounding_at_smallest)} times the smallest one and loses {_points(row.lost_to_rounding)} points; "
        f"leaving out the ridge loses {_points(row.lost_without_ridge)} points (negative: gains)."
    )
    if row.rounding_at_smallest >= 1 or not _images(row.images_at_limit):
        return text
    return text + (
        f" If the condition number keeps growing as n^{row.condition_exponent:.2f}, float32 fails at about "
        f"{_images(row.images_at_limit)} images."
    )


def summary(results: Results) -> dict[str, Any]:
    """By kernel and depth: median accuracies, condition, and how many draws have answers if not all; slopes."""
    tree: dict[str, Any] = {}
    for row in medians(results).query("train_images == @results.train_images").itertuples():
        counts = {f"{name}_solved": getattr(row, f"{name}_solved") for name in ACCURACIES}
        fewer = {name: count for name, count in counts.items() if count < row.draws}
        values = {name: getattr(row, name) for name in (*ACCURACIES, "condition_number")}
        values |= fewer | ({"draws": row.draws} if fewer else {})
        depths = tree.setdefault(row.kernel, {})
        depths.setdefault(f"depth_{row.depth:02d}", {})[f"{row.source}_{row.dtype}"] = values
    fits = results.sweeps.drop_duplicates(["kernel", "depth"])
    tree["slopes"] = {row.kernel: {"slope": row.slope, "low": row.low, "high": row.high} for row in fits.itertuples()}
    return tree


SCHEMA = Path(__file__).with_name("results.schema.yaml")
PATH = ["test_accuracy", "loo_accuracy", "loo_error", "condition_number"]
# Heading → column of `losses`.
_PARTS = {
    "lost": "lost",
    "finite width": "lost_to_width",
    "no ridge": "lost_without_ridge",
    "rounding": "lost_to_rounding",
}
_SWEEP = [*KERNEL, "depth", "width", "network", "deviation", "slope", "low", "high", "confidence"]


def _row(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The columns that identify a problem."""
    row = kernel_columns(document, result["kind"]) | {name: result[name] for name in ("depth", "dtype")}
    drawn = document["source"] == "features"
    row |= {"source": document["source"], "width": document["width"] if drawn else 0}
    row |= {"draw": document["draw"] if drawn else -1, "features": result["features"] if drawn else 0}
    return row | {name: result[name] for name in ("train_images", "test_images")}


def _sweep_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for sweep in document["sweeps"]:
        kernel = kernel_columns(document, sweep["kind"]) | {"depth": document["depth"]}
        low, high = sweep["interval"]
        fit = {"slope": sweep["slope"], "low": low, "high": high, "confidence": sweep["confidence"]}
        rows += [
            kernel | {"width": width, "network": network, "deviation": deviation} | fit
            for width, deviations in zip(sweep["widths"], sweep["deviations"], strict=True)
            for network, deviation in enumerate(deviations)
        ]
    return rows


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """NTK before NNGP, exact kernels before features; families and the rest as in the files."""
    names = ["readout", "family", "kind", "depth", "source", "dtype", "draw"]
    frame = frame.sort_values(names, key=_by_kind, kind="stable", ignore_index=True)
    return frame[[*PROBLEM, "draw", *(name for name in frame.columns if name not in {*PROBLEM, "draw"})]]


def _by_kind(column: pd.Series) -> pd.Series:
    order = {"ntk": 0, "nngp": 1, "exact": 0, "features": 1}
    return column.map(order) if column.name in ("kind", "source") else column


def _ranged(row: Any, name: str) -> str:
    """Median and range over networks in percent, and how many have no answer."""
    value = getattr(row, name)
    if pd.isna(value):
        return SINGULAR
    text = percent(value)
    if row.draws > 1:
        text += f" [{percent(getattr(row, f'{name}_low'))}, {percent(getattr(row, f'{name}_high'))}]"
    missing = row.draws - getattr(row, f"{name}_solved")
    return f"{text}, {missing} singular" if missing else text


def _points(loss: float) -> str:
    """A loss in points, without the sign of a positive one."""
    return signed_points(loss).removeprefix("+")


def _condition(value: float) -> str:
    return "singular without a ridge" if pd.isna(value) else f"condition number {value:.1e}"


def _power(value: float) -> str:
    return SINGULAR if pd.isna(value) or np.isinf(value) else f"{value:.1e}"


def _images(value: float) -> str:
    return "" if pd.isna(value) or np.isinf(value) else f"{float(f'{value:.2g}'):,.0f}"


def _rank(row: Any, n: int) -> str:
    """The rank and its upper bound."""
    bound = min(n, int(row.weights))
    return f"of {bound}" if pd.isna(row.rank) else f"{row.rank:.0f} of {bound}"
