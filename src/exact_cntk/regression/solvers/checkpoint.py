"""Finished ridges of a path in a small file, so that an interrupted one goes on from there."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from exact_cntk._support.atomic import replacing
from exact_cntk.regression.ridge_path import RidgePath


class Checkpoint:
    """The file of one problem: 8 r n (k + 1) bytes, replaced as a whole after every ridge.

    It counts only for the very problem that it was written for; anything else is ignored, and then replaced.

    Parameters
    ----------
    file : Path
    *problem
        All that the numbers depend on: the kernel's digest, targets, ridges, method and its parameters.
    """

    def __init__(self, file: Path, *problem: object) -> None:
        self._file = file
        identity = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
        for part in problem:
            identity.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
            identity.update(b"\0")
        self._identity = identity.hexdigest()

    def restore(self, path: RidgePath) -> np.ndarray:
        """Fill `path` in with the ridges that are done; bool array of shape (r,) says which."""
        done = np.zeros(len(path.dual), dtype=bool)
        try:
            with np.load(self._file, allow_pickle=False) as saved:
                if str(saved["identity"]) != self._identity:
                    return done
                values = {name: saved[name] for name in path.by_ridge()}
                done = saved["done"]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # missing, or not of ours
            return done
        for name, place in path.by_ridge().items():
            place[done] = values[name][done]
        return done

    def save(self, path: RidgePath, done: np.ndarray) -> None:
        """Replace the file.

        Raises
        ------
        UserError
            The disk is full or not writable.
        """
        contents: dict[str, Any] = {"identity": self._identity, "done": done} | path.by_ridge()
        with replacing(self._file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **contents)
