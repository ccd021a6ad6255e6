"""The public function `kernel`: checks arguments, chooses what computes a network, and calls it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import require_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError
from exact_cntk.kernels import recursion
from exact_cntk.kernels.backends import BACKENDS
from exact_cntk.kernels.cntk import DTYPES, by_rows
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import KINDS, TRAINED, Family
from exact_cntk.networks.layers import Conv, Dense, Flatten, Gap, Lap, Layer, Relu
from exact_cntk.networks.network import Network

NAMES = ("ntk", "nngp")  # in the order of `recursion.compute`
LARGEST_SCALE = 1e100  # and smallest, of a network beside the family's; float64 leaves room for that of the images
_TENSORS = 12  # of a pair, in memory at a time


def kernel(
    network: Any,
    x1: Any,
    x2: Any = None,
    *,
    get: str | Sequence[str] = ("ntk",),
    trained: str = "all",
    channels_first: bool | None = None,
    backend: str = "auto",
    dtype: str = "float32",
    progress: bool | Callable[[int, int], object] = False,
    threads: int | None = None,
) -> dict[Any, np.ndarray]:
    """Exact neural tangent and Gaussian process kernels of networks of any layers, of infinite width.

    Parameters
    ----------
    network : str, Network, sequence of layers, or sequence of networks
        What `exact_cntk.networks.Network` takes, such as ``"(conv3 relu)*3 pool2 conv3 relu gap dense"``.
    x1 : array of shape (n, P, Q, C), or (n, d)
        Images, or vectors, which are images of one pixel with d channels; as `exact_cntk.cntk` takes them.
    x2 : array of shape (m, P, Q, C), or (m, d), optional
        Without, the kernel of x1 with itself: exactly symmetric, at half the cost.
    get : {"ntk", "nngp"} or sequence of both
    trained : {"all", "hidden"}
        "hidden" fixes the first and the last of the layers with weights.
    channels_first : bool, optional
        See `exact_cntk.cntk`.
    backend : {"auto", "reference", "cpu", "cuda"}
        `reference`: every layer, from the formulas on whole tensors, in float64, slow. `cpu` and `cuda` are fast; they
        take ReLU networks of the paper's family, ``(conv3 relu)*L flatten dense`` with any odd filter, `lap` or `gap`,
        and any variances without a bias in convolutions. `auto`: a fast one where it can, else `reference`.
    dtype : {"float32", "float64"}
        What a fast backend computes in.
    progress : bool or callable
        True shows a bar on stderr; a callable is called with (done, total).
    threads : int, optional
        Of a fast backend.

    Returns
    -------
    dict of arrays of shape (n, m), float64
        Keys are the kinds, or (kind, number of the network) if several are given.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed, a layer does not fit the images, or the backend lacks a layer.
    UserError
        The backend is not available.

    Notes
    -----
    In the neural tangent parametrisation: the output is an average over pixels and channels, whatever their number. The
    kernels of `exact_cntk.cntk` have the paper's scale instead, C/2 times these for `gap`, P·Q·C/2 times for `flatten`
    and `lap`.

    References
    ----------
    Jacot, Gabriel, Hongler: Neural Tangent Kernel. NeurIPS 2018, arXiv 1806.07572. Novak et al.: Bayesian Deep
    Convolutional Networks with Many Channels are Gaussian Processes. ICLR 2019, arXiv 1810.05148. Shankar et al.:
    Neural Kernels Without Tangents. ICML 2020, arXiv 2003.02237 (Myrtle networks, the kernel `gauss`).

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).standard_normal((5, 8, 8, 3))
    >>> K = kernel("conv3 relu pool2 conv3[bias=0.1] erf gap dense", images, get=("ntk", "nngp"))
    >>> K["nngp"].shape
    (5, 5)
    """
    networks, several = _networks(network)
    kinds = check.as_choices("get", get, KINDS)
    chosen = check.as_choice("trained", trained, TRAINED)
    images, others = _image_sets(x1, x2, channels_first)
    for each in networks:
        each.shapes(images.shape[1:])
    options: dict[str, Any] = {
        "backend": check.as_choice("backend", backend, BACKENDS),
        "dtype": check.as_choice("dtype", dtype, DTYPES),
        "threads": None if threads is None else check.as_integer("threads", threads, at_least=1),
    }
    results = [_compute(each, images, others, kinds, chosen, progress=progress, **options) for each in networks]
    if not several:
        return results[0]
    return {(kind, number): K for number, result in enumerate(results) for kind, K in result.items()}


def _compute(
    network: Network,
    x1: np.ndarray,
    x2: np.ndarray | None,
    kinds: tuple[str, ...],
    trained: str,
    *,
    backend: str,
    dtype: str,
    threads: int | None,
    progress: bool | Progress,
) -> dict[str, np.ndarray]:
    member = in_family(network)
    if isinstance(member, Layer) and backend in ("cpu", "cuda"):
        raise InputError(
            f"backend is {backend!r}, which does not compute {member} in {str(network)!r}; use 'reference' or 'auto'"
        )
    if backend == "reference" or isinstance(member, Layer):
        return _by_recursion(network, x1, x2, kinds, trained, progress)
    spec = KernelSpec.checked(
        depths=member.depth,
        get=kinds,
        readout=member.family.readout,
        trained=trained,
        filter_size=member.family.filter_size,
        pooling_window=member.family.pooling_window,
    )
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "threads": threads, "progress": progress}
    kernels, _ = by_rows(x1, x2, spec, **options)
    scale = member.scale / (x1.shape[3] * (1 if member.family.readout == "gap" else x1.shape[1] * x1.shape[2]))
    bias = {"nngp": member.bias, "ntk": member.bias if trained == "all" else 0.0}
    of_kinds = zip([output.kind for output in spec.outputs], kernels.values(), strict=True)
    with np.errstate(over="ignore"):
        return _finite({kind: scale * K + bias[kind] for kind, K in of_kinds})


def _by_recursion(
    network: Network,
    x1: np.ndarray,
    x2: np.ndarray | None,
    kinds: tuple[str, ...],
    trained: str,
    progress: bool | Progress,
) -> dict[str, np.ndarray]:
    n, m, pixels = len(x1), len(x1 if x2 is None else x2), x1.shape[1] * x1.shape[2]
    needed = 8 * (2 * n * m + _TENSORS * pixels**2)
    require_memory(f"the reference kernel of {n} × {m} images of {pixels:,} pixels", needed)
    with (
        reporting(check.as_progress("progress", progress), "kernel", "pairs") as report,
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        computed = recursion.compute(x1, x2, network, trained=trained, progress=report)
    kernels = _finite(dict(zip(NAMES, computed.kernels, strict=True)))
    return {kind: kernels[kind] for kind in kinds}


def _finite(kernels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The kernels, if no value or variance was too large."""
    if not all(np.isfinite(K).all() for K in kernels.values()):
        raise InputError(
            "x1, x2 or the network's variances are so large that the kernel overflows float64; scale them down"
        )
    return kernels


