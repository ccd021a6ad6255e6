"""Reading files of which nothing is known yet: whatever lies there is read, or is an OSError or a ValueError."""

import json
import stat
from pathlib import Path
from typing import Any

LARGEST_BYTES = 256 * 2**20  # of a document, table, page or drawing; a figure with all training runs has 2 MB


def check_regular(path: Path) -> int:
    """Refuse, as an OSError, what is no file and does not lead to one, such as a folder or a device; its bytes.

    To open a pipe, or to read a device, may never end.
    """
    try:
        status = path.stat()
    except ValueError as error:  # of a name with a null byte
        raise OSError(f"{str(path)!r} is no name of a file: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is a {'folder' if stat.S_ISDIR(status.st_mode) else 'device or pipe'}, not a file")
    return status.st_size


def read_bytes(path: Path) -> bytes:
    """Read a whole file that is not too large for one of this project."""
    size = check_regular(path)
    if size > LARGEST_BYTES:
        raise OSError(f"{path} has {size} bytes; expected are at most {LARGEST_BYTES}")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Read a whole text file."""
    return read_bytes(path).decode("utf-8")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object, as `parse_object`."""
    return parse_object(read_text(path))


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object from its text; ValueError if it is none, gives a key twice or has NaN or infinity, as JSON has not.

    Of a key given twice, the last would win.
    """
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it gives the key {max(names, key=names.count)!r} twice")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}, which is no number of JSON")
