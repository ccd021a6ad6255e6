"""CIFAR-10 for the real runs: the official files, or a copy of them as JPEGs, which is named as such."""

import hashlib
import io
import random
import tarfile
from pathlib import Path

import numpy as np

from exact_cntk.data import Dataset, ProcessedData, describe, load_cifar10, load_processed
from exact_cntk.data._prepare import _processed
from exact_cntk.data._processed import write_processed
from exact_cntk.errors import UserError

CIFAR10 = describe({"dataset": "cifar10"})
# The copy's files are sorted by class: they are dealt in this random order, so that consecutive images make a random
# subset, as they do in the official files.
ORDER_SEED = 0


def load_images(source: Path, cache: Path | None = None) -> ProcessedData:
    """Standardised CIFAR-10, all images, in the order from which the subsets are taken.

    Parameters
    ----------
    source : Path
        The official archive, a folder with its files, or a tar archive of JPEGs ``{train,test}/<class>/<name>.jpg``.
    cache : Path, optional
        A folder that keeps the decoded images between runs.

    Raises
    ------
    UserError
        The source is missing or is neither.
    """
    if not source.exists():
        raise UserError(f"data is {source}, but there is no such file or folder: pass CIFAR-10's archive or its folder")
    if source.is_dir() or not is_jpeg_archive(source):
        return standardised(load_cifar10(source, allow_unverified=True))
    kept = None if cache is None else cache / f"cifar10-{_sha256(source)[:16]}.h5"
    if kept is not None and kept.exists():
        return load_processed(kept)
    data = standardised(read_jpegs(source))
    if kept is not None:
        write_processed(kept, data)
    return data


def standardised(raw: Dataset) -> ProcessedData:
    """All images of a data set by the paper's protocol, as `exact_cntk.data.prepare` makes them."""
    train, test = np.arange(len(raw.train_labels)), np.arange(len(raw.test_labels))
    kept = list(range(len(raw.class_names)))
    parameters = {
        "dataset": "cifar10",
        "resolution": raw.train_images.shape[1],
        "classes": kept,
        "train_images": len(train),
        "selection": "first",
        "seed": None,
        "test_images": len(test),
    }
    return _processed(raw, raw.train_images.shape[1], kept, train, test, parameters=parameters)


def is_jpeg_archive(path: Path) -> bool:
    """Whether the first file in a tar archive is a JPEG."""
    try:
        with tarfile.open(path) as archive:
            first = next((member for member in archive if member.isfile()), None)
    except tarfile.ReadError:
        return False
    return first is not None and first.name.endswith(".jpg")


def read_jpegs(path: Path) -> Dataset:
    """Decode an archive of JPEGs in class folders.

    Raises
    ------
    UserError
        A file lies in another folder than those of CIFAR-10's classes, or has another size than these images.
    """
    from PIL import Image

    parts: dict[str, dict[str, tuple[np.ndarray, int]]] = {"train": {}, "test": {}}
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.isfile():
                continue
            part, _, rest = member.name.partition("/")
            name = rest.partition("/")[0]
            if part not in parts or name not in CIFAR10.class_names:
                raise UserError(f"{path}: {member.name} is not train/<class>/… or test/<class>/… of CIFAR-10")
            content = archive.extractfile(member)
            assert content is not None  # a regular file has content
            image = np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"))
            if image.shape != CIFAR10.shape:
                raise UserError(f"{path}: {member.name} has shape {image.shape}, but must have {CIFAR10.shape}")
            parts[part][member.name] = image, CIFAR10.class_names.index(name)
    if not parts["train"] or not parts["test"]:
        raise UserError(f"{path}: has {len(parts['train'])} training and {len(parts['test'])} test images")
    digest = _sha256(path)
    train_images, train_labels = _shuffled(parts["train"])
    test_images, test_labels = _shuffled(parts["test"])
    return Dataset(
        name=f"CIFAR-10 (unverified source, JPEG copy, sha256 {digest[:12]})",
        verified=False,
        source_digest=digest,
        class_names=CIFAR10.class_names,
        full_scale=CIFAR10.full_scale,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _shuffled(files: dict[str, tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in a random order that depends on the files' names alone."""
    generator = random.Random(ORDER_SEED)  # its sequence is the same in every version of Python
    draws = {name: generator.random() for name in sorted(files)}
    order = sorted(files, key=draws.__getitem__)
    images = np.stack([files[name][0] for name in order])
    return images, np.array([files[name][1] for name in order], dtype=np.int64)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
