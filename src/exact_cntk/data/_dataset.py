"""A data set as its makers published it, before any preprocessing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np  # for those who read images, not for those who describe them


@dataclass(frozen=True, eq=False)
class Dataset:
    """All images of a data set, untouched.

    Attributes
    ----------
    name : str
        What tables and figures call it; an unverified source says so here, with its digest.
    verified : bool
        Whether every byte is the official one.
    source_digest : str
        SHA-256 of the content, the same whichever container it came in.
    class_names : tuple of str
        Label k means `class_names[k]`.
    full_scale : int
        The value of a white pixel.
    train_images, test_images : ndarray of shape (n, P, Q, C), uint8
    train_labels, test_labels : ndarray of shape (n,), int64
    """

    name: str
    verified: bool
    source_digest: str
    class_names: tuple[str, ...]
    full_scale: int
    train_images: "np.ndarray"
    train_labels: "np.ndarray"
    test_images: "np.ndarray"
    test_labels: "np.ndarray"


def display_name(official_name: str, *, verified: bool, source_digest: str) -> str:
    """The name that goes into every table; an unverified source is always named as such."""
    return official_name if verified else f"{official_name} (unverified source, sha256 {source_digest[:12]})"
