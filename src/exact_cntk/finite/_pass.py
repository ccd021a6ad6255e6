"""The empirical kernels of one network, block of images by block of images."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress
from exact_cntk.finite._contract import layer_kernel
from exact_cntk.finite._signals import Signals, plan_blocks, signals
from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN
from exact_cntk.kernels.spec import KernelSpec


class Block(NamedTuple):
    """Rows × columns of one network's kernels, by kind and trained layers (None for the CNN-GP's)."""

    rows: slice
    columns: slice
    kernels: dict[tuple[str, str | None], np.ndarray]


def kernel_blocks(
    network: CNN,
    left: torch.Tensor,
    right: torch.Tensor | None,
    spec: KernelSpec,
    *,
    budget: int,
    on_pairs: Progress | None = None,
) -> Iterator[Block]:
    """Kernels of `spec`'s kinds and trained layers; without `right`, the blocks on and below the diagonal alone.

    The network, of one output, is on the device to compute on, whatever that of the images, which have shapes
    (n, P, Q, C₀) and (m, P, Q, C₀). The budget, in bytes, is used as `plan_blocks` says.
    """
    others = left if right is None else right
    device = network.readout_weight.device
    gradients = "ntk" in spec.kinds
    plan = plan_blocks(
        network.image_shape,
        layers=len(network.filters),
        width=len(network.filters[0]),
        filter_size=spec.family.filter_size,
        itemsize=left.element_size(),
        budget=budget,
        gradients=gradients,
    )
    all_columns = cut(len(others), plan.images)
    done, total = 0, pairs(len(left), None if right is None else len(right))
    for row, rows in enumerate(cut(len(left), plan.images)):
        of_rows = signals(network, left[rows].to(device), gradients=gradients)
        for column, columns in enumerate(all_columns if right is not None else all_columns[: row + 1]):
            diagonal = right is None and column == row
            of_columns = of_rows if diagonal else signals(network, others[columns].to(device), gradients=gradients)
            products = _products(of_rows, of_columns, spec, plan.scratch)
            if diagonal:
                products = {name: (kernel + kernel.T) / 2 for name, kernel in products.items()}
            yield Block(rows, columns, {name: kernel.cpu().numpy() for name, kernel in products.items()})
            n, m = rows.stop - rows.start, columns.stop - columns.start
            done += pairs(n, None if diagonal else m)
            if on_pairs is not None:
                on_pairs(done, total)


def pairs(n: int, m: int | None) -> int:
    """Number of pairs of n images with m others, or with themselves."""
    return n * (n + 1) // 2 if m is None else n * m


def _products(x: Signals, y: Signals, spec: KernelSpec, scratch: int) -> dict[tuple[str, str | None], torch.Tensor]:
    """Sums over the trained layers of what each contributes; the last layer's contribution is the CNN-GP's kernel."""
    last = (x.features @ y.features.T).double()
    kernels: dict[tuple[str, str | None], torch.Tensor] = {}
    if "ntk" in spec.kinds:
        hidden = torch.zeros_like(last)
        for h in range(1, len(x.inputs)):
            hidden += _layer(x, y, h, spec, scratch)
        for trained in spec.family.trained:
            kernels["ntk", trained] = hidden if trained == "hidden" else _layer(x, y, 0, spec, scratch) + hidden + last
    if "nngp" in spec.kinds:
        kernels["nngp", None] = last
    return kernels


def _layer(x: Signals, y: Signals, h: int, spec: KernelSpec, scratch: int) -> torch.Tensor:
    return layer_kernel(x.inputs[h], x.deltas[h], y.inputs[h], y.deltas[h], spec.family.filter_size, scratch)
