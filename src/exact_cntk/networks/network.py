"""Any sequence of layers as one object: its text, its checks, the shapes of its images, and its work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError, shortened
from exact_cntk.networks.layers import (
    Activation,
    Dense,
    Flatten,
    Identity,
    Lap,
    Layer,
    Residual,
    Shape,
    as_layers,
    count_layers,
)
from exact_cntk.networks.notation import parse, text_of

Displacements = tuple[set[int], set[int]]  # between pixels, along rows and along columns


@dataclass(frozen=True, init=False)
class Network:
    """A network of infinite width: layers on images or, as images of one pixel, on vectors.

    Parameters
    ----------
    description : str or sequence of layers
        A line such as ``"(conv3 relu)*3 pool2 conv3 relu gap dense"``, or the layers of `exact_cntk.networks`. The last
        one is dense. ``str(network)`` is the line of the same network, whichever was given.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    InputError
        (a ValueError) Naming the word or layer that is not allowed where it is.

    Examples
    --------
    >>> str(Network("conv3 relu conv3 relu conv3 relu gap dense[bias=0.0]"))
    '(conv3 relu)*3 gap dense'
    """

    layers: tuple[Layer, ...]

    def __init__(self, description: "str | Sequence[Layer] | Network") -> None:
        object.__setattr__(self, "layers", _layers(description))
        count_layers("network", self.layers)
        if not self.layers or not isinstance(self.layers[-1], Dense):
            last = f"ends with {self.layers[-1]}" if self.layers else "has no layers"
            raise InputError(f"network {last}; its last layer must be dense")
        _check_order(self.layers, normal=False, weighted=False)

    def __str__(self) -> str:
        return text_of(self.layers)

    def __repr__(self) -> str:
        return f"Network({str(self)!r})"

    def shapes(self, image_shape: Sequence[int]) -> list[Shape]:
        """Rows and columns before each layer, and behind the last; InputError naming a layer that does not fit."""
        if len(image_shape) not in (2, 3):
            raise InputError(f"image_shape is {shortened(image_shape)}; allowed are (P, Q) and (P, Q, C)")
        P, Q = (check.as_integer("image_shape", side, at_least=1) for side in image_shape[:2])
        shape = (P, Q)
        shapes = [shape]
        for layer in self.layers:
            shape = layer.output_shape(shape)
            shapes.append(shape)
        return shapes

    def element_layers(self, pairs: int, image_shape: Sequence[int]) -> int:
        """Entries of all pairs' covariance tensors × activations, at the displacements that the output depends on.

        A displacement is that from a pixel of one image to a pixel of the other: the readout `flatten` needs none but
        0, pooling by 2 before it those up to 1, and so on.

        Parameters
        ----------
        pairs : int
            Pairs of images; of a symmetric matrix n(n + 1)/2.
        image_shape : sequence
            (P, Q) or (P, Q, C).
        """
        return pairs * _entries(self.layers, self.shapes(image_shape), ({0}, {0}))[0]


def _layers(description: Any) -> tuple[Layer, ...]:
    if isinstance(description, Network):
        return description.layers
    return parse(description) if isinstance(description, str) else as_layers("network", description)


def _check_order(layers: Sequence[Layer], *, normal: bool, weighted: bool) -> bool:
    """Refuse activations of what is not normal, and chains that depend on their input; whether the output is normal."""
    before = "an activation" if weighted else "the images"
    for layer in layers:
        if isinstance(layer, Residual):
            _check_chain(layer, normal=normal, weighted=weighted)
        elif isinstance(layer, Activation) and not isinstance(layer, Identity):
            if not normal:
                raise InputError(f"network has {layer} on {before}; put conv or dense between")
            normal, before = False, "an activation"
        elif isinstance(layer, Flatten | Lap):  # the entries of the vector have different variances
            normal, before = False, str(layer)
        elif layer.weighted:
            normal = weighted = True
    return normal


def _check_chain(residual: Residual, *, normal: bool, weighted: bool) -> None:
    if not weighted:
        raise InputError(f"network has {residual} on the images; put conv or dense before it")
    if not any(layer.weighted for layer in residual.layers):
        raise InputError(f"network has {residual}, a chain without conv or dense of its own, which passes its input on")
    if not _check_order(residual.layers, normal=normal, weighted=True):
        raise InputError(f"network has {residual}; put conv or dense behind the last activation of its chain")


def _entries(layers: Sequence[Layer], shapes: Sequence[Shape], needed: Displacements) -> tuple[int, Displacements]:
    """Entries at the activations, and the displacements needed of the input, given those of the output."""
    total = 0
    for layer, shape in zip(reversed(layers), reversed(shapes[: len(layers)]), strict=True):
        if isinstance(layer, Residual):
            inside = [shape]
            for part in layer.layers:
                inside.append(part.output_shape(inside[-1]))
            count, below = _entries(layer.layers, inside, needed)
            total += count
            needed = (needed[0] | below[0], needed[1] | below[1])  # of the chain, and of the input itself
            continue
        rows, columns = (layer.displacements(shape, axis, part) for axis, part in enumerate(needed))
        needed = (rows, columns)
        if isinstance(layer, Activation) and not isinstance(layer, Identity):
            sides = zip(shape, needed, strict=True)
            total += math.prod(sum(side - abs(d) for d in part) for side, part in sides)
    return total, needed
