"""Differences between the coefficients of two comparisons over the same architectures, resampled in pairs."""

from typing import Any

import numpy as np

from exact_cntk.errors import UserError
from exact_cntk.study.stats.comparison import KINDS, Comparison
from exact_cntk.study.stats.statistics import COEFFICIENTS, interval, undefined_reason


def difference(first: Comparison, second: Comparison) -> list[dict[str, Any]]:
    """Differences first − second of the coefficients of two comparisons over the same architectures.

    Both must come from one `Resampled`, or two of the same seed, so that their draws are paired.

    Returns
    -------
    list of dict
        One row per coefficient: names of both (`proxy`, `target`, `other_proxy`, `other_target`), `scope`, `n`,
        `statistic`, `first` and `second` (the two coefficients), `value` (first − second), `<kind>_low`, `<kind>_high`,
        `note`.

    Raises
    ------
    UserError
        The architectures differ.
    """
    if first.architectures != second.architectures:
        raise UserError(
            f"second = {second.proxy} ~ {second.target}: its architectures are not those of "
            f"{first.proxy} ~ {first.target}; a difference of coefficients needs the same ones"
        )
    note = undefined_reason(first.x, first.y) or undefined_reason(second.x, second.y)
    rows = []
    for name in COEFFICIENTS:
        row: dict[str, Any] = {key: getattr(first, key) for key in ("source", "dataset", "proxy", "target")}
        row |= {"other_proxy": second.proxy, "other_target": second.target, "scope": first.scope, "n": len(first.x)}
        row |= {"statistic": name, "first": first.value(name), "second": second.value(name)}
        row["value"] = row["first"] - row["second"]
        for kind in KINDS:
            low, high = np.nan, np.nan
            if kind in first.resampled and kind in second.resampled and not note:
                low, high = interval(row["value"], first.draws(name, kind) - second.draws(name, kind), bound=2.0)
            row |= {f"{kind}_low": low, f"{kind}_high": high}
        rows.append(row | {"note": note})
    return rows
