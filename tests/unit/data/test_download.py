"""Downloads against a local server that breaks, lies and refuses."""

import collections
import errno
import fcntl
import hashlib
import http.server
import os
import shutil
import threading
from http import HTTPStatus

import pytest

from exact_cntk.data import SOURCES, _download
from exact_cntk.data._download import download
from exact_cntk.errors import UserError

CONTENT = bytes(range(256)) * 4000  # 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


class _Server(http.server.ThreadingHTTPServer):
    """Serves `content`; each request takes the next of `faults`: a status, or a number of bytes to break off after."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.faults = collections.deque()
        self.ranges = True
        self.requests = []  # the Range header of each
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.tar.gz"

    def handle_error(self, *_arguments):
        """Say nothing: a client that refuses the rest of a file hangs up."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        fault = server.faults.popleft() if server.faults else None
        if isinstance(fault, HTTPStatus):
            self.send_error(fault)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content) and asked and server.ranges:
            self.send_error(416)
            return
        if fault == "wrong range":
            start -= 7
        body = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:fault] if isinstance(fault, int) else body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "raw" / "file.tar.gz"


def fetch(server, path):
    return download(server.url, path, md5=MD5, n_bytes=len(CONTENT), wait_seconds=0)


def part_of(path):
    return path.with_name(path.name + ".part")


def start_with(path, content):
    path.parent.mkdir()
    part_of(path).write_bytes(content)


def assert_complete(path):
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_whole_file(server, path):
    assert fetch(server, path) == path
    assert_complete(path)
    assert server.requests == [None]


def test_a_verified_file_is_kept_without_a_request(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    fetch(server, path)
    assert server.requests == []


def test_another_file_of_that_name_is_refused_and_left(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match=f"md5 is .*, not {MD5}; remove it"):
        fetch(server, path)
    assert path.read_bytes() == b"mine"


def test_goes_on_after_broken_connections(server, path):
    server.faults.extend([100, 50_000, 300, UNAVAILABLE, 300_000])
    fetch(server, path)
    assert_complete(path)
    assert server.requests == [None, *(f"bytes={n}-" for n in (100, 50_100, 50_400, 50_400, 350_400))]


def test_goes_on_after_an_earlier_run(server, path):
    start_with(path, CONTENT[:123_456])
    fetch(server, path)
    assert_complete(path)
    assert server.requests == ["bytes=123456-"]


def test_a_complete_part_needs_no_request(server, path):
    start_with(path, CONTENT)
    fetch(server, path)
    assert_complete(path)
    assert server.requests == []


def test_a_part_that_is_too_long_is_dropped(server, path):
    start_with(path, CONTENT + b"x")
    fetch(server, path)
    assert_complete(path)


def test_a_server_without_ranges_starts_over(server, path):
    server.ranges = False
    start_with(path, b"old" * 1000)
    fetch(server, path)
    assert_complete(path)


def test_a_server_that_resumes_elsewhere_starts_over(server, path):
    server.faults.append("wrong range")
    start_with(path, CONTENT[:1000])
    fetch(server, path)
    assert_complete(path)


def test_a_server_that_says_no_length(server, path):
    server.faults.append("no length")
    fetch(server, path)
    assert_complete(path)


def test_range_not_satisfiable_starts_over(server, path):
    server.faults.append(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    start_with(path, CONTENT[:1000])
    fetch(server, path)
    assert_complete(path)
    assert server.requests == ["bytes=1000-", None]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"], ids=["shorter", "longer"])
@pytest.mark.parametrize("started", [0, 1000])
def test_wrong_length_is_refused(server, path, content, started):
    server.content = content
    start_with(path, CONTENT[:started])
    with pytest.raises(UserError, match=f"offers a file of {len(content)} bytes, not {len(CONTENT)}"):
        fetch(server, path)
    assert not path.exists()


def test_more_bytes_than_announced_are_refused(server, path):
    server.content = CONTENT + b"x"
    server.faults.append("no length")
    with pytest.raises(UserError, match=f"sends more than {len(CONTENT)} bytes"):
        fetch(server, path)
    assert not path.exists()


def test_wrong_md5_deletes_the_part(server, path):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UserError, match=f"downloaded file has md5 .*, not {MD5}; it was deleted"):
        fetch(server, path)
    assert list(path.parent.iterdir()) == []


def test_not_found_is_final(server, path):
    server.faults.append(HTTPStatus.NOT_FOUND)
    with pytest.raises(UserError, match="HTTP status 404"):
        fetch(server, path)
    assert len(server.requests) == 1


def test_gives_up_after_five_answers_without_a_byte_and_keeps_the_part(server, path):
    server.faults.extend([1000, *[UNAVAILABLE] * 5])
    with pytest.raises(UserError, match=r"status 503 .* 5 times in a row. Run this again"):
        fetch(server, path)
    assert part_of(path).read_bytes() == CONTENT[:1000]
    assert not path.exists()


def test_no_server(path):
    with pytest.raises(UserError, match=r"cannot be downloaded: .*refused"):
        download("http://127.0.0.1:9/f", path, md5=MD5, n_bytes=1, wait_seconds=0)


def test_other_protocols_are_refused(path):
    with pytest.raises(UserError, match="http"):
        download("file:///etc/passwd", path, md5=MD5, n_bytes=1)


def test_too_small_a_disk_is_refused_before_the_download(server, path, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(UserError, match="0 MB free, 1 MB needed"):
        fetch(server, path)
    assert server.requests == []


def test_a_full_disk_keeps_the_part(server, path, monkeypatch):
    def full(_stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_download.os, "fsync", full)
    with pytest.raises(UserError, match=r"the disk is full; the next download resumes from file.tar.gz.part"):
        fetch(server, path)
    assert part_of(path).exists()
    assert not path.exists()


def test_two_downloads_do_not_share_a_part(server, path):
    start_with(path, CONTENT[:1000])
    with part_of(path).open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is downloading it"):
            fetch(server, path)
    fetch(server, path)
    assert_complete(path)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a.org/x", "http://[::1", "http://", "http://a.org:x/y", "http://a.org/\u00e9", "http://a.org/a b\n"],
)
def test_what_is_no_address(path, url):
    with pytest.raises(UserError, match=r"url is '.* it must start with http"):
        download(url, path, md5=MD5, n_bytes=len(CONTENT), wait_seconds=0)
    with pytest.raises(UserError, match="it must start with http"):
        SOURCES["cifar10"].download.fetch(path.parent, url=url)
    assert not path.parent.exists()


def test_no_folder(server, path):
    """Nothing is promised of a part that is not there."""
    os.mkfifo(path.parent)
    with pytest.raises(UserError, match="cannot be written: File exists; name another folder"):
        fetch(server, path)
