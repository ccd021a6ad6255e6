"""Arrays of an unfinished computation in a file, which counts for this very computation alone."""

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from exact_cntk._support.atomic import replacing
from exact_cntk._support.reading import check_regular

_MARK = b"\nexact_cntk sha256 "  # before the digest, the end of the file


class Checkpoint:
    """A file that is replaced as a whole, so that a kill at any moment leaves the old one or the new one.

    It ends in a checksum of its content. Damaged files and those of other computations are ignored, and then replaced.

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
            size = check_regular(self._file)
            with self._file.open("rb") as stream:
                if not _is_intact(stream, size - len(_MARK) - hashlib.sha256().digest_size):
                    return None
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as saved:
                    return dict(saved) if str(saved["identity"]) == self._identity else None
        except OSError:  # missing, or no file
            return None

    def save(self, **arrays: Any) -> None:
        """Replace the file; UserError if the disk is full or not writable."""
        with replacing(self._file) as temporary, temporary.open("w+b") as stream:
            np.savez(stream, identity=self._identity, **arrays)
            size = stream.seek(0, os.SEEK_END)
            stream.write(_MARK + _digest(stream, size))


def _is_intact(stream: BinaryIO, size: int) -> bool:
    """Whether a stream ends, after so many bytes, in their digest."""
    stream.seek(max(0, size))
    end = stream.read()
    return size > 0 and end.startswith(_MARK) and end == _MARK + _digest(stream, size)


def _digest(stream: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first bytes of a stream, which is then behind them."""
    digest, left = hashlib.sha256(), size
    stream.seek(0)
    while left and (content := stream.read(min(left, 2**20))):
        digest.update(content)
        left -= len(content)
    return digest.digest()
