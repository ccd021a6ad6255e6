"""The paper's finite convolutional networks, CNN-V and CNN-GAP, as torch modules."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.machine import format_gib, total_memory
from exact_cntk.errors import InputError
from exact_cntk.finite._torch import torch
from exact_cntk.kernels.reference import C_SIGMA
from exact_cntk.networks import TRAINED, Family

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class CNN(torch.nn.Module):
    r"""A convolutional ReLU network of finite width, of which `exact_cntk.cntk` is the kernel at infinite width.

    With depth = L + 1, images x⁰ = x of P×Q pixels and C₀ channels, layers h = 1 … L of C channels do::

        z^h  = W^h * x^{h−1}                         filters q×q, stride 1, zero padding, no bias
        x^h  = √(c_σ / (C q²)) · relu(z^h)           c_σ = 2

    and the outputs are, with output multiplier κ::

        f(x) = κ Σ_{c,i,j} W^{L+1}_{c,i,j} x^L_{c,i,j}          readout "flatten", the paper's CNN-V
        f(x) = κ Σ_c W^{L+1}_c · 1/(PQ) Σ_{i,j} x^L_{c,i,j}     readout "gap", its CNN-GAP
        f(x) = κ Σ_{c,i,j} W^{L+1}_{c,i,j} · 1/w² Σ_{|a|,|b| ≤ (w−1)/2} x^L_{c,i+a,j+b}     readout "lap"

    All weights are drawn from N(0, 1): scales stand outside of them, so that a gradient step moves each by as much as
    the paper's does.

    Parameters
    ----------
    image_shape : (P, Q, C₀)
        Rows, columns and channels.
    depth : int ≥ 2
        L + 1, as in `cntk`.
    width : int ≥ 1
        C, the channels of every hidden layer.
    readout : {"flatten", "lap", "gap"}
    pooling_window : int, odd
        w, of "lap" alone, which needs it; x^L is 0 outside of the image.
    filter_size : int, odd
        q.
    trained : {"all", "hidden"}
        "hidden" fixes the first and the last layer: their weights have ``requires_grad`` False.
    outputs : int ≥ 1
        Number of outputs, one for each class.
    channels_first : bool, optional
        Whether `image_shape` is (C₀, P, Q) instead; as in `cntk`. Images are (n, P, Q, C₀) in any case.
    output_scale : float ≥ 0
        κ; the paper trains at 0.05.
    seed : int ≥ 0 or sequence of them
        Weights are a function of it, of the layer's number and shape alone. They are drawn in float32 whatever the
        dtype, by NumPy on the CPU, so that one seed is one network in both dtypes and on every device.
    dtype : {"float32", "float64"}

    Attributes
    ----------
    filters : ParameterList of L weights of shape (C, C_{h−1}, q, q)
        W¹ … W^L; the first one's C_{h−1} is C₀.
    readout_weight : Parameter of shape (outputs, C, P, Q) for "flatten" and "lap", (outputs, C) for "gap"
        W^{L+1}.

    Raises
    ------
    InputError
        (a ValueError) An argument is not allowed.

    Notes
    -----
    Norms: E‖x^h‖² over the weights is E‖x^{h−1}‖² but for what zero padding takes at the border: pixel ij of x^{h−1}
    is seen by as many of the P·Q patches as it is within (q−1)/2 of, q² in the interior, and counts by that number
    over q². So E‖x^h‖² = ‖x‖² for filters of one pixel, and for images that are 0 on a border of h(q−1)/2 pixels.

    Kernels: the factor √(c_σ/(C q²)) stands where `cntk`'s K^h carries c_σ/q². At κ = 1 and C → ∞, the sum over
    trained weights of products of gradients, Σ_θ ∂f(x)/∂θ · ∂f(x′)/∂θ, of one output converges to ``cntk``'s NTK, and
    the covariance of f(x) and f(x′), and the product of last layers that `features` returns, to the kernel of its
    CNN-GP, all without any further factor. At other κ both are κ² times that.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv 1904.11955v2, section 4 and appendices A and E.

    Examples
    --------
    >>> network = CNN((8, 8, 3), depth=4, width=16, readout="gap", outputs=10)
    >>> network(torch.zeros(5, 8, 8, 3)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        depth: int,
        width: int,
        readout: Literal["flatten", "lap", "gap"],
        pooling_window: int | None = None,
        filter_size: int = 3,
        trained: Literal["all", "hidden"] = "all",
        outputs: int = 1,
        channels_first: bool | None = None,
        output_scale: float = 1.0,
        seed: int | Sequence[int] = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        """Draw the weights."""
        super().__init__()
        P, Q, C0 = check.as_image_shape("image_shape", image_shape, channels_first)
        depth = check.as_depth("depth", depth)
        family = Family.checked(
            readout=readout,
            trained=check.as_choice("trained", trained, TRAINED),
            filter_size=filter_size,
            pooling_window=pooling_window,
        )
        q = family.filter_size
        C = check.as_integer("width", width, at_least=1)
        outputs = check.as_integer("outputs", outputs, at_least=1)
        entropy = check_seed(seed)
        as_dtype = DTYPES[check.as_choice("dtype", dtype, tuple(DTYPES))]
        hidden_only = family.trained == ("hidden",)

        self.image_shape = (P, Q, C0)
        self.family = family
        self.output_scale = check.as_number("output_scale", output_scale)
        self.layer_scale = math.sqrt(C_SIGMA / (C * q**2))
        shapes = [(C, C0 if h == 0 else C, q, q) for h in range(depth - 1)]
        last = (outputs, C) if family.readout == "gap" else (outputs, C, P, Q)
        _check_memory(C, depth, as_dtype.itemsize * sum(map(math.prod, [*shapes, last])))
        self.filters = torch.nn.ParameterList(
            _weights(shape, entropy, (h,), as_dtype, requires_grad=not (hidden_only and h == 0))
            for h, shape in enumerate(shapes)
        )
        self.readout_weight = _weights(last, entropy, (depth - 1, 1), as_dtype, requires_grad=not hidden_only)

    def activations(self, images: torch.Tensor, shifts: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """Layers x⁰ … x^L, tensors of shape (n, C_h, P, Q).

        Parameters
        ----------
        images : Tensor of shape (n, P, Q, C₀)
        shifts : L tensors of shape (n, C, P, Q), optional
            Added to z¹ … z^L: the gradient with respect to one of them, at 0, is that with respect to z^h.
        """
        return list(self._layers(images, shifts))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer is linear in.

        x^L as vectors of C·P·Q ("flatten"), the same after its local means ("lap"), or its mean over pixels, C ("gap").
        """
        return self.pooled(deque(self._layers(images), maxlen=1).pop())  # without gradients, no other layer stays

    def _layers(self, images: torch.Tensor, shifts: Sequence[torch.Tensor] | None = None) -> Iterator[torch.Tensor]:
        """`activations`, one at a time."""
        if images.shape[1:] != self.image_shape:
            P, Q, C0 = self.image_shape
            raise InputError(f"images have shape {tuple(images.shape)}; allowed is (n, {P}, {Q}, {C0})")
        layer = images.permute(0, 3, 1, 2)
        yield layer
        for h, weight in enumerate(self.filters):
            z = torch.nn.functional.conv2d(layer, weight, padding=weight.shape[-1] // 2)
            if shifts is not None:
                z = z + shifts[h]
            # The positive scale is inside of the ReLU: the derivative then needs x^h alone, not relu(z^h) as well.
            layer = torch.relu(self.layer_scale * z)
            yield layer

    def pooled(self, layer: torch.Tensor) -> torch.Tensor:
        """Features of x^L, a tensor of shape (n, C, P, Q)."""
        if self.family.readout == "gap":
            return layer.mean(dim=(2, 3))
        if (w := self.family.pooling_window) is not None:
            # Beyond the edge there are zeros, and the divisor is w² there, too.
            layer = torch.nn.functional.avg_pool2d(layer, w, stride=1, padding=w // 2, divisor_override=w**2)
        return layer.flatten(1)

    def read_out(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs of `features`, of shape (n, outputs)."""
        return self.output_scale * (features @ self.readout_weight.flatten(1).T)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs of shape (n, outputs) for images of shape (n, P, Q, C₀)."""
        return self.read_out(self.features(images))


def check_seed(seed: int | Sequence[int]) -> list[int]:
    """A seed as a list of integers ≥ 0."""
    parts = list(seed) if isinstance(seed, Iterable) and not isinstance(seed, str) else [seed]
    return [check.as_integer("seed", part, at_least=0) for part in parts]


def _check_memory(width: int, depth: int, needed: int) -> None:
    """Refuse weights of more bytes than the machine has."""
    if needed > (present := total_memory()):
        raise InputError(
            f"width is {width} and depth {depth}, whose weights take {format_gib(needed)}; this machine has "
            f"{format_gib(present)}: take a narrower network"
        )


def _weights(
    shape: tuple[int, ...], entropy: list[int], stream: tuple[int, ...], dtype: torch.dtype, *, requires_grad: bool
) -> torch.nn.Parameter:
    """Independent N(0, 1); each layer has a stream of its own, so that nets of any depth share their first layers."""
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=stream))
    values = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    return torch.nn.Parameter(values.to(dtype), requires_grad=requires_grad)
