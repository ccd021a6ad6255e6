"""Data frames as Markdown for terminals and as HTML for the report."""

from html import escape

import pandas as pd

MINUS = "\u2212"
SHORT = 24  # characters of a cell that stays on one line
NAME = 12  # and of a heading


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table padded so that it also reads well as plain text; cells are shown with `str`, NaN as nothing."""
    cells = [[str(name) for name in frame.columns], *to_texts(frame)]
    # two at least: a rule needs a dash beside its colon
    widths = [max(2, *(len(row[j]) for row in cells)) for j in range(len(frame.columns))]
    right = _right_aligned(frame)
    rule = [("-" * (width - 1) + ":") if r else "-" * width for width, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in [cells[0], rule, *cells[1:]]
    )


def to_html(frame: pd.DataFrame, caption: str = "") -> str:
    """A table in a container that scrolls sideways on a narrow screen, its caption above; everything is escaped."""
    kinds = ["number" if right else kind for right, kind in zip(_right_aligned(frame), _lengths(frame), strict=True)]
    head = "".join(
        f'<th scope="col" class="{kind}{" name" if len(str(name)) <= NAME else ""}">{escape(str(name))}</th>'
        for name, kind in zip(frame.columns, kinds, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in to_texts(frame)
    )
    title = f'<p class="caption">{escape(caption)}</p>\n' if caption else ""
    label = f' role="region" aria-label="{escape(caption)}"' if caption else ""
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'{title}<div class="scroll"{label} tabindex="0">{table}</div>'


def unbroken(sentence: str) -> str:
    """The sentence without line breaks between a number and its %."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def to_texts(frame: pd.DataFrame) -> list[list[str]]:
    """The cells, row by row, as tables show them: `str`, NaN as nothing."""
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]


def percent(value: float, spread: float = float("nan")) -> str:
    """A fraction as percent, ``97.11`` or ``97.11 ± 0.42``; nothing where there is no value."""
    if pd.isna(value):
        return ""
    return f"{100 * value:.2f}" if pd.isna(spread) else f"{100 * value:.2f} ± {100 * spread:.2f}"


def signed_points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign unless it rounds to zero."""
    if pd.isna(value):
        return ""
    text = f"{100 * value:+.2f}".replace("-", MINUS)
    return "0.00" if float(f"{100 * value:.2f}") == 0 else text


def _lengths(frame: pd.DataFrame) -> list[str]:
    """ "short" for columns of names, which should stay on one line, "text" for the others."""
    columns = zip(*to_texts(frame), strict=True) if len(frame) else [()] * len(frame.columns)
    return ["short" if max(map(len, column), default=0) <= SHORT else "text" for column in columns]


def _right_aligned(frame: pd.DataFrame) -> list[bool]:
    """Columns whose cells all begin like numbers."""
    starts = set("0123456789+.[" + MINUS)
    columns = zip(*to_texts(frame), strict=True) if len(frame) else [()] * len(frame.columns)
    return [any(column) and all(not cell or cell[0] in starts for cell in column) for column in columns]
