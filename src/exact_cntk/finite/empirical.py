"""Empirical kernels of randomly initialised networks of finite width, and the features that they are products of."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, Literal, cast

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.cut import cut
from exact_cntk._support.machine import GIB, format_gib, total_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError, UserError
from exact_cntk.finite._pass import kernel_blocks
from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN, DTYPES, check_seed
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import KINDS

DEVICES = ("cpu", "cuda")
IMAGES_AT_ONCE = 64  # whose features are computed: few layers in memory, and hardly slower than all at once


def empirical_kernel(
    x1: Any,
    x2: Any = None,
    *,
    depths: int | Sequence[int],
    readout: Literal["flatten", "lap", "gap"],
    pooling_window: int | None = None,
    width: int,
    trained: Literal["all", "hidden"] | Sequence[str] = "all",
    filter_size: int = 3,
    get: str | Sequence[str] = ("ntk",),
    channels_first: bool | None = None,
    draws: int | Sequence[int] = 1,
    seed: int = 0,
    dtype: Literal["float32", "float64"] = "float32",
    device: Literal["cpu", "cuda"] = "cpu",
    max_memory_gib: float = 1.0,
    progress: bool | Progress = False,
) -> dict[tuple, np.ndarray]:
    r"""Tangent and Gaussian process kernels of random networks of finite width, in the scale of `cntk`.

    For a network f(x) = ⟨W^{L+1}, φ(x)⟩ of one output with N(0, 1) weights θ, as `CNN` draws them at κ = 1::

        NTK(x, x′)  = Σ_θ ∂f(x)/∂θ · ∂f(x′)/∂θ       over the trained weights
        NNGP(x, x′) = ⟨φ(x), φ(x′)⟩                  φ: the last hidden layer, pooled as the readout says

    Both converge to `cntk`'s kernels of the same arguments as the width grows, with deviations of order width^−1/2; the
    network contains all of their factors, and none is left to apply. They are the kernels of ridge regression on
    random features: gradients of random networks, and their last layers.

    Parameters
    ----------
    x1, x2, depths, readout, pooling_window, trained, filter_size, get, channels_first
        As `cntk` takes them. Networks of several depths share the filters of the layers that they have in common.
    width : int ≥ 1
        Channels of every hidden layer.
    draws : int ≥ 1 or sequence of int ≥ 0
        How many networks, or which: 10 stands for range(10). Draw k is the same whichever others are requested.
    seed : int ≥ 0
        A network's weights are a function of seed, width, draw and depth.
    dtype : {"float32", "float64"}
        What networks compute in; their weights are the same in both.
    device : {"cpu", "cuda"}
    max_memory_gib : float
        Memory to work in, besides the network's weights (twice, where torch's convolution packs them), the images and
        the result; or as much as one pair of images takes, if this is more: about (4·depth + 5)·width·P·Q numbers,
        q²·width·P·Q more in float64, and 4·(P·Q)² where the network is wide. Gradients are never in memory for all
        images, nor for all of a wide layer's weights.
    progress : bool or callable
        True shows a bar on stderr; a callable is called with (done, total), in pairs of images.

    Returns
    -------
    dict of arrays of shape (number of draws, n, m), float64
        Keys are those of `cntk`: (kind, depth), or ("ntk", depth, trained) where `trained` is a sequence. Without x2,
        matrices are exactly symmetric.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed, or result or network do not fit in this machine's memory.
    UserError
        There is no such device.

    Notes
    -----
    On one machine, at one number of threads, the result has the same bytes at every call with the same arguments. A
    pair's value depends on the other images by rounding alone.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, theorem 3.1 and appendix B.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).standard_normal((5, 8, 8, 3))
    >>> kernels = empirical_kernel(images, depths=3, readout="gap", width=32, draws=4, get=("ntk", "nngp"))
    >>> kernels["ntk", 3].shape
    (4, 5, 5)
    """
    spec = KernelSpec.checked(
        depths=depths,
        readout=readout,
        trained=trained,
        filter_size=filter_size,
        get=get,
        pooling_window=pooling_window,
    )
    channels = check.as_integer("width", width, at_least=1)
    numbers = _as_draws(draws)
    entropy = [*check_seed(seed), channels]
    check.as_choice("dtype", dtype, tuple(DTYPES))
    budget = int(GIB * check.as_number("max_memory_gib", max_memory_gib))
    bar = reporting(check.as_progress("progress", progress), "empirical kernel", "pairs")
    left, right, exponent = _as_image_sets(x1, x2, channels_first, dtype)
    _check_memory(spec, len(numbers), left, right, channels)
    target = _as_device(device)

    kernels: dict[tuple, np.ndarray] = {}
    runs = list(product(enumerate(numbers), spec.depths))
    with bar as report, exact_arithmetic():
        for run, ((index, number), depth) in enumerate(runs):
            network = _draw(left, spec, depth=depth, width=channels, seed=[*entropy, number], dtype=dtype).to(target)
            on_pairs = None if report is None else _part(report, run, len(runs))
            for block in kernel_blocks(network, left, right, spec, budget=budget, on_pairs=on_pairs):
                for (kind, variant), values in block.kernels.items():
                    key = (kind, depth) if variant is None or isinstance(trained, str) else (kind, depth, variant)
                    if key not in kernels:
                        kernels[key] = np.empty((len(numbers), len(left), len(left if right is None else right)))
                    kernels[key][index, block.rows, block.columns] = values
                    if right is None:
                        kernels[key][index, block.columns, block.rows] = values.T
    return {key: _unscaled(kernel, exponent) for key, kernel in kernels.items()}


def random_features(
    x: Any,
    *,
    depth: int,
    readout: Literal["flatten", "lap", "gap"],
    pooling_window: int | None = None,
    width: int,
    trained: Literal["all", "hidden"] = "all",
    filter_size: int = 3,
    get: str | Sequence[str] = ("ntk",),
    channels_first: bool | None = None,
    draw: int = 0,
    seed: int = 0,
    dtype: Literal["float32", "float64"] = "float32",
) -> dict[str, np.ndarray]:
    """Features of one random network, whose products are its empirical kernels; for narrow networks.

    Parameters
    ----------
    x, depth, readout, pooling_window, width, trained, filter_size, get, channels_first, seed, dtype
        As `empirical_kernel` takes them.
    draw : int ≥ 0
        Which network.

    Returns
    -------
    dict of arrays
        "ntk": shape (n, trained weights), every image's gradient, layer by layer from the first; "nngp": shape
        (n, width·P·Q) for "flatten" and "lap", (n, width) for "gap". Of the requested dtype.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed, or the features do not fit in this machine's memory; the kernel of
        `empirical_kernel` needs none of them.
    """
    kinds = check.as_choices("get", get, KINDS)
    check.as_choice("dtype", dtype, tuple(DTYPES))
    images, exponent = _scaled(check.as_images("x", x, channels_first), dtype)
    network = CNN(
        images.shape[1:],
        depth=depth,
        width=width,
        readout=readout,
        pooling_window=pooling_window,
        filter_size=filter_size,
        trained=trained,
        channels_first=False,
        seed=[*check_seed(seed), width, check.as_integer("draw", draw, at_least=0)],
        dtype=dtype,
    )
    with torch.no_grad(), exact_arithmetic():
        features = {kind: _gradients(network, images) if kind == "ntk" else network.features(images) for kind in kinds}
    # Both are as homogeneous in the image as the output is.
    return {kind: _unscaled(values.numpy(), exponent) for kind, values in features.items()}


def _gradients(network: CNN, images: torch.Tensor) -> torch.Tensor:
    """Gradients of the output with respect to the trained weights, one row per image."""
    weights = {name: weight.detach() for name, weight in network.named_parameters() if weight.requires_grad}
    count = sum(weight.numel() for weight in weights.values())
    needed = len(images) * count * images.element_size()
    if needed > (present := total_memory()):
        raise InputError(
            f"x has {len(images)} images and the network of this width {count} trained weights, so that gradients take "
            f"{format_gib(needed)}; this machine has {format_gib(present)}: empirical_kernel has their products"
        )

    def output(values: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, values, (image[None],)).squeeze()

    rows = images.new_empty((len(images), count))
    for block in cut(len(images), IMAGES_AT_ONCE) if weights else []:
        gradients = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0))(weights, images[block])
        torch.cat([gradients[name].flatten(1) for name in weights], dim=1, out=rows[block])
    return rows


def _draw(images: torch.Tensor, spec: KernelSpec, *, depth: int, width: int, seed: list[int], dtype: str) -> CNN:
    """A network to be differentiated with respect to its layers, not its weights."""
    parts = spec.family.arguments() | {"trained": "all"}
    network = CNN(
        images.shape[1:], depth=depth, width=width, seed=seed, dtype=cast(Any, dtype), channels_first=False, **parts
    )
    return network.requires_grad_(False)


@contextmanager
def exact_arithmetic(*, tf32: bool = False) -> Iterator[None]:
    """Float32 in full, which torch's convolutions otherwise round to TF32 on a GPU, and the same bytes every time."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _as_image_sets(
    x1: Any, x2: Any, channels_first: bool | None, dtype: str
) -> tuple[torch.Tensor, torch.Tensor | None, int]:
    """Both sets as tensors, each divided by a power of two, and the exponent that scales their products back.

    Networks are homogeneous, and squares of what they compute must neither over- nor underflow.
    """
    images, others = check.as_image_sets(x1, x2, channels_first)
    left, exponent = _scaled(images, dtype)
    if others is None:
        return left, None, 2 * exponent
    right, other = _scaled(others, dtype)
    return left, right, exponent + other


