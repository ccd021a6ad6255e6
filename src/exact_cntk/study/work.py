"""Counts of work: what jobs have to do, whatever the machine; `exact_cntk.study.rates` turns them into seconds.

Cheap to import.
"""

from dataclasses import dataclass
from typing import NamedTuple

from exact_cntk.networks import Family

BACKWARD = 2  # passes forward that one backward costs
# Problems of so many training images have all cores; smaller ones one each, side by side. The last digits of a linear
# solver depend on the number of threads, so that it must not vary where it need not.
SIDE_BY_SIDE = 4000


class Fits(NamedTuple):
    """Kernel regressions of one size along a path of ridges, and how many of them."""

    images: int
    ridges: int
    times: int


class Convolutions(NamedTuple):
    """Additions and multiplications of training steps, and their form, on which the pace of convolutions depends much.

    The form is the shape (P, Q, C) of images, the network and its width, the number of images in a step, and whether a
    GPU rounds products to TF32.
    """

    operations: float
    shape: tuple[int, int, int]
    network: Family
    width: int
    images: int
    tf32: bool = False


@dataclass(frozen=True)
class Work:
    """The work of one job, and how many there are of it.

    Attributes
    ----------
    jobs : int
    fits : tuple of Fits
    products : float
        Additions and multiplications of products of matrices, as many of float32.
    convolutions : Convolutions, optional
    seconds : float
        Of what no pace is measured of: rough, from runs on two cores of an AMD EPYC.
    torch : bool
        Whether it starts torch.
    all_cores : bool
        Such jobs run one after the other; others take a core each, side by side.
    gpu : bool
        Whether a GPU takes its products and convolutions.
    """

    jobs: int
    fits: tuple[Fits, ...] = ()
    products: float = 0.0
    convolutions: Convolutions | None = None
    seconds: float = 0.0
    torch: bool = False
    all_cores: bool = False
    gpu: bool = False
