"""How large the blocks of one pass are: a pure function of what is computed, never of the machine that computes it.

A study that is resumed on another machine thus keeps its grid.
"""

from math import ceil, isqrt
from typing import NamedTuple

from exact_cntk.errors import InputError
from exact_cntk.kernels.cost import NOMINAL_RATES, block_bytes
from exact_cntk.networks import Family

# A block of full size takes from 100 to 280 of these seconds, a block on the diagonal half of that: long against the
# seconds in which a job starts and ends, short enough to be lost.
BLOCK_SECONDS = 180.0
BLOCK_BYTES = (
    2**29
)  # of a file; computing it takes three to four times that, see `exact_cntk.kernels.cost.block_memory`
MAX_BLOCKS = 2000  # of a kernel; Snakemake plans so many in 8 s, and more of them in disproportionately longer time
# What takes the CPU longer than a night is cut for the GPU if the parameters leave the backend open.
NIGHT_SECONDS = 8 * 3600.0


class BlockSizes(NamedTuple):
    """Largest numbers of images along the sides of blocks.

    Attributes
    ----------
    pool : int
        Of the training pool: columns of every block, and rows of those of the symmetric part.
    test : int
        Of the test set: rows of the others.
    """

    pool: int
    test: int

    def blocks(self, n_train: int, n_test: int) -> int:
        """Blocks of a kernel matrix, as `block_positions` lists them."""
        pool, test = ceil(n_train / self.pool), ceil(n_test / self.test)
        return pool * (pool + 1) // 2 + test * pool

    def __str__(self) -> str:
        """Rows × columns of the largest block."""
        return f"{max(self)} x {self.pool}"


def planned_backend(
    n_train: int,
    n_test: int,
    image_shape: tuple[int, ...],
    *,
    family: Family,
    depth: int,
    backend: str,
) -> str:
    """The backend that blocks are cut for: "auto" is the CPU, unless the pass takes that longer than a night.

    Parameters are those of `block_sizes`.
    """
    if backend != "auto":
        return backend
    pairs = n_train * (n_train + 1) // 2 + n_test * n_train
    seconds = family.element_layers(pairs, image_shape, depth) / NOMINAL_RATES["cpu", family.readout]
    return "cuda" if seconds > NIGHT_SECONDS else "cpu"


def block_sizes(
    n_train: int,
    n_test: int,
    image_shape: tuple[int, ...],
    *,
    family: Family,
    depth: int,
    outputs: int,
    backend: str,
    storage: str = "float64",
) -> BlockSizes:
    """Sizes of blocks that take one to five minutes at the nominal rate.

    Smaller ones where a block file would exceed `BLOCK_BYTES`, larger ones where a kernel would have more than
    `MAX_BLOCKS`, and one block where there is not more to do. Blocks are of nearly equal size.

    Parameters
    ----------
    n_train, n_test : int
        Images of the training pool and of the test set, at least 1 and 0.
    image_shape : tuple
        (P, Q) or (P, Q, C).
    family : Family
    depth : int
        The deepest of the pass.
    outputs : int
        Kernels that come out of the pass: depths × kinds, the NTK counted for each choice of trained layers.
    backend : {"auto", "cpu", "cuda", "reference"}
        As the parameters name it; its rate is in `exact_cntk.kernels.cost.NOMINAL_RATES`.
    storage : {"float64", "float32"}
        Of the kernels on disk.

    Raises
    ------
    InputError
        So many kernels come out of the pass that 2,000 blocks of `BLOCK_BYTES` do not hold them.
    """
    chosen = planned_backend(n_train, n_test, image_shape, family=family, depth=depth, backend=backend)
    rate = NOMINAL_RATES[chosen, family.readout] / family.element_layers(1, image_shape, depth)
    most = max(1, BLOCK_BYTES // block_bytes(1, 1, outputs, storage))
    sizes, pairs = _of_area(n_train, n_test, BLOCK_SECONDS * rate, most)
    while sizes.blocks(n_train, n_test) > MAX_BLOCKS:
        if pairs > 4 * most:
            raise InputError(
                f"{outputs} kernels of {n_train} + {n_test} images come out of one pass, more than {MAX_BLOCKS} blocks "
                "hold; spread its depths over several passes, or give the block size as a number"
            )
        sizes, pairs = _of_area(n_train, n_test, 1.05 * pairs, most)
    return sizes


def _of_area(n_train: int, n_test: int, pairs: float, most: int) -> tuple[BlockSizes, float]:
    """Blocks of about `pairs` entries, never more than `most`; and `pairs`, for the next attempt."""
    pool = _piece(n_train, pairs**0.5, isqrt(most))
    return BlockSizes(pool, _piece(max(1, n_test), pairs / pool, most // pool)), pairs


def _piece(n: int, wanted: float, most: int) -> int:
    """The larger piece where n images are cut as evenly as can be into pieces of about `wanted`, at most `most`."""
    pieces = min(n, max(1, round(n / wanted), ceil(n / most)))
    return ceil(n / pieces)
