"""The oracle: the kernel's recurrences on whole P×Q×P×Q tensors, float64, as in the definition.

Slow on purpose. Every other backend is tested against it, so it shares none of their shortcuts: no displacement
planes, no exploited symmetry between the pixels of a pair, no polynomial for arccos.

Source: Arora et al. 2019, arXiv 1904.11955v2, section 4 and appendix E.
"""

import math
import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from exact_cntk._support.progress import Progress
from exact_cntk.kernels.spec import Computed, KernelSpec, OnRows

C_SIGMA = 2.0  # 1 / E[relu(u)²] for u ~ N(0, 1): keeps a layer's norm

# A batch of pairs holds about a dozen tensors at a time: of 2 MiB each they stay near the caches, and a single
# 32×32 pair (8 MiB a tensor) needs about 100 MiB.
TENSOR_BYTES = 2 * 2**20

streams_rows = False


def compute(
    x1: np.ndarray,
    x2: np.ndarray | None,
    spec: KernelSpec,
    *,
    dtype: str = "float64",
    threads: int | None = None,
    progress: Progress | None = None,
    on_rows: OnRows | None = None,
) -> Computed:
    """Every kernel of `spec` between two sets of images, always in float64 on one thread.

    Arguments are those of `BackendModule.compute`. Without x2, pairs below the diagonal are mirrored.
    """
    del dtype, threads, on_rows
    started = time.perf_counter()
    symmetric = x2 is None
    left = np.ascontiguousarray(x1, dtype=np.float64)
    right = left if x2 is None else np.ascontiguousarray(x2, dtype=np.float64)
    rows, columns = np.triu_indices(len(left)) if symmetric else np.indices((len(left), len(right))).reshape(2, -1)

    pixels = left.shape[1] * left.shape[2]
    batch = max(1, TENSOR_BYTES // (8 * pixels**2))
    kernels = np.empty((len(spec.outputs), len(left), len(right)))
    for start in range(0, len(rows), batch):
        i, j = rows[start : start + batch], columns[start : start + batch]
        values = kernels_of_pairs(left[i], right[j], spec)
        kernels[:, i, j] = values
        if symmetric:
            kernels[:, j, i] = values
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    return Computed(kernels, time.perf_counter() - started)


def kernels_of_pairs(x: np.ndarray, y: np.ndarray, spec: KernelSpec) -> np.ndarray:
    """Kernels of the pairs (x[b], y[b]).

    Layer by layer, with L = depth − 1: Θ^h = box(K̇^h ⊙ Θ^{h−1} + K^h) for h < L, and at the last layer
    K̇^L ⊙ Θ^{L−1} + K^L, without K^L if the last layer is fixed; Θ⁰ = Σ⁰, or 0 if the first layer is fixed.

    Parameters
    ----------
    x, y : arrays of shape (B, P, Q, C), float64
    spec : KernelSpec

    Returns
    -------
    array of shape (len(spec.outputs), B), float64
    """
    kernels: dict[tuple[str, int, str | None], np.ndarray] = {}
    Theta: dict[str, np.ndarray] = {}
    family = spec.family
    read = partial(read_out, readout=family.readout, pooling_window=family.pooling_window)
    for h, (Sigma, K, K_dot) in enumerate(covariances(x, y, family.filter_size, layers=spec.depths[-1] - 1), start=1):
        if h == 1:
            Theta = {trained: Sigma if trained == "all" else np.zeros_like(Sigma) for trained in family.trained}
        if h + 1 in spec.depths:
            kernels["nngp", h + 1, None] = read(K)
        for trained in family.trained if "ntk" in spec.kinds else ():
            below = K_dot * Theta[trained]
            if h + 1 in spec.depths:
                kernels["ntk", h + 1, trained] = read(below + K if trained == "all" else below)
            Theta[trained] = box(below + K, family.filter_size)
    return np.stack([kernels[output] for output in spec.outputs])


def covariances(
    x: np.ndarray, y: np.ndarray, filter_size: int, layers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (Σ^{h−1}, K^h, K̇^h) of the pairs (x[b], y[b]) for h = 1 … layers.

    K^h = (c_σ/q²) √(Σ_xx Σ_yy) κ₁(ρ) / 2 and K̇^h = (c_σ/q²) κ₀(ρ) / 2 with ρ = Σ_xy / √(Σ_xx Σ_yy);
    Σ^h = box(K^h). Σ_xx and Σ_yy are the diagonals Σ^{h−1}(x, x)_{ij,ij}, on which ρ = 1 and so K^h = Σ^{h−1}/q².

    Each tensor has shape (B, P, Q, P, Q), axes (pair, i, j, i′, j′).
    """
    q = filter_size
    Sigma = box(np.einsum("bijc,bklc->bijkl", x, y), q)
    norm_x = box_image((x**2).sum(axis=-1), q)
    norm_y = box_image((y**2).sum(axis=-1), q)
    same = same_patches((x[:, :, :, None, None, :] == y[:, None, None, :, :, :]).all(axis=-1), x, y, q)
    for h in range(1, layers + 1):
        norms = np.sqrt(norm_x)[:, :, :, None, None] * np.sqrt(norm_y)[:, None, None, :, :]
        rho = np.divide(Sigma, norms, out=np.zeros_like(Sigma), where=norms > 0)
        rho = np.where(same & (norms > 0), 1.0, np.clip(rho, -1.0, 1.0))
        angle = np.arccos(rho)
        K_dot = (C_SIGMA / q**2) * (math.pi - angle) / (2 * math.pi)
        K = (C_SIGMA / q**2) * norms * (rho * (math.pi - angle) + np.sqrt((1 - rho) * (1 + rho))) / (2 * math.pi)
        yield Sigma, K, K_dot
        if h < layers:
            Sigma = box(K, q)
            same = same_patches(same, norm_x[..., None], norm_y[..., None], q)
            norm_x, norm_y = box_image(norm_x / q**2, q), box_image(norm_y / q**2, q)


def read_out(tensor: np.ndarray, readout: str, pooling_window: int | None = None) -> np.ndarray:
    """The kernels of a last layer's tensors, of shape (B,).

    - "flatten": Σ_ij T[ij, ij].
    - "lap", with windows of w×w pixels, w = 2c + 1: the pixels y_a = w⁻² Σ_{p ∈ window(a)} x_p of the pooled image,
      flattened, have the kernel w⁻⁴ Σ_a Σ_{p, p′ ∈ window(a)} T[p, p′]. Outside of the image there are zeros.
    - "gap": the mean over all P²Q² entries.
    """
    if readout == "gap":
        return tensor.reshape(len(tensor), -1).mean(axis=1)
    if readout == "lap":
        assert pooling_window is not None
        for axis in (1, 2, 3, 4):
            tensor = _window_sum(tensor, pooling_window, (axis,))
        tensor = tensor / float(pooling_window) ** 4
    return np.einsum("bijij->b", tensor)


def box(tensor: np.ndarray, filter_size: int) -> np.ndarray:
    """box(T)[ij, i′j′] = Σ_{|a|,|b| ≤ (q−1)/2} T[i+a, j+b, i′+a, j′+b], zero outside; axes (pair, i, j, i′, j′)."""
    return _window_sum(_window_sum(tensor, filter_size, (1, 3)), filter_size, (2, 4))


def box_image(image: np.ndarray, filter_size: int) -> np.ndarray:
    """The diagonal ij = i′j′ of `box`: sums over q×q windows of images of shape (B, P, Q)."""
    return _window_sum(_window_sum(image, filter_size, (1,)), filter_size, (2,))


def same_patches(same: np.ndarray, x: np.ndarray, y: np.ndarray, filter_size: int) -> np.ndarray:
    """Where the q×q patches around (i, j) of x and around (i′, j′) of y have the same features.

    Outside of the image features are 0. Same patches have correlation exactly 1, in any two positions of the two
    images; by rounding it would come out as 1 − 1e-16, and arccos makes 1e-8 of that.

    Parameters
    ----------
    same : bool array of shape (B, P, Q, P, Q)
        Where the pixels' features are the same.
    x, y : arrays of shape (B, P, Q, features)
        Only whether a pixel's features are all 0 is looked at: it then equals the padding.
    """
    P, Q = same.shape[1:3]
    r = _radius(filter_size, max(P, Q))
    widths = ((0, 0), (r, r), (r, r))
    zero_x = np.pad((x == 0).all(axis=-1), widths, constant_values=True)
    zero_y = np.pad((y == 0).all(axis=-1), widths, constant_values=True)
    padded = np.pad(same, (*widths, (r, r), (r, r))) | (zero_x[:, :, :, None, None] & zero_y[:, None, None, :, :])
    result = np.ones_like(same)
    for a in range(2 * r + 1):
        for b in range(2 * r + 1):
            result &= padded[:, a : a + P, b : b + Q, a : a + P, b : b + Q]
    return result


def _window_sum(array: np.ndarray, filter_size: int, axes: tuple[int, ...]) -> np.ndarray:
    """Add the q shifts of `array` along all of `axes` at once, zero outside."""
    r = _radius(filter_size, max(array.shape[axis] for axis in axes))
    padded = np.pad(array, [(r, r) if axis in axes else (0, 0) for axis in range(array.ndim)])
    result = np.zeros_like(array)
    for a in range(2 * r + 1):
        window = [slice(a, a + n) if axis in axes else slice(None) for axis, n in enumerate(array.shape)]
        result += padded[tuple(window)]
    return result


def _radius(size: int, side: int) -> int:
    """(q − 1)/2, but no more than covers the image from each of its pixels: a larger window holds only more zeros."""
    return min(size // 2, side - 1)
