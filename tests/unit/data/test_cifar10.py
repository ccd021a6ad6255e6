"""Archives and folders: the same data, checked before they are unpickled."""

import gzip
import hashlib
import os
import pickle
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from cifar10_files import (
    BATCHES,
    IMAGES_PER_BATCH,
    binary_contents,
    make_batches,
    python2_dumps,
    write_archive,
    write_folder,
)

from exact_cntk.data import _cifar10_files, _cifar10_versions, fetch_cifar10, load_cifar10
from exact_cntk.errors import UserError


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def official(monkeypatch, contents, archive):
    """Declare the tiny data set the official one."""
    python = replace(
        _cifar10_versions.PYTHON,
        archive_md5=md5_of(archive.read_bytes()),
        file_md5={name: md5_of(content) for name, content in contents.items()},
    )
    binary = replace(
        _cifar10_versions.BINARY,
        file_md5={name: md5_of(content) for name, content in binary_contents(make_batches()).items()},
    )
    monkeypatch.setattr(_cifar10_files, "VERSIONS", (python, binary))


@pytest.mark.usefixtures("official")
def test_archive_and_folder_hold_the_same(archive, folder):
    for source in (archive, folder, folder.parent, str(folder)):
        data = load_cifar10(source)
        assert data.verified
        assert data.name == "CIFAR-10"
        assert data.source_digest == load_cifar10(archive).source_digest
        assert data.train_images.shape == (5 * IMAGES_PER_BATCH, 32, 32, 3)
        assert data.test_images.shape == (IMAGES_PER_BATCH, 32, 32, 3)


@pytest.mark.usefixtures("official")
def test_the_binary_version_holds_the_same_images_and_labels(folder, tmp_path):
    contents = binary_contents(make_batches())
    binary = write_folder(tmp_path / "binary", contents, name="cifar-10-batches-bin")
    expected = load_cifar10(folder)
    for source in (binary, binary.parent):
        data = load_cifar10(source)
        assert data.verified
        assert data.class_names == expected.class_names
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            np.testing.assert_array_equal(getattr(data, part), getattr(expected, part))
            assert getattr(data, part).dtype == getattr(expected, part).dtype
    archive = write_archive(tmp_path / "cifar-10-binary.tar.gz", contents)
    assert load_cifar10(archive, allow_unverified=True).source_digest == data.source_digest
    with (binary / "test_batch.bin").open("ab") as stream:
        stream.write(bytes(3073))
    with pytest.raises(UserError, match=rf"test_batch.bin has md5 .*, not {md5_of(contents['test_batch.bin'])}"):
        load_cifar10(binary)
    assert not load_cifar10(binary, allow_unverified=True).verified


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes; it must be images of 3073 bytes each"),
        (bytes(3072), "3072 bytes; it must be images of 3073 bytes each"),
        (b"\x0a" + bytes(3072), r"labels must be in 0…9, got 10…10"),
    ],
)
def test_contents_of_the_binary_version_are_checked(tmp_path, content, said):
    contents = binary_contents(make_batches()) | {"data_batch_3.bin": content}
    folder = write_folder(tmp_path, contents, name="cifar-10-batches-bin")
    with pytest.raises(UserError, match=rf"data_batch_3.bin: {said}"):
        load_cifar10(folder, allow_unverified=True)


def test_the_version_is_that_of_most_files(tmp_path, contents):
    folder = write_folder(tmp_path, binary_contents(make_batches()), name="cifar-10-batches-bin")
    (folder / "batches.meta").write_bytes(contents["batches.meta"])
    assert len(load_cifar10(folder, allow_unverified=True).train_labels) == 5 * IMAGES_PER_BATCH


def test_a_file_of_the_binary_version_is_missing(tmp_path):
    folder = write_folder(tmp_path, binary_contents(make_batches()), name="cifar-10-batches-bin")
    (folder / "data_batch_5.bin").unlink()
    with pytest.raises(UserError, match=r"has no file data_batch_5\.bin"):
        load_cifar10(folder, allow_unverified=True)


def test_pixels_and_labels_are_in_place(folder):
    data = load_cifar10(folder, allow_unverified=True)
    batches = make_batches()
    second = batches["data_batch_2"]
    n = IMAGES_PER_BATCH
    # Rows of the official files hold 1024 red, then 1024 green, then 1024 blue values, each row by row.
    assert data.train_images[n + 3, 5, 7, 2] == second[b"data"][3, 2 * 1024 + 5 * 32 + 7]
    np.testing.assert_array_equal(data.train_labels[n : 2 * n], second[b"labels"])
    np.testing.assert_array_equal(data.test_labels, batches["test_batch"][b"labels"])
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int64
    assert data.class_names[3] == "cat"


def test_the_digest_is_that_of_sha256sum(folder):
    command = "sha256sum data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch batches.meta"
    shell = subprocess.run(f"{command} | sha256sum", shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert load_cifar10(folder, allow_unverified=True).source_digest == shell.stdout.split()[0]


def test_newer_pickles_and_text_keys(tmp_path):
    def as_text(batch):
        return {key.decode(): value for key, value in batch.items()}

    batches = make_batches()
    new = {name: pickle.dumps(as_text(batch), 4) for name, batch in batches.items()}
    old = {name: python2_dumps(batch) for name, batch in batches.items()}
    loaded = [
        load_cifar10(write_folder(tmp_path / kind, content), allow_unverified=True)
        for kind, content in (("new", new), ("old", old))
    ]
    np.testing.assert_array_equal(loaded[0].train_images, loaded[1].train_images)
    assert loaded[0].class_names == loaded[1].class_names


def test_unofficial_archive_is_refused_with_both_checksums(archive):
    with pytest.raises(UserError, match=f"{md5_of(archive.read_bytes())}, not c58f3.*allow_unverified"):
        load_cifar10(archive)


@pytest.mark.usefixtures("official")
def test_one_changed_file_in_a_folder_is_refused_by_name(folder, contents):
    with (folder / "data_batch_4").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match=rf"data_batch_4 has md5 .*, not {md5_of(contents['data_batch_4'])}"):
        load_cifar10(folder)


