"""The layers of general networks: what each does to an image of infinitely many channels, its word, and its checks.

In the neural tangent parametrisation, a weighted layer's output is √(weight / fan-in) · W x + √bias · β with W, β ~
N(0, 1), so that `weight` and `bias` are variances. Σ[ij, i′j′] is the covariance of pixel ij of one image with pixel
i′j′ of another, at first Σ_c x[ij, c] x′[i′j′, c] / C; Θ is the tangent kernel, at first 0. How the kernels follow is
in `exact_cntk.kernels.recursion`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError, shortened

PADDINGS = ("zero", "valid", "circular")
STEEPEST = 1e6  # slope of a leaky ReLU, whose square must not overflow
MOST_LAYERS = 10_000
MOST_NESTED = 20  # residual chains within each other
EXAMPLE = "'(conv3 relu)*3 pool2 conv3 relu gap dense'"
Shape = tuple[int, int]  # rows and columns of an image


@dataclass(frozen=True)
class Layer:
    """A layer; its text is its word, the number that belongs to it, and in brackets what differs from the default."""

    word: ClassVar[str]
    numbered: ClassVar[str | None] = None  # the attribute whose number follows the word
    weighted: ClassVar[bool] = False  # whether it has weights, drawn at random

    def __str__(self) -> str:
        options = [
            f"{part.name}={_shown(getattr(self, part.name))}"
            for part in fields(self)
            if part.name != self.numbered and getattr(self, part.name) != part.default
        ]
        number = "" if self.numbered is None else str(getattr(self, self.numbered))
        return f"{self.word}{number}{'[' + ','.join(options) + ']' if options else ''}"

    def _set(self, **values: Any) -> None:
        """Replace attributes by what they were checked to be: plain numbers, whatever was given."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def output_shape(self, shape: Shape) -> Shape:
        """Rows and columns of its output; InputError where the layer does not fit the image."""
        return shape

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        """Displacements between pixels of its input that those `needed` of its output depend on, along an axis."""
        return needed


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution with filters of size×size pixels.

    Σ′[IJ, I′J′] = weight / size² · Σ_{a, b} Σ[sI+a, sJ+b, sI′+a, sJ′+b] + bias and, where it is trained,
    Θ′ = Σ′ + weight / size² · Σ_{a, b} Θ[…]; where not, without Σ′.

    Attributes
    ----------
    size : int
        q, odd.
    stride : int
        s.
    padding : {"zero", "valid", "circular"}
        Around the image: zeros, or the opposite edge, for an output of ⌈P/s⌉ rows, the surplus on the lower and right
        side where it is odd (SAME in TensorFlow and JAX); or nothing, for ⌊(P − q)/s⌋ + 1 rows.
    weight, bias : float
        Variances.
    """

    word: ClassVar[str] = "conv"
    numbered: ClassVar[str | None] = "size"
    weighted: ClassVar[bool] = True

    size: int
    stride: int = 1
    padding: str = "zero"
    weight: float = 2.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        self._set(
            size=check.as_filter_size("conv: size", self.size),
            stride=_as_stride(self),
            padding=check.as_choice("conv: padding", self.padding, PADDINGS),
            **_as_variances(self),
        )

    def output_shape(self, shape: Shape) -> Shape:
        if self.padding != "valid":
            return (-(-shape[0] // self.stride), -(-shape[1] // self.stride))
        return _windows(self, shape, self.size, self.stride)

    def margins(self, side: int) -> tuple[int, int]:
        """Pixels of padding before and after the image along a side."""
        if self.padding == "valid":
            return (0, 0)
        total = max(0, (-(-side // self.stride) - 1) * self.stride + self.size - side)
        return (total // 2, total - total // 2)

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        turns = (-1, 0, 1) if self.padding == "circular" else (0,)
        return _within(shape[axis], {self.stride * d + turn * shape[axis] for d in needed for turn in turns})


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer on vectors, which are images of one pixel: Σ′ = weight · Σ + bias, Θ′ = Σ′ + weight · Θ.

    `weight` and `bias` are variances. Where it is not trained, Θ′ is without Σ′.
    """

    word: ClassVar[str] = "dense"
    weighted: ClassVar[bool] = True

    weight: float = 2.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        self._set(**_as_variances(self))

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (1, 1):
            raise InputError(f"{self} is on images of {_size(shape)} pixels; put flatten, gap or lap before it")
        return shape


