"""Data frames as Markdown for terminals and as HTML for the report, and how both show missing answers.

An average over repeats, subsets, seeds or draws has members. If some of them have no answer, it is over the others:
`counted` says so in a cell, `mark_counts` in a figure, and `unsolved_note` explains why.
"""

from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

MINUS = "\u2212"
SHORT = 24  # characters of a cell that stays on one line
NAME = 12  # and of a heading
# What is shown in place of a missing answer, and the reason.
SINGULAR, UNSOLVED, DIVERGED = "singular", "unsolved", "diverged"
WHY_SINGULAR = (
    "without ridge, the kernel matrix is singular to working precision, for example because of duplicate images"
)
WHY_UNSOLVED = f"{WHY_SINGULAR}, or so nearly that conjugate gradients do not converge"
WHY_DIVERGED = "training diverged"


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table padded so that it also reads well as plain text."""
    cells = [[str(name) for name in frame.columns], *to_texts(frame)]
    # at least two: a rule needs a dash and a colon
    widths = [max(2, *(len(row[j]) for row in cells)) for j in range(len(frame.columns))]
    right = _right_aligned(frame)
    rule = [("-" * (width - 1) + ":") if r else "-" * width for width, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in [cells[0], rule, *cells[1:]]
    )


def to_html(frame: pd.DataFrame, caption: str = "") -> str:
    """A table in a container that scrolls sideways on a narrow screen, below its caption; everything is escaped."""
    kinds = [
        "number" if right else "short" if max(map(len, column), default=0) <= SHORT else "text"
        for right, column in zip(_right_aligned(frame), _columns(frame), strict=True)
    ]
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
    """The cells, row by row, as tables show them: by `str`, NaN as an empty text."""
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]


def percent(value: float, spread: float = float("nan")) -> str:
    """A fraction as percent, ``97.11`` or ``97.11 ± 0.42``; empty for NaN."""
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
    """An average as ``text (2 of 3)`` if some members have no answer, as `unsolved` if none has one."""
    if solved == members:
        return text
    return f"{text} ({solved} of {members})" if solved else unsolved


def unsolved_note(solved: Iterable[int], members: Iterable[int], what: str, why: str, fits: str = "fits") -> str:
    """Why some averages have fewer members than stated; empty if all are complete.

    Parameters
    ----------
    solved, members : iterables of int
        Of each average: how many members have an answer, and how many there are.
    what : str
        What the members are, in the plural: "subsets".
    why : str
        Why the others have no answer, as a clause.
    fits : str
        Name for the members of all averages.
    """
    counts = [(int(answered), int(total)) for answered, total in zip(solved, members, strict=True)]
    missing = sum(total - answered for answered, total in counts)
    if not missing:
        return ""
    note = f"No answer in {missing} of {sum(total for _, total in counts)} {fits}: {why}."
    partial = next((f"{answered} of {total}" for answered, total in counts if 0 < answered < total), "")
    return (
        f"{note} ({partial}) after a number: it is over the {partial} {what} that have an answer." if partial else note
    )


def with_notes(caption: str, *notes: str) -> str:
    """A caption, followed by the notes that are not empty."""
    return " ".join([f"{caption}.", *filter(None, notes)]) if any(notes) else caption


def mark_counts(
    axes: Any,
    points: Iterable[tuple[float, float]],
    solved: Iterable[int],
    members: Iterable[int],
    color: Any,
    unsolved: str = SINGULAR,
) -> None:
    """Write ``2 of 3`` at points that average some of their members; at the bottom if there is no point.

    Parameters
    ----------
    axes : matplotlib Axes
    points : iterable of (x, y)
        y is NaN if no member has an answer.
    solved, members : iterables of int
        As for `unsolved_note`.
    color : matplotlib colour
        Of the curve.
    unsolved : str
        As for `counted`.
    """
    for (x, y), answered, total in zip(points, solved, members, strict=True):
        if answered == total:
            continue
        # labels without a point are stacked, because several curves may lack the same point
        axes.annotate(
            f"{answered} of {total}" if answered else unsolved,
            (x, 0.02 + 0.06 * len(axes.texts)) if pd.isna(y) else (x, y),
            xycoords=axes.get_xaxis_transform() if pd.isna(y) else "data",
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            color=color,
        )


def _columns(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(zip(*to_texts(frame), strict=True)) if len(frame) else [()] * len(frame.columns)


def _right_aligned(frame: pd.DataFrame) -> list[bool]:
    """Columns whose cells all begin like numbers, or say that there is none."""
    starts, words = set("0123456789+.[" + MINUS), (SINGULAR, UNSOLVED, DIVERGED)
    return [
        any(column) and all(not cell or cell[0] in starts or cell in words for cell in column)
        for column in _columns(frame)
    ]
