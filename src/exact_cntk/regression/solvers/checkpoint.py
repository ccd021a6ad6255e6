"""Finished ridges of a path in a small file, so that an interrupted path continues from there."""

import hashlib
from pathlib import Path

import numpy as np
import scipy

from exact_cntk._support.checkpoint import Checkpoint


def ridge_checkpoint(file: Path, *problem: object) -> Checkpoint:
    """The file of one path, of 8 r n (k + 1) bytes, replaced after every ridge.

    `problem` is all that the numbers depend on: the kernel's digest, targets, ridges, method and its parameters.
    """
    identity = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for part in problem:
        identity.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
        identity.update(b"\0")
    return Checkpoint(file, identity.hexdigest())