class Member(NamedTuple):
    """A network of the paper's family: its kernel is `scale` times the family's at C = P = Q = 1, plus `bias`."""

    family: Family
    depth: int
    scale: float
    bias: float


def in_family(network: Network) -> Member | Layer:
    """What a network is in the paper's family, up to constants, or the first layer that is not in it."""
    if len(network.layers) < 2:
        return network.layers[0]
    *body, readout, dense = network.layers
    assert isinstance(dense, Dense)  # as `Network` has checked
    for number, layer in enumerate(body):
        first = body[0]
        if number % 2 == 0:
            fits = isinstance(layer, Conv) and isinstance(first, Conv) and layer.size == first.size
            if not fits or (layer.stride, layer.padding, layer.bias) != (1, "zero", 0.0):  # type: ignore[attr-defined]
                return layer
        elif not isinstance(layer, Relu):
            return layer
    whole = isinstance(readout, Flatten | Lap) or (isinstance(readout, Gap) and readout.stride == 1)
    if not whole or len(body) % 2 or not body:
        return readout
    convolutions = [layer for layer in body if isinstance(layer, Conv)]
    window = readout.window if isinstance(readout, Lap) else None
    family = Family(readout.word, filter_size=convolutions[0].size, pooling_window=window)
    # The family's own are 2, but for the first, which its scale leaves out; ReLU passes factors on.
    scale = math.prod(layer.weight / 2 for layer in convolutions) * dense.weight
    if len(convolutions) >= check.DEEPEST or not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
        return max(convolutions, key=lambda layer: abs(math.log(layer.weight)))
    return Member(family, len(convolutions) + 1, scale, dense.bias)


def _networks(given: Any) -> tuple[list[Network], bool]:
    """The networks, and whether several were asked for."""
    one = isinstance(given, str | bytes | Network) or not isinstance(given, Sequence)
    if one or any(isinstance(layer, Layer) for layer in given):
        return [Network(given)], False
    if not given:
        raise InputError("network is an empty sequence; give a network, or several")
    return [Network(each) for each in given], True


def _image_sets(x1: Any, x2: Any, channels_first: bool | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Both sets as images; vectors become images of one pixel."""
    check.is_channels_first(channels_first)
    if np.ndim(check.as_known("x1", x1)) != 2:
        return check.as_image_sets(x1, x2, channels_first)
    left = check.as_vectors("x1", x1)
    right = None if x2 is None else check.as_vectors("x2", x2)
    if right is not None and right.shape[1] != left.shape[1]:
        raise InputError(f"x2 has {right.shape[1]} features; allowed is x1's number of features, {left.shape[1]}")
    return left[:, None, None, :], None if right is None else right[:, None, None, :]
