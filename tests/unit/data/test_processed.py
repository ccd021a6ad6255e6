"""The processed file: same bytes for the same images, and no damaged one is read."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from exact_cntk._support.hdf5 import write_checksum
from exact_cntk._support.stated_files import read_stated
from exact_cntk.data import ProcessedData, load_processed, sidecar_path
from exact_cntk.data._processed import write_processed
from exact_cntk.errors import UserError


def make_data(n_train: int = 6, n_test: int = 4) -> ProcessedData:
    generator = np.random.default_rng(0)
    return ProcessedData.with_digest(
        train_images=generator.normal(size=(n_train, 4, 5, 3)).astype(np.float32),
        train_labels=np.arange(n_train) % 2,
        train_index=np.arange(n_train),
        test_images=generator.normal(size=(n_test, 4, 5, 3)).astype(np.float32),
        test_labels=np.arange(n_test) % 2,
        test_index=np.arange(n_test),
        dataset="CIFAR-10",
        verified=True,
        source_digest="ab" * 32,
        class_names=("airplane", "naïve"),
        mean=(0.1, 0.2, 1 / 3),
        std=(1.0, 2.0, 3.0),
        parameters={"dataset": "cifar10", "seed": None},
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "processed" / "study.h5"
    write_processed(path, make_data())
    return path


def test_comes_back_as_it_was(path):
    written, loaded = make_data(), load_processed(path)
    for field in dataclasses.fields(ProcessedData):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(written, field.name), err_msg=field.name)
    assert loaded.train_images.dtype == np.float32
    assert loaded.train_labels.dtype == np.int64


def test_same_images_same_bytes(path):
    first = path.read_bytes(), sidecar_path(path).read_bytes()
    write_processed(path, make_data())
    assert (path.read_bytes(), sidecar_path(path).read_bytes()) == first
    assert sorted(file.name for file in path.parent.iterdir()) == ["study.h5", "study.json"]


def test_layout(path):
    with h5py.File(path) as file:
        assert file["train/images"].shape == (6, 4, 5, 3)
        assert file["test/images"].dtype == np.float32
        assert file["train/index"].dtype == file["test/labels"].dtype == np.int64
        assert file.attrs["format_version"] == 1
        assert json.loads(file.attrs["class_names"]) == ["airplane", "naïve"]
        assert file.attrs["verified"]


def test_sidecar(path):
    assert read_stated(sidecar_path(path)) == {
        "digest": load_processed(path).digest,
        "dataset": "CIFAR-10",
        "verified": True,
        "source_digest": "ab" * 32,
        "train_images": 6,
        "test_images": 4,
        "image_shape": [4, 5, 3],
        "classes": ["airplane", "naïve"],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "CIFAR-10 (unverified source, sha256 1234)"},
        {"verified": False},
        {"source_digest": "cd" * 32},
        {"class_names": ("airplane", "other")},
        {"mean": (0.1, 0.2, 0.3)},
        {"std": (1.0, 2.0, 3.1)},
        {"parameters": {"dataset": "cifar10", "seed": 1}},
        {"train_labels": np.zeros(6, dtype=np.int64)},
        {"test_index": np.arange(1, 5)},
        {"test_images": np.zeros((4, 4, 5, 3), dtype=np.float32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_is_over_everything(change):
    data = make_data()
    assert dataclasses.replace(data, **change).computed_digest() != data.digest


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no\.h5: no such file; make it with `exact-cntk data prepare`"):
        load_processed(tmp_path / "no.h5")


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.999])
def test_truncated_file(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=r"study\.h5: .*not a complete file of prepared images"):
        load_processed(path)


def seal(path):
    """End a file that was changed from outside in the checksum of what it is now."""
    with path.open("r+b") as file:
        write_checksum(file.fileno(), [])


def test_foreign_files(path):
    path.write_text("not HDF5")
    with pytest.raises(UserError, match="not a complete file of prepared images"):
        load_processed(path)
    with h5py.File(path, "w") as file:
        file["kernel"] = np.eye(3)
    with pytest.raises(UserError, match="not a complete file of prepared images"):
        load_processed(path)


def test_another_format_version(path):
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 2
    seal(path)
    with pytest.raises(UserError, match=r"study\.h5: format version 2, not 1"):
        load_processed(path)


def test_a_changed_pixel_is_noticed(path):
    with h5py.File(path, "a") as file:
        file["test/images"][3, 2, 1, 0] += 1e-3
    with pytest.raises(UserError, match="does not end in the checksum of its content"):
        load_processed(path)
    seal(path)
    with pytest.raises(UserError, match="damaged: its content does not have the digest"):
        load_processed(path)


def test_any_damaged_byte_is_noticed_or_harmless(path):
    content, digest = path.read_bytes(), load_processed(path).digest
    generator = np.random.default_rng(1)
    for position in generator.choice(len(content), 200, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loaded = load_processed(path)
        except UserError:
            continue
        assert loaded.digest == digest == loaded.computed_digest()


def _link(file, outside):
    file.move("test/images", "other")
    file["test/images"] = h5py.SoftLink("/other")


def _external_link(file, outside):
    with h5py.File(outside, "w") as other:
        file.copy("test/images", other, "images")
    del file["test/images"]
    file["test/images"] = h5py.ExternalLink(outside, "images")


def _external_storage(file, outside):
    images = file["test/images"][()]
    del file["test/images"]
    file.create_dataset("test/images", data=images, external=[(outside, 0, h5py.h5f.UNLIMITED)])


def _virtual(file, outside):
    shape = file["test/images"].shape
    del file["test/images"]
    layout = h5py.VirtualLayout(shape, dtype="<f4")
    layout[:] = h5py.VirtualSource(outside, "images", shape)
    file.create_virtual_dataset("test/images", layout)


@pytest.mark.parametrize("change", [_link, _external_link, _external_storage, _virtual])
def test_the_file_holds_its_images_itself(tmp_path, path, change):
    with h5py.File(path, "a") as file:
        change(file, str(tmp_path / "outside"))
    seal(path)
    with pytest.raises(UserError, match=r"study\.h5: .*test/images .* must hold all of its content.*prepare` again$"):
        load_processed(path)


def test_the_file_may_be_a_link_itself(tmp_path, path):
    (tmp_path / "link.h5").symlink_to(path)
    assert load_processed(tmp_path / "link.h5").digest == load_processed(path).digest


def test_the_name_must_leave_room_for_the_summary(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.h5"):
        write_processed(tmp_path / "study.json", make_data())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*study\.h5: (Not a directory|File exists)"):
        write_processed(tmp_path / "file" / "study.h5", make_data())


# In a process of its own: limits are the process's, and HDF5 kills one that it can't write from.
_WRITE = """
import sys
sys.path[:0] = {path!r}
import test_processed
from exact_cntk.errors import UserError
from pathlib import Path
try:
    {limit}
    test_processed.write_processed(Path({out!r}), test_processed.make_data(n_train=2000))
