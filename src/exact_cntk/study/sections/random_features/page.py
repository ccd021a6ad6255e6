"""Random features: kernels of random finite networks beside the exact ones, and what condition does to both."""

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
    "<p>Gradients of randomly initialised networks of finite width are features whose products tend to the exact "
    "kernel as the width grows; last layers tend to the CNN-GP. Both are solved like the exact kernels of the same "
    "images: without ridge and along the whole ridge path, in float32 and in float64, on all training images, half "
    "of them and a quarter. Numbers are medians over networks. <em>Unchecked</em> means Gaussian elimination "
    "without ridge, whatever the eigenvalues are, as the paper's code solves; all other numbers come from the "
    "eigenvalues, and there is none where the kernel is singular to working precision. The ridge is chosen by "
    "leave-one-out on the training images alone. What random features lose against the exact kernel is the sum of "
    "three parts: finite width (both with the chosen ridge), no ridge (in float64), and rounding (unchecked, "
    "float64 less float32).</p>"
)
CAPTIONS = {
    "random_features_ridge_path": "Test accuracy of the NTK along the ridge path: the exact kernel, and the median "
    "over random networks with their range, in float64. Crosses: random features in float32 without ridge, unchecked.",
    "random_features_condition": "Condition number of the NTK without ridge against the number of training images: "
    "exact kernels, and medians over random networks in float64. Above the dotted line float32 no longer resolves the "
    "smallest eigenvalue.",
    "width_sweep": "Deviation of the empirical from the exact kernel, ‖K_width − K‖ / ‖K‖, against width: a dot a "
    "network, the fitted line, and its slope with a 95 % interval; −1/2 is expected.",
}


def load(study: Study, files: Sequence[str | Path], *, resamples: int = 0, seed: int = 0) -> Results:
    """Read the section's files.

    Parameters
    ----------
    study : Study
    files : sequence of paths
        Those of the section's jobs.
    resamples, seed : int
        Not used: spreads are over networks.

    Raises
    ------
    UserError
        A file is not one of results, or was made from other data than the study's; or draws or exact kernels are
        missing.
    """
    problems: list[dict[str, Any]] = []
    path_rows: list[dict[str, Any]] = []
    sweeps: list[dict[str, Any]] = []
    for path, document in read_documents(study.data, files, keys=NEEDED).items():
        if document["source"] == "sweep":
            sweeps.extend(_sweep_rows(document))
            continue
        for result in document["results"]:
            try:
                row = _row(document, result)
                problems.append(row | {name: result[name] for name in VALUES if name != "condition_number"})
                problems[-1]["condition_number"] = result["condition_number"][result["ridges"].index(0)]
                path_rows.extend(row | values for values in _path_rows(result))
            except (KeyError, ValueError) as error:
                raise UserError(f"{path}: a result lacks {error}; compute this file again") from error
    present = {row["source"] for row in problems}
    if missing := {"features", "exact"} - present:
        raise UserError(
            f"no results of {' and '.join(sorted(missing))}: run its jobs first, see "
            "`exact-cntk section run random_features`"
        )
    frame, paths = pd.DataFrame(problems), pd.DataFrame(path_rows)
    for one, names in ((frame, VALUES), (paths, ["test_accuracy", "loo_accuracy", "loo_error", "condition_number"])):
        one[names] = one[names].astype(float)
    swept = pd.DataFrame(sweeps, columns=_SWEEP).sort_values(["readout", "family", "kind"], key=_by_kind, kind="stable")
    return Results(study, _ordered(frame), _ordered(paths), swept.reset_index(drop=True))


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Tidy: every draw, medians over draws, ridge paths, the paper's Table 2 beside ours, and the sweep."""
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
    """The paper's Table 2 beside ours; what is lost and why; slopes."""
    n, m = results.train_images, int(results.problems.test_images.max())
    draws = results.problems[results.problems.source == "features"].draw.nunique()
    width = int(results.problems.width.max())
    networks = "one network" if draws == 1 else f"{draws} networks"
    where = f"{results.study.dataset}, {n:,} training and {m:,} test images; {width} channels, {networks}"
    table = losses(results)
    why = "Gaussian elimination meets a pivot of 0, the kernel matrix being singular"
    note = unsolved_note(table.solved, table.draws, "networks", why, "networks")
    found = [
        (
            f"Test accuracy (%) beside the paper's Table 2 ({where}{'; ranges over networks' * (draws > 1)})",
            beside_paper(results),
        ),
        (
            with_notes(
                "What random features, unchecked and in float32, lose against the exact kernel with its chosen ridge "
                f"(points), and the condition of their kernels ({where})",
                note,
            ),
            losses_shown(results),
        ),
    ]
    if len(results.sweeps):
        found.append(("Convergence with width: slope of log deviation on log width", slopes(results)))
    return found


