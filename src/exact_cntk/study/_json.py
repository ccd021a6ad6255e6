"""JSON files for people and for diffs: one key a line, lists of plain values on one line."""

import json
from pathlib import Path
from typing import Any

from exact_cntk._atomic import write_bytes


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


def _text(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = [f"{deeper}{json.dumps(str(key))}: {_text(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
