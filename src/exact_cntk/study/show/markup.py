"""Data frames as Markdown for terminals and as HTML for the report, and how both show what has no answer.

An average over repeats, subsets, seeds or draws has members. Where some of them have no answer, what is shown is over
the others: `counted` says so in a cell, `unsolved_note` beside a table why, and `mark_counts` in a figure.
"""

from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

MINUS = "\u2212"
SHORT = 24  # characters of a cell that stays on one line
NAME = 12  # and of a heading
# What stands where there is no answer, and why there is none.
SINGULAR, DIVERGED = "singular", "diverged"
WHY_SINGULAR = (
    "without ridge, the kernel matrix is singular to working precision, for example because of duplicate images"
)
WHY_DIVERGED = "training diverged"


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


def counted(text: str, solved: int, members: int, unsolved: str = SINGULAR) -> str:
    """An average as ``text (2 of 3)`` where fewer than all members have an answer, as `unsolved` where none has."""
    if solved == members:
        return text
    return f"{text} ({solved} of {members})" if solved else unsolved


def unsolved_note(solved: Iterable[int], members: Iterable[int], what: str, why: str, fits: str = "fits") -> str:
    """Why averages have fewer members than are said to be there, for beside a table; empty where none has.

    Parameters
    ----------
    solved, members : iterables of int
        Of each average: how many members have an answer, and how many there are.
    what : str
        What the members are, in the plural: "subsets".
    why : str
        Why the others have none, as a clause.
    fits : str
        What all members of all averages are called.
    """
    counts = [(int(one), int(all_)) for one, all_ in zip(solved, members, strict=True)]
    missing, total = sum(all_ - one for one, all_ in counts), sum(all_ for _, all_ in counts)
    if not missing:
        return ""
    note = f"No answer in {missing} of {total} {fits}: {why}."
    for one, all_ in counts:
        if 0 < one < all_:
            return (
                f"{note} ({one} of {all_}) after a number: it is over the {one} of {all_} {what} that have an answer."
            )
    return note


def with_notes(caption: str, *notes: str) -> str:
    """A caption, and after it the notes that are not empty."""
    found = [note for note in notes if note]
    return " ".join([f"{caption}.", *found]) if found else caption


def mark_counts(
    axes: Any,
    points: Iterable[tuple[float, float]],
    solved: Iterable[int],
    members: Iterable[int],
    color: Any,
    unsolved: str = SINGULAR,
) -> None:
    """Write ``2 of 3`` at points that are over fewer than all members; at the bottom, where there is no point.

    Parameters
    ----------
    axes : matplotlib Axes
    points : iterable of (x, y)
        y is NaN where no member has an answer.
    solved, members : iterables of int
        As `unsolved_note` takes them.
    color : matplotlib colour
        Of the curve.
    unsolved : str
        As `counted` takes it.
    """
    for (x, y), one, all_ in zip(points, solved, members, strict=True):
        if one == all_:
            continue
        # one above the other, for curves that have no point at the same place
        place = (x, 0.02 + 0.06 * len(axes.texts)) if pd.isna(y) else (x, y)
        axes.annotate(
            f"{one} of {all_}" if one else unsolved,
            place,
            xycoords=axes.get_xaxis_transform() if pd.isna(y) else "data",
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            color=color,
        )


def _lengths(frame: pd.DataFrame) -> list[str]:
    """ "short" for columns of names, which should stay on one line, "text" for the others."""
    columns = zip(*to_texts(frame), strict=True) if len(frame) else [()] * len(frame.columns)
    return ["short" if max(map(len, column), default=0) <= SHORT else "text" for column in columns]


def _right_aligned(frame: pd.DataFrame) -> list[bool]:
    """Columns whose cells all begin like numbers, or say that there is none."""
    starts, words = set("0123456789+.[" + MINUS), (SINGULAR, DIVERGED)
    columns = zip(*to_texts(frame), strict=True) if len(frame) else [()] * len(frame.columns)
    return [
        any(column) and all(not cell or cell[0] in starts or cell in words for cell in column) for column in columns
    ]
