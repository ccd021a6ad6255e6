"""What a network sends forwards and backwards for some images at a time, and how many of them fit in a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN


@dataclass(frozen=True)
class Signals:
    """A block of n images in a network of one output; inputs and deltas are empty without gradients."""

    features: torch.Tensor  # what the last layer is linear in, of shape (n, C·P·Q) or (n, C)
    inputs: tuple[torch.Tensor, ...] = ()  # x⁰ … x^{L−1}, of shape (n, C_{h−1}, P, Q)
    deltas: tuple[torch.Tensor, ...] = ()  # ∂f/∂z¹ … ∂f/∂z^L, of shape (n, C, P, Q)


class BlockPlan(NamedTuple):
    """Images per block, and bytes for the products of two blocks."""

    images: int
    scratch: int


def signals(network: CNN, images: torch.Tensor, *, gradients: bool) -> Signals:
    """Layers of a network of one output and, by one reverse pass, the gradients with respect to them."""
    if not gradients:
        with torch.no_grad():
            return Signals(network.features(images))

    def outputs(*shifts: torch.Tensor) -> tuple[torch.Tensor, tuple[list[torch.Tensor], torch.Tensor]]:
        layers = network.activations(images, shifts)
        features = network.pooled(layers[-1])
        # Images do not meet in the network: the sum's gradient is each image's own.
        return network.read_out(features).sum(), (layers[:-1], features)

    zero = torch.zeros((), dtype=images.dtype, device=images.device)
    shapes = [(len(images), len(weight), *images.shape[1:3]) for weight in network.filters]
    _, pullback, kept = torch.func.vjp(outputs, *(zero.expand(s) for s in shapes), has_aux=True)  # type: ignore[misc]
    inputs, features = kept
    return Signals(features, tuple(inputs), tuple(pullback(torch.ones_like(zero))))


def plan_blocks(
    image_shape: Sequence[int],
    *,
    layers: int,
    width: int,
    filter_size: int,
    itemsize: int,
    budget: int,
    gradients: bool,
) -> BlockPlan:
    """How many images to take at a time so that two blocks of signals and what is done to them fit in `budget` bytes.

    Half of the budget is for signals: x⁰ … x^L and δ¹ … δ^L of two blocks; and, while one is computed, five more layers
    (z, the shifted z, what flows back, and torch's own copies) and what torch's convolution in float64 unfolds, each
    pixel's whole patch; while two are multiplied, two more of each, one of them padded. Half is for products. Where one
    image of each block is already more than that, it is one image all the same.
    """
    P, Q, channels = image_shape
    pixels, padded = P * Q, (P + filter_size - 1) * (Q + filter_size - 1)
    convolution = pixels * (5 + (filter_size**2 if itemsize == 8 else 0))
    contraction = 2 * (pixels + padded)
    kept = pixels * (4 * layers if gradients else 2)
    scalars = 4 * pixels * channels + width * (kept + max(convolution, contraction, 9 * pixels))
    return BlockPlan(images=max(1, budget // 2 // (itemsize * scalars)), scratch=budget // 2)
