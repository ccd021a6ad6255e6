"""Training sets out of the pool: consecutive chunks."""

import re
from typing import NamedTuple

from exact_cntk.errors import InputError


class Subset(NamedTuple):
    """Consecutive chunks of the training pool: repeat r has the images r·n, …, (r + 1)·n − 1."""

    train_images: int
    repeats: int

    def __str__(self) -> str:
        """As the command line takes it."""
        return f"{self.train_images}x{self.repeats}"


def parse_subset(text: str) -> Subset:
    """Read "200x5": 200 training images, 5 repeats.

    Raises
    ------
    InputError
        If it is not two positive numbers.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise InputError(f"subset is {text!r}, but must be IMAGESxREPEATS, both at least 1, for example 200x5")
    return Subset(int(match[1]), int(match[2]))
