"""What one pass of the recursion computes: the contract between the public function and its backends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.networks import KINDS, Family, Output, kernel_key

# Called with the number of the first of some rows and with these, of shape (outputs, rows, m).
OnRows = Callable[[int, np.ndarray], object]


@dataclass(frozen=True)
class KernelSpec:
    """The kernels of one pass, all of one family of networks.

    Attributes
    ----------
    family : Family
    depths : tuple of int
        Strictly increasing; the paper's depth, convolutional layers + 1, so depth − 1 ReLU layers.
    kinds : tuple of {"ntk", "nngp"}
        Without repeats.
    """

    family: Family
    depths: tuple[int, ...]
    kinds: tuple[str, ...]

    @classmethod
    def checked(cls, *, depths: int | Sequence[int], get: str | Sequence[str], **parts: Any) -> "KernelSpec":
        """The arguments of public functions, `parts` being those of `Family.checked`; InputError names a wrong one."""
        family = Family.checked(**parts)
        return cls(family, check.as_depths("depths", depths), check.as_choices("get", get, KINDS))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The kernel matrices in the order in which every backend returns them."""
        return self.family.outputs(self.kinds, self.depths)

    @property
    def keys(self) -> tuple[tuple, ...]:
        """What `exact_cntk.cntk` calls the outputs."""
        return tuple(kernel_key(output, nested=self.family.nested) for output in self.outputs)


class Computed(NamedTuple):
    """What a backend returns."""

    kernels: np.ndarray  # of shape (len(spec.outputs), n, m), float64
    seconds: float  # in which the device, or the CPU, worked on pairs
