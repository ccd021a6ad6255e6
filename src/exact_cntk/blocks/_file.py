"""One block on disk: an HDF5 file for one pass and one rectangle of its kernel matrices.

Every kernel of the pass is a dataset `/<kind>/depth_<dd>`, or `/ntk-<trained>/depth_<dd>` where the pass has the NTK of
all and of the hidden layers, of shape (rows, columns), float64 or, by the attribute `storage`, float32, with checksums.
Attributes say what was computed, from what, and where it belongs. The file ends in a checksum of all but the numbers.
There are no time stamps: same input, same bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.hdf5 import (
    TYPES,
    digest_chunks,
    has_numbers,
    is_intact,
    open_to_read,
    read_attributes,
    reading,
    stated_checksum,
)
from exact_cntk.blocks._grid import Position, Span, check_position, dataset_name
from exact_cntk.errors import InputError, UserError
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import KINDS, Family

FORMAT_VERSION = 2
LIBVER = ("earliest", "v110")  # fixed, so that a newer HDF5 library writes the same bytes
_ZERO = ("ntk", 2, "hidden")  # the tangent kernel of hidden layers alone, where there is none
REMEDY = "delete it and run again: the block is then computed anew"


@dataclass(frozen=True)
class Header:
    """What a block contains, what it was computed from, and where it belongs.

    Attributes
    ----------
    name : str
        Of the family in params.yaml; in files the attribute `family`.
    network : Family
    depths, kinds, dtype
        As `exact_cntk.cntk` takes them; `kinds` is its `get`.
    backend : str
        The one that computed, never "auto".
    data_digest : str
        Of the processed data file.
    n_train, n_test : int
        Images of its training pool and of its test set.
    position : Position
    storage : {"float64", "float32"}
        Precision of the numbers on disk; stated where it is not float64.
    """

    name: str
    network: Family
    depths: tuple[int, ...]
    kinds: tuple[str, ...]
    backend: str
    dtype: str
    data_digest: str
    n_train: int
    n_test: int
    position: Position
    storage: str = "float64"

    def __post_init__(self) -> None:
        check_position(self.position, self.n_train, self.n_test)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every dataset."""
        return self.position.shape

    @property
    def precision(self) -> str:
        """That of the numbers, by the less precise of recursion and storage."""
        return precision(self.dtype, self.storage)

    @property
    def common(self) -> dict[str, Any]:
        """All that every block of a kernel shares."""
        return {"family": self.name} | self.network.parts() | self._others

    @property
    def _others(self) -> dict[str, Any]:
        apart = ("name", "network", "position")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}

    @property
    def spec(self) -> KernelSpec:
        """What the backend computes."""
        return KernelSpec(self.network, self.depths, self.kinds)

    @property
    def datasets(self) -> dict[tuple, str]:
        """Names of all datasets, by the key that `exact_cntk.cntk` gives each kernel."""
        return {key: dataset_name(*key) for key in self.spec.keys}

    def attributes(self) -> dict[str, Any]:
        """As HDF5 stores it."""
        others = self._others | {"depths": np.array(self.depths, dtype=np.int64), "kinds": ",".join(self.kinds)}
        others |= stated_storage(others.pop("storage"))
        position = {"rows": np.array(self.position.rows), "cols": np.array(self.position.cols)}
        return {"family": self.name} | self.network.stated_parts(**others) | position

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Header":
        """Back from HDF5; KeyError, TypeError or ValueError if they are not a header's."""
        rows, cols = (Span(*(int(edge) for edge in attributes[name])) for name in ("rows", "cols"))
        depths = tuple(int(depth) for depth in attributes["depths"])
        return cls(**read_common(attributes), depths=depths, position=Position(rows, cols))


def precision(dtype: str, storage: str) -> str:
    """The less precise of two, "float32" or "float64"."""
    return min(dtype, storage)


def stated_storage(storage: str) -> dict[str, str]:
    """What files state of it: nothing of float64, as files are older than the choice."""
    return {} if storage == "float64" else {"storage": storage}


