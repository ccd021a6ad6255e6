"""Preprocessing as the paper's code does it: scale, downsample, standardise by channel, choose the images."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.data._dataset import Dataset
from exact_cntk.data._processed import ProcessedData, write_processed
from exact_cntk.data._source import WHITENING_LIMITS
from exact_cntk.data._whitening import Whitening
from exact_cntk.data.sources import SOURCES, describe
from exact_cntk.errors import InputError, UserError

SELECTIONS = ("first", "stratified")
Scaling = tuple[int, int, list[float], list[float]]  # box, full scale, mean and standard deviation by channel
_CHUNK_IMAGES = 2000  # images in float64 or int64 at a time, to keep the memory to that of the result


def prepare(
    dataset: str,
    out: str | Path,
    *,
    source: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    allow_unverified: bool = False,
    resolution: int | None = None,
    classes: Sequence[int] = (),
    train_images: int | None = None,
    selection: str = "first",
    seed: int = 0,
    test_images: int | None = None,
    whitening: float | None = None,
) -> ProcessedData:
    r"""Turn a data set into the images that the kernels read, and write them to `out`.

    In this order: pixels are divided by full scale (the value of a white one), averaged over boxes of
    (rows / resolution)² pixels, and standardised, (x − mean_c) / std_c, with mean and standard deviation (ddof 0) of
    each channel c over all pixels of the *whole* training set at that resolution, whichever classes and however many
    images are chosen below. With `whitening`, they are then whitened (ZCA), fitted on the same training set. Everything
    is float64 until the result is rounded to float32.

    Parameters
    ----------
    dataset : str
        Name of a source, one of `exact_cntk.data.SOURCES`.
    out : path
        The HDF5 file; a small JSON file with the digest and a summary is written next to it.
    source : path, optional
        File or folder to read, for a source that needs one. Default: its official download below ``data/raw``.
    options : mapping, optional
        The source's own parameters.
    allow_unverified : bool
        Accept images whose digest is not the official one. The data set's name then says so.
    resolution : int, optional
        Rows of the images, one of the source's `resolutions`. Default: their own.
    classes : sequence of int
        The classes kept, renumbered 0, 1, … in the given order. Empty: all.
    train_images : int, optional
        Size of the training pool. Default: all.
    selection : {"first", "stratified"}
        The pool's images: the first in file order, or drawn at random within each class and taken in proportion to the
        classes, so that every run of consecutive images in the pool is balanced to within about one image per class. A
        smaller pool is the beginning of a larger one.
    seed : int
        Seed of the draw; without effect for "first".
    test_images : int, optional
        Number of images from the start of the test set, after the choice of classes. Default: all.
    whitening : float, optional
        Regularisation of `exact_cntk.data._whitening.Whitening`, relative to the mean eigenvalue, 1e-9 to 1e6. Default:
        no whitening.

    Returns
    -------
    ProcessedData
        What was written.

    Raises
    ------
    InputError
        An argument is not allowed, or more images are requested than there are.
    UserError
        The source can't be used, a channel is constant, or `out` can't be written.

    Notes
    -----
    Source: Arora et al. 2019 (arXiv 1904.11955), appendix A and the authors' code. Mean and standard deviation come
    from exact integer sums, so they have the same bits on every machine; whitened images have not, as their last digits
    depend on the machine's linear algebra, and neither has their digest.
    """
    chosen: dict[str, Any] = {
        "dataset": dataset,
        "source": source,
        "options": options or {},
        "allow_unverified": allow_unverified,
        "resolution": resolution,
        "classes": list(classes),
    }
    described, origin = describe(chosen), SOURCES[dataset]
    check.as_choice("selection", selection, SELECTIONS)
    seed = check.as_integer("seed", seed, at_least=0)
    least, most = WHITENING_LIMITS
    if whitening is not None and not least <= check.as_number("whitening", whitening) <= most:
        raise InputError(f"whitening is {whitening!r}; allowed are numbers from {least:g} to {most:g}, and None")
    own = origin.complete_options(chosen["options"])
    raw = origin.load(chosen | {"options": own})
    kept = [int(k) for k in classes] or list(range(len(raw.class_names)))
    train = _choose(raw.train_labels, kept, selection, seed, "train_images", train_images)
    test = _choose(raw.test_labels, kept, "first", seed, "test_images", test_images)
    data = _processed(
        raw,
        described.shape[0],
        kept,
        train,
        test,
        parameters={
            "dataset": dataset,
            **({"options": own} if own else {}),
            "resolution": described.shape[0],
            "classes": kept,
            "train_images": len(train),
            "selection": selection,
            "seed": seed if selection == "stratified" else None,
            "test_images": len(test),
            **({} if whitening is None else {"whitening": float(whitening)}),
        },
    )
    write_processed(Path(out), data)
    return data


def _processed(
    raw: Dataset, resolution: int, kept: Sequence[int], train: np.ndarray, test: np.ndarray, parameters: dict[str, Any]
) -> ProcessedData:
    """The images at the indices `train` and `test`, standardised, with labels renumbered by `kept`."""
    box = raw.train_images.shape[1] // resolution
    mean, std = channel_statistics(raw.train_images, box, raw.full_scale)
    scaling = (box, raw.full_scale, mean, std)
    whiten = None
    if "whitening" in parameters:
        everything = slice(0, len(raw.train_images))
        whiten = Whitening(lambda: _standardised(raw.train_images, everything, *scaling), parameters["whitening"])
    renumbered = np.full(len(raw.class_names), -1, dtype=np.int64)
    renumbered[kept] = np.arange(len(kept))
    return ProcessedData.with_digest(
        train_images=_prepared(raw.train_images, train, scaling, whiten),
        train_labels=renumbered[raw.train_labels[train]],
        train_index=train,
        test_images=_prepared(raw.test_images, test, scaling, whiten),
        test_labels=renumbered[raw.test_labels[test]],
        test_index=test,
        dataset=raw.name,
        verified=raw.verified,
        source_digest=raw.source_digest,
        class_names=tuple(raw.class_names[k] for k in kept),
        mean=tuple(mean),
        std=tuple(std),
        parameters=parameters,
    )


def channel_statistics(images: np.ndarray, box: int, full_scale: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (ddof 0) of each channel of box-averaged uint8 images, as multiples of full scale.

    With s the sum of the N box sums of a channel and t that of their squares, all integers:
    mean = s / (N·u) and std = √(N·t − s²) / (N·u), where u = full_scale · box². A constant channel is a UserError.
    """
    n_channels = images.shape[-1]
    sums, squares = [0] * n_channels, [0] * n_channels
    for start in range(0, len(images), _CHUNK_IMAGES):
        values = _box_sums(images[start : start + _CHUNK_IMAGES], box).astype(np.int64).reshape(-1, n_channels)
        for c in range(n_channels):
            sums[c] += int(values[:, c].sum())
            squares[c] += int(np.square(values[:, c]).sum())
    count = images.size // (n_channels * box**2)
    unit = count * full_scale * box**2
    mean = [s / unit for s in sums]
    std = [math.sqrt(count * t - s * s) / unit for s, t in zip(sums, squares, strict=True)]
    for c, deviation in enumerate(std):
        if deviation == 0:
            raise UserError(f"channel {c} of the training images is {mean[c]} everywhere: it can't be standardised")
    return mean, std