except UserError as error:
    print(error)
"""


def _write_where_there_is_no_room(out, limit="pass", *, prefix=()):
    code = _WRITE.format(path=[str(Path(__file__).parent), *sys.path], limit=limit, out=str(out))
    run = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("n_bytes", [500, 400_000])
def test_a_write_that_fails_leaves_nothing(tmp_path, n_bytes):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({n_bytes}, {n_bytes}))"
    said = _write_where_there_is_no_room(tmp_path / "study.h5", limit)
    assert said.startswith(f"cannot write {tmp_path}/study.h5: File too large")
    assert list(tmp_path.iterdir()) == []


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs a user namespace to mount a small file system in")
@pytest.mark.parametrize("n_kib", [8, 480])
def test_a_full_disk(tmp_path, n_kib):
    # The file's own size is 520 KiB; the listing of what is left comes from inside, where the small disk is seen.
    script = f'mount -t tmpfs -o size={n_kib}k tmpfs {tmp_path} && "$@" && ls -A {tmp_path}'
    said = _write_where_there_is_no_room(tmp_path / "study.h5", prefix=("unshare", "-rm", "sh", "-c", script, "sh"))
    assert said.startswith(f"cannot write {tmp_path}/study.h5: No space left on device")
    assert said.count("\n") == 1  # and no file is listed