def test_an_unverified_source_is_named_with_its_digest(archive, folder):
    from_archive, from_folder = (load_cifar10(source, allow_unverified=True) for source in (archive, folder))
    assert not from_archive.verified
    assert from_archive.name == f"CIFAR-10 (unverified source, sha256 {from_archive.source_digest[:12]})"
    assert from_folder.source_digest == from_archive.source_digest


class _Evil:
    def __reduce__(self):
        return (os.system, ("touch pwned",))


def test_checksums_come_before_unpickling_and_the_pickle_is_refused_anyway(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": _Evil()}))
    with pytest.raises(UserError, match="md5"):
        load_cifar10(folder)
    with pytest.raises(UserError, match=r"data_batch_1: .*system"):
        load_cifar10(folder, allow_unverified=True)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "batch", "said"),
    [
        ("data_batch_1", {b"labels": [1]}, "data must be uint8 .*got nothing"),
        (
            "data_batch_1",
            {b"data": np.zeros((2, 3072), np.int64), b"labels": [1, 2]},
            r"got int64 of shape \(2, 3072\)",
        ),
        ("data_batch_1", {b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}, r"uint8 of shape \(2, 3071\)"),
        ("data_batch_1", {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "labels must be 2 integers"),
        ("data_batch_1", {b"data": np.zeros((1, 3072), np.uint8), b"labels": [[1]]}, "labels must be 1 integers"),
        ("data_batch_1", {b"data": np.zeros((1, 3072), np.uint8)}, "labels must be 1 .*got nothing"),
        ("test_batch", {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}, "0…9, got 1…10"),
        ("test_batch", {b"data": np.zeros((2, 3072), np.uint8), b"labels": [-1, 3]}, "0…9, got -1…3"),
        ("batches.meta", {b"label_names": [b"cat"]}, "10 different names"),
        ("batches.meta", {b"label_names": [b"cat"] * 10}, "10 different names"),
        ("batches.meta", {b"num_vis": 3072}, "list of strings"),
    ],
)
def test_contents_are_checked(folder, name, batch, said):
    (folder / name).write_bytes(python2_dumps(batch))
    with pytest.raises(UserError, match=rf"{name}: .*{said}"):
        load_cifar10(folder, allow_unverified=True)


def test_the_test_set_may_not_be_a_training_batch(folder):
    (folder / "test_batch").write_bytes((folder / "data_batch_2").read_bytes())
    with pytest.raises(UserError, match="test_batch has the same content as data_batch_2"):
        load_cifar10(folder, allow_unverified=True)


def test_missing_sources(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz: no such file.*data fetch cifar10 --out data/raw"):
        load_cifar10()
    with pytest.raises(UserError, match="has no file data_batch_1"):
        load_cifar10(tmp_path, allow_unverified=True)
    (folder / "data_batch_5").unlink()
    with pytest.raises(UserError, match="has no file data_batch_5"):
        load_cifar10(folder, allow_unverified=True)


def test_incomplete_archives(tmp_path, archive, contents):
    damaged = tmp_path / "damaged.tar.gz"
    whole = archive.read_bytes()
    raw = gzip.decompress(whole)
    for content in (
        b"",
        b"nothing of the kind",
        whole[:-20],
        whole[: len(whole) // 2],
        gzip.compress(raw[: len(raw) // 2]),
    ):
        damaged.write_bytes(content)
        with pytest.raises(UserError, match=r"not a complete tar archive|has no file"):
            load_cifar10(damaged, allow_unverified=True)
    write_archive(damaged, {name: contents[name] for name in BATCHES})
    with pytest.raises(UserError, match=r"has no file batches\.meta"):
        load_cifar10(damaged, allow_unverified=True)


def test_links_and_repeated_members_are_refused(tmp_path, contents):
    path = write_archive(tmp_path / "a.tar.gz", {name: contents[name] for name in BATCHES})
    raw = tmp_path / "b.tar"
    raw.write_bytes(gzip.decompress(path.read_bytes()))
    with tarfile.open(raw, "a") as archive:
        link = tarfile.TarInfo("batches.meta")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UserError, match=r"batches\.meta must be one regular file"):
        load_cifar10(raw, allow_unverified=True)


def test_a_huge_member_is_refused_unread(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(_cifar10_files, "_MAX_BYTES", 1000)
    with pytest.raises(UserError, match="bytes; a file of CIFAR-10 has at most 1000"):
        load_cifar10(folder, allow_unverified=True)


def test_nothing_is_extracted(archive, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    load_cifar10(archive, allow_unverified=True)
    assert list(empty.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-python.tar.gz", "empty"]


def test_fetch_keeps_no_archive_of_another_content(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match="not c58f30108f718f92721af3b95e74349a; remove it"):
        fetch_cifar10(tmp_path)


def test_dvc_points_to_the_archive_that_fetch_brings():
    pointer = yaml.safe_load((Path(__file__).parents[3] / "data/raw/cifar-10-python.tar.gz.dvc").read_text())
    assert pointer["deps"][0]["path"] == _cifar10_versions.ARCHIVE.url
    (out,) = pointer["outs"]
    assert out["path"] == _cifar10_versions.ARCHIVE.path.name
    assert out["md5"] == _cifar10_versions.ARCHIVE.md5
    assert out["size"] == _cifar10_versions.ARCHIVE.n_bytes
