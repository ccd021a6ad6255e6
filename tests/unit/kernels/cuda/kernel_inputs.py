"""What a kernel reads and what it should answer, in NumPy straight from the definition of the CNTK.

Nothing here is taken from the core, whose tables the kernels get in earnest: the tests of the kernels check what both
have in common.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from exact_cntk.kernels import reference

# arccos(rho) = 2 arctan(t), t² = z in [0, 1]: the degree of the polynomial in z that stands for arctan(t)/t.
ARCCOS_DEGREE = {"float32": 7, "float64": 21}
NORM_FLOOR = {"float32": 2.0**-26, "float64": 1e-150}
# Angles below these count as near: not to be told from rho = 1 in the first layer (z < 2.4e-7), and close to it.
SAME_ANGLE, CLOSE_ANGLE = 2 * math.sqrt(2.4e-7), 0.01


@dataclass(frozen=True)
class Problem:
    """One kernel's work: `depths` are those of the paper, layers + 1; `fields` as in the kernels' FIELDS."""

    height: int
    width: int
    depths: tuple[int, ...] = (2, 4)
    radius: int = 1
    pooling: bool = True
    fields: int = 1
    theta_from_sigma: bool = False
    dtype: str = "float32"
    channels: int = 3
    pooling_window: int | None = None  # of local pooling

    @property
    def reach(self) -> tuple[int, int]:
        """The largest displacements that count."""
        if self.pooling_window is not None:
            return min(self.pooling_window, self.height) - 1, min(self.pooling_window, self.width) - 1
        return (self.height - 1, self.width - 1) if self.pooling else (0, 0)

    @property
    def layers(self) -> int:
        return max(self.depths) - 1

    @property
    def filter_size(self) -> int:
        return 2 * self.radius + 1

    @property
    def emission(self) -> np.ndarray:
        """Index among the depths of each layer, or −1."""
        index = {depth: k for k, depth in enumerate(sorted(self.depths))}
        return np.array([index.get(layer + 2, -1) for layer in range(self.layers)], dtype=np.int32)


def smooth_images(n: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Random images with a spectrum like a photograph's; of shape (n, P, Q, C), float64."""
    rng = np.random.default_rng([seed, n, height, width, channels])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    noise = np.fft.fft2(rng.standard_normal((n, channels, height, width)))
    return np.moveaxis(np.fft.ifft2(noise / frequency**1.3).real, 1, -1)


def scaled(images: np.ndarray, dtype: str) -> np.ndarray:
    """Each image times a power of two, as the host hands them over, and rounded to `dtype`; still as float64."""
    # float32: as high as leaves Σ⁰ below 2^46, and so far above the floor of the norms.
    peak = 20 - math.ceil(math.log(images.shape[-1], 4)) if dtype == "float32" else 0
    largest = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    _, exponent = np.frexp(np.where(largest > 0, largest, 1))
    return np.ldexp(images, peak + 1 - exponent).astype(dtype).astype(np.float64)