def beside_paper(results: Results) -> pd.DataFrame:
    """For people: a row a readout and depth of the NTK; the paper's two columns beside ours."""
    table = medians(results)
    table = table[(table.train_images == results.train_images) & (table.kind == "ntk")]
    published = references.table2()
    rows = []
    for (kernel, depth), group in table.groupby(["kernel", "depth"], sort=False):
        drawn = {row.dtype: row for row in group[group.source == "features"].itertuples()}
        exact = group[group.source == "exact"].iloc[-1]
        known = kernel in PAPER_COLUMNS and depth in published.index
        paper = [f"{published[name][depth]:.2f}" if known else "" for name in PAPER_COLUMNS.get(kernel, ("", ""))]
        single, double = drawn["float32"], drawn["float64"]
        rows.append(
            {
                "kernel": kernel,
                "depth": depth,
                "RF, paper": paper[0],
                "RF, float32, no ridge, unchecked": _ranged(single, "unchecked_accuracy"),
                "RF, float64, no ridge": _ranged(double, "accuracy"),
                "RF, chosen ridge": _ranged(double, "accuracy_loo_ridge"),
                "exact, paper": paper[1],
                "exact, no ridge": percent(exact.accuracy) or SINGULAR,
                "exact, chosen ridge": percent(exact.accuracy_loo_ridge),
            }
        )
    return pd.DataFrame(rows)


def losses_shown(results: Results) -> pd.DataFrame:
    """`losses` for people."""
    table = losses(results)
    return pd.DataFrame(
        {
            "kernel": table.kernel,
            "depth": table.depth,
            "lost": _lost(table, "lost"),
            "to finite width": _lost(table, "lost_to_width"),
            "without ridge": _lost(table, "lost_without_ridge"),
            "to rounding": _lost(table, "lost_to_rounding"),
            "condition, RF": table.condition_number.map(_power),
            "condition, exact": table.exact_condition_number.map(_power),
            "× rounding of float32": table.rounding_at_smallest.map(_power),
            "reaches 1 at n ≈ (extrapolated)": [
                SINGULAR if pd.isna(row.condition_number) else _images(row.images_at_limit)
                for row in table.itertuples()
            ],
            "rank": [_rank(row, results.train_images) for row in table.itertuples()],
        }
    )


def slopes(results: Results) -> pd.DataFrame:
    """For people: a row a swept kernel."""
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
    """What random features lose, to what; and the slope."""
    table = losses(results).query("kind == 'ntk'").dropna(subset="lost")
    sentences = []
    if len(table):
        row, images = table.loc[table.lost.idxmax()], int(results.problems.test_images.max())
        some = f"; over the {row.solved} of {row.draws} networks with all answers" if row.solved < row.draws else ""
        sentences.append(
            "Random features of the NTK fall farthest behind the exact kernel for "
            f"{row.kernel} at depth {row.depth}: by {signed_points(row.lost)} points, "
            f"{signed_points(row.lost_to_width)} of them from finite width, "
            f"{signed_points(row.lost_without_ridge)} from solving without ridge and "
            f"{signed_points(row.lost_to_rounding)} from rounding to float32 "
            f"({_condition(row.condition_number)}{some}). On {images:,} test images, one accuracy alone has a "
            f"standard error of {signed_points(binomial_error(row.exact, images)).lstrip('+')} points."
        )
    if len(results.sweeps):
        fits = results.sweeps.drop_duplicates(["kernel", "depth"])
        agreeing = ((fits.low <= -0.5) & (fits.high >= -0.5)).sum()
        sentences.append(
            f"Empirical kernels approach the exact ones as width^p with p from {fits.slope.min():.2f} to "
            f"{fits.slope.max():.2f}; {agreeing} of {len(fits)} intervals hold −1/2.".replace("-", "−")
        )
    return sentences


def explanation(results: Results) -> list[str]:
    """What the numbers say about conditioning, a paragraph a kernel, in Markdown, for the notebook."""
    found = []
    for row in losses(results).itertuples():
        text = f"**{row.kernel}, depth {row.depth}.** {row.weights:,} features for {row.train_images:,} training images"
        found.append(text + (_too_few(row) if row.weights < row.train_images else _enough(row)))
    return found


def _too_few(row: Any) -> str:
    text = ": the kernel has no higher rank, and is singular in any precision."
    if pd.isna(row.lost):
        return text
    return (
        f"{text} Unchecked, random features classify "
        f"{percent(row.features)} % rightly; with the chosen ridge they lack {signed_points(row.lost_to_width)} points "
        "to the exact kernel."
    )


