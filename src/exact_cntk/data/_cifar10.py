"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in 10 classes."""

from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk.data._archive import ARCHIVE_BYTES, ARCHIVE_MD5, ARCHIVE_NAME, ARCHIVE_URL, SourceFiles, read_source
from exact_cntk.data._dataset import Dataset, display_name
from exact_cntk.data._download import download
from exact_cntk.data._unpickle import load_pickled_dict
from exact_cntk.errors import UserError

DEFAULT_ARCHIVE = Path("data/raw") / ARCHIVE_NAME
N_CLASSES = 10
_PIXELS = 3 * 32 * 32


def fetch_cifar10(folder: str | Path, *, url: str = ARCHIVE_URL, progress: bool = True) -> Path:
    """Download the official archive, 170 MB, into `folder`; a verified one that is there already is kept.

    Parameters
    ----------
    folder : path
        Made if need be; the file is named as the official one.
    url : str
        A mirror, if the official server is out of reach; the checksum stays the official one.
    progress : bool
        Show a bar when stderr is a terminal.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    UserError
        See `exact_cntk.data._download.download`.
    """
    return download(url, Path(folder) / ARCHIVE_NAME, md5=ARCHIVE_MD5, n_bytes=ARCHIVE_BYTES, progress=progress)


def load_cifar10(source: str | Path | None = None, *, allow_unverified: bool = False) -> Dataset:
    """Load CIFAR-10 from the official archive or a folder with its files.

    Parameters
    ----------
    source : path, optional
        A .tar.gz archive, the folder ``cifar-10-batches-py``, or the folder that holds it. By default
        ``data/raw/cifar-10-python.tar.gz`` below the working directory.
    allow_unverified : bool
        Accept files whose checksums are not the official ones (another encoding of the images, a part of them). The
        data set's name then says so.

    Returns
    -------
    Dataset
        Images uint8 of shape (50000, 32, 32, 3) and (10000, 32, 32, 3), in file order. An unverified source may hold
        another number of them.

    Raises
    ------
    UserError
        The source is missing, damaged, not official (checked before anything is unpickled), or not CIFAR-10's format.

    Notes
    -----
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009),
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    path = DEFAULT_ARCHIVE if source is None else Path(source)
    files = read_source(path, allow_unverified=allow_unverified)
    _refuse_repeated_batch(files, path)
    class_names = _class_names(files, path)
    batches = [_batch(files.contents[name], f"{path}: {name}") for name in files.contents if name != "batches.meta"]
    verified = not files.unofficial
    digest = files.digest
    return Dataset(
        name=display_name("CIFAR-10", verified=verified, source_digest=digest),
        verified=verified,
        source_digest=digest,
        class_names=class_names,
        full_scale=255,
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


def _class_names(files: SourceFiles, path: Path) -> tuple[str, ...]:
    names = load_pickled_dict(files.contents["batches.meta"], f"{path}: batches.meta").get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise UserError(f"{path}: batches.meta: label_names must be a list of strings, got {type(names).__name__}")
    texts = tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)
    if len(set(texts)) != N_CLASSES or len(texts) != N_CLASSES:
        raise UserError(f"{path}: batches.meta: label_names must be {N_CLASSES} different names, got {texts}")
    return texts


def _batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of one file, whose rows are channel-major."""
    batch = load_pickled_dict(content, name)
    rows = batch.get("data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise UserError(f"{name}: data must be uint8 of shape (n, {_PIXELS}), got {_describe(rows)}")
    if len(rows) == 0:
        raise UserError(f"{name}: holds no image")
    labels = np.asarray(batch["labels"]) if isinstance(batch.get("labels"), list | np.ndarray) else None
    if labels is None or labels.shape != (len(rows),) or labels.dtype.kind not in "iu":
        raise UserError(f"{name}: labels must be {len(rows)} integers, one an image, got {_describe(labels)}")
    if labels.min() < 0 or labels.max() >= N_CLASSES:
        raise UserError(f"{name}: labels must be in 0…{N_CLASSES - 1}, got {labels.min()}…{labels.max()}")
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return images, labels.astype(np.int64)


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "nothing" if value is None else type(value).__name__
