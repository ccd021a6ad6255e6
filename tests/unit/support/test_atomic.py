"""Files are complete or not there, whatever happens to the process that writes them."""

import signal
import socket
import subprocess
import sys

import pytest
from kernel_files import environment

from exact_cntk._support.atomic import replacing, write_bytes
from exact_cntk.errors import UserError


def test_writes_and_leaves_nothing_else(tmp_path):
    write_bytes(tmp_path / "new" / "file", b"first")
    write_bytes(tmp_path / "new" / "file", b"second")
    assert (tmp_path / "new" / "file").read_bytes() == b"second"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_an_error_leaves_the_old_file(tmp_path):
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "file") as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGTERM])
def test_killed_between_write_and_rename(tmp_path, name):
    """Nothing is under the final name; a polite kill leaves nothing at all, a hard one's leftover goes next time."""
    script = f"""
import os, signal, sys
from pathlib import Path
from exact_cntk import cli
from exact_cntk._support import atomic
atomic._sync = lambda path: os.kill(os.getpid(), {int(name)})
signal.signal(signal.SIGTERM, cli._terminate)
atomic.write_bytes(Path(sys.argv[1]), b"complete, but not yet renamed")
"""
    target = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", script, str(target)], env=environment(), check=False)
    assert done.returncode == (-signal.SIGKILL if name == signal.SIGKILL else 128 + signal.SIGTERM)
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == (1 if name == signal.SIGKILL else 0) and "file" not in left

    write_bytes(target, b"second attempt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_leaves_temporary_files_of_others_alone(tmp_path):
    alive = tmp_path / f".file.{socket.gethostname()}.1.tmp"  # process 1 always lives
    elsewhere = tmp_path / ".file.some-other-host.999999999.tmp"
    for path in (alive, elsewhere):
        path.write_bytes(b"")
    write_bytes(tmp_path / "file", b"")
    assert alive.exists() and elsewhere.exists()


def test_full_disk(small_disk):
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
        write_bytes(small_disk / "file", bytes(100_000))
    assert list(small_disk.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        write_bytes(tmp_path / "folder" / "file", b"")


@pytest.mark.parametrize(
    ("name", "words"),
    [("/proc/x", "Permission denied"), ("a" * 300, "File name too long"), ("loop/x", "File exists")],
)
def test_names_that_cannot_be(tmp_path, name, words):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=rf"^cannot write .*: .*{words}"):
        write_bytes(tmp_path / name, b"")


def test_a_missing_file_within_is_a_bug(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file") as temporary:
        temporary.write_bytes((tmp_path / "missing").read_bytes())
