"""Files that are either complete or missing: written under a temporary name, synced, renamed."""

import contextlib
import errno
import glob
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from exact_cntk.errors import UserError

# Errors of a file system that is full, over quota, read-only or another user's, has a file where a folder should be or
# the reverse, or takes no such name: never a bug of this program.
FILE_SYSTEM_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
    | {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`, made if missing; it becomes `path` when the body ends without an error.

    The body writes the file; it is then synced to disk and renamed, so that a kill at any moment leaves either the old
    `path` or the new one (a rename is atomic only within a file system). The leftovers of errors and of killed
    processes are removed.

    Raises
    ------
    UserError
        If the disk is full or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        temporary = temporary_name(path)
        _require_new_files(path.parent, temporary)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno not in FILE_SYSTEM_ERRNOS:
            raise
        raise UserError(
            f"cannot write {path}: {os.strerror(error.errno or 0)}; what was there before is unchanged"
        ) from error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file at once, or leave what was there before."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write text files, name → text, to a folder, each of them complete or not at all; their paths, in order."""
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_bytes(path, text.encode())
    return paths


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose process on this host has ended."""
    prefix = _prefix(path)
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        process = leftover.name.removeprefix(prefix).removesuffix(".tmp")
        if process.isdigit() and not _alive(int(process)):
            leftover.unlink(missing_ok=True)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of it; a single call may be cut short, on a nearly full disk for example."""
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def temporary_name(path: Path) -> Path:
    """Where this process writes `path`."""
    return path.with_name(f"{_prefix(path)}{os.getpid()}.tmp")


def _require_new_files(folder: Path, temporary: Path) -> None:
    """Find out whether a folder takes new files: one like /proc says that they are missing, as a bug would."""
    try:
        temporary.touch()
        temporary.unlink()
    except FileNotFoundError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder)) from error


def _prefix(path: Path) -> str:
    # The host is part of the name: on a cluster's shared folder, a process number says nothing about other machines.
    return f".{path.name}.{socket.gethostname()}."


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
