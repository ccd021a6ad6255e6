"""What one pass of the recursion computes: the contract between the public function and its backends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exact_cntk._support import validation as check

READOUTS = ("flatten", "lap", "gap")
TRAINED = ("all", "hidden")
KINDS = ("ntk", "nngp")


class Output(NamedTuple):
    """One kernel matrix of a pass; `trained` is None for the NNGP kernel, which has no trained layers."""

    kind: str
    depth: int
    trained: str | None


def kernel_key(output: Output, *, nested: bool) -> tuple:
    """The key that `exact_cntk.cntk` gives a kernel; where `nested`, the NTK's names its trained layers."""
    return tuple(output) if nested and output.trained is not None else (output.kind, output.depth)


@dataclass(frozen=True)
class KernelSpec:
    """The kernels of one pass, all of one architecture but for its depth.

    Attributes
    ----------
    depths : tuple of int
        Strictly increasing; the paper's depth, convolutional layers + 1, so depth − 1 ReLU layers.
    readout : {"flatten", "lap", "gap"}
    trained : tuple of {"all", "hidden"}
        Without repeats; both variants come out of one pass.
    filter_size : int
        q, odd.
    kinds : tuple of {"ntk", "nngp"}
        Without repeats.
    pooling_window : int, optional
        w = 2c + 1 of the readout "lap", odd; None with the others.
    """

    depths: tuple[int, ...]
    readout: str
    trained: tuple[str, ...]
    filter_size: int
    kinds: tuple[str, ...]
    pooling_window: int | None = None

    @classmethod
    def checked(
        cls,
        *,
        depths: int | Sequence[int],
        readout: str,
        trained: str | Sequence[str],
        filter_size: int,
        get: str | Sequence[str],
        pooling_window: int | None,
    ) -> "KernelSpec":
        """The arguments of public functions; InputError names the first one that is not allowed."""
        chosen = check.as_choice("readout", readout, READOUTS)
        return cls(
            depths=check.as_depths("depths", depths),
            readout=chosen,
            trained=check.as_choices("trained", trained, TRAINED),
            filter_size=check.as_filter_size("filter_size", filter_size),
            kinds=check.as_choices("get", get, KINDS),
            pooling_window=check.as_pooling_window("pooling_window", pooling_window, chosen),
        )

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The kernel matrices in the order in which every backend returns them."""
        variants = [(kind, trained) for kind in self.kinds for trained in (self.trained if kind == "ntk" else (None,))]
        return tuple(Output(kind, depth, trained) for kind, trained in variants for depth in self.depths)
