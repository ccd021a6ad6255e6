"""Data frames as Markdown for terminals and as HTML for the report."""

from html import escape

import pandas as pd

MINUS = "\u2212"


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table padded so that it also reads well as plain text; cells are shown with `str`, NaN as nothing."""
    cells = [[str(name) for name in frame.columns], *_cells(frame)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(frame.columns))]
    right = _right_aligned(frame)
    rule = [("-" * (width - 1) + ":") if r else "-" * width for width, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in [cells[0], rule, *cells[1:]]
    )


def to_html(frame: pd.DataFrame, caption: str = "") -> str:
    """A table in a container that scrolls sideways on a narrow screen; everything is escaped."""
    right = ['class="number"' if r else "" for r in _right_aligned(frame)]

    def row(cells: list[str], tag: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        opened = [f"<{tag}{scope}{' ' + kind if kind else ''}>" for kind in right]
        return "<tr>" + "".join(f"{o}{escape(c)}</{tag}>" for o, c in zip(opened, cells, strict=True)) + "</tr>"

    head = row([str(name) for name in frame.columns], "th")
    body = "\n".join(row(cells, "td") for cells in _cells(frame))
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    table = f"<table>{title}\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def percent(value: float, spread: float = float("nan")) -> str:
    """A fraction as percent, ``97.11`` or ``97.11 ± 0.42``; nothing where there is no value."""
    if pd.isna(value):
        return ""
    return f"{100 * value:.2f}" if pd.isna(spread) else f"{100 * value:.2f} ± {100 * spread:.2f}"


def signed_points(value: float) -> str:
    """A difference of fractions in percentage points, always with its sign."""
    return "" if pd.isna(value) else f"{100 * value:+.2f}".replace("-", MINUS)


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]


def _right_aligned(frame: pd.DataFrame) -> list[bool]:
    """Columns whose cells all begin like numbers."""
    starts = set("0123456789+.[" + MINUS)
    columns = zip(*_cells(frame), strict=True) if len(frame) else [()] * len(frame.columns)
    return [any(column) and all(not cell or cell[0] in starts for cell in column) for column in columns]
