"""The images and labels in the content of CIFAR-10's files."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk.data._cifar10_versions import SourceFiles
from exact_cntk.data._dataset import Dataset, display_name
from exact_cntk.data._source import Description
from exact_cntk.data._unpickle import load_pickled_dict
from exact_cntk.errors import UserError

_LONGEST_NAME = 100  # characters, of a class


def read_batches(files: SourceFiles, path: Path, described: Description) -> Dataset:
    """Take the images and labels out of the files at `path`, which are as described except for their number."""
    _refuse_repeated_batch(files, path)
    if files.version.pickled:
        class_names, rows_and_labels = _class_names(files, path, len(described.class_names)), _pickled_rows
    else:
        class_names, rows_and_labels = described.class_names, _binary_rows
    batches = []
    for name in (name for name in files.contents if name != "batches.meta"):
        rows, labels = rows_and_labels(files.contents[name], f"{path}: {name}", math.prod(described.shape))
        _check_labels(labels, f"{path}: {name}", len(described.class_names))
        batches.append((_images(rows, described.shape), labels.astype(np.int64)))
    verified, digest = not files.unofficial, files.digest
    return Dataset(
        name=display_name(described.name, verified=verified, source_digest=digest),
        verified=verified,
        source_digest=digest,
        class_names=class_names,
        full_scale=described.full_scale,
        train_images=np.concatenate([images for images, _ in batches[:-1]]),
        train_labels=np.concatenate([labels for _, labels in batches[:-1]]),
        test_images=batches[-1][0],
        test_labels=batches[-1][1],
    )


def _refuse_repeated_batch(files: SourceFiles, path: Path) -> None:
    """A batch copied over another would train on the test images, or count some images twice."""
    first_with: dict[bytes, str] = {}
    for name, content in files.contents.items():
        if content in first_with:
            raise UserError(f"{path}: {name} has the same content as {first_with[content]}")
        first_with[content] = name


def _class_names(files: SourceFiles, path: Path, n_classes: int) -> tuple[str, ...]:
    names = load_pickled_dict(files.contents["batches.meta"], f"{path}: batches.meta").get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise UserError(f"{path}: batches.meta: label_names must be a list of strings, got {type(names).__name__}")
    texts = tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)
    if len(set(texts)) != n_classes or len(texts) != n_classes:
        raise UserError(f"{path}: batches.meta: label_names must be {n_classes} different names, got {len(texts)}")
    for text in texts:
        if not (text.isprintable() and 0 < len(text) <= _LONGEST_NAME):
            raise UserError(
                f"{path}: batches.meta: {text[:_LONGEST_NAME]!a} in label_names cannot be shown; allowed are "
                f"printable names of 1 to {_LONGEST_NAME} characters"
            )
    return texts


def _pickled_rows(content: bytes, name: str, n_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, n_values) of a file of the Python version, and as many integers."""
    batch = load_pickled_dict(content, name)
    rows = batch.get("data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != n_values:
        raise UserError(f"{name}: data must be uint8 of shape (n, {n_values}), got {_describe(rows)}")
    if len(rows) == 0:
        raise UserError(f"{name}: holds no image")
    labels = batch.get("labels")
    if isinstance(labels, list) and all(isinstance(label, int) for label in labels):  # a list may contain itself
        labels = np.array(labels)
    if not isinstance(labels, np.ndarray) or labels.shape != (len(rows),) or labels.dtype.kind not in "iu":
        raise UserError(f"{name}: labels must be {len(rows)} integers, one per image, got {_describe(labels)}")
    return rows, labels


def _binary_rows(content: bytes, name: str, n_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, n_values) of a file of the binary version, each after the byte that is its label, and the labels."""
    if not content or len(content) % (1 + n_values):
        raise UserError(f"{name}: {len(content)} bytes; it must be images of {1 + n_values} bytes each")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + n_values)
    return records[:, 1:], records[:, 0]


def _check_labels(labels: np.ndarray, name: str, n_classes: int) -> None:
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"{name}: labels must be in 0…{n_classes - 1}, got {labels.min()}…{labels.max()}")


def _images(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(n, P, Q, C) of channel-major rows."""
    P, Q, C = shape
    return np.ascontiguousarray(rows.reshape(-1, C, P, Q).transpose(0, 2, 3, 1))


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "nothing" if value is None else type(value).__name__