def _box_sums(images: np.ndarray, box: int) -> np.ndarray:
    """Sums over box × box pixels: (n, P, Q, C) uint8 to (n, P/box, Q/box, C) uint16; 16 · 255 at most."""
    n, P, Q, C = images.shape
    return images.reshape(n, P // box, box, Q // box, box, C).sum(axis=(2, 4), dtype=np.uint16)


def _prepared(images: np.ndarray, chosen: np.ndarray, scaling: Scaling, whiten: Whitening | None) -> np.ndarray:
    """The chosen images, (n, P/box, Q/box, C) float32."""
    box = scaling[0]
    n, (_, P, Q, C) = len(chosen), images.shape
    result, done = np.empty((n, P // box, Q // box, C), dtype=np.float32), 0
    for chunk in _standardised(images, chosen, *scaling):
        result[done : done + len(chunk)] = chunk if whiten is None else whiten(chunk)
        done += len(chunk)
    return result


def _standardised(
    images: np.ndarray,
    chosen: np.ndarray | slice,
    box: int,
    full_scale: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Iterator[np.ndarray]:
    """The chosen images, some at a time, (some, P/box, Q/box, C) float64."""
    positions = np.arange(len(images))[chosen]
    for start in range(0, len(positions), _CHUNK_IMAGES):
        chunk = images[positions[start : start + _CHUNK_IMAGES]]
        averages = _box_sums(chunk, box) / float(full_scale * box**2)
        yield (averages - np.asarray(mean)) / np.asarray(std)


def _choose(
    labels: np.ndarray, kept: Sequence[int], selection: str, seed: int, name: str, count: int | None
) -> np.ndarray:
    """Indices of `count` images of the classes `kept`; `name` is the argument of that number."""
    candidates = np.flatnonzero(np.isin(labels, kept)) if selection == "first" else _draw(labels, kept, seed)
    available = len(candidates)
    if count is None and available > 0:
        return candidates
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= available:
        raise InputError(f"{name} must be an integer in 1…{available} (the images of these classes), got {count!r}")
    return candidates[:count]


def _draw(labels: np.ndarray, kept: Sequence[int], seed: int) -> np.ndarray:
    """Indices of all images of the classes `kept`, in a random order in which the classes alternate in proportion.

    The j-th drawn of the N_c images of class c is taken at "time" (j + ½) / N_c; equal times in the order of `kept`.
    """
    # random.random() is the one generator whose sequence Python promises to keep; NumPy's may change by version.
    generator = random.Random(seed)
    draw = np.array([generator.random() for _ in range(len(labels))])
    index, time = [], []
    for label in kept:
        members = np.flatnonzero(labels == label)
        index.append(members[np.argsort(draw[members], kind="stable")])
        time.append((np.arange(len(members)) + 0.5) / max(len(members), 1))
    return np.concatenate(index)[np.argsort(np.concatenate(time), kind="stable")]
