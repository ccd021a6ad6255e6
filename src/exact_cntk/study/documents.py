"""The JSON documents of results: written readably, read back, and checked against the study's images."""

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.atomic import write_bytes
from exact_cntk._support.stated_files import read_stated, stated
from exact_cntk.data import ProcessedData
from exact_cntk.errors import InputError, UserError


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document as bytes that depend only on it; UserError if the disk is full, ValueError for NaN, infinity."""
    write_bytes(path, (_text(document, "") + "\n").encode())


def write_result(path: Path, document: dict[str, Any], files: Mapping[Path, bytes] | None = None) -> None:
    """Write a document that a later step reads, with a checksum, and what this process made it from; as `write_json`.

    `files` are other files of the same job, which cannot state it, and their content; the document has their SHA-256.
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


DIGITS = 6  # significant, of all that is not a fraction of images

RESIDUAL_DECIMALS = 9  # smaller digits are rounding, and depend on the number of threads


def rounded(value: float, digits: int = DIGITS, *, decimals: int | None = None) -> float | None:
    """For JSON: rounded to so many significant digits, or decimals; None for NaN and infinity."""
    if not np.isfinite(value):
        return None
    return round(float(value), decimals) if decimals is not None else float(f"{value:.{digits}g}")


def describe_data(data: ProcessedData) -> dict[str, Any]:
    """What documents say of the images."""
    return {
        "digest": data.digest,
        "dataset": data.dataset,
        "verified": data.verified,
        "source_digest": data.source_digest,
        "image_shape": list(data.train_images.shape[1:]),
        "classes": list(data.class_names),
    }


def check_images(name: str, digest: str, origin: str | Path, expected: str, remedy: str) -> None:
    """Raise UserError if something was made from other images than those of `origin`, by their digests."""
    if digest != expected:
        raise UserError(
            f"{name} was made from other images (digest {digest[:12]}) than {origin} (digest {expected[:12]}); {remedy}"
        )


def pack_answers(correct: np.ndarray) -> str:
    """Bool of shape (m,), the test images classified correctly, in hexadecimal, eight of them to a byte."""
    return np.packbits(correct).tobytes().hex()


def unpack_answers(text: str, test_images: int, name: str, accuracy: float | None = None) -> np.ndarray:
    """Read the test images classified correctly from hexadecimal, bool of shape (test images,).

    Raises
    ------
    UserError
        `name`, what gave the answers, and why: damaged, another number of images, or another accuracy.
    """
    try:
        packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: its answers are not hexadecimal ({error}); compute this file again") from error
    if packed.size != -(-test_images // 8):
        raise UserError(
            f"{name}: its answers are {packed.size} bytes for {test_images} test images; compute this file again"
        )
    correct = np.unpackbits(packed, count=test_images).astype(bool)
    if accuracy is not None and abs(correct.mean() - accuracy) > 0.5 / test_images:
        raise UserError(
            f"{name}: its answers give an accuracy of {correct.mean():.6f}, the file says {accuracy:.6f}; "
            "compute this file again"
        )
    return correct


def read_document(
    path: Path,
    what: str,
    format_version: int = 1,
    *,
    keys: Iterable[str] = (),
    schema: Path | None = None,
    remedy: str = "compute this file again",
) -> dict[str, Any]:
    """Read a JSON document; `what` it should be and the `remedy` otherwise are for messages.

    Raises
    ------
    UserError
        It cannot be read, does not have the checksum that `write_result` gives it, has another format version, lacks
        a key, or does not have the form of the `schema`.
    """
    try:
        document = read_stated(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as {what}: {error}; {remedy}") from error
    version = document.get("format_version")
    if version != format_version or type(version) is not int:
        raise UserError(f"{path}: format_version = {version!r}; allowed: {format_version}; {remedy}")
    if missing := set(keys) - document.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}; {remedy}")
    if schema is not None:
        from exact_cntk.study.schema import check_form  # with jsonschema, which jobs that only write do without

        try:
            check_form(document, schema)
        except InputError as error:
            raise UserError(f"{path} is not as {what} are written, {error}; {remedy}") from error
    return document


def read_documents(
    data: Mapping[str, Any],
    files: Iterable[str | Path],
    format_version: int = 1,
    *,
    keys: Iterable[str] = (),
    schema: Path | None = None,
) -> dict[Path, dict[str, Any]]:
    """Read the JSON files of a section, in order, and check that they belong to the study; other files are passed over.

    `data` is what the study says of its images.

    Raises
    ------
    UserError
        As `read_document`; or a file was made from other images.
    """
    documents = {}
    for path in (path for path in map(Path, files) if path.suffix == ".json"):
        document = read_document(path, "results", format_version, keys={"data", *keys}, schema=schema)
        stated = document["data"].get("digest") if isinstance(document["data"], dict) else None
        check_images(str(path), str(stated), "the metrics of the study", data["digest"], "compute this file again")
        documents[path] = document
    return documents


def plain_numbers(value: Any) -> Any:
    """Nested mappings and sequences with numbers that JSON knows; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    raise TypeError(f"{value!r} is no number, text, mapping or sequence")
