"""Random class-balanced training sets of many sizes, the same ones for every method."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from exact_cntk.errors import InputError


class Draw(NamedTuple):
    """A training set: its number among those of its size, and increasing positions in the pool, of shape (n,)."""

    repeat: int
    positions: np.ndarray

    @property
    def train_images(self) -> int:
        """Number of images."""
        return len(self.positions)


def draw_subsets(labels: np.ndarray, train_images: Sequence[int], subsets: int, seed: int) -> list[Draw]:
    """Draw random training sets from a pool with labels of shape (pool,), `subsets` of each size, by size, then number.

    A training set has equally many images of each class, or one more of some random classes if its size is not a
    multiple of the number of classes. Sets of the same size do not overlap until the pool is used up. Sets of different
    sizes are drawn independently and are not nested; sets of one size depend only on the seed, the labels and that
    size.

    Raises
    ------
    InputError
        A size is less than the number of classes, or takes more images of a class than the pool has.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    draws = []
    for size in train_images:
        _check_size(size, members)
        rng = np.random.default_rng([seed, size])
        unused = [np.empty(0, dtype=np.int64) for _ in members]
        for repeat in range(subsets):
            counts = np.full(len(members), size // len(members))
            counts[rng.permutation(len(members))[: size % len(members)]] += 1
            drawn = []
            for i, count in enumerate(counts):
                if len(unused[i]) < count:  # unused images come first; no image twice in one set
                    others = np.setdiff1d(members[i], unused[i])
                    unused[i] = np.concatenate([unused[i], rng.permutation(others)])
                drawn.append(unused[i][:count])
                unused[i] = unused[i][count:]
            draws.append(Draw(repeat, np.sort(np.concatenate(drawn))))
    return draws


def one_a_class(labels: np.ndarray) -> bool:
    """Whether there is a class with a single image, which cannot be left out."""
    return int(np.unique(labels, return_counts=True)[1].min()) < 2


def describe_subsets(draws: Sequence[Draw], seed: int) -> dict[str, Any]:
    """What results say of their training sets.

    Returns
    -------
    dict
        `train_images`, `subsets`, `seed`; `shared`, for each size the mean fraction of images that two of its sets have
        in common (0: disjoint); `digest`, SHA-256 of all positions, which is equal only for the same sets.
    """
    sizes = list(dict.fromkeys(draw.train_images for draw in draws))
    digest = hashlib.sha256()
    for draw in draws:
        digest.update(f"{draw.train_images} {draw.repeat} {draw.positions.tolist()}\n".encode())
    return {
        "train_images": sizes,
        "subsets": max(draw.repeat for draw in draws) + 1,
        "seed": seed,
        "shared": [_shared([draw for draw in draws if draw.train_images == size]) for size in sizes],
        "digest": digest.hexdigest(),
    }


def _shared(draws: Sequence[Draw]) -> float:
    """Mean over pairs of sets of |A ∩ B| / n: an image that is in c of them is shared by c(c − 1)/2 pairs."""
    if len(draws) < 2:
        return 0.0
    _, times = np.unique(np.concatenate([draw.positions for draw in draws]), return_counts=True)
    pairs = len(draws) * (len(draws) - 1)
    return round(float((times * (times - 1)).sum()) / (pairs * draws[0].train_images), 6)


def _check_size(size: int, members: Sequence[np.ndarray]) -> None:
    if size < len(members):
        raise InputError(f"train_images is {size}; allowed are {len(members)} and more, one image of each class")
    needed, rarest = -(-size // len(members)), min(map(len, members))
    if needed > rarest:
        raise InputError(
            f"train_images is {size}, which takes {needed} images of a class, but the pool has only {rarest} of one: "
            f"allowed are at most {rarest * len(members)}, or a larger pool, prepare.train_images"
        )
