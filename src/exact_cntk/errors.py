"""Errors that a user can fix; the command line prints them as one line, without a traceback."""

import difflib
import reprlib
from collections.abc import Sequence


class UserError(Exception):
    """Something outside the program is wrong: a file, a parameter, the machine's memory or disk."""


class InputError(UserError, ValueError):
    """An argument is wrong: the message names it, its value and what is allowed."""


class LayoutWarning(UserWarning):
    """Numbers were taken for images in a way that may not be meant; the message says how to say what is meant."""


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxdict = 12
_SHORT.maxstring = _SHORT.maxother = 120


def shortened(value: object) -> str:
    """A value for one line of a message, in which long lists and texts are cut."""
    return _SHORT.repr(value)


def nearest(name: object, allowed: Sequence[str]) -> str:
    """Ask whether the nearest of the allowed names was meant, if one is near."""
    # Half of the letters in common is enough: a wrong suggestion costs nothing, the allowed names are listed too.
    matches = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