def _scaled(images: np.ndarray, dtype: str) -> tuple[torch.Tensor, int]:
    exponent = int(np.frexp(np.abs(images).max())[1])
    return torch.from_numpy(np.ldexp(images, -exponent).astype(dtype)), exponent


def _unscaled(values: np.ndarray, exponent: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = np.ldexp(values, exponent, out=values)
    if not np.isfinite(values).all():
        raise InputError(
            f"the images have values so large that their products overflow {values.dtype}; scale them down"
        )
    return values


def _as_draws(draws: Any) -> list[int]:
    """Numbers of the networks."""
    if not isinstance(draws, Iterable) or isinstance(draws, str):
        return list(range(check.as_integer("draws", draws, at_least=1)))
    numbers = [check.as_integer("draws", number, at_least=0) for number in draws]
    if not numbers:
        raise InputError("draws is empty; allowed are an integer ≥ 1 or a sequence of integers ≥ 0")
    return numbers


def _as_device(device: Any) -> torch.device:
    name = check.as_choice("device", device, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device is 'cuda', but torch {torch.__version__} finds no GPU that it can use; use 'cpu'")
    return torch.device(name)


def _check_memory(spec: KernelSpec, draws: int, left: torch.Tensor, right: torch.Tensor | None, width: int) -> None:
    """Refuse a result or a network larger than the machine."""
    n, m = len(left), len(left if right is None else right)
    result = 8 * draws * len(spec.outputs) * n * m
    below = left.shape[3] + (spec.depths[-1] - 2) * width
    weights = left.element_size() * width * below * spec.family.filter_size**2
    if result + weights > (present := total_memory()):
        raise InputError(
            f"draws, depths and images ask for {draws * len(spec.outputs)} kernels of {n} × {m} in float64, "
            f"{format_gib(result)}, and width {width} for weights of {format_gib(weights)}; this machine has "
            f"{format_gib(present)}: compute the kernel in blocks of images, fewer draws, or a narrower network"
        )


def _part(report: Progress, run: int, runs: int) -> Progress:
    """The progress of one run of several alike."""
    return lambda done, total: report(run * total + done, runs * total)
