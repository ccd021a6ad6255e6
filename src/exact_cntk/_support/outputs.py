"""The files that a job is to write: checked before it starts, as it may take hours."""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from exact_cntk._support.atomic import temporary_name
from exact_cntk._support.machine import require_writable
from exact_cntk.errors import InputError, UserError


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[tuple[str, Path]]) -> None:
    """Refuse outputs that cannot be written, or are an input or another output, by whatever name or link.

    Parameters
    ----------
    outputs : mapping of str to Path
        What stands for them in messages, such as "--out" → the file.
    inputs : iterable of (str, Path)
        The same of what the job reads.

    Raises
    ------
    InputError, UserError
        Naming the output, its value and what else it is, or why it cannot be written.
    """
    others = list(inputs)
    for name, path in outputs.items():
        if not is_printable(str(path)):
            raise InputError(
                f"{name} is {str(path)!r}; a file's name may hold no line ends, other control characters or bytes that "
                "are not UTF-8: choose another"
            )
        for other, taken in others:
            if is_same_file(path, taken):
                raise InputError(f"{name} is {path}, the file that {other} names; it would be lost: choose another")
        others.append((name, path))
        if not os.path.lexists(path):
            _require_place(name, path)


def is_same_file(a: Path, b: Path) -> bool:
    """Whether two names are of one file, by whatever links; of files that may be missing."""
    with suppress(OSError, ValueError):
        if a.samefile(b):
            return True
    with suppress(OSError, ValueError):
        return os.path.realpath(a) == os.path.realpath(b)
    return a == b


def is_printable(text: str) -> bool:
    """Whether a text has no control character, line end or surrogate, of which a log or a document would suffer."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _require_place(name: str, path: Path) -> None:
    """Refuse a file that is not there and cannot be made."""
    try:
        temporary_name(path).lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # the name is too long, or a part of it is no folder
        raise UserError(f"{name}: cannot write {path}: {error.strerror}; choose another name") from error
    require_writable(path.parent, f"choose another {name}")
