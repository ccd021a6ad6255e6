"""Training sets from the pool: consecutive parts."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from exact_cntk.errors import InputError, shortened


class Subset(NamedTuple):
    """Consecutive chunks of the training pool: repeat r has the images r·n, …, (r + 1)·n − 1."""

    train_images: int
    repeats: int

    def __str__(self) -> str:
        """As the command line takes it."""
        return f"{self.train_images}x{self.repeats}"

    @property
    def chunks(self) -> list[slice]:
        """Where the images of each repeat are in the pool."""
        n = self.train_images
        return [slice(repeat * n, (repeat + 1) * n) for repeat in range(self.repeats)]


def parse_subset(text: str) -> Subset:
    """Read "200x5": 200 training images, 5 repeats; InputError unless it is two positive numbers, below 10⁹."""
    match = re.fullmatch(r"([1-9][0-9]{,8})x([1-9][0-9]{,8})", text)
    if not match:
        raise InputError(f"subset is {shortened(text)}, but must be IMAGESxREPEATS, both at least 1, for example 200x5")
    return Subset(int(match[1]), int(match[2]))


def check_subsets(subsets: Sequence[Subset], images: int, source: str = "training pool") -> None:
    """Raise InputError if there are no subsets, two of one number of images, or one of more than the source has."""
    if not subsets:
        raise InputError("subsets are empty, but must name at least one, for example 100x5")
    for i, subset in enumerate(subsets):
        n, repeats = subset
        if n * repeats > images:
            raise InputError(
                f"subset {subset} needs {n * repeats} images, but the {source} has {images}: "
                f"at most {images // n} repeats of {n}"
            )
        if n in [other.train_images for other in subsets[:i]]:
            raise InputError(f"subset {subset} is the second of {n} images; give all repeats of a number at once")
