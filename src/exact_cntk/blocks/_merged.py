"""A merged kernel on disk: one small HDF5 file for one architecture and depth, which says where its numbers are.

The numbers stay in the blocks, and nowhere else. The dataset `/blocks` lists these: the `file` of each, relative to the
folder of this one, so that both can be moved together; its `rows` and `cols`, first and last + 1; `sha256`, its
checksum of all but the numbers; and for each kind what tells its numbers from others, `digest_chunks` of
`exact_cntk._support.hdf5`.

For those who read it without `open_kernel`, every kind is a virtual dataset `/<kind>` of shape (n_train + n_test,
n_train) over the blocks, which HDF5 reads without comparing them with the list. It has NaN where a block is missing,
and above the diagonal blocks of the symmetric part, which HDF5 cannot mirror: with T = K[:n_train], the whole of that
part is `np.where(np.isnan(T), T.T, T)`.

Attributes say what was computed and from what. The file ends in a checksum. There are no time stamps: same input, same
bytes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from exact_cntk._support.hdf5 import TYPES, is_intact, open_to_read, read_attributes, reading, write_checksum
from exact_cntk._support.stated_files import statement_attribute
from exact_cntk.blocks._cover import find_fault
from exact_cntk.blocks._file import LIBVER, precision, read_common, stated_storage
from exact_cntk.blocks._grid import Position, Span, dataset_name
from exact_cntk.blocks._matrix import KernelMatrix, MergedBlock, OpenBlocks
from exact_cntk.errors import UserError
from exact_cntk.networks import KINDS, Family

FORMAT_VERSION = 3
LIST = "blocks"  # the dataset
REMEDY = "delete it and merge again"
_DIGEST = "S64"  # SHA-256 in hexadecimal


@dataclass(frozen=True)
class Kernel:
    """What a merged kernel file holds; the fields are those of a block's `Header`, with one depth.

    `instruction_set` lists those that the blocks were computed with, in alphabetical order.
    """

    name: str
    network: Family
    depth: int
    kinds: tuple[str, ...]
    backend: str
    dtype: str
    instruction_set: str
    data_digest: str
    n_train: int
    n_test: int
    storage: str = "float64"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every kind."""
        return self.n_train + self.n_test, self.n_train

    @property
    def precision(self) -> str:
        """That of the numbers, by the less precise of recursion and storage."""
        return precision(self.dtype, self.storage)

    def attributes(self) -> dict[str, Any]:
        """As HDF5 stores it, and as provenance states it."""
        apart = ("name", "network")
        others = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        others |= stated_storage(others.pop("storage"))
        return {"family": self.name} | self.network.stated_parts(**others | {"kinds": ",".join(self.kinds)})

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "Kernel":
        """Back from HDF5; KeyError, TypeError or ValueError if they are not a kernel's."""
        own = {"depth": int(attributes["depth"]), "instruction_set": attributes["instruction_set"]}
        return cls(**read_common(attributes), **own)


def write_kernel(path: Path, kernel: Kernel, blocks: Sequence[MergedBlock]) -> None:
    """Write a kernel file, which is to be in the folder that the names of `blocks` are relative to.

    HDF5 writes it in memory: on a full disk its own files cannot be closed, and the process dies of that.
    """
    with h5py.File("kernel", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs.update(kernel.attributes())
        file.attrs.update(statement_attribute())
        file.create_dataset(LIST, data=_as_list(kernel, blocks), track_times=False)
        for kind in kernel.kinds:
            _create_virtual(file, kind, kernel, blocks)
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)
    with path.open("r+b") as written:
        write_checksum(written.fileno(), [])


def _as_list(kernel: Kernel, blocks: Sequence[MergedBlock]) -> np.ndarray:
    names = [os.fsencode(block.file) for block in blocks]
    edges = [(name, "<i8", 2) for name in ("rows", "cols")]
    digests = [(name, _DIGEST) for name in ("sha256", *kernel.kinds)]
    listed = np.zeros(len(blocks), [("file", f"S{max(map(len, names))}"), *edges, *digests])
    listed["file"] = names
    for name in ("rows", "cols"):
        listed[name] = [getattr(block.position, name) for block in blocks]
    listed["sha256"] = [block.checksum for block in blocks]
    for kind in kernel.kinds:
        listed[kind] = [block.digests[kind] for block in blocks]
    return listed


def _create_virtual(file: h5py.File, kind: str, kernel: Kernel, blocks: Sequence[MergedBlock]) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)
    layout.set_fill_value(np.array(np.nan, kernel.storage))
    for block in blocks:
        there, here = h5py.h5s.create_simple(block.position.shape), h5py.h5s.create_simple(kernel.shape)
        here.select_hyperslab(tuple(span.start for span in block.position), block.position.shape)
        layout.set_virtual(here, os.fsencode(block.file), dataset_name(kind, kernel.depth).encode(), there)
    h5py.h5d.create(file.id, kind.encode(), TYPES[kernel.storage], h5py.h5s.create_simple(kernel.shape), layout)


