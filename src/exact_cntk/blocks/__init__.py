"""Kernel matrices on disk: cut into blocks that are computed one by one, and merged.

The grid's pure functions load at once, for the workflow's rules; what needs h5py or the kernel loads on first use.
"""

from typing import TYPE_CHECKING

from exact_cntk._support.lazy import lazy_exports
from exact_cntk.blocks._grid import (
    Position,
    Span,
    block_name,
    block_positions,
    dataset_name,
    kernel_id,
    kernel_name,
    parse_span,
)
from exact_cntk.blocks._sizes import BlockSizes, block_sizes, planned_backend

if TYPE_CHECKING:
    from exact_cntk.blocks._block_set import BlockSet, read_block_set
    from exact_cntk.blocks._compute import compute_block
    from exact_cntk.blocks._file import Header, read_header, read_kernel
    from exact_cntk.blocks._matrix import KernelMatrix
    from exact_cntk.blocks._merge import merge_blocks, read_list
    from exact_cntk.blocks._merged import Kernel, find_lost_block, open_kernel
    from exact_cntk.blocks._writer import BlockWriter, write_block

__all__ = [
    "BlockSet",
    "BlockSizes",
    "BlockWriter",
    "Header",
    "Kernel",
    "KernelMatrix",
    "Position",
    "Span",
    "block_name",
    "block_positions",
    "block_sizes",
    "compute_block",
    "dataset_name",
    "find_lost_block",
    "kernel_id",
    "kernel_name",
    "merge_blocks",
    "open_kernel",
    "parse_span",
    "planned_backend",
    "read_block_set",
    "read_header",
    "read_kernel",
    "read_list",
    "write_block",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "BlockSet": "_block_set",
        "BlockWriter": "_writer",
        "Header": "_file",
        "Kernel": "_merged",
        "KernelMatrix": "_matrix",
        "compute_block": "_compute",
        "find_lost_block": "_merged",
        "merge_blocks": "_merge",
        "open_kernel": "_merged",
        "read_block_set": "_block_set",
        "read_header": "_file",
        "read_kernel": "_file",
        "read_list": "_merge",
        "write_block": "_writer",
    },
)