def read_common(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What blocks and merged kernels both state, by the names of `Header`; KeyError, TypeError or ValueError if not."""
    storage = attributes.get("storage", "float64")
    if storage not in TYPES:
        raise ValueError(f"storage is {storage!r}")
    return {
        "name": attributes["family"],
        "network": Family.from_parts(attributes),
        "kinds": tuple(attributes["kinds"].split(",")),
        **{name: attributes[name] for name in ("backend", "dtype", "data_digest")},
        **{name: int(attributes[name]) for name in ("n_train", "n_test")},
        "storage": storage,
    }


class Block:
    """A block file, open to read, of which all but the numbers has been verified.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    header : Header
    instruction_set : str
    checksum : str
        Of all but the numbers.

    Raises
    ------
    UserError
        If the file is missing, not complete, or no block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.explained():
            if not path.exists():
                raise UserError(f"block {path} is missing")
            intact = is_intact(path)
            if intact is False:
                raise self._damaged()
            self._file = open_to_read(path, virtual=KINDS)  # a merged kernel has some, and is named as what it is
            try:
                attributes = read_attributes(self._file)
                self._check_version(attributes)  # first: older ones have no checksum
                if intact is None:
                    raise self._damaged()
                self.checksum = str(stated_checksum(path))
                self.header, self.instruction_set = self._header(attributes)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> "Block":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what HDF5 says of damage into a UserError that names the file."""
        try:
            with reading():
                yield
        except OSError as error:
            raise UserError(
                f"block {self.path} cannot be read, it is truncated or damaged ({error}): {REMEDY}"
            ) from error

    def dataset(self, key: tuple) -> h5py.Dataset:
        """One kernel, by its key in `Header.datasets`; HDF5 verifies its checksums when numbers are read."""
        name = dataset_name(*key)
        with self.explained():
            dataset = self._file.get(name)
            if not isinstance(dataset, h5py.Dataset):
                stated = ", ".join(self.header.datasets.values())
                raise UserError(f"block {self.path} has no {name}; by its attributes it has {stated}")
            if dataset.shape != self.header.shape:
                raise UserError(
                    f"block {self.path}: {name} has shape {dataset.shape}, not {self.header.shape}: {REMEDY}"
                )
            if not has_numbers(dataset, self.header.shape, self.header.storage):
                raise UserError(
                    f"block {self.path}: {name} is not complete, or not {self.header.storage} with checksums: {REMEDY}"
                )
            return dataset

    def digest(self, key: tuple) -> str:
        """What tells the numbers of one kernel from others; see `digest_chunks`."""
        with self.explained():
            return digest_chunks(self.path, self.dataset(key))

    def kernel(self, key: tuple) -> np.ndarray:
        """One kernel, float64, checked against its checksums and for NaN."""
        dataset, name = self.dataset(key), dataset_name(*key)
        with self.explained():
            kernel: np.ndarray = dataset.astype(np.float64)[()]
        output = (*key[:2], *(key[2:] or self.header.network.trained))
        if output != _ZERO and _is_zeroed(kernel, dataset.chunks[0]):
            raise UserError(f"block {self.path}: {name} has chunks of zeros, as of lost pages: {REMEDY}")
        check_finite(kernel, f"block {self.path}: {name}")
        return kernel

    def _damaged(self) -> UserError:
        return UserError(
            f"block {self.path} is truncated or damaged: it does not have the checksum that it states: {REMEDY}"
        )

    def _check_version(self, attributes: Mapping[str, Any]) -> None:
        if not {"family", "rows", "depth"} & attributes.keys():
            raise UserError(f"{self.path} is no block; name files that `exact-cntk block` or the workflow has made")
        if "depth" in attributes:
            raise UserError(f"{self.path} is a merged kernel, not a block: name the files that it was merged from")
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise UserError(f"{self.path} is no block of format version {FORMAT_VERSION} (but {version}): {REMEDY}")

    def _header(self, attributes: Mapping[str, Any]) -> tuple[Header, str]:
        try:
            return Header.from_attributes(attributes), str(attributes["instruction_set"])
        except InputError as error:
            raise UserError(f"block {self.path} is at an impossible position: {error}; {REMEDY}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"block {self.path} has wrong attributes ({error}): {REMEDY}") from error


def read_header(path: Path) -> tuple[Header, str]:
    """The header and the instruction set that the block at `path` states.

    Raises
    ------
    UserError
        If the file is missing, not complete, or no block.
    """
    with Block(path) as block:
        return block.header, block.instruction_set


def read_kernel(path: Path, kind: str, depth: int, trained: str | None = None) -> np.ndarray:
    """One kernel of a block, array of the header's shape, float64, checked against its checksum and for NaN.

    Parameters
    ----------
    path : Path
    kind, depth, trained
        `trained` where the block has the NTK of several choices of trained layers.

    Raises
    ------
    UserError
        If the file is missing, damaged, or does not hold this kernel.
    """
    with Block(path) as block:
        return block.kernel((kind, depth, *([trained] if trained else [])))


def is_complete(path: Path, header: Header) -> bool:
    """Whether `path` is a whole and undamaged block with exactly this header."""
    if not path.exists():
        return False
    try:
        with Block(path) as block:
            if block.header != header:
                return False
            for key in header.datasets:
                block.kernel(key)
    except UserError:
        return False
    return True


def check_finite(kernel: np.ndarray, what: str, first_row: int = 0) -> None:
    """Refuse a kernel by its first entry that is NaN or infinite, counting rows from `first_row`."""
    finite = np.isfinite(kernel)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise UserError(f"{what} has {kernel[row, column]} at row {first_row + row}, column {column}")


def _is_zeroed(kernel: np.ndarray, chunk_rows: int) -> bool:
    """Whether a chunk of several rows has nothing but zeros, whose checksum in HDF5 is 0 as well."""
    starts = range(0, len(kernel), chunk_rows) if chunk_rows > 1 else ()
    return any(not kernel[start : start + chunk_rows].any() for start in starts)
