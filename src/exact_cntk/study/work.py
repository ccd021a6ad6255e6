"""Counts of work: what jobs have to do on any machine; `exact_cntk.study.rates` turns them into seconds.

Cheap to import.
"""

from dataclasses import dataclass
from typing import NamedTuple

from exact_cntk.networks import Family

BACKWARD = 2  # cost of a backward pass, in forward passes
# Problems with more training images use all cores; smaller ones run in parallel on one core each. The last digits of a
# linear solver depend on the number of threads, which should therefore not vary.
SIDE_BY_SIDE = 4000


class Fits(NamedTuple):
    """Kernel regressions of one size along a path of ridges, and how many of them.

    `iterated`: targets of those that are solved by products with the kernel, 0 for all others.
    """

    images: int
    ridges: int
    times: int
    iterated: int = 0


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
    """The work of one job, and how many such `jobs` there are.

    `products` are additions and multiplications of float32 matrix products; `seconds` are those of work without a
    measured rate, rough, from runs on two cores of an AMD EPYC. Jobs with `all_cores` run in sequence, others in
    parallel on a core each. `torch`: the job starts torch. `gpu`: a GPU takes its products and convolutions.
    """

    jobs: int
    fits: tuple[Fits, ...] = ()
    products: float = 0.0
    convolutions: Convolutions | None = None
    seconds: float = 0.0
    torch: bool = False
    all_cores: bool = False
    gpu: bool = False
