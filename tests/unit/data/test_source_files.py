"""Which files a source of CIFAR-10 consists of: those that are read, so that the workflow follows the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exact_cntk.data import _cifar10_versions, load_cifar10, source_files
from exact_cntk.errors import UserError

NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]
GIVE = (
    "give as source the archive, the extracted folder cifar-10-batches-py or cifar-10-batches-bin, or the folder that "
    "contains it"
)


def test_an_archive_is_one_file_and_a_folder_seven(archive, folder):
    assert source_files(archive) == [archive]
    assert source_files(folder) == source_files(folder.parent) == [folder / name for name in NAMES]


@pytest.mark.parametrize("which", ["archive", "folder", "its parent"])
def test_these_are_the_files_that_are_read(request, monkeypatch, which):
    source = request.getfixturevalue("archive" if which == "archive" else "folder")
    source = source.parent if which == "its parent" else source
    opened, read = [], Path.open
    monkeypatch.setattr(Path, "open", lambda path, *mode: opened.append(path) or read(path, *mode))
    load_cifar10(source, allow_unverified=True)
    assert opened == source_files(source)


def test_no_content_is_read(folder):
    for name in NAMES:
        (folder / name).write_bytes(b"no batch")
    assert len(source_files(folder)) == 7


def assert_refused(source, *words):
    """By the list of files and by what reads them, in the same line."""
    with pytest.raises(UserError) as listed:
        source_files(source)
    with pytest.raises(UserError) as loaded:
        load_cifar10(source, allow_unverified=True)
    assert str(listed.value) == str(loaded.value)
    assert "\n" not in str(listed.value)
    for word in (str(source), GIVE, *words):
        assert word in str(listed.value)


def test_what_is_not_there_is_refused_by_name_with_what_to_give(tmp_path, folder):
    assert_refused(tmp_path / "nowhere.tar.gz", "no such file or folder", f"data fetch cifar10 --out {tmp_path}")
    assert_refused(tmp_path, "has no file data_batch_1")
    (folder / "test_batch").unlink()
    assert_refused(folder, "has no file test_batch")
    assert_refused(folder.parent, "has no file test_batch")
    (folder / "test_batch").symlink_to("nothing")
    assert_refused(folder, "has no file test_batch")


def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    assert_refused(tmp_path / "pipe", "neither a file nor a folder")
    (tmp_path / "null.tar.gz").symlink_to("/dev/null")
    assert_refused(tmp_path / "null.tar.gz", "neither a file nor a folder")


def test_a_source_that_cannot_be_looked_into(tmp_path, monkeypatch):
    assert_refused(tmp_path / ("a" * 300), "cannot be read: File name too long")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)  # root may look into every folder
    assert_refused(tmp_path / "a.tar.gz", "cannot be read: Permission denied")


def test_listing_files_loads_neither_numpy_nor_torch():
    code = "import sys; from exact_cntk.data import source_files; print({'numpy', 'h5py', 'torch'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_order_is_that_of_the_digest():
    assert list(_cifar10_versions.PYTHON.file_md5) == NAMES
