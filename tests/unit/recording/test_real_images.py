"""Reading a copy of CIFAR-10 as JPEGs."""

import io
import tarfile

import numpy as np
import pytest
from recording.real.images import CIFAR10, is_jpeg_archive, load_images, read_jpegs

from exact_cntk.errors import UserError

Image = pytest.importorskip("PIL.Image", reason="pillow reads and writes JPEGs")


def write_archive(path, names, side=32):
    """An archive of one-coloured images, a grey level an image."""
    with tarfile.open(path, "w:xz") as archive:
        for level, name in enumerate(names):
            buffer = io.BytesIO()
            Image.fromarray(np.full((side, side, 3), level, dtype=np.uint8)).save(buffer, "JPEG")
            member = tarfile.TarInfo(name)
            member.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(member, buffer)
    return path


@pytest.fixture
def archive(tmp_path):
    names = [
        f"{part}/{name}/{i:04d}.jpg" for part in ("train", "test") for name in CIFAR10.class_names for i in range(2)
    ]
    return write_archive(tmp_path / "copy.tar.xz", names)


def test_reads_and_names_the_copy(archive):
    data = read_jpegs(archive)
    assert is_jpeg_archive(archive)
    assert data.name.startswith("CIFAR-10 (unverified source, JPEG copy, sha256 ") and not data.verified
    assert data.train_images.shape == data.test_images.shape == (20, 32, 32, 3)
    # The grey level tells the file, the file its class: dealt at random, but together.
    np.testing.assert_array_equal(data.train_images[:, 0, 0, 0] // 2, data.train_labels)
    np.testing.assert_array_equal((data.test_images[:, 0, 0, 0] - 20) // 2, data.test_labels)
    assert (np.diff(data.train_labels) < 0).any()


def test_keeps_the_decoded_images(archive, tmp_path):
    first = load_images(archive, tmp_path / "cache")
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".h5", ".json"]
    assert load_images(archive, tmp_path / "cache").digest == first.digest == load_images(archive).digest
    assert abs(first.train_images.mean()) < 1e-5 and abs(first.train_images.std() - 1) < 1e-5


def test_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"zebra/1\.jpg is not train/<class>/"):
        read_jpegs(write_archive(tmp_path / "zebra.tar.xz", ["train/zebra/1.jpg"]))
    with pytest.raises(UserError, match=r"has shape \(16, 16, 3\)"):
        read_jpegs(write_archive(tmp_path / "small.tar.xz", ["train/cat/1.jpg"], side=16))
    with pytest.raises(UserError, match="has 1 training and 0 test images"):
        read_jpegs(write_archive(tmp_path / "half.tar.xz", ["train/cat/1.jpg"]))
    with pytest.raises(UserError, match="there is no such file or folder"):
        load_images(tmp_path / "nothing.tar.xz")
