"""The paper's family of networks as one object: its checks, notation, statements, outputs and costs.

Code that computes, stores or counts kernels takes a `Family` and names none of its parts; a new part is added here, in
the backends that compute it, and in the schema of parameters. Names for readers are in `exact_cntk.networks.labels`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError

READOUTS = ("flatten", "lap", "gap")
TRAINED = ("all", "hidden")
KINDS = ("ntk", "nngp")

_NOTATION = re.compile(r"\(conv(\d+) relu\)\*(\d+) (flatten|gap|lap(\d+)) dense")


class Output(NamedTuple):
    """One kernel matrix of a pass; `trained` is None for the CNN-GP, which has no trained layers."""

    kind: str
    depth: int
    trained: str | None


def kernel_key(output: Output, *, nested: bool) -> tuple:
    """The key that `exact_cntk.cntk` gives a kernel; where `nested`, the NTK's names its trained layers."""
    return tuple(output) if nested and output.trained is not None else (output.kind, output.depth)


@dataclass(frozen=True)
class Family:
    """Convolutional ReLU networks of one design and any depth, ``(conv3 relu)*L flatten dense``, L = depth − 1.

    Its kernels are the paper's, whose constants differ from those of the notation by a factor; see `exact_cntk.cntk`,
    which takes the same parts. Nothing is checked here; `checked` does that for users' input.

    Attributes
    ----------
    readout : {"flatten", "lap", "gap"}
    trained : tuple of {"all", "hidden"}
        Trained layers of the NTK, without repeats; one pass computes both variants.
    filter_size : int
        q, odd.
    pooling_window : int, optional
        w = 2c + 1 of the readout "lap", odd; None with the others.
    flips : bool
        Whether kernels are averaged over horizontal flips.
    """

    readout: str
    trained: tuple[str, ...] = ("all",)
    filter_size: int = 3
    pooling_window: int | None = None
    flips: bool = False

    @classmethod
    def checked(
        cls,
        *,
        readout: Any,
        trained: str | Sequence[str] = "all",
        filter_size: Any = 3,
        pooling_window: Any = None,
        flips: Any = False,
    ) -> "Family":
        """A family from users' input; InputError names the first part that is not allowed."""
        chosen = check.as_choice("readout", readout, READOUTS)
        return cls(
            readout=chosen,
            trained=check.as_choices("trained", trained, TRAINED),
            filter_size=check.as_filter_size("filter_size", filter_size),
            pooling_window=check.as_pooling_window("pooling_window", pooling_window, chosen),
            flips=check.as_flag("flips", flips),
        )

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any]) -> "Family":
        """A family from a mapping with its `parts` or `stated_parts` among others, such as a result file.

        Raises KeyError, TypeError or ValueError if they are missing or of other types.
        """
        window = parts.get("pooling_window")
        return cls(
            readout=parts["readout"],
            trained=tuple(parts["trained"].split(",")),
            filter_size=int(parts["filter_size"]),
            pooling_window=None if window is None else int(window),
            flips=bool(parts.get("flips", False)),
        )

    @classmethod
    def taken_from(cls, parameters: Mapping[str, Any]) -> tuple["Family", dict[str, Any]]:
        """A family from a mapping by `from_parts`, and the rest of the mapping."""
        family = cls.from_parts(parameters)
        return family, {name: value for name, value in parameters.items() if name not in family.parts()}

    @classmethod
    def parse(cls, text: str, **parts: Any) -> tuple["Family", int]:
        """A family and a depth from the notation, and from `trained` and `flips`, which it does not state.

        Raises
        ------
        InputError
            The text is no network of the family.
        """
        match = _NOTATION.fullmatch(" ".join(text.split()))
        if match is None:
            raise InputError(f"network is {text!r}; allowed is, for example, '(conv3 relu)*10 flatten dense'")
        filter_size, layers, readout, window = match.groups()
        if window is not None:
            parts |= {"pooling_window": int(window)}
        family = cls.checked(readout=readout.rstrip("0123456789"), filter_size=int(filter_size), **parts)
        return family, check.as_integer("layers", int(layers), at_least=1, at_most=check.DEEPEST - 1) + 1

    def notation(self, depth: int) -> str:
        """The network of a depth in one line."""
        return f"(conv{self.filter_size} relu)*{depth - 1} {self.readout}{self.pooling_window or ''} dense"

    def parts(self) -> dict[str, Any]:
        """All parts, as parameter files, command line and statements have them."""
        return {
            "readout": self.readout,
            "pooling_window": self.pooling_window,
            "trained": ",".join(self.trained),
            "flips": self.flips,
            "filter_size": self.filter_size,
        }

    def stated_parts(self, **others: Any) -> dict[str, Any]:
        """Parts as blocks and result files state them, with `others`.

        Window and flips follow, and only where they are not the paper's, as files are older than these two.
        """
        stated = self.parts()
        window, flips = stated.pop("pooling_window"), stated.pop("flips")
        later = ({} if window is None else {"pooling_window": window}) | ({"flips": True} if flips else {})
        return stated | others | later

    def arguments(self) -> dict[str, Any]:
        """The parts as arguments of `exact_cntk.finite`; InputError with flips, which networks of finite width lack."""
        arguments = self.parts()
        if arguments.pop("flips"):
            raise InputError("flips is True; networks of finite width have no flips, so leave it out")
        return arguments

    @property
    def nested(self) -> bool:
        """Whether the NTK is for more than one choice of trained layers."""
        return len(self.trained) > 1

    def outputs(self, kinds: Sequence[str], depths: Sequence[int]) -> tuple[Output, ...]:
        """The kernel matrices of a pass, in the order in which every backend returns them."""
        variants = [(kind, trained) for kind in kinds for trained in (self.trained if kind == "ntk" else (None,))]
        return tuple(Output(kind, depth, trained) for kind, trained in variants for depth in depths)

    def element_layers(self, pairs: int, image_shape: Sequence[int], depth: int) -> int:
        """Entries of all pairs' covariance tensors × ReLU layers (depth − 1) of one pass to `depth`.

        A pair of P×Q images has (P·Q)² entries, of which the readout `flatten` needs P·Q, and `lap` with windows of w×w
        those whose pixels are less than w apart in either direction. Flips take twice as many.

        Parameters
        ----------
        pairs : int
            Pairs of images; of a symmetric matrix n(n + 1)/2.
        image_shape : sequence
            (P, Q) or (P, Q, C).
        depth : int
            The deepest of the pass; the others are free.
        """
        sides = tuple(image_shape[:2])
        reach = {"flatten": 1, "lap": self.pooling_window or 1, "gap": max(sides)}[self.readout]
        entries = math.prod(sum(max(0, side - abs(d)) for d in range(1 - reach, reach)) for side in sides)
        return pairs * entries * (depth - 1) * (2 if self.flips else 1)

    def weights(self, image_shape: Sequence[int], depth: int, width: int, outputs: int = 1) -> list[int]:
        """Weights of each layer, the dense one last, of a network for (P, Q, C₀) images and `width` channels."""
        P, Q, channels = image_shape
        filters = [below * width * self.filter_size**2 for below in (channels, *[width] * (depth - 2))]
        return [*filters, outputs * width * (1 if self.readout == "gap" else P * Q)]

    def operations(self, image_shape: Sequence[int], depth: int, width: int, outputs: int = 1) -> int:
        """Additions and multiplications of one image's forward pass: two for each weight and pixel."""
        *filters, dense = self.weights(image_shape, depth, width, outputs)
        return 2 * (math.prod(image_shape[:2]) * sum(filters) + dense)

    def file_name(self, prefix: str) -> str:
        """A name that states the family except for the trained layers: "arch-f3-lap5-flips"."""
        return f"{prefix}-f{self.filter_size}-{self.readout}{self.pooling_window or ''}{'-flips' if self.flips else ''}"


def contradictions(key: str, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield errors that a schema cannot find in the parts of a family: key, value, what is allowed."""
    if parts["filter_size"] % 2 == 0:
        yield f"{key}.filter_size: {parts['filter_size']} is even; filters have a centre, so give an odd size"
    window = parts.get("pooling_window")
    if parts["readout"] != "lap":
        if window is not None:
            yield f"{key}.pooling_window: {window} with readout {parts['readout']}; only lap has windows: leave it out"
    elif window is None:
        yield f"{key}.pooling_window: missing with readout lap; give the side of its windows, an odd number of pixels"
    elif window % 2 == 0:
        yield f"{key}.pooling_window: {window} is even; windows have a centre, so give an odd size"
