"""Passes of the recursion that a study takes: which kernels come out of each, and the blocks that they are cut into."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exact_cntk.blocks._grid import Position, Span, block_name, block_positions, kernel_id
from exact_cntk.blocks._sizes import BlockSizes, block_sizes, planned_backend
from exact_cntk.kernels.cost import NOMINAL_RATES, block_memory, element_layers

_CHANNELS = {"digits": 1, "cifar10": 3}


@dataclass(frozen=True)
class KernelPass:
    """One pass of the recursion: a family's architecture at all depths that are computed together.

    Attributes
    ----------
    family, readout, filter_size, depths, pooling_window, flips
        As `exact_cntk.cntk` takes them.
    trained : {"all", "hidden", "all,hidden"}
        Both variants come out of one pass.
    kinds : tuple of {"ntk", "nngp"}
    pool_images : int, optional
        How many images of the pool, its first ones, the kernels are computed between; None: all. With a number, blocks
        have the size that suits the pass, whatever the parameters say of the study's own kernels.
    """

    family: str
    readout: str
    trained: str
    filter_size: int
    depths: tuple[int, ...]
    kinds: tuple[str, ...] = ("ntk", "nngp")
    pooling_window: int | None = None
    flips: bool = False
    pool_images: int | None = None

    @property
    def kernel_id(self) -> str:
        """Name of the pass and of the folder of its blocks."""
        return kernel_id(self.family, self.depths)

    @property
    def outputs(self) -> int:
        """Number of kernels that come out of it."""
        variants = {"ntk": len(self.trained.split(",")), "nngp": 1}
        return len(self.depths) * sum(variants[kind] for kind in self.kinds)

    def layers(self, pairs: int, shape: tuple[int, ...], depth: int | None = None) -> int:
        """Count the element-layers of pairs of images, by default to its deepest."""
        options: dict[str, Any] = {"pooling_window": self.pooling_window, "flips": self.flips}
        return element_layers(pairs, shape, self.readout, depth or self.depths[-1], **options)


def kernel_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of all families, in the order of the file; none where the study has no kernels."""
    if params["kernels"] is None:
        return ()
    return tuple(
        KernelPass(
            family["name"],
            family["readout"],
            family["trained"],
            family["filter_size"],
            tuple(depths),
            tuple(params["kernels"]["kinds"]),
            family.get("pooling_window"),
            family.get("flips", False),
        )
        for family in params["kernels"]["families"]
        for depths in family["depth_passes"]
    )


def kernel_depths(params: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """List (family, depth) of every merged kernel: families in the order of the file, depths increasing."""
    depths: dict[str, list[int]] = {}
    for one in kernel_passes(params):
        depths.setdefault(one.family, []).extend(one.depths)
    return tuple((family, depth) for family in depths for depth in sorted(depths[family]))


def image_shape(prepare: Mapping[str, Any]) -> tuple[int, int, int]:
    """Shape (P, Q, C) of the study's images."""
    return prepare["resolution"], prepare["resolution"], _CHANNELS[prepare["dataset"]]


def pass_block_sizes(params: Mapping[str, Any], one: KernelPass) -> BlockSizes:
    """Give the sizes of a pass's blocks: those of the parameters, or the ones that suit it where these say "auto".

    Raises
    ------
    InputError
        No blocks suit it.
    """
    prepare, kernels = params["prepare"], params["kernels"]
    if kernels["block_images"] != "auto" and one.pool_images is None:
        return BlockSizes(kernels["block_images"], kernels["block_images"])
    return block_sizes(
        one.pool_images or prepare["train_images"],
        prepare["test_images"],
        image_shape(prepare),
        readout=one.readout,
        depth=max(one.depths),
        outputs=one.outputs,
        backend=kernels["backend"],
        pooling_window=one.pooling_window,
        flips=one.flips,
    )


def kernel_blocks(params: Mapping[str, Any], one: KernelPass) -> list[Position]:
    """List the blocks of a pass: those between its images of the pool, and between them and the test set."""
    pool, n_test = params["prepare"]["train_images"], params["prepare"]["test_images"]
    n = one.pool_images or pool
    return [_in_pool(position, n, pool) for position in block_positions(n, n_test, pass_block_sizes(params, one))]


def block_files(params: Mapping[str, Any], one: KernelPass) -> tuple[str, ...]:
    """Name the files of a pass's blocks, below results/<study>."""
    return tuple(f"blocks/{one.kernel_id}/{block_name(position)}" for position in kernel_blocks(params, one))


def _in_pool(position: Position, n: int, pool: int) -> Position:
    """A block of a kernel of the pool's first n images, placed in that of the whole pool: test rows come after it."""
    rows, cols = position
    return Position(Span(rows.start + pool - n, rows.stop + pool - n), cols) if rows.start >= n else position


def pass_seconds(params: Mapping[str, Any], one: KernelPass, position: Position) -> float:
    """Seconds that a block of a pass takes at the nominal rate of the backend that it is cut for."""
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    backend = planned_backend(
        one.pool_images or prepare["train_images"],
        prepare["test_images"],
        shape,
        readout=one.readout,
        depth=one.depths[-1],
        backend=params["kernels"]["backend"],
        pooling_window=one.pooling_window,
        flips=one.flips,
    )
    return one.layers(position.pairs, shape) / NOMINAL_RATES[backend, one.readout]


def pass_memory(params: Mapping[str, Any], one: KernelPass) -> int:
    """Peak of the largest block job of a pass, in bytes: the images, and `exact_cntk.kernels.cost.block_memory`."""
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    largest = max(kernel_blocks(params, one), key=lambda position: position.entries)
    images = 4 * (prepare["train_images"] + prepare["test_images"]) * math.prod(shape)
    return images + block_memory(*largest.shape, one.outputs, shape, one.depths[-1])
