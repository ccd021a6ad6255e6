"""What the verbs share: reading lists, progress bars, lines for the log, and options with one meaning and one text."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from exact_cntk.errors import InputError

Number = TypeVar("Number", int, float)


def parse_list(option: str, text: str, number: Callable[[str], Number]) -> list[Number]:
    """Read "3,4,6" as numbers; InputError names the option."""
    try:
        return [number(item) for item in text.split(",")]
    except ValueError:
        kind = "integers" if number is int else "numbers"
        raise InputError(f"{option} is {text!r}; allowed are {kind} separated by commas") from None


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a progress bar is useful; in a log it would be noise."""
    return sys.stderr.isatty()


def escape_output() -> None:
    """Let stdout escape what its encoding lacks, as stderr does, rather than fail after the work is done."""
    if hasattr(sys.stdout, "reconfigure"):  # not where something else collects the output
        sys.stdout.reconfigure(errors="backslashreplace")


def log(line: str) -> None:
    """Print a line to the log: stderr, as stdout is for results."""
    print(line, file=sys.stderr, flush=True)


Data = Annotated[Path, typer.Option(help="Images from `exact-cntk data prepare`.", metavar="FILE.h5")]
KernelData = Annotated[Path, typer.Option(help="The images that the kernel was computed from.", metavar="FILE.h5")]
FamilyName = Annotated[str, typer.Option(help="Name of the family, recorded with the results.", metavar="NAME")]
Ridges = Annotated[str, typer.Option(help="Relative to the kernel's mean diagonal; include 0.", metavar="0,1e-6,...")]
StudyName = Annotated[str | None, typer.Option(help="Name of the study. [default: the data file's]", metavar="NAME")]
StudyDir = Annotated[Path, typer.Option(help="Folder of the study, results/<study>.", metavar="DIR")]
MaxMemory = Annotated[float | None, typer.Option(help="Fail if more memory than this is needed.", metavar="GIB")]
