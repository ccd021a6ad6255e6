"""Where files of each kind store the statement of what they were made from; see `exact_cntk._support.statement`.

JSON documents and notebooks have a key, HDF5 files an attribute, drawings and pages a comment. Tables of
comma-separated values cannot store it: a JSON document of the same job lists them, with their SHA-256.

Every JSON document that a later step reads also has a checksum of its content, with and without the workflow, and is
not read without it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from exact_cntk._support.reading import read_bytes, read_object, read_text
from exact_cntk._support.statement import current

KEY = "made_from"
CHECKSUM = "sha256"
_COMMENT = re.compile(r"<!-- made from (\{.*?\}) -->")


def stated(document: Mapping[str, Any], files: Mapping[Path, bytes] | None = None, folder: Path = Path()) -> dict:
    """A document, in `folder`, with the statement of this process and a checksum.

    It lists the SHA-256 of `files`, path → content, which cannot state what they were made from themselves.
    """
    listed = {} if files is None else {"files": {_relative(path, folder): _sha256(files[path]) for path in files}}
    whole = {**document, **listed, **statement_metadata()}
    return whole | {CHECKSUM: _checksum(whole)}


def read_stated(path: Path) -> dict[str, Any]:
    """Read a document that `stated` made, without its checksum; OSError or ValueError if it is not as it was made."""
    document = read_object(path)
    if CHECKSUM not in document:
        raise ValueError("it states no checksum of its content: an earlier version made it, or something else")
    _verify(document)
    del document[CHECKSUM]
    return document


def read_listed(path: Path, document: Mapping[str, Any], document_path: Path) -> bytes:
    """Read a file that a document lists; OSError or ValueError if it is not the one that the document was made with."""
    content = read_bytes(path)
    if _sha256(content) != document.get("files", {}).get(_relative(path, document_path.parent)):
        raise ValueError(f"{path} does not have the checksum that {document_path} states")
    return content


def check_files(document: Mapping[str, Any], document_path: Path) -> None:
    """Read all files that a document lists, as far as they are there, as `read_listed` does."""
    for path in (document_path.parent / name for name in document.get("files", {})):
        if path.exists():
            read_listed(path, document, document_path)


def statement_metadata() -> dict[str, Any]:
    """The statement alone, for documents of other programs' formats; empty outside of the workflow."""
    statement = current()
    return {} if statement is None else {KEY: statement.document()}


def stated_text(text: str, before: str) -> str:
    """A page or drawing with the statement in a comment before the first occurrence of `before`."""
    statement = current()
    if statement is None:
        return text
    # Two hyphens would end the comment; this is the same JSON.
    document = statement.text().replace("--", "-\\u002d")
    head, separator, rest = text.partition(before)
    return f"{head}<!-- made from {document} -->\n{separator}{rest}"


def statement_attribute() -> dict[str, str]:
    """Attribute of an HDF5 file; none outside of the workflow."""
    statement = current()
    return {} if statement is None else {KEY: statement.text()}


def belongs(document: Mapping[str, Any], document_path: Path) -> bool:
    """Whether the files that a document lists are those that it was made with, as far as they are there."""
    try:
        check_files(document, document_path)
    except (OSError, ValueError):
        return False
    return True


def _read_json(path: Path) -> dict[str, Any]:
    document = read_object(path)
    if KEY in document or CHECKSUM in document:
        _verify(document)
    return document


def _read_notebook(path: Path) -> dict[str, Any]:
    return dict(_read_json(path)["metadata"])


def _verify(document: Mapping[str, Any]) -> None:
    if document.get(CHECKSUM) != _checksum(document):
        raise ValueError("its content does not have the checksum that it states")


def _checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 over a document without its checksum, whatever its layout."""
    rest = {name: value for name, value in document.items() if name != CHECKSUM}
    return _sha256(json.dumps(rest, sort_keys=True).encode())


def _read_hdf5(path: Path) -> dict[str, Any]:
    from exact_cntk._support.hdf5 import is_intact, open_to_read

    if not is_intact(path):
        raise ValueError("its content does not have the checksum that it states")
    with open_to_read(path, virtual=None) as file:
        text = file.attrs.get(KEY)
    return {} if text is None else {KEY: json.loads(text)}


def _read_comment(path: Path) -> dict[str, Any]:
    comment = _COMMENT.search(read_text(path))
    return {} if comment is None else {KEY: json.loads(comment[1])}


# By suffix; other files state nothing.
READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".json": _read_json,
    ".ipynb": _read_notebook,
    ".h5": _read_hdf5,
    ".svg": _read_comment,
    ".html": _read_comment,
}


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
