"""The file between preprocessing and the kernels: standardised images, their description, and a digest of both."""

import dataclasses
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.atomic import replacing, write_bytes
from exact_cntk._support.hdf5 import is_intact, open_to_read, write_checksum
from exact_cntk._support.stated_files import read_stated, stated, statement_attribute
from exact_cntk._support.statement import check_data
from exact_cntk.errors import UserError

FORMAT_VERSION = 1
_ARRAYS = {"images": "<f4", "labels": "<i8", "index": "<i8"}
_UNREADABLE = (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError)


@dataclass(frozen=True, eq=False)
class ProcessedData:
    """The images of a study as the kernels read them.

    Attributes
    ----------
    train_images, test_images : ndarray of shape (n, P, Q, C), float32
        Standardised by channel.
    train_labels, test_labels : ndarray of shape (n,), int64
        0, 1, …, `len(class_names) - 1`.
    train_index, test_index : ndarray of shape (n,), int64
        Positions in the data set's whole training and test set, in file order.
    dataset : str
        The name for tables and figures; an unverified source is named as such, with its digest.
    verified : bool
        Whether the source is the official one, byte by byte.
    source_digest : str
        SHA-256 of the source's content.
    class_names : tuple of str
    mean, std : tuple of float
        By channel, of the whole training set at this resolution.
    parameters : dict
        Of `prepare`, resolved; without the path of the source.
    digest : str
        SHA-256 over everything above.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    train_index: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    test_index: np.ndarray
    dataset: str
    verified: bool
    source_digest: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parameters: dict[str, Any]
    digest: str

    @classmethod
    def with_digest(cls, **fields: Any) -> "ProcessedData":
        """Make an object from all fields but the digest."""
        data = cls(**fields, digest="")
        return dataclasses.replace(data, digest=data.computed_digest())

    def computed_digest(self) -> str:
        """SHA-256 over the attributes as sorted JSON and over each array's name, dtype, shape and bytes."""
        digest = hashlib.sha256(json.dumps(self._attributes(), sort_keys=True).encode())
        for name, array in self._arrays().items():
            digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data.cast("B"))
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """The content of the JSON file next to the HDF5 file."""
        return {
            "digest": self.digest,
            "dataset": self.dataset,
            "verified": self.verified,
            "source_digest": self.source_digest,
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "image_shape": list(self.train_images.shape[1:]),
            "classes": list(self.class_names),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        """By path in the file, little-endian and contiguous."""
        return {
            f"{part}/{name}": np.ascontiguousarray(getattr(self, f"{part}_{name}"), dtype=dtype)
            for part in ("train", "test")
            for name, dtype in _ARRAYS.items()
        }

    def _attributes(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "dataset": self.dataset,
            "verified": self.verified,
            "source_digest": self.source_digest,
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "parameters": self.parameters,
        }


def sidecar_path(path: str | Path) -> Path:
    """The small JSON file next to a processed file, on which kernel jobs depend instead of on all the images."""
    return Path(path).with_suffix(".json")


def write_processed(path: Path, data: ProcessedData) -> None:
    """Write the HDF5 file and its JSON summary, each complete or not at all; the same data give the same bytes.

    Raises
    ------
    UserError
        The disk is full or not writable; nothing is left under the final names then.
    """
    if path.suffix != ".h5":
        raise UserError(f"{path}: the name of a processed file must end in .h5")

    # HDF5 writes to memory: on a full disk its own files can't be closed, and the process dies of that (h5py 3.16).
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, array in data._arrays().items():
            file.create_dataset(name, data=array, track_times=False)
        for name, value in data._attributes().items():
            file.attrs[name] = json.dumps(value) if name in ("class_names", "parameters") else value
        file.attrs["digest"] = data.digest
        file.attrs.update(statement_attribute())
    with replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())
        with temporary.open("r+b") as written:
            write_checksum(written.fileno(), [])
    # The summary last: whoever depends on it finds the images there.
    write_bytes(sidecar_path(path), (json.dumps(stated(data.summary()), indent=2) + "\n").encode())


def read_digest(path: Path) -> str | None:
    """The digest that a processed file, or the one next to it, states; None if there is none."""
    try:
        if path == sidecar_path(path):
            return str(read_stated(path)["digest"])
        with open_to_read(path) as file:
            return str(file.attrs["digest"])
    except _UNREADABLE:
        return None


def load_processed(path: str | Path) -> ProcessedData:
    """Read a processed file and check its digest.

    Raises
    ------
    UserError
        No such file; or it is not a processed file, is damaged, or has another format version: prepare it again.
    """
    path = Path(path)
    remedy = "make it with `exact-cntk data prepare`"
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file; {remedy}")
        if not is_intact(path):
            raise ValueError("it does not end in the checksum of its content")
        with open_to_read(path) as file:
            version = file.attrs["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(f"{path}: format version {version}, not {FORMAT_VERSION}; {remedy} again")
            data = _read(file, path.stat().st_size)
        intact = data.computed_digest() == data.digest
    except _UNREADABLE as error:
        raise UserError(f"{path}: not a complete file of prepared images ({error}); {remedy} again") from error
    if not intact:
        raise UserError(f"{path}: damaged: its content does not have the digest that it states; {remedy} again")
    check_data(path, data.digest)
    return data


def _read(file: h5py.File, n_bytes: int) -> ProcessedData:
    arrays = {}
    for part in ("train", "test"):
        for name, dtype in _ARRAYS.items():
            stored = file[f"{part}/{name}"]
            if stored.dtype != dtype or stored.nbytes > n_bytes:  # a damaged header may claim any size
                raise ValueError(f"{part}/{name} has dtype {stored.dtype} and {stored.nbytes} bytes")
            arrays[f"{part}_{name}"] = stored[()]
    attributes = file.attrs
    return ProcessedData(
        **arrays,
        dataset=str(attributes["dataset"]),
        verified=bool(attributes["verified"]),
        source_digest=str(attributes["source_digest"]),
        class_names=tuple(json.loads(attributes["class_names"])),
        mean=tuple(float(value) for value in attributes["mean"]),
        std=tuple(float(value) for value in attributes["std"]),
        parameters=json.loads(attributes["parameters"]),
        digest=str(attributes["digest"]),
    )