def _enough(row: Any) -> str:
    if pd.isna(row.condition_number) or pd.isna(row.lost):
        return f", {_condition(row.condition_number)}, in half of the networks or more."
    text = (
        f", condition number {_power(row.condition_number)}. Rounding to float32 moves eigenvalues by up to "
        f"{_power(row.rounding_at_smallest)} times the smallest one; it costs {signed_points(row.lost_to_rounding)} "
        f"points, and no ridge costs {signed_points(row.lost_without_ridge)}."
    )
    if row.rounding_at_smallest >= 1 or not _images(row.images_at_limit):
        return text
    return text + (
        f" If the condition number goes on growing as n^{row.condition_exponent:.2f}, rounding is as large as the "
        f"smallest eigenvalue at about {_images(row.images_at_limit)} images."
    )


def summary(results: Results) -> dict[str, Any]:
    """By kernel and depth: median accuracies, condition, and how many draws have answers if not all; slopes."""
    found: dict[str, Any] = {}
    for row in medians(results).query("train_images == @results.train_images").itertuples():
        where = found.setdefault(row.kernel, {}).setdefault(f"depth_{row.depth:02d}", {})
        where[f"{row.source}_{row.dtype}"] = {name: getattr(row, name) for name in (*ACCURACIES, "condition_number")}
        counts = {f"{name}_solved": getattr(row, f"{name}_solved") for name in ACCURACIES}
        fewer = {name: count for name, count in counts.items() if count < row.draws}
        where[f"{row.source}_{row.dtype}"] |= fewer | ({"draws": row.draws} if fewer else {})
    fits = results.sweeps.drop_duplicates(["kernel", "depth"])
    found["slopes"] = {row.kernel: {"slope": row.slope, "low": row.low, "high": row.high} for row in fits.itertuples()}
    return found


NEEDED = ("study", "family", "readout", "trained", "filter_size", "source")
_SWEEP = [*KERNEL, "depth", "width", "network", "deviation", "slope", "low", "high", "confidence"]


def _row(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What identifies a problem."""
    row = kernel_columns(document, result["kind"]) | {name: result[name] for name in ("depth", "dtype")}
    drawn = document["source"] == "features"
    row |= {"source": document["source"], "width": document["width"] if drawn else 0}
    row |= {"draw": document["draw"] if drawn else -1, "features": result["features"] if drawn else 0}
    return row | {name: result[name] for name in ("train_images", "test_images")}


def _path_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("test_accuracy", "loo_accuracy", "loo_error", "condition_number")
    columns = zip(result["ridges"], *(result[name] for name in names), strict=True)
    return [dict(zip(("ridge", *names), values, strict=True)) for values in columns]


def _sweep_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for one in document["sweeps"]:
        kernel = kernel_columns(document, one["kind"]) | {"depth": document["depth"]}
        fit = dict(
            zip(
                ("slope", "low", "high", "confidence"), (one["slope"], *one["interval"], one["confidence"]), strict=True
            )
        )
        for width, deviations in zip(one["widths"], one["deviations"], strict=True):
            for network, deviation in enumerate(deviations):
                rows.append(kernel | {"width": width, "network": network, "deviation": deviation} | fit)
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
    """Median and range over networks, in percent; how many have no answer."""
    value = getattr(row, name)
    if pd.isna(value):
        return "singular"
    text = percent(value)
    if row.draws > 1:
        text += f" [{percent(getattr(row, f'{name}_low'))}, {percent(getattr(row, f'{name}_high'))}]"
    missing = row.draws - getattr(row, f"{name}_solved")
    return f"{text}, {missing} singular" if missing else text


def _lost(table: pd.DataFrame, name: str) -> list[str]:
    """A column of `losses` in points."""
    values = zip(table[name].map(signed_points), table.solved, table.draws, strict=True)
    return [counted(text, solved, draws) for text, solved, draws in values]


def _condition(value: float) -> str:
    return "singular without ridge" if pd.isna(value) else f"condition number {value:.1e}"


def _power(value: float) -> str:
    return "singular" if pd.isna(value) or np.isinf(value) else f"{value:.1e}"


def _images(value: float) -> str:
    return "" if pd.isna(value) or np.isinf(value) else f"{float(f'{value:.2g}'):,.0f}"


def _rank(row: Any, n: int) -> str:
    """Of what it can be at most."""
    bound = min(n, int(row.weights))
    return f"of {bound}" if pd.isna(row.rank) else f"{row.rank:.0f} of {bound}"
