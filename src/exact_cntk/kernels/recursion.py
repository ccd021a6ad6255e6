"""Kernels of any network in float64, by the formulas of its layers on whole P×Q×P×Q tensors: the oracle, and slow.

Σ and Θ of a pair of images run through the layers. An activation also needs the variances of both images' pixels, the
diagonals of Σ(x, x). With pooling these are not closed: a pooled variance is a mean of covariances. So a pass over each
image with itself comes first and keeps them.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from exact_cntk._support.progress import Progress
from exact_cntk.kernels.duals import dual_of
from exact_cntk.kernels.reference import TENSOR_BYTES
from exact_cntk.kernels.spec import Computed
from exact_cntk.networks.layers import Activation, Conv, Dense, Gap, Lap, Layer, Pool, Residual, weighted_layers
from exact_cntk.networks.network import Network

# Given Σ of some pairs before an activation, the variances of both images' pixels, arrays of shape (B, P, Q).
VariancesOf = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def compute(
    x1: np.ndarray, x2: np.ndarray | None, network: Network, *, trained: str, progress: Progress | None = None
) -> Computed:
    """The NTK and the CNN-GP of a network, arrays of shape (n, m): `kernels[0]` and `kernels[1]`.

    Parameters
    ----------
    x1, x2 : arrays of shape (n, P, Q, C) and (m, P, Q, C)
        Without x2, x1 with itself: pairs below the diagonal are mirrored.
    network : Network
        That takes images of this shape.
    trained : {"all", "hidden"}
        "hidden" fixes the first and the last of the weighted layers.
    progress : callable, optional
        Called with pairs done and in all.
    """
    started = time.perf_counter()
    symmetric = x2 is None
    left = np.ascontiguousarray(x1, dtype=np.float64)
    right = left if x2 is None else np.ascontiguousarray(x2, dtype=np.float64)
    batch = max(1, TENSOR_BYTES // (8 * (left.shape[1] * left.shape[2]) ** 2))
    of_left = _variances(left, network, batch)
    of_right = of_left if symmetric else _variances(right, network, batch)
    trains = [trained == "all"] * len(list(weighted_layers(network.layers)))
    trains[1:-1] = [True] * len(trains[1:-1])
    rows, columns = np.triu_indices(len(left)) if symmetric else np.indices((len(left), len(right))).reshape(2, -1)
    kernels = np.empty((2, len(left), len(right)))
    for start in range(0, len(rows), batch):
        i, j = rows[start : start + batch], columns[start : start + batch]
        Sigma = _first_covariances(left[i], right[j])
        tensors = np.stack([Sigma, np.zeros_like(Sigma)])
        known = [(a[i], b[j]) for a, b in zip(of_left, of_right, strict=True)]
        tensors = _run(network.layers, tensors, _in_turn(known), iter(trains))
        kernels[:, i, j] = tensors[::-1, :, 0, 0, 0, 0]
        if symmetric:
            kernels[:, j, i] = kernels[:, i, j]
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    return Computed(kernels, time.perf_counter() - started)


def _in_turn(known: list[tuple[np.ndarray, np.ndarray]]) -> VariancesOf:
    """Variances that are known beforehand."""
    remaining = iter(known)
    return lambda _: next(remaining)


def _variances(images: np.ndarray, network: Network, batch: int) -> list[np.ndarray]:
    """Of the images' pixels before each activation, in the order of the pass: arrays of shape (n, P, Q)."""
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(images), batch):
        x = images[start : start + batch]
        layers: list[np.ndarray] = []

        def own(Sigma: np.ndarray, layers: list[np.ndarray] = layers) -> tuple[np.ndarray, np.ndarray]:
            layers.append(np.einsum("bijij->bij", Sigma).copy())
            return layers[-1], layers[-1]

        _run(network.layers, _first_covariances(x, x)[None], own, None)
        parts.append(layers)
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _first_covariances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Σ_c x[ij, c] y[i′j′, c] / C of pairs of images."""
    return np.einsum("bijc,bklc->bijkl", x, y) / x.shape[-1]


def _run(
    layers: Sequence[Layer], tensors: np.ndarray, variances: VariancesOf, trains: Iterator[bool] | None
) -> np.ndarray:
    """Layers applied to Σ, or to Σ and Θ, of shape (1 or 2, B, P, Q, P, Q) with axes (…, pair, i, j, i′, j′).

    `trains` says of each weighted layer in turn whether it is trained; it is not needed without Θ.
    """
    for layer in layers:
        if isinstance(layer, Residual):
            tensors = tensors + _run(layer.layers, tensors, variances, trains)
        elif isinstance(layer, Activation):
            a, b = variances(tensors[0])
            value, derivative = dual_of(layer)(tensors[0], a[:, :, :, None, None], b[:, None, None, :, :])
            tensors = np.concatenate([value[None], tensors[1:] * derivative])
        elif isinstance(layer, Conv | Dense):
            tensors = layer.weight * (_convolved(layer, tensors) if isinstance(layer, Conv) else tensors)
            tensors[0] += layer.bias
            if trains is not None and next(trains):
                tensors[1] += tensors[0]
        else:
            tensors = _averaged(layer, tensors)
    return tensors


def _convolved(layer: Conv, tensors: np.ndarray) -> np.ndarray:
    """The mean over a filter's pixels, of both images at once: along rows (axes 2 and 4), then along columns."""
    for axis, places in zip((2, 3), layer.output_shape(tensors.shape[2:4]), strict=True):
        side, (before, _) = tensors.shape[axis], layer.margins(tensors.shape[axis])
        result = np.zeros([places if number in (axis, axis + 2) else n for number, n in enumerate(tensors.shape)])
        for a in range(layer.size):
            pixels = layer.stride * np.arange(places) + a - before
            if layer.padding == "circular":
                pixels %= side
            inside = np.flatnonzero((pixels >= 0) & (pixels < side))  # consecutive
            if inside.size:
                target = [slice(None)] * tensors.ndim
                target[axis] = target[axis + 2] = slice(inside[0], inside[-1] + 1)
                result[tuple(target)] += tensors.take(pixels[inside], axis).take(pixels[inside], axis + 2)
        tensors = result / layer.size
    return tensors


def _averaged(layer: Layer, tensors: np.ndarray) -> np.ndarray:
    """Σ and Θ behind a pooling layer or a readout."""
    if isinstance(layer, Gap):
        s = layer.stride
        return tensors[:, :, ::s, ::s, ::s, ::s].mean(axis=(2, 3, 4, 5), keepdims=True)
    if isinstance(layer, Pool):
        for axis in (2, 3, 4, 5):
            tensors = _window_means(tensors, axis, layer.window, layer.step)
        return tensors
    if isinstance(layer, Lap):
        for axis in (2, 3, 4, 5):
            # A larger window holds only more zeros.
            reach = min(layer.window // 2, tensors.shape[axis] - 1)
            widths = [(reach, reach) if number == axis else (0, 0) for number in range(tensors.ndim)]
            means = _window_means(np.pad(tensors, widths), axis, 2 * reach + 1, 1)
            tensors = means * ((2 * reach + 1) / layer.window)
    pixels = tensors.shape[2] * tensors.shape[3]
    return (np.einsum("kbijij->kb", tensors) / pixels)[:, :, None, None, None, None]


def _window_means(tensors: np.ndarray, axis: int, window: int, stride: int) -> np.ndarray:
    """Means over windows along one axis, of one image alone."""
    starts = np.arange(0, tensors.shape[axis] - window + 1, stride)
    result = tensors.take(starts, axis)
    for a in range(1, window):
        result += tensors.take(starts + a, axis)
    return result / window
