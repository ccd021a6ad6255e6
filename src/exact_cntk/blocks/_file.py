"""One block on disk: an HDF5 file for one pass and one rectangle of its kernel matrices.

Every kernel of the pass is a dataset `/<kind>/depth_<dd>`, or `/ntk-<trained>/depth_<dd>` where the pass has the NTK of
all and of the hidden layers, of shape (rows, columns), float64, with checksums. Attributes say what was computed, from
what, and where it belongs. The file ends in a checksum of all but the numbers. There are no time stamps: same input,
same bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exact_cntk._support.hdf5 import has_numbers, is_intact, open_to_read, read_attributes, reading
from exact_cntk.blocks._grid import Position, Span, check_position, dataset_name
from exact_cntk.errors import InputError, UserError
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family

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

    def __post_init__(self) -> None:
        check_position(self.position, self.n_train, self.n_test)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every dataset."""
        return self.position.shape

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
        position = {"rows": np.array(self.position.rows), "cols": np.array(self.position.cols)}
        return {"family": self.name} | self.network.stated_parts(**others) | position

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Header":
        """Back from HDF5; KeyError, TypeError or ValueError if they are not a header's."""
        rows, cols = (Span(*(int(edge) for edge in attributes[name])) for name in ("rows", "cols"))
        depths = tuple(int(depth) for depth in attributes["depths"])
        return cls(**read_common(attributes), depths=depths, position=Position(rows, cols))


def read_common(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What blocks and merged kernels both state, by the names of `Header`; KeyError, TypeError or ValueError if not."""
    return {
        "name": attributes["family"],
        "network": Family.from_parts(attributes),
        "kinds": tuple(attributes["kinds"].split(",")),
        **{name: attributes[name] for name in ("backend", "dtype", "data_digest")},
        **{name: int(attributes[name]) for name in ("n_train", "n_test")},
    }


def read_header(path: Path) -> tuple[Header, str]:
    """The header and the instruction set that the block at `path` states.

    Raises
    ------
    UserError
        If the file is missing, not complete, or no block.
    """
    with _open(path) as file:
        return _header(path, file)


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
    with _open(path) as file:
        header, _ = _header(path, file)
        return _kernel(path, file, header, (kind, depth, *([trained] if trained else [])))


def is_complete(path: Path, header: Header) -> bool:
    """Whether `path` is a whole and undamaged block with exactly this header."""
    if not path.exists():
        return False
    try:
        with _open(path) as file:
            if _header(path, file)[0] != header:
                return False
            for key in header.datasets:
                _kernel(path, file, header, key)
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


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        if not path.exists():
            raise UserError(f"block {path} is missing")
        intact = is_intact(path, numbers=False)  # HDF5 has checksums of its own for these
        if intact is False:
            raise _damaged(path)
        with open_to_read(path) as file:
            if intact is None:
                _check_version(path, read_attributes(file))  # first: older ones have no checksum
                raise _damaged(path)
            yield file
    except OSError as error:
        raise UserError(f"block {path} cannot be read, it is truncated or damaged ({error}): {REMEDY}") from error


def _damaged(path: Path) -> UserError:
    return UserError(f"block {path} is truncated or damaged: it does not have the checksum that it states: {REMEDY}")


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if "depth" in attributes:
        raise UserError(f"{path} is a merged kernel, not a block: name the files that it was merged from")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path} is no block of format version {FORMAT_VERSION} (but {version}): {REMEDY}")


def _header(path: Path, file: h5py.File) -> tuple[Header, str]:
    attributes = read_attributes(file)
    _check_version(path, attributes)
    try:
        return Header.from_attributes(attributes), str(attributes["instruction_set"])
    except InputError as error:
        raise UserError(f"block {path} is at an impossible position: {error}; {REMEDY}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"block {path} has wrong attributes ({error}): {REMEDY}") from error


def _kernel(path: Path, file: h5py.File, header: Header, key: tuple) -> np.ndarray:
    name = dataset_name(*key)
    with reading():
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            stated = ", ".join(header.datasets.values())
            raise UserError(f"block {path} has no {name}; by its attributes it has {stated}")
        if dataset.shape != header.shape:
            raise UserError(f"block {path}: {name} has shape {dataset.shape}, not {header.shape}: {REMEDY}")
        if not (has_numbers(dataset, header.shape) and dataset.fletcher32):
            raise UserError(f"block {path}: {name} is not complete, or not float64 with checksums: {REMEDY}")
        kernel = dataset[()]
    output = (*key[:2], *(key[2:] or header.network.trained))
    if output != _ZERO and _is_zeroed(kernel, dataset.chunks[0]):
        raise UserError(f"block {path}: {name} has chunks of zeros, as of lost pages: {REMEDY}")
    check_finite(kernel, f"block {path}: {name}")
    return kernel
