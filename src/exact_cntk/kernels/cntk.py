"""The public function `cntk`: checks, the choice of a backend, and the keys of the result."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import format_gib, total_memory
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError
from exact_cntk.kernels.backends import BACKENDS, load_backend
from exact_cntk.kernels.flips import averaged
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import kernel_key

DTYPES = ("float32", "float64")

# Images whose largest entry lies outside of 2^±20 are scaled by a power of two before the recursion: float32 squares
# overflow from 2^64 and lose digits below 2^-63.
UNSCALED_EXPONENT = 20


def cntk(
    x1: Any,
    x2: Any = None,
    *,
    depths: int | Sequence[int],
    readout: Literal["flatten", "lap", "gap"],
    pooling_window: int | None = None,
    flips: bool = False,
    trained: Literal["all", "hidden"] | Sequence[str] = "all",
    filter_size: int = 3,
    get: str | Sequence[str] = ("ntk",),
    diagonal: bool = False,
    channels_first: bool | None = None,
    backend: Literal["auto", "reference", "cpu", "cuda"] = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    progress: bool | Progress = False,
    threads: int | None = None,
) -> dict[tuple, np.ndarray]:
    r"""Exact neural tangent and Gaussian process kernels of infinitely wide convolutional ReLU networks.

    For images x, x′, filters q×q with stride 1 and zero padding, L = depth − 1 and c_σ = 2, starting from
    Σ⁰ = box(Σ_c x⊗x′) and Θ⁰ = Σ⁰, layers h = 1 … L do::

        ρ    = Σ^{h−1} / √(Σ^{h−1}(x, x) Σ^{h−1}(x′, x′))
        K^h  = c_σ/q² · √(Σ^{h−1}(x, x) Σ^{h−1}(x′, x′)) · (ρ (π − arccos ρ) + √(1 − ρ²)) / 2π
        K̇^h  = c_σ/q² · (π − arccos ρ) / 2π
        Σ^h  = box(K^h)
        Θ^h  = box(K̇^h ⊙ Θ^{h−1} + K^h)        for h < L
        Θ^L  = K̇^L ⊙ Θ^{L−1} + K^L

    and the NTK is Σ_ij Θ^L[ij, ij] (`flatten`), the mean of all P²Q² entries of Θ^L (`gap`), or between the two, with
    local averages over windows of w×w pixels, w⁻⁴ Σ_a Σ_{p, p′ ∈ window(a)} Θ^L[p, p′] (`lap`). The kernel of the
    CNN-GP, the Gaussian process that the random network of infinite width is ("nngp"), is the same readout of K^L.

    ==================  ============================================================================================
    Σ^h, K^h            covariance of two pixels' pre-activations and of their ReLU features, a P×Q×P×Q tensor
    K̇^h                 the same of the ReLU's derivatives
    Θ^h                 the tangent kernel of layer h's output
    box(T)[ij, i′j′]    Σ_{|a|,|b| ≤ (q−1)/2} T[i+a, j+b, i′+a, j′+b], zero outside of the images
    Σ(x, x), Σ(x′, x′)  taken at the pixels (ij, ij) and (i′j′, i′j′): the norms of the two patches
    ==================  ============================================================================================

    ρ is clamped to [−1, 1]; it is 0 where a norm is 0.

    Parameters
    ----------
    x1 : array of shape (n, P, Q, C)
        Images of P rows, Q columns and C channels; NumPy array, torch tensor (on any device) or nested sequence of
        real, finite numbers.
    x2 : array of shape (m, P, Q, C), optional
        Further images. Without, the kernel of x1 with itself: exactly symmetric, at half the cost.
    depths : int or sequence of int, each from 2 to 1000
        Number of convolutional layers + 1, as in the paper: depth 2 has one convolution, one ReLU and the linear
        readout. One pass to the deepest gives all depths, at its cost.
    readout : {"flatten", "lap", "gap"}
        `flatten`: a fully connected layer on all pixels (the paper's CNTK-V); `gap`: global average pooling before
        the last layer (CNTK-GAP); `lap`: local average pooling, stride 1 and zero padding, then as `flatten`. Per pair
        `flatten` takes P·Q numbers per layer, `gap` P²·Q², `lap` about (2w − 1)²·P·Q, or P²·Q² if that is less.
    pooling_window : int, odd
        w = 2c + 1 of `lap`, which needs it. The sum of a window is divided by w² at the image's edge, too. With 1,
        `lap` is `flatten`; from 2·max(P, Q) − 1 on, where every window is the whole image, (P·Q)³/w⁴ times `gap`.
    flips : bool
        Average the kernel over horizontal flips: (K(x, x′) + K(x, flip x′)) / 2, at twice the cost. Regression with it
        is regression with K on the training set and its mirror images, at half the ridge.
    trained : {"all", "hidden"} or sequence of both
        Which layers are trained. "hidden" fixes the first and the last one: Θ⁰ = 0, and Θ^L loses its term K^L; at
        depth 2 no layer is left and the NTK is 0. The paper's CNTK-V trains all layers, its CNTK-GAP the hidden ones.
        A sequence computes both in one pass and changes the NTK's keys, see below.
    filter_size : int, odd, at most 1001
        q. From twice the image's larger side on, a larger one changes only the scale.
    get : {"ntk", "nngp"} or sequence of both
    diagonal : bool
        Compute K(x, x) alone, the diagonal of the kernel of x1 with itself, without the matrix.
    channels_first : bool, optional
        Whether images are (C, P, Q), as torch orders them, instead of (P, Q, C). By default they are not; shapes that
        look like it, such as (n, 3, 32, 32), (n, 4, 32, 32) and (n, 3, 4, 4), are refused, and those that may as well
        be, such as (n, 3, 3, 3), warned of (`exact_cntk.errors.LayoutWarning`). False takes them as they are.
    backend : {"auto", "reference", "cpu", "cuda"}
        `reference`: float64 and slow, straight from the formulas above, for tests; `cpu`: compiled, vectorised, many
        threads; `cuda`: an NVIDIA GPU, the first that CUDA_VISIBLE_DEVICES leaves, with the extra
        ``pip install "exact-cntk[cuda]"``; `auto`: `cuda` where there is one, else `cpu`.
    dtype : {"float32", "float64"}
        What the recursion computes in. The diagonals Σ(x, x), and K(x, x) itself, do not suffer from float32.
    progress : bool or callable
        True shows a bar on stderr; a callable is called with (done, total).
    threads : int, optional
        By default one for every core that the process may use. The result does not depend on it.

    Returns
    -------
    dict of arrays of shape (n, m), float64
        Keys are (kind, depth), as in ``K["ntk", 11]``. Where `trained` is a sequence, NTK keys are
        ("ntk", depth, trained) and those of the CNN-GP stay ("nngp", depth). This also holds for one kind and depth:
        ``cntk(x, depths=3, readout="gap", get="ntk")`` is {("ntk", 3): K}. Of shape (n,) with `diagonal`.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed, or the result does not fit in this machine's memory.
    UserError
        The backend is not available.

    Notes
    -----
    Scales are those of the paper and of its authors' code. Images are not normalised: K(a·x, b·x′) = a·b·K(x, x′) for
    a, b > 0. Against neural-tangents (every convolution and the final Dense with W_std = √2 and without bias, padding
    SAME), at every depth and for both kinds, ``flatten`` is PQ·C/2 times and ``gap`` C/2 times its kernel with all
    layers trained. Formulas that leave out c_σ give 2^−L times the values here.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, section 4; global average pooling: its appendix on CNTK-GAP.

    Li, Wang, Yu, Du, Hu, Salakhutdinov, Arora: Enhanced Convolutional Neural Tangent Kernels. 2019, arXiv 1911.00809:
    local average pooling and flips.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).standard_normal((5, 8, 8, 3))
    >>> kernels = cntk(images, depths=[3, 4], readout="gap", trained="hidden", get=("ntk", "nngp"))
    >>> sorted(kernels)
    [('nngp', 3), ('nngp', 4), ('ntk', 3), ('ntk', 4)]
    >>> kernels["ntk", 4].shape
    (5, 5)
    """
    spec = KernelSpec.checked(
        depths=depths,
        readout=readout,
        trained=trained,
        filter_size=filter_size,
        get=get,
        pooling_window=pooling_window,
        flips=flips,
    )
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "progress": progress, "threads": threads}
    if check.as_diagonal(diagonal, x2):
        kernels = _diagonals(check.as_images("x1", x1, channels_first), spec, **options)
    else:
        kernels, _ = by_rows(x1, x2, spec, channels_first=channels_first, **options)
    nested = not isinstance(trained, str)  # also a sequence of one choice
    keys = (kernel_key(output, nested=nested) for output in spec.outputs)
    return dict(zip(keys, kernels.values(), strict=True))


def by_rows(
    x1: Any,
    x2: Any,
    spec: KernelSpec,
    *,
    backend: str,
    dtype: str,
    threads: int | None,
    progress: bool | Progress,
    channels_first: bool | None = False,
    on_rows: Callable[[dict[tuple, np.ndarray]], object] | None = None,
) -> tuple[dict[tuple, np.ndarray], float]:
    """What `cntk` does, passing rows on as they are finished, where the backend finishes some before others.

    Parameters
    ----------
    x1, x2, backend, dtype, threads, progress, channels_first
        As `cntk` takes them.
    spec : KernelSpec
    on_rows : callable, optional
        Called with the next rows of all kernels, by key, once for each row. They are not changed afterwards.

    Returns
    -------
    dict
        All rows of all kernels, by the keys of `spec`.
    float
        Seconds in which the device, or the CPU, worked on pairs.
    """
    compute_dtype = check.as_choice("dtype", dtype, DTYPES)
    n_threads = None if threads is None else check.as_integer("threads", threads, at_least=1)
    module = load_backend(check.as_choice("backend", backend, BACKENDS))
    bar = reporting(check.as_progress("progress", progress), "kernel", "pairs")
    images, others = _as_image_sets(x1, x2, channels_first)
    _check_memory(spec, len(images), len(images if others is None else others))

    images, exponents = _in_range(images)
    columns = exponents
    if others is not None:
        others, columns = _in_range(others)
    scaled = bool(exponents.any() or columns.any())
    flips, options, seconds = spec.family.flips, {}, 0.0
    if on_rows is not None and module.streams_rows and not scaled and not flips:
        options["on_rows"] = lambda _, rows: on_rows(dict(zip(spec.keys, rows, strict=True)))

    def plain(x: np.ndarray, y: np.ndarray | None, report: Progress | None) -> np.ndarray:
        nonlocal seconds
        result = module.compute(x, y, spec, dtype=compute_dtype, threads=n_threads, progress=report, **options)
        seconds += result.seconds
        return result.kernels

    with bar as report:
        kernels = averaged(plain, images, others, spec.family, report) if flips else plain(images, others, report)
    if scaled:
        kernels = _rescaled(kernels, exponents, columns)
    named = dict(zip(spec.keys, kernels, strict=True))
    if on_rows is not None and not options:
        on_rows(named)
    return named, seconds


def _diagonals(
    images: np.ndarray, spec: KernelSpec, *, progress: bool | Progress, **options: Any
) -> dict[tuple, np.ndarray]:
    """K(x, x) of all kernels: of each image with itself, which is what a matrix has there, to the bit."""
    diagonals = np.empty((len(spec.outputs), len(images)))
    with reporting(check.as_progress("progress", progress), "diagonal", "images") as report:
        for i in range(len(images)):
            kernels, _ = by_rows(images[i : i + 1], None, spec, progress=False, **options)
            diagonals[:, i] = np.ravel(list(kernels.values()))
            if report is not None:
                report(i + 1, len(images))
    return dict(zip(spec.keys, diagonals, strict=True))


def _as_image_sets(x1: Any, x2: Any, channels_first: bool | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Both sets checked, of one image shape and one dtype."""
    images, others = check.as_image_sets(x1, x2, channels_first)
    if others is None:
        return images, None
    dtype = np.result_type(images, others)
    return images.astype(dtype, copy=False), others.astype(dtype, copy=False)


def _check_memory(spec: KernelSpec, n: int, m: int) -> None:
    """Refuse a result larger than the machine: the system would kill the process, not raise MemoryError."""
    needed = 8 * len(spec.outputs) * n * m
    if needed > (present := total_memory()):
        raise InputError(
            f"x1, x2 and depths ask for {len(spec.outputs)} kernels of {n} × {m} in float64, {format_gib(needed)}; "
            f"this machine has {format_gib(present)}: compute the kernel in blocks of images, or fewer depths"
        )


def _in_range(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images scaled by powers of two where they would over- or underflow, and the exponents that undo it."""
    exponents = np.frexp(np.abs(images).max(axis=(1, 2, 3)))[1]
    exponents[np.abs(exponents) <= UNSCALED_EXPONENT] = 0
    if not exponents.any():
        return images, exponents
    return np.ldexp(images, -exponents[:, None, None, None]), exponents


def _rescaled(kernels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """K(2^a x, 2^b x′) = 2^{a+b} K(x, x′)."""
    with np.errstate(over="ignore"):
        kernels = np.ldexp(kernels, rows[:, None] + columns)
    if not np.isfinite(kernels).all():
        raise InputError("x1 and x2 have values so large that their kernel overflows float64; scale the images down")
    return kernels
