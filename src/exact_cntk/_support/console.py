"""What the verbs share: reading lists, progress bars, lines for the log, and options with one meaning and one text."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from exact_cntk._support.outputs import is_printable
from exact_cntk.errors import InputError, shortened

T = TypeVar("T", int, float)
# Decimal digits alone: Python would also read 1_0, and digits of other scripts.
_WHOLE = re.compile(r"[-+]?\d+", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# Limits of numbers, and patterns of names, as the schema of parameters has them.
LARGEST_SEED, LARGEST_RIDGE, MOST_GIB = 2**32 - 1, 1e6, 1e6
LARGEST_DEPTH, LARGEST_SIZE, MOST_RESAMPLES, LONGEST_NAME = 1000, 1001, 100_000, 100
MOST_THREADS = MOST_SECONDS = 10_000
MOST_IMAGES = 2**31 - 1
FAMILY, STUDY = r"[a-z][a-z0-9]*(-[a-z0-9]+)*", r"[a-z0-9][a-z0-9-]*"


def whole(at_least: int, at_most: int) -> Callable[[object], int]:
    """Reader of an option: a whole number within limits."""

    def read(given: object) -> int:
        text = str(given)
        if not _WHOLE.fullmatch(text) or len(text) > 20 or not at_least <= int(text) <= at_most:
            raise typer.BadParameter(f"{shortened(text)} is no whole number from {at_least} to {at_most}")
        return int(text)

    return read


def number(at_least: float, at_most: float, *, above: bool = False) -> Callable[[object], float]:
    """Reader of an option: a finite number within limits, the lower one excluded if `above`."""

    def read(given: object) -> float:
        text = str(given)
        value = float(text) if _NUMBER.fullmatch(text) else float("nan")
        if not at_least <= value <= at_most or (above and value == at_least):
            limits = f"above {at_least:g} up to {at_most:g}" if above else f"from {at_least:g} to {at_most:g}"
            raise typer.BadParameter(f"{shortened(text)} is no number {limits}")
        return value

    return read


def name(pattern: str, words: str) -> Callable[[object], str]:
    """Reader of an option: a name, as in the parameters of a study."""

    def read(given: object) -> str:
        text = str(given)
        if not re.fullmatch(pattern, text) or len(text) > LONGEST_NAME:
            raise typer.BadParameter(
                f"{shortened(text)} is not allowed; give {words}, at most {LONGEST_NAME} characters"
            )
        return text

    return read


family_name = name(FAMILY, "words of lower-case letters and digits, separated by hyphens, beginning with a letter")
study_name = name(STUDY, "lower-case letters, digits and hyphens, not beginning with a hyphen")


def parse_list(option: str, text: str, read: Callable[[object], T]) -> list[T]:
    """Read "3,4,6" as numbers, each by `whole` or `number`; InputError names the option."""
    try:
        return [read(item) for item in text.split(",")]
    except typer.BadParameter as error:
        raise InputError(f"{option} is {shortened(text)}: {error.message}; separate several by commas") from None


def parse_names(option: str, text: str, allowed: str) -> list[str]:
    """Read "ntk,nngp" as names; InputError, naming the option, if one of them is empty."""
    names = text.split(",")
    if "" in names:
        raise InputError(f"{option} is {shortened(text)}; allowed is {allowed}, without empty parts")
    return names


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a progress bar is useful; in a log it would be noise."""
    return sys.stderr.isatty()


def escape_output() -> None:
    """Let stdout escape what its encoding lacks, as stderr does, rather than fail after the work is done."""
    if hasattr(sys.stdout, "reconfigure"):  # not where something else collects the output
        sys.stdout.reconfigure(errors="backslashreplace")


def log(line: str) -> None:
    """Print a line to the log: stderr, as stdout is for results. Line ends in it, of names of files, are escaped."""
    shown = line if line.isprintable() else "".join(c if is_printable(c) else ascii(c)[1:-1] for c in line)
    print(shown, file=sys.stderr, flush=True)


Data = Annotated[Path, typer.Option(help="Images from `exact-cntk data prepare`.", metavar="FILE.h5")]
KernelData = Annotated[Path, typer.Option(help="The images that the kernel was computed from.", metavar="FILE.h5")]
FamilyName = Annotated[
    str, typer.Option(parser=family_name, help="Name of the family, recorded with the results.", metavar="NAME")
]
Ridges = Annotated[str, typer.Option(help="Relative to the kernel's mean diagonal; include 0.", metavar="0,1e-6,...")]
StudyName = Annotated[
    str | None,
    typer.Option(parser=study_name, help="Name of the study. [default: the data file's]", metavar="NAME"),
]
StudyDir = Annotated[Path, typer.Option(help="Folder of the study, results/<study>.", metavar="DIR")]
gib = number(0, MOST_GIB, above=True)
MaxMemory = Annotated[
    float | None, typer.Option(parser=gib, help="Fail if more memory than this is needed.", metavar="GIB")
]
Threads = Annotated[
    int | None,
    typer.Option(parser=whole(1, MOST_THREADS), help="CPU threads. [default: one for each core]", metavar="N"),
]
