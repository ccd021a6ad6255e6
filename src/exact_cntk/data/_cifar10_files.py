"""The files of CIFAR-10 out of an archive or a folder, official unless told otherwise.

Nothing is unpickled here: bytes are hashed first. Archives are read in place, never extracted, so a member's path
is only ever compared with a known name.
"""

import bz2
import gzip
import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, Any

from exact_cntk.data._cifar10_versions import VERSIONS, SourceFiles, Version
from exact_cntk.errors import UserError

# The official ones have 31 MB; the bounds keep a forged archive from filling the memory, or taking long.
_MAX_BYTES = 64 * 2**20
_MAX_UNPACKED = 8 * _MAX_BYTES
_MAX_MEMBERS = 1000  # the official one has 8
_MAX_HEADER = 2**20  # of a member: its name, and whatever else may be said of it
_UNPACK: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
# tarfile takes numbers and texts in headers as they are.
_FORGED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError)
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, *_FORGED)
_FOLDERS = " or ".join(version.folder for version in VERSIONS)
_GIVE = f"give as source the archive, the extracted folder {_FOLDERS}, or the folder that contains it"
_REMEDY = "set allow_unverified to use it anyway; every table and figure made from it then says so"


def source_files(source: Path) -> list[Path]:
    """List the files that are read, and must not change: the archive alone, or those of the folder.

    Raises
    ------
    UserError
        The source or a file of it is missing, or cannot be read.
    """
    try:
        if source.is_dir():
            return _folder_files(source)
        if source.is_file():
            return [source]
        exists = source.exists()
    except OSError as error:  # a folder of another user, or a name longer than any can be
        raise UserError(f"{source}: cannot be read: {error.strerror}; {_GIVE}") from error
    if exists:
        raise UserError(f"{source}: neither a file nor a folder; {_GIVE}")
    raise UserError(
        f"{source}: no such file or folder; {_GIVE}, or download the archive with "
        f"`exact-cntk data fetch cifar10 --out {source.parent}`"
    )


def _folder_files(source: Path) -> list[Path]:
    version, folder = _folder_version(source)
    for name in version.file_md5:
        if not (folder / name).is_file():
            expected = ", ".join(version.file_md5)
            raise UserError(f"{folder}: has no file {name}; an extracted CIFAR-10 has {expected}; {_GIVE}")
    return [folder / name for name in version.file_md5]


def _folder_version(source: Path) -> tuple[Version, Path]:
    """The version of which a folder holds the most files, and where they are."""
    places = []
    for version in VERSIONS:
        folder = source / version.folder if (source / version.folder).is_dir() else source
        places.append((sum((folder / name).is_file() for name in version.file_md5), version, folder))
    _, version, folder = max(places, key=lambda place: place[0])
    return version, folder


def read_source(source: Path, *, allow_unverified: bool) -> SourceFiles:
    """Read the files of CIFAR-10 and refuse what is not official unless told otherwise.

    Parameters
    ----------
    source : Path
        A .tar.gz archive of either version, the folder that it unpacks to, or the one that holds that.
    allow_unverified : bool
        Accept any archive and any files of these names.

    Raises
    ------
    UserError
        The source or a file is missing or repeated, damaged, no archive, or not the official one.
    """
    paths = source_files(source)
    if paths != [source]:
        files = _read_folder(_folder_version(source)[0], paths)
        if files.unofficial and not allow_unverified:
            name, md5 = next(iter(files.unofficial.items()))
            official = files.version.file_md5[name]
            raise UserError(f"{source}: not the official CIFAR-10: {name} has md5 {md5}, not {official}; {_REMEDY}")
        return files
    with _open(source) as stream:
        _check_size(source.stat().st_size, _MAX_UNPACKED, source)
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        archives = [version.archive_md5 for version in VERSIONS]
        if md5 not in archives and not allow_unverified:
            raise UserError(f"{source}: not the official archive: md5 {md5}, not {' or '.join(archives)}; {_REMEDY}")
        stream.seek(0)  # the bytes that were hashed, not whatever has the name by now
        return _read_archive(stream, source)


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _read_folder(version: Version, paths: list[Path]) -> SourceFiles:
    contents = {}
    for path in paths:
        with _open(path) as stream:
            _check_size(path.stat().st_size, _MAX_BYTES, path)
            contents[path.name] = stream.read()
    return SourceFiles(version, contents)


def _read_archive(stream: IO[bytes], source: Path) -> SourceFiles:
    contents: dict[str, bytes] = {}
    try:
        unpacked = _Unpacked(stream)
        with tarfile.open(fileobj=unpacked, mode="r:") as archive:  # type: ignore[call-overload]  # reads and seeks
            for count, member in enumerate(archive):
                name = PurePosixPath(member.name).name
                if count == _MAX_MEMBERS or member.size > _MAX_BYTES:
                    raise UserError(
                        f"{source}: {_shown(name)} has {member.size} bytes and is file {count + 1} in the archive; "
                        f"allowed are {_MAX_MEMBERS} files of at most {_MAX_BYTES} bytes: pack those of CIFAR-10 alone"
                    )
                if not any(name in version.file_md5 for version in VERSIONS):
                    continue
                if not member.isreg() or member.issparse() or name in contents:
                    raise UserError(f"{source}: {name} must be one regular file in the archive")
                contents[name] = unpacked.content(member)
        while unpacked.read(_MAX_HEADER):
            pass  # to the end, where gzip keeps its checksum
    except _UNREADABLE as error:
        reason = _shown(str(error) or type(error).__name__)
        raise UserError(f"{source}: not a complete tar archive: {reason}") from error
    version = max(VERSIONS, key=lambda version: len(contents.keys() & version.file_md5.keys()))
    missing = [name for name in version.file_md5 if name not in contents]
    if missing:
        raise UserError(f"{source}: has no file {', '.join(missing)}; is it CIFAR-10?")
    return SourceFiles(version, {name: contents[name] for name in version.file_md5})


class _Unpacked:
    """The bytes of a packed or plain tar archive, for tarfile: no more than it can need."""

    def __init__(self, stream: IO[bytes]) -> None:
        start = stream.read(6)
        stream.seek(0)
        unpack = next((unpack for magic, unpack in _UNPACK.items() if start.startswith(magic)), None)
        self._stream: IO[bytes] = stream if unpack is None else unpack(stream)

    def read(self, size: int) -> bytes:
        """Read what may be a header, or the end of the archive."""
        if size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self._bound(self.tell() + size)
        return self._stream.read(size)

    def content(self, member: tarfile.TarInfo) -> bytes:
        """Read the content of a regular file."""
        self.seek(member.offset_data)
        content = self._stream.read(member.size)
        if len(content) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        return content

    def tell(self) -> int:
        """Bytes before the present position."""
        return self._stream.tell()

    def seek(self, position: int) -> int:
        """Go to a position, which unpacks all that is before it."""
        self._bound(position)
        return self._stream.seek(position)

    def _bound(self, position: int) -> None:
        if position > _MAX_UNPACKED:
            raise tarfile.ReadError(f"it unpacks to more than {_MAX_UNPACKED} bytes")


def _shown(text: str) -> str:
    """A text out of an archive, which may be of any length, for a message."""
    return text.encode("ascii", "backslashreplace").decode()[:200]


def _check_size(n_bytes: int, most: int, name: object) -> None:
    if n_bytes > most:
        raise UserError(f"{name}: {n_bytes} bytes; a file of CIFAR-10 has at most {most}")
