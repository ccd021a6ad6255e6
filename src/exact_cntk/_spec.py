"""What one pass of the recursion computes: the contract between the public function and its backends."""

from dataclasses import dataclass
from typing import NamedTuple

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

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The kernel matrices in the order in which every backend returns them."""
        variants = [(kind, trained) for kind in self.kinds for trained in (self.trained if kind == "ntk" else (None,))]
        return tuple(Output(kind, depth, trained) for kind, trained in variants for depth in self.depths)
