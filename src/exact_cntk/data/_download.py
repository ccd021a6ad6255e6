"""A download that survives broken connections and never leaves a wrong file under the right name."""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from exact_cntk.errors import UserError, shortened

if TYPE_CHECKING:
    from tqdm import tqdm

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30  # without a byte
_ATTEMPTS = 5  # in a row without a new byte
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that may change a moment later


def download(url: str, path: Path, *, md5: str, n_bytes: int, progress: bool = True, wait_seconds: float = 1.0) -> Path:
    """Download `url` to `path`, resuming what an earlier run left, and verify it.

    The data go to ``<path>.part``, which gets its final name only when length and md5 are right. A broken
    connection is resumed, after a pause that doubles; the run gives up after five breaks in a row without progress, and
    keeps the part for the next run.

    Parameters
    ----------
    url : str
        http or https.
    path : Path
        If it exists and is right, nothing is downloaded.
    md5, n_bytes : str, int
        What the file must have.
    progress : bool
        Show a bar when stderr is a terminal.
    wait_seconds : float
        The first pause.

    Raises
    ------
    UserError
        Another file has the name; another process is downloading it; the disk is full; the server refuses, cannot be
        reached or offers another file; the md5 is wrong (the part is then deleted).
    """
    _check_url(url)
    if path.exists():
        _check_existing(path, md5)
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > n_bytes:
            part.unlink()
        _check_space(part, n_bytes)
        with _bar(path.name, n_bytes, progress) as bar:
            _download_part(url, part, n_bytes, bar, wait_seconds)
        _check_part(url, part, md5)
        part.replace(path)
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
        kept = part.is_file()
        remedy = f"the next download resumes from {part.name}" if kept else "name another folder"
        raise UserError(f"{path}: cannot be written: {reason}; {remedy}") from error
    return path


def _check_url(url: str) -> None:
    """Refuse what is no address of a server, which other functions raise all kinds of errors of."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not re.fullmatch(r"[!-~]+", url):
        raise UserError(f"url is {shortened(url)}; it must start with http:// or https:// and name a server, in ASCII")


def _check_existing(path: Path, md5: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: is not a file; remove it and run this again")
    if (actual := _md5(path)) != md5:
        raise UserError(f"{path}: exists, but its md5 is {actual}, not {md5}; remove it and run this again")


def _check_space(part: Path, n_bytes: int) -> None:
    missing = n_bytes - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise UserError(f"{part.parent}: {free / 1e6:.0f} MB free, {missing / 1e6:.0f} MB needed for the download")


def _check_part(url: str, part: Path, md5: str) -> None:
    if (actual := _md5(part)) != md5:
        part.unlink()
        raise UserError(
            f"{url}: the downloaded file has md5 {actual}, not {md5}; it was deleted. Run this again; if it stays "
            "wrong, the server or a proxy on the way sends another file"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _bar(name: str, n_bytes: int, progress: bool) -> "Iterator[tqdm]":
    from tqdm import tqdm

    with tqdm(total=n_bytes, desc=name, unit="B", unit_scale=True, disable=None if progress else True) as bar:
        yield bar


def _download_part(url: str, part: Path, n_bytes: int, bar: "tqdm", wait_seconds: float) -> None:
    """Append to the part until it is complete."""
    failures = 0
    with part.open("ab") as stream:
        _lock(stream, part)
        while (start := stream.tell()) < n_bytes:
            bar.n = start
            bar.refresh()
            try:
                _append_rest(url, stream, n_bytes, bar)
                reason = "the connection broke"
            except urllib.error.HTTPError as error:
                if error.code not in _PASSING:
                    _refused(url, f"HTTP status {error.code} ({error.reason})")
                reason = f"HTTP status {error.code} ({error.reason})"
            except urllib.error.URLError as error:
                reason = str(error.reason)
            except (http.client.HTTPException, ConnectionError) as error:
                reason = str(error) or type(error).__name__
            stream.flush()
            if stream.tell() >= n_bytes:
                break
            failures = 0 if stream.tell() > start else failures + 1
            if failures >= _ATTEMPTS:
                _refused(url, f"{reason}, {failures} times in a row")
            time.sleep(wait_seconds * 2**failures if failures else 0)
        os.fsync(stream.fileno())


def _lock(stream: BinaryIO, part: Path) -> None:
    """Keep a second download from appending to the same part; the lock ends with the file or the process."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{part}: another process is downloading it; wait for that one") from None
    except OSError:
        return  # a network file system without locks: the md5 at the end is what counts


def _refused(url: str, reason: str) -> NoReturn:
    raise UserError(
        f"{url}: cannot be downloaded: {reason}. Run this again to resume; or get the file elsewhere and "
        "name it as the source"
    )


def _append_rest(url: str, stream: BinaryIO, n_bytes: int, bar: "tqdm") -> None:
    """Append what is missing, as far as the connection holds; start over if the server can't resume."""
    start = stream.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "exact-cntk"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or start == 0:
            raise
        # The server has a shorter file, or dislikes ranges: ask for all of it, which then shows its length.
        _empty(stream)
        return
    except (TimeoutError, ssl.SSLError) as error:
        raise ConnectionError(str(error)) from error
    with response:
        first, total = _offered(response)
        if total is not None and total != n_bytes:
            _refused(url, f"the server offers a file of {total} bytes, not {n_bytes}")
        if first != start:
            _empty(stream)
            bar.n = 0
            if first != 0:
                raise http.client.HTTPException(f"the server answers with bytes from {first}, not from {start}")
        while chunk := _read(response):
            if stream.tell() + len(chunk) > n_bytes:
                _empty(stream)
                _refused(url, f"the server sends more than {n_bytes} bytes")
            stream.write(chunk)
            bar.update(len(chunk))


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; whatever goes wrong with the network is a ConnectionError, unlike trouble with the disk."""
    try:
        return response.read(_CHUNK_BYTES)
    except OSError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _empty(stream: BinaryIO) -> None:
    stream.truncate(0)
    stream.seek(0)


def _offered(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte of an answer, and the length of the whole file if the server says it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None:
            raise http.client.HTTPException("partial content without a readable Content-Range")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None