def tables(images: np.ndarray, problem: Problem, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, C, P, Q) and norms (n, layers, P, Q) of scaled images, in the problem's dtype.

    The diagonal needs no arccos: Σ⁰ = box(Σ_c x²) and Σ^h = box(gain · Σ^{h−1}), on which rho = 1.
    """
    Sigma = reference.box_image((images**2).sum(axis=-1), problem.filter_size)
    norms = []
    for gain in gains:
        norms.append(np.maximum(np.sqrt(Sigma), NORM_FLOOR[problem.dtype]))
        Sigma = reference.box_image(gain * Sigma, problem.filter_size)
    pixels = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    return pixels.astype(problem.dtype), np.stack(norms, axis=1).astype(problem.dtype)


def constants(gains: np.ndarray, dtype: str) -> np.ndarray:
    """LayerConstants of each layer, [layers][gain, gain/π, arccos…]; gain/π · arccos(rho) = t Σ_k arccos[k] z^k."""
    remainder = _arctan_remainder(ARCCOS_DEGREE[dtype] - 1)
    wide = np.asarray(gains, dtype=np.longdouble)[:, None]
    pi = np.longdouble(4) * np.arctan(np.longdouble(1))
    rows = np.concatenate([wide, wide / pi, 2 * wide / pi, 2 * wide / pi * remainder], axis=1).astype(dtype)
    # In K the terms of order t cancel only if this coefficient is twice the rounded gain/π.
    rows[:, 2] = 2 * rows[:, 1]
    return rows


@cache
def _arctan_remainder(degree: int) -> np.ndarray:
    """Coefficients of the polynomial through (arctan(t)/t − 1)/z at the Chebyshev points z of [0, 1]."""
    number = np.arange(degree + 1, dtype=np.longdouble)
    pi = np.longdouble(4) * np.arctan(np.longdouble(1))
    z = (1 + np.cos(pi * (2 * number + 1) / (2 * degree + 2))) / 2
    root = np.sqrt(z)
    difference = (np.arctan(root) / root - 1) / z
    for order in range(1, degree + 1):
        difference[order:] = (difference[order:] - difference[order - 1 : -1]) / (z[order:] - z[: degree + 1 - order])
    # Newton's form to powers of z, innermost bracket first.
    coefficients = np.zeros(degree + 1, dtype=np.longdouble)
    for k in range(degree, -1, -1):
        coefficients[1:], coefficients[0] = coefficients[:-1] - z[k] * coefficients[1:], -z[k] * coefficients[0]
        coefficients[0] += difference[k]
    return coefficients


@dataclass(frozen=True)
class Answer:
    """Sums over displacement (0, 0) and over all others, and the near pairs of the first layer.

    Attributes
    ----------
    sums : array of shape (2, depths, 3, n, m)
        Of K, K̇ ⊙ Theta and K̇ ⊙ (Theta_all − Theta_hidden); Theta is that of the hidden layers where fields = 2.
    near : array of shape (2, 2, 2, n, m)
        The fewest and the most that rounding may count (first axis), by part, of the same and of close angles.
    """

    sums: np.ndarray
    near: np.ndarray


def answer(x: np.ndarray, y: np.ndarray, problem: Problem, every: int = 1) -> Answer:
    """Whole tensors in float64, pair by pair; x and y as `scaled` returns them.

    With `every` > 1, of the pairs (i, j) with (3i + 2j) % every = 0 alone: others are NaN.
    """
    sums = np.full((2, len(problem.depths), 3, len(x), len(y)), np.nan)
    near = np.full((2, 2, 2, len(x), len(y)), np.nan)
    for i in range(len(x)):
        for j in range(len(y)):
            if (3 * i + 2 * j) % every == 0:
                _fill_pair(x[i : i + 1], y[j : j + 1], problem, sums[..., i, j], near[..., i, j])
    return Answer(sums, near)


def _fill_pair(x: np.ndarray, y: np.ndarray, problem: Problem, sums: np.ndarray, near: np.ndarray) -> None:
    Theta = Gap = None
    layers = reference.covariances(x, y, problem.filter_size, problem.layers)
    for h, (Sigma, K, K_dot) in enumerate(layers):
        if Theta is None:
            from_sigma = problem.fields != 2 and problem.theta_from_sigma
            Theta, Gap = Sigma if from_sigma else np.zeros_like(Sigma), Sigma
            angle = math.pi * (1 - K_dot * problem.filter_size**2)
            near[...] = _count_near(np.where(_weights(problem) > 0, np.minimum(angle, math.pi - angle), np.inf))
        Theta, Gap = K_dot * Theta, K_dot * Gap
        if problem.emission[h] >= 0:
            for s, tensor in enumerate((K, Theta, Gap)):
                sums[:, problem.emission[h], s] = _parts(tensor * _weights(problem))
        if h + 1 < problem.layers:
            Theta, Gap = reference.box(Theta + K, problem.filter_size), reference.box(Gap, problem.filter_size)


def _weights(problem: Problem) -> np.ndarray:
    """How often an entry counts, of shape (P, Q, P, Q): by the windows that hold both of its pixels."""
    shape = (problem.height, problem.width, problem.height, problem.width)
    if problem.pooling_window is None:
        return np.ones(shape)
    c = problem.pooling_window // 2
    rows, columns = (
        sum(np.outer(np.abs(np.arange(n) - a) <= c, np.abs(np.arange(n) - a) <= c).astype(float) for a in range(n))
        for n in shape[:2]
    )
    return rows[:, None, :, None] * columns[None, :, None, :]


def _parts(tensor: np.ndarray) -> tuple[float, float]:
    centre = float(np.einsum("bijij->", tensor))
    return centre, float(tensor.sum()) - centre


def _count_near(angle: np.ndarray) -> np.ndarray:
    # In float32, z is off by some 3e-7 where it is near 0; angles of 0 may come out as that.
    counts = np.empty((2, 2, 2))
    for a, limit in enumerate((SAME_ANGLE, CLOSE_ANGLE)):
        for side, factor in enumerate((0.9, 1.1) if a else (0.0, 1.8)):
            counts[side, :, a] = _parts((angle <= limit * factor).astype(float))
    return counts