@dataclass(frozen=True)
class Activation(Layer):
    """An activation φ: Σ′ = E[φ(u) φ(v)], Θ′ = Θ ⊙ E[φ′(u) φ′(v)] for (u, v) ~ N(0, Λ), Λ from Σ.

    Its input must be normal, so behind a weighted layer. Formulas are in `exact_cntk.kernels.duals`.
    """


@dataclass(frozen=True)
class Relu(Activation):
    """φ(u) = max(u, 0)."""

    word: ClassVar[str] = "relu"


@dataclass(frozen=True)
class Leaky(Activation):
    """φ(u) = max(u, 0) + slope · min(u, 0)."""

    word: ClassVar[str] = "leaky"

    slope: float = 0.1

    def __post_init__(self) -> None:
        slope = check.as_array("leaky: slope", self.slope)
        if slope.ndim != 0 or abs(slope) > STEEPEST:
            raise InputError(f"leaky: slope is {shortened(self.slope)}; allowed are numbers up to ±{STEEPEST:g}")
        self._set(slope=float(slope))


@dataclass(frozen=True)
class Abs(Activation):
    """φ(u) = |u|."""

    word: ClassVar[str] = "abs"


@dataclass(frozen=True)
class Erf(Activation):
    """φ(u) = erf u."""

    word: ClassVar[str] = "erf"


@dataclass(frozen=True)
class Gauss(Activation):
    """The normalised Gaussian kernel in place of an activation's: Σ′ = √(Σ_xx Σ_x′x′) · exp(ρ − 1).

    Source: Shankar et al. 2020, Neural Kernels Without Tangents, arXiv 2003.02237.
    """

    word: ClassVar[str] = "gauss"


@dataclass(frozen=True)
class Gabor(Activation):
    """φ(u) = exp(−u²) sin u."""

    word: ClassVar[str] = "gabor"


@dataclass(frozen=True)
class Identity(Activation):
    """φ(u) = u."""

    word: ClassVar[str] = "identity"


@dataclass(frozen=True)
class Pool(Layer):
    """Average pooling over windows of window×window pixels, with the same stride unless another is given.

    T′[IJ, I′J′] = w⁻⁴ Σ_{a, b, a′, b′} T[sI+a, sJ+b, sI′+a′, sJ′+b′] of both Σ and Θ. Rows and columns that fill no
    window are cropped.
    """

    word: ClassVar[str] = "pool"
    numbered: ClassVar[str | None] = "window"

    window: int
    stride: int | None = None

    def __post_init__(self) -> None:
        window = check.as_integer("pool: window", self.window, at_least=1, at_most=check.LARGEST_FILTER)
        stride = None if self.stride is None else _as_stride(self)
        self._set(window=window, stride=None if stride == window else stride)  # the same layer has the same text

    @property
    def step(self) -> int:
        """The stride."""
        return self.window if self.stride is None else self.stride

    def output_shape(self, shape: Shape) -> Shape:
        return _windows(self, shape, self.window, self.step)

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        reach = range(1 - self.window, self.window)
        return _within(shape[axis], {self.step * d + e for d in needed for e in reach})


@dataclass(frozen=True)
class Lap(Layer):
    """Local average pooling, stride 1 with zeros outside, then `flatten`: the readout of Li et al. 2019.

    T′ = 1/(P Q) · w⁻⁴ Σ_a Σ_{p, p′ ∈ window(a)} T[p, p′], over the P·Q centres a of windows of w×w pixels.
    """

    word: ClassVar[str] = "lap"
    numbered: ClassVar[str | None] = "window"

    window: int

    def __post_init__(self) -> None:
        self._set(window=check.as_pooling_window("lap: window", self.window, "lap"))

    def output_shape(self, shape: Shape) -> Shape:
        return (1, 1)

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        return _within(shape[axis], set(range(1 - min(self.window, shape[axis]), min(self.window, shape[axis]))))


