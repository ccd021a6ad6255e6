"""Arrays of an unfinished computation in a file, which counts for this very computation alone."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.atomic import replacing


class Checkpoint:
    """A file that is replaced as a whole, so that a kill at any moment leaves the old one or the new one.

    Files of other computations are ignored, and then replaced.

    Parameters
    ----------
    file : Path
    identity : str
        Digest of all that the numbers depend on.
    """

    def __init__(self, file: Path, identity: str) -> None:
        self._file, self._identity = file, identity

    def load(self) -> dict[str, np.ndarray] | None:
        """The saved arrays; None if there are none of this computation."""
        try:
            with np.load(self._file, allow_pickle=False) as saved:
                return dict(saved) if str(saved["identity"]) == self._identity else None
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # missing, damaged or of another kind
            return None

    def save(self, **arrays: Any) -> None:
        """Replace the file; UserError if the disk is full or not writable."""
        with replacing(self._file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, identity=self._identity, **arrays)
