"""Which kernels the real runs compute, and on which images: every piece that can be finished and recorded by itself.

A subset of n training images with number r has the images r·n, …, (r + 1)·n − 1 of the data set's order, as in
`exact_cntk.study.solve`. A piece takes a run of consecutive training images, its pool, with all test images, and solves
every subset that lies in the pool: the smaller ones, the learning curve, cost no kernel entry more.
"""

from dataclasses import dataclass, replace
from math import isqrt
from typing import NamedTuple

from exact_cntk.networks import Family

DEPTHS = (3, 4, 6, 11, 21)
# Relative to mean(diag K); 0 is the paper's protocol.
RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FEW_RIDGES = (0.0, 1e-4, 1e-2)
# A unit of work, what a kill may cost: pairs of images; on one H200 some 13 s (gap) and half a second (flatten).
UNIT_PAIRS = {"gap": 500_000, "flatten": 10_000_000}
# On two CPU cores 10 s for flatten, and for gap still half an hour.
CPU_UNIT_PAIRS = {"gap": 5000, "flatten": 2_000_000}
# But so many test images at least: each unit makes the norm tables of the whole pool again.
FEWEST_TEST_IMAGES = {"gap": 1, "flatten": 1000}


class Problem(NamedTuple):
    """One kernel regression: which kernel of the pass, on which subset."""

    kind: str
    depth: int
    train_images: int
    repeat: int

    def __str__(self) -> str:
        """As in the names of files."""
        return f"{self.kind}-depth-{self.depth:02d}-{self.train_images}x{self.repeat}"


class Group(NamedTuple):
    """Subsets of one size."""

    train_images: int
    repeats: tuple[int, ...]
    kinds: tuple[str, ...] = ("ntk",)
    ridges: tuple[float, ...] = FEW_RIDGES


@dataclass(frozen=True)
class Piece:
    """One pass of the kernel over a pool and all test images, and what is solved with it.

    Attributes
    ----------
    name : str
        Of the folder with its metrics.
    family, readout, trained : str
        As in the metrics files.
    depths : tuple of int
    groups : tuple of Group
        The subsets; the largest is the pool.
    unit_pairs : int or None
        Pairs in a unit of work; None is what suits a GPU.
    """

    name: str
    family: str
    readout: str
    trained: str
    depths: tuple[int, ...]
    groups: tuple[Group, ...]
    unit_pairs: int | None = None

    def on_cpu(self) -> "Piece":
        """The same in smaller units of work."""
        return replace(self, unit_pairs=CPU_UNIT_PAIRS[self.readout])

    @property
    def pool(self) -> slice:
        """The training images that the piece reads."""
        edges = [(n * r, n * (r + 1)) for n, repeats, *_ in self.groups for r in repeats]
        return slice(min(start for start, _ in edges), max(stop for _, stop in edges))

    @property
    def train_images(self) -> int:
        """Size of the pool."""
        return self.pool.stop - self.pool.start

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of all groups."""
        return tuple(dict.fromkeys(kind for group in self.groups for kind in group.kinds))

    @property
    def problems(self) -> dict[Problem, tuple[float, ...]]:
        """What is solved, with the ridges; for each kernel the smallest subsets first."""
        groups = sorted(self.groups)
        return {
            Problem(kind, depth, group.train_images, repeat): group.ridges
            for kind in self.kinds
            for depth in self.depths
            for group in groups
            if kind in group.kinds
            for repeat in group.repeats
        }

    def inside(self, problem: Problem) -> slice:
        """The range of a problem's subset in the pool."""
        first = problem.train_images * problem.repeat - self.pool.start
        return slice(first, first + problem.train_images)

    def train_blocks(self) -> list[tuple[slice, slice]]:
        """Blocks of the pool's kernel on and below the diagonal, in images of the pool; each a unit of work."""
        side = max(1, isqrt(self.unit_pairs or UNIT_PAIRS[self.readout]))
        spans = _spans(self.train_images, side)
        return [(rows, cols) for i, rows in enumerate(spans) for cols in spans[: i + 1]]

    def test_chunks(self, test_images: int) -> list[slice]:
        """Chunks of test images, each a unit of work together with the whole pool."""
        unit = self.unit_pairs or UNIT_PAIRS[self.readout]
        step = max(FEWEST_TEST_IMAGES[self.readout], unit // self.train_images)
        return _spans(test_images, step)

    def element_layers(self, pairs: int, image_shape: tuple[int, ...]) -> int:
        """Work of so many pairs of images."""
        return Family(self.readout).element_layers(pairs, image_shape, max(self.depths))

    def pairs(self, test_images: int) -> int:
        """Pairs of the whole piece."""
        n = self.train_images
        return n * (n + 1) // 2 + n * test_images

    def state_bytes(self, classes: int = 10) -> int:
        """Most of what an unfinished piece stores: the dual coefficients of all its problems, float64."""
        return sum(8 * problem.train_images * classes * len(ridges) for problem, ridges in self.problems.items())

    def kernel_bytes(self) -> int:
        """Memory of the pool's kernels, float64."""
        return 8 * self.train_images**2 * len(self.kinds) * len(self.depths)


def _spans(stop: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, stop)) for start in range(0, stop, step)]


def _two_thousand(name: str, family: str, readout: str, trained: str, repeat: int) -> Piece:
    """One subset of the paper's 2K columns, and the beginning of the learning curve inside of it."""
    groups = (
        Group(2000, (repeat,), ("ntk", "nngp"), RIDGES),
        Group(1000, (2 * repeat, 2 * repeat + 1)),
        Group(500, (4 * repeat, 4 * repeat + 1)),
    )
    return Piece(f"{name}-2k-{repeat}", family, readout, trained, DEPTHS, groups)


def _large(name: str, family: str, readout: str, trained: str, n: int, depths: tuple[int, ...]) -> Piece:
    """The first n images and nothing smaller."""
    return Piece(name, family, readout, trained, depths, (Group(n, (0,)),))


VANILLA = ("cntk-v", "flatten", "all")
POOLED = ("cntk-gap", "gap", "hidden")  # the paper's: first and last layer fixed


def catalogue() -> dict[str, Piece]:
    """All pieces by name, the most valuable for their time first.

    The full columns are one piece a depth: the kernel of 50,000 images takes 20 GB, and all five would not fit.
    """
    pieces = [_two_thousand("v", *VANILLA, repeat) for repeat in range(5)]
    pieces += [_large(f"v-{n // 1000}k", *VANILLA, n, DEPTHS) for n in (5000, 10_000, 20_000)]
    pieces += [_large(f"v-50k-depth-{depth:02d}", *VANILLA, 50_000, (depth,)) for depth in DEPTHS]
    pieces += [_two_thousand("gap", *POOLED, repeat) for repeat in range(5)]
    pieces += [_large(f"gap-{n // 1000}k", *POOLED, n, DEPTHS) for n in (5000, 10_000, 20_000)]
    return {piece.name: piece for piece in pieces}
