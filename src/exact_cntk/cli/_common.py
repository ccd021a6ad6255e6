"""What the verbs share: reading lists, progress bars, and lines for the log."""

import sys
from collections.abc import Callable
from typing import TypeVar

from exact_cntk.errors import InputError

Number = TypeVar("Number", int, float)


def parse_list(option: str, text: str, number: Callable[[str], Number]) -> list[Number]:
    """Read "3,4,6" as numbers.

    Raises
    ------
    InputError
        Naming the option.
    """
    try:
        return [number(item) for item in text.split(",")]
    except ValueError:
        kind = "integers" if number is int else "numbers"
        raise InputError(f"{option} is {text!r}, but must be {kind} with commas between them") from None


def on_terminal() -> bool:
    """Whether a progress bar would be seen; in a log it would be noise."""
    return sys.stderr.isatty()


def log(line: str) -> None:
    """One line for the log: stderr, as stdout is for results."""
    print(line, file=sys.stderr, flush=True)
