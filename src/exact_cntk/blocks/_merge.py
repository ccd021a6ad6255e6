"""Blocks of one pass checked and put together to the kernel of one depth, which says where they are."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from exact_cntk._support.atomic import replacing
from exact_cntk._support.machine import require_memory
from exact_cntk._support.reading import read_text
from exact_cntk._support.statement import check_inputs
from exact_cntk.blocks._cover import Gap, find_fault
from exact_cntk.blocks._file import REMEDY, Block, Header, read_header
from exact_cntk.blocks._grid import block_name
from exact_cntk.blocks._matrix import MergedBlock
from exact_cntk.blocks._merged import Kernel, write_kernel
from exact_cntk.errors import UserError
from exact_cntk.kernels.cost import ITEM_BYTES, MERGED_COPIES

# Deleting the named block does not help where "auto" meant another backend when the others were computed.
ONE_BACKEND = "name one of the two in the parameters (kernels.backend), delete the other's blocks, and run again"


def read_list(path: Path) -> list[Path]:
    """Block files named in a text file, one per line.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return [Path(line.strip()) for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list of blocks {path} cannot be read: {error}") from error


def merge_blocks(
    paths: Sequence[Path],
    depth: int,
    out: Path,
    *,
    max_memory_gib: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Kernel:
    """Merge the blocks of one pass to the kernels, of every kind, at one of its depths.

    All their numbers are read and checked, one block at a time, but not copied: the kernel file says in which blocks
    they are, by names relative to its folder, and what tells these from others. So the blocks must stay.

    Parameters
    ----------
    paths : sequence of Path
        All blocks of one grid, in any order.
    depth : int
        One of the pass's depths.
    out : Path
        The kernel file to write.
    max_memory_gib : float, optional
        Limit of the memory that it may need.
    progress : callable(done, total), optional
        Called after every block.

    Returns
    -------
    Kernel
        The attributes of what was written.

    Raises
    ------
    UserError
        Naming the file: a block is missing, damaged, has NaN, differs from the others in parameters or data, overlaps
        another one or leaves a gap. Naming the numbers: memory does not suffice, or the disk is full.
    """
    blocks = read_headers(paths)
    check_equal(blocks)
    _check_cover(blocks)
    kernel = _kernel(blocks, depth)
    largest = max(header.position.entries for header, _ in blocks.values())
    require_memory(f"merging {kernel.name} at depth {depth}", MERGED_COPIES * ITEM_BYTES * largest, max_memory_gib)
    with replacing(out) as temporary:
        merged = []
        for done, (path, (header, _)) in enumerate(sorted(blocks.items(), key=_position), start=1):
            name = _relative(path, out.parent)
            with Block(path) as block:
                digests = {}
                for kind in kernel.kinds:
                    read_values(block, (kind, depth))
                    digests[kind] = block.digest((kind, depth))
                merged.append(MergedBlock(name, header.position, block.checksum, digests))
            if progress is not None:
                progress(done, len(blocks))
        write_kernel(temporary, kernel, merged)
    return kernel


def _position(block: tuple[Path, tuple[Header, str]]) -> tuple:
    return block[1][0].position


def _relative(path: Path, folder: Path) -> str:
    """Name of a file as seen from a folder: as short as the names that were given, where no link makes that another."""
    name = os.path.relpath(path, folder)
    if (folder / name).exists() and path.samefile(folder / name):
        return name
    return os.path.relpath(path.resolve(), folder.resolve())


Blocks = dict[Path, tuple[Header, str]]


def read_headers(paths: Sequence[Path]) -> Blocks:
    """Header and instruction set of each block; UserError if there are none, or one is repeated, missing or damaged."""
    if not paths:
        raise UserError("no blocks to merge: name the block files, or a list of them with --blocks")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UserError(f"block {twice[0]} is named {paths.count(twice[0])} times; name each block once")
    headers = {path: read_header(path) for path in paths}
    check_inputs(paths)
    return headers


def check_equal(blocks: Blocks) -> None:
    """Refuse the first block that differs from the majority in anything but its position."""
    versions = Counter(tuple(header.common.items()) for header, _ in blocks.values())
    majority = dict(versions.most_common(1)[0][0])
    for path, (header, _) in blocks.items():
        for name, value in header.common.items():
            if value != majority[name]:
                remedy = ONE_BACKEND if name == "backend" else REMEDY
                raise UserError(
                    f"block {path} does not belong to the others: its {name} is {value!r} instead of "
                    f"{majority[name]!r}; {remedy}"
                )


def _check_cover(blocks: Blocks) -> None:
    paths, headers = list(blocks), [header for header, _ in blocks.values()]
    fault = find_fault([header.position for header in headers], headers[0].n_train, headers[0].n_test)
    if isinstance(fault, Gap):
        likely = paths[0].with_name(block_name(fault.position))
        raise UserError(f"no block covers {fault.position} of the kernel: {likely} is missing, or of another grid")
    if fault is not None:
        raise UserError(
            f"block {paths[fault.second]} ({headers[fault.second].position}) overlaps {paths[fault.first]} "
            f"({headers[fault.first].position}): they are of two grids; delete the one of the old block size"
        )


def _kernel(blocks: Blocks, depth: int) -> Kernel:
    path, (header, _) = next(iter(blocks.items()))
    if depth not in header.depths:
        raise UserError(f"depth is {depth}; block {path} has depths {', '.join(map(str, header.depths))}")
    if header.network.nested:
        raise UserError(
            f"block {path} has the NTK of {' and of '.join(header.network.trained)} layers trained; a merged kernel is "
            "of one of them: compute blocks with --trained all or --trained hidden"
        )
    shared = {field.name: getattr(header, field.name) for field in fields(Kernel) if hasattr(header, field.name)}
    instruction_sets = sorted({instruction_set for _, instruction_set in blocks.values()})
    return Kernel(**shared, depth=depth, instruction_set=", ".join(instruction_sets))


def read_values(block: Block, key: tuple) -> np.ndarray:
    """Read one kernel of a block, by its key in `Header.datasets`.

    Raises
    ------
    UserError
        The block is damaged, has NaN, or is not symmetric where it lies on the diagonal.
    """
    values = block.kernel(key)
    if block.header.position.diagonal and not np.array_equal(values, values.T):
        raise UserError(f"block {block.path} lies on the diagonal, but its {key[0]} kernel is not symmetric; {REMEDY}")
    return values
