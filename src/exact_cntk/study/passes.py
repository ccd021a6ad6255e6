"""Passes of the recursion that a study takes: which kernels come out of each, and the blocks that they are cut into."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exact_cntk.blocks._grid import Position, Span, block_name, block_positions, kernel_id
from exact_cntk.blocks._sizes import BlockSizes, block_sizes, planned_backend
from exact_cntk.data import describe
from exact_cntk.kernels.cost import NOMINAL_RATES, block_memory
from exact_cntk.networks import Family


@dataclass(frozen=True)
class KernelPass:
    """One pass of the recursion: a family of networks, by `name`, at all depths that are computed together.

    `pool_images` is how many images of the pool, the first ones, the kernels are computed between; None: all. With a
    number, blocks have the size that suits the pass, whatever the parameters say of the study's own kernels.
    """

    name: str
    network: Family
    depths: tuple[int, ...]
    kinds: tuple[str, ...] = ("ntk", "nngp")
    pool_images: int | None = None

    @property
    def kernel_id(self) -> str:
        """Name of the pass and of the folder of its blocks."""
        return kernel_id(self.name, self.depths)

    @property
    def outputs(self) -> int:
        """Number of kernels that come out of it."""
        return len(self.network.outputs(self.kinds, self.depths))

    def layers(self, pairs: int, shape: tuple[int, ...], depth: int | None = None) -> int:
        """Count the element-layers of pairs of images, by default to its deepest."""
        return self.network.element_layers(pairs, shape, depth or self.depths[-1])


def kernel_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of all families, in the order of the file; none where the study has no kernels."""
    if params["kernels"] is None:
        return ()
    return tuple(
        KernelPass(family["name"], Family.from_parts(family), tuple(depths), tuple(params["kernels"]["kinds"]))
        for family in params["kernels"]["families"]
        for depths in family["depth_passes"]
    )


def kernel_depths(params: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """List (family, depth) of every merged kernel: families in the order of the file, depths increasing."""
    depths: dict[str, list[int]] = {}
    for kernel_pass in kernel_passes(params):
        depths.setdefault(kernel_pass.name, []).extend(kernel_pass.depths)
    return tuple((family, depth) for family in depths for depth in sorted(depths[family]))


def storage(params: Mapping[str, Any]) -> str:
    """Precision of the study's kernels on disk."""
    return str(params["kernels"].get("storage", "float64"))


def image_shape(prepare: Mapping[str, Any]) -> tuple[int, int, int]:
    """Shape (P, Q, C) of the study's images."""
    return describe(prepare).shape


def pass_block_sizes(params: Mapping[str, Any], kernel_pass: KernelPass) -> BlockSizes:
    """Sizes of a pass's blocks: those of the parameters, or with "auto" suitable ones; InputError if there are none."""
    prepare, kernels = params["prepare"], params["kernels"]
    if kernels["block_images"] != "auto" and kernel_pass.pool_images is None:
        return BlockSizes(kernels["block_images"], kernels["block_images"])
    return block_sizes(
        kernel_pass.pool_images or prepare["train_images"],
        prepare["test_images"],
        image_shape(prepare),
        family=kernel_pass.network,
        depth=max(kernel_pass.depths),
        outputs=kernel_pass.outputs,
        backend=kernels["backend"],
        storage=storage(params),
    )


def kernel_blocks(params: Mapping[str, Any], kernel_pass: KernelPass) -> list[Position]:
    """List the blocks of a pass: those between its images of the pool, and between them and the test set."""
    pool, n_test = params["prepare"]["train_images"], params["prepare"]["test_images"]
    n = kernel_pass.pool_images or pool
    return [
        _in_pool(position, n, pool) for position in block_positions(n, n_test, pass_block_sizes(params, kernel_pass))
    ]


def block_files(params: Mapping[str, Any], kernel_pass: KernelPass) -> tuple[str, ...]:
    """Name the files of a pass's blocks, below results/<study>."""
    return tuple(
        f"blocks/{kernel_pass.kernel_id}/{block_name(position)}" for position in kernel_blocks(params, kernel_pass)
    )


def _in_pool(position: Position, n: int, pool: int) -> Position:
    """A block of a kernel of the pool's first n images, placed in that of the whole pool: test rows come after it."""
    rows, cols = position
    return Position(Span(rows.start + pool - n, rows.stop + pool - n), cols) if rows.start >= n else position


def pass_seconds(params: Mapping[str, Any], kernel_pass: KernelPass, position: Position) -> float:
    """Seconds that a block of a pass takes at the nominal rate of the backend that it is cut for."""
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    backend = planned_backend(
        kernel_pass.pool_images or prepare["train_images"],
        prepare["test_images"],
        shape,
        family=kernel_pass.network,
        depth=kernel_pass.depths[-1],
        backend=params["kernels"]["backend"],
    )
    return kernel_pass.layers(position.pairs, shape) / NOMINAL_RATES[backend, kernel_pass.network.readout]


def pass_memory(params: Mapping[str, Any], kernel_pass: KernelPass) -> int:
    """Peak of the largest block job of a pass, in bytes: the images, and `exact_cntk.kernels.cost.block_memory`."""
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    largest = max(kernel_blocks(params, kernel_pass), key=lambda position: position.entries)
    images = 4 * (prepare["train_images"] + prepare["test_images"]) * math.prod(shape)
    return images + block_memory(*largest.shape, kernel_pass.outputs, shape, kernel_pass.depths[-1], storage(params))