@dataclass(frozen=True)
class Gap(Layer):
    """Global average pooling, over every stride-th pixel in both directions: the mean of T over all their pairs."""

    word: ClassVar[str] = "gap"

    stride: int = 1

    def __post_init__(self) -> None:
        self._set(stride=_as_stride(self))

    def output_shape(self, shape: Shape) -> Shape:
        return (1, 1)

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        return set(range(0, shape[axis], self.stride)) | set(range(0, -shape[axis], -self.stride))


@dataclass(frozen=True)
class Flatten(Layer):
    """All pixels as one vector: T′ = 1/(P Q) · Σ_ij T[ij, ij]."""

    word: ClassVar[str] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (1, 1)

    def displacements(self, shape: Shape, axis: int, needed: set[int]) -> set[int]:
        return {0}


@dataclass(frozen=True)
class Residual(Layer):
    """A chain of layers, added to its input: Σ′ = Σ + Σ_chain, Θ′ = Θ + Θ_chain.

    The chain has conv or dense, outside of chains within it, and no activation behind the last: given its input, its
    output then has mean 0, and so no correlation with the input.
    """

    word: ClassVar[str] = "residual"

    layers: tuple[Layer, ...] = field(default=())

    count: ClassVar[int]  # of the layers in the chain, those of chains within it among them
    nested: ClassVar[int]  # chains within each other, this one included

    def __post_init__(self) -> None:
        layers = as_layers("residual", self.layers)
        self._set(layers=layers, nested=1 + max((getattr(layer, "nested", 0) for layer in layers), default=0))
        if self.nested > MOST_NESTED:
            raise InputError(f"residual has more than {MOST_NESTED} chains within each other")
        self._set(count=count_layers("residual", layers))

    def __str__(self) -> str:
        from exact_cntk.networks.notation import text_of  # which writes what repeats

        return f"residual({text_of(self.layers)})"

    def output_shape(self, shape: Shape) -> Shape:
        result = shape
        for layer in self.layers:
            result = layer.output_shape(result)
        if result != shape:
            raise InputError(f"{self}: its chain makes {_size(result)} of {_size(shape)} pixels; both must be the same")
        return shape


def weighted_layers(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """The layers with weights in the order of the text, those of residual chains among them."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from weighted_layers(layer.layers)
        elif layer.weighted:
            yield layer


WORDS: dict[str, type[Layer]] = {
    layer.word: layer
    for layer in (Conv, Dense, Relu, Leaky, Abs, Erf, Gauss, Gabor, Identity, Pool, Lap, Gap, Flatten, Residual)
}


def as_layers(name: str, given: Any) -> tuple[Layer, ...]:
    """A sequence of layers as a tuple; InputError naming what is none."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes | bytearray):
        raise InputError(f"{name} is {shortened(given)}; allowed are a line of text such as {EXAMPLE}, and layers")
    for layer in given:
        if type(layer) not in WORDS.values():
            raise InputError(f"{name} has {shortened(layer)}; allowed are layers of exact_cntk.networks: Relu(), …")
    return tuple(given)


def count_layers(name: str, layers: Sequence[Layer]) -> int:
    """Layers, those of residual chains among them; InputError if they are too many."""
    total = sum(getattr(layer, "count", 0) + 1 for layer in layers)
    if total > MOST_LAYERS:
        raise InputError(f"{name} has more than {MOST_LAYERS} layers")
    return total


def _as_stride(layer: Any) -> int:
    return check.as_integer(f"{layer.word}: stride", layer.stride, at_least=1, at_most=check.LARGEST_FILTER)


def _as_variances(layer: Any) -> dict[str, float]:
    values = {name: check.as_number(f"{layer.word}: {name}", getattr(layer, name)) for name in ("weight", "bias")}
    if values["weight"] == 0:
        raise InputError(
            f"{layer.word}: weight is {layer.weight!r}; allowed are numbers above 0, the weights' variance"
        )
    return values


def _windows(layer: Layer, shape: Shape, window: int, stride: int) -> Shape:
    """Whole windows in an image."""
    if window > min(shape):
        raise InputError(f"{layer} is on images of {_size(shape)} pixels; its window must fit in them")
    return ((shape[0] - window) // stride + 1, (shape[1] - window) // stride + 1)


def _within(side: int, displacements: set[int]) -> set[int]:
    return {d for d in displacements if abs(d) < side}


def _size(shape: Shape) -> str:
    return f"{shape[0]}×{shape[1]}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