class _Stated(NamedTuple):
    """What a kernel file holds."""

    kernel: Kernel
    blocks: list[MergedBlock]


@contextmanager
def open_kernel(path: Path) -> Iterator[tuple[Kernel, dict[str, KernelMatrix]]]:
    """Open a merged kernel: its attributes, and the matrix of each kind, whose slices are read from the blocks.

    What is read of a block is compared with its checksums, and with what was there when it was merged.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UserError
        If the file is missing, damaged, or no merged kernel; when numbers are read, if a block is missing, damaged, or
        another one.
    """
    with _opened(path) as file:
        kernel, blocks = _read(path, file)
        with closing(OpenBlocks(path, blocks)) as files:
            yield (
                kernel,
                {kind: KernelMatrix(kind, kernel.depth, kernel.shape, kernel.n_train, files) for kind in kernel.kinds},
            )


def find_lost_block(path: Path) -> Path | None:
    """The first block of an intact kernel file that is missing or, by the end of its file, another one than was merged.

    Raises
    ------
    UserError
        As `open_kernel`.
    """
    with _opened(path) as file:
        blocks = _read(path, file).blocks
    return OpenBlocks(path, blocks).find_lost()


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A kernel file of this format version, with its checksum verified."""
    with _explained(path):
        if not path.exists():
            raise UserError(f"kernel {path} is missing: make it with `exact-cntk merge`")
        intact = is_intact(path)
        if intact is False:
            raise _damaged(path)
        file = open_to_read(path, virtual=KINDS)
    with file:
        with _explained(path):
            _check_version(path, read_attributes(file))  # first: older ones state no checksum
            if intact is None:
                raise _damaged(path)
        yield file


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with reading():
            yield
    except OSError as error:
        raise UserError(f"kernel {path} cannot be read, it is truncated or damaged ({error}): {REMEDY}") from error


def _damaged(path: Path) -> UserError:
    return UserError(
        f"kernel {path} is truncated or damaged: its content does not have the checksum that it states; {REMEDY}"
    )


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if not {"family", "rows", "depth"} & attributes.keys():
        raise UserError(f"{path} is no kernel; name a file that `exact-cntk merge` or the workflow has made")
    if "rows" in attributes:
        raise UserError(f"{path} is a block, not a merged kernel: merge all blocks of its pass with `exact-cntk merge`")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path} is no kernel of format version {FORMAT_VERSION} ({version}): {REMEDY}")


def _read(path: Path, file: h5py.File) -> _Stated:
    """What the file states, after comparing its datasets with it."""
    try:
        with _explained(path):
            attributes = read_attributes(file)
        kernel = Kernel.from_attributes(attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"kernel {path} has wrong attributes ({error}): {REMEDY}") from error
    with _explained(path):
        blocks = _blocks_in(file[LIST][()], kernel)
        if find_fault([block.position for block in blocks], kernel.n_train, kernel.n_test) is not None:
            raise ValueError("the blocks that it lists do not cover it")
        for kind in kernel.kinds:
            if not _is_virtual(file.get(kind), kind, kernel, blocks):
                raise UserError(
                    f"kernel {path} has no virtual dataset {kind} of shape {kernel.shape} over the blocks that it "
                    f"lists: {REMEDY}"
                )
    return _Stated(kernel, blocks)


def _blocks_in(listed: np.ndarray, kernel: Kernel) -> list[MergedBlock]:
    return [
        MergedBlock(
            os.fsdecode(row["file"]),
            Position(*(Span(*row[name].tolist()) for name in ("rows", "cols"))),
            row["sha256"].decode(),
            {kind: row[kind].decode() for kind in kernel.kinds},
        )
        for row in listed
    ]


def _is_virtual(dataset: object, kind: str, kernel: Kernel, blocks: Sequence[MergedBlock]) -> bool:
    """Whether a dataset is what `_create_virtual` makes."""
    if not (isinstance(dataset, h5py.Dataset) and dataset.is_virtual and dataset.shape == kernel.shape):
        return False
    wanted = {
        (block.file, dataset_name(kind, kernel.depth), tuple((span.start, span.stop - 1) for span in block.position))
        for block in blocks
    }
    mapped = {
        (source.file_name, source.dset_name, tuple(zip(*source.vspace.get_select_bounds(), strict=True)))
        for source in dataset.virtual_sources()
    }
    return dataset.id.get_type().equal(TYPES[kernel.storage]) and mapped == wanted
