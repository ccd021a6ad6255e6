"""Processed data, blocks and kernels on disk, small and quick to make, for the tests of what reads them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.hdf5 import find_numbers, write_checksum
from exact_cntk.blocks import Header, Position, block_name, block_positions, merge_blocks, write_block
from exact_cntk.data import ProcessedData
from exact_cntk.data._processed import write_processed
from exact_cntk.networks import Family

# Seconds that other processes are waited for: on however slow a machine, one that takes longer hangs.
HUNG = 3600.0
N_TRAIN, N_TEST, N_CLASSES = 24, 10, 3
DEPTHS, KINDS = (3, 5), ("ntk", "nngp")
PATH = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent)]


def make_data(path: Path, *, seed: int = 0, n_train: int = N_TRAIN, n_test: int = N_TEST) -> ProcessedData:
    """Images of 4×4 pixels whose mean brightness tells their class, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_train + n_test) % N_CLASSES
    images = rng.standard_normal((len(labels), 4, 4, 1)) + 2 * labels[:, None, None, None]
    data = ProcessedData.with_digest(
        train_images=images[:n_train].astype(np.float32),
        train_labels=labels[:n_train],
        train_index=np.arange(n_train),
        test_images=images[n_train:].astype(np.float32),
        test_labels=labels[n_train:],
        test_index=np.arange(n_test),
        dataset="Bright squares",
        verified=True,
        source_digest="0" * 64,
        class_names=("dark", "grey", "bright"),
        mean=(0.0,),
        std=(1.0,),
        parameters={},
    )
    write_processed(path, data)
    return data


def linear_kernel(data: ProcessedData) -> np.ndarray:
    """A positive definite kernel of shape (n_train + n_test, n_train) that is no CNTK, but quick and known."""
    train = np.concatenate([data.train_images, data.test_images]).reshape(-1, 16).astype(np.float64)
    squares = ((train[:, None] - train[None, : len(data.train_images)]) ** 2).sum(axis=2)
    return np.exp(-squares / 32)


def make_header(data: ProcessedData, position: Position, **changes: Any) -> Header:
    header = Header(
        name="cntk-v",
        network=Family("flatten"),
        depths=DEPTHS,
        kinds=KINDS,
        backend="cpu",
        dtype="float32",
        data_digest=data.digest,
        n_train=len(data.train_images),
        n_test=len(data.test_images),
        position=position,
    )
    return replace(header, **changes)


def entries(full: np.ndarray, header: Header) -> dict[tuple[str, int], np.ndarray]:
    """What a block holds of `full`; every kind and depth a multiple of its own."""
    (top, bottom), (left, right) = header.position
    part = full[top:bottom, left:right]
    return {(kind, depth): part * factor(kind, depth) for kind in header.kinds for depth in header.depths}


def factor(kind: str, depth: int) -> int:
    return depth if kind == "ntk" else 1


def make_blocks(
    folder: Path, data: ProcessedData, full: np.ndarray, block_images: int = 9, **changes: Any
) -> list[Path]:
    paths = []
    for position in block_positions(len(data.train_images), len(data.test_images), block_images):
        header = make_header(data, position, **changes)
        paths.append(folder / block_name(position))
        write_block(paths[-1], header, entries(full, header), "avx2")
    return paths


def make_kernel(folder: Path, data: ProcessedData, full: np.ndarray, depth: int = 3) -> Path:
    path = folder / f"kernel-{depth}.h5"
    merge_blocks(make_blocks(folder / "blocks", data, full), depth, path)
    return path


def edit(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a file from outside, as no part of the project does, and renew its checksum."""
    with h5py.File(path, "r+") as file:
        change(file)
    renew_checksum(path)


def renew_checksum(path: Path) -> None:
    """End a block or a kernel in the checksum of what it is now."""
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)  # no links
        datasets = [file[name] for name in names if isinstance(file[name], h5py.Dataset)]
        numbers = find_numbers(one for one in datasets if one.chunks)
    with path.open("r+b") as file:
        write_checksum(file.fileno(), numbers)


def damage(path: Path, place: int, content: bytes) -> None:
    """Let bytes be others, as bit rot does: it leaves no trace in the times of the file."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def environment() -> dict[str, str]:
    """For a Python that imports the package from source, and this module."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(PATH)}
