"""JSON files for people and for diffs: one key a line, lists of plain values on one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exact_cntk._atomic import write_bytes
from exact_cntk._stated_files import stated


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document; the same one gives the same bytes.

    Raises
    ------
    UserError
        If the disk is full or not writable.
    ValueError
        If it holds NaN or infinity, which JSON does not know.
    """
    write_bytes(path, (_text(document, "") + "\n").encode())


def write_result(path: Path, document: dict[str, Any], files: Mapping[Path, bytes] | None = None) -> None:
    """Write a document with what this process makes it from.

    Parameters
    ----------
    path : Path
    document : dict
    files : mapping of Path to bytes, optional
        Files of the same job that cannot state it themselves, with their content; the document lists their SHA-256.

    Raises
    ------
    UserError, ValueError
        As `write_json`.
    """
    write_json(path, stated(document, files, path.parent))


def _text(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = [f"{deeper}{json.dumps(str(key))}: {_text(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
