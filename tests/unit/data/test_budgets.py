"""Archives and pickles that would take much more memory, time or stack than they have bytes."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from cifar10_files import write_archive

from exact_cntk.data import _cifar10_files, load_cifar10
from exact_cntk.data._unpickle import load_pickled_dict
from exact_cntk.errors import UserError

ENCODE = b"\x8c\x07_codecs\x8c\x06encode\x93\x94"


def refusal(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


def read(path):
    return refusal(load_cifar10, path, allow_unverified=True)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (
            b"\x80\x04}\x8c\x01a]\x94" + text(b"a" * 1000) + b"\x94" + ENCODE + text(b"latin1") + b"\x94000"
            + b"h\x02h\x01h\x03\x86Ra" * 400 + b"s.",
            "",
        ),
        (b"\x80\x04}\x8c\x01a(" + b"]" * 60_000 + b"ls.", "more than 1000000 opcodes, or 50000 lists"),
        (b"\x80\x04}(" + b")" + b"\x85" * 60_000 + b"K\x01u.", "more than 1000000 opcodes, or 50000 lists"),
        (b"\x80\x04}\x8c\x01a(" + b"K\x01" * 1_000_001 + b"ls.", "more than 1000000 opcodes"),
    ],
    ids=["encode", "lists", "tuples as a key", "numbers"],
)  # fmt: skip
def test_pickles_within_a_budget(pickled, words):
    assert f"not a pickle that can be read safely: {words}" in refusal(load_pickled_dict, pickled, "a")


def test_text_is_encoded_once():
    once = b"\x80\x04}" + b"\x8c\x01a" + ENCODE + b"0" + text(b"a" * 100) + b"\x94"
    call = b"h\x00h\x01" + text(b"latin1") + b"\x86R"
    assert load_pickled_dict(once + b"0" + b"\x8c\x01b" + b"0" + call + b"s.", "a") == {"a": b"a" * 100}
    many = b"\x80\x04}" + b"\x8c\x01a" + ENCODE + b"0" + text(b"a" * 1000) + b"\x940(" + call * 40 + b"ls."
    assert "it encodes the same text many times" in refusal(load_pickled_dict, many, "a")


def test_bytearray_resized_under_an_array():
    dtype = b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02u1\x85R"
    array = b"\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(h\x00" + dtype + b"K\x04\x85\x8c\x01CtR"
    pickled = b"\x80\x05}\x8c\x01a\x96" + struct.pack("<Q", 4) + b"abcd\x94" + b"\x8c\x01b0" + array + b"0h\x00K\x01as."
    assert "not a pickle that can be read safely" in refusal(load_pickled_dict, pickled, "a")


@pytest.mark.parametrize(
    "labels",
    [[[1], [1, 2]] + [1] * 18, [[]] * 20, [2**70] + [1] * 19, [1.0] * 20, [True] * 20],
    ids=["ragged", "lists", "huge", "fractions", "bools"],
)
def test_labels_are_integers(contents, tmp_path, labels):
    rng = np.random.default_rng(5)
    batch = {"labels": labels, "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8)}
    contents["test_batch"] = pickle.dumps(batch)
    message = read(write_archive(tmp_path / "a.tar.gz", contents))
    assert "test_batch: labels must be 20 integers, one per image" in message


def test_labels_that_contain_themselves(contents, tmp_path):
    labels = [1] * 19
    labels.append(labels)
    data = np.zeros((20, 3072), dtype=np.uint8)
    contents["test_batch"] = pickle.dumps({"labels": labels, "data": data})
    assert "labels must be 20 integers" in read(write_archive(tmp_path / "a.tar.gz", contents))


@pytest.mark.parametrize("name", [b"\xed\xa0\x80", b"", b"a\nb", b"a" * 101])
def test_class_names_can_be_shown(contents, tmp_path, name):
    names = b"".join(text(b"class %d" % k) for k in range(9)) + text(name)
    contents["batches.meta"] = b"\x80\x02}" + text(b"label_names") + b"](" + names + b"es."
    message = read(write_archive(tmp_path / "a.tar.gz", contents))
    assert "in label_names cannot be shown; allowed are printable names of 1 to 100 characters" in message


def test_long_names_of_members(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**31
    with gzip.open(tmp_path / "a.tar.gz", "wb") as packed:
        packed.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert "not a complete tar archive: a header of 2147483648 bytes" in read(tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "many"},
        {"GNU.sparse.map": "0,x"},
        {"GNU.sparse.size": "x"},
        {"size": "many"},
    ],
)
def test_numbers_in_headers(tmp_path, headers):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, pax_headers={}) as archive:
        member = tarfile.TarInfo("c/batches.meta")
        member.size, member.pax_headers = 20, headers
        archive.addfile(member, io.BytesIO(b"1" * 20))
    assert str(tmp_path / "a.tar.gz") in read(tmp_path / "a.tar.gz")


def test_another_large_member_is_not_read_through(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(_cifar10_files, "_MAX_BYTES", 10**6)
    path = write_archive(tmp_path / "a.tar.gz", {"zeros": bytes(10**6 + 1)} | contents)
    assert "zeros has 1000001 bytes and is file 1 in the archive; allowed are 1000 files of at most" in read(path)


def test_all_that_is_unpacked_is_bounded(contents, tmp_path, monkeypatch):
    path = write_archive(tmp_path / "a.tar.gz", contents)
    monkeypatch.setattr(_cifar10_files, "_MAX_UNPACKED", path.stat().st_size)
    assert f"it unpacks to more than {path.stat().st_size} bytes" in read(path)


def test_many_members(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(_cifar10_files, "_MAX_MEMBERS", 3)
    assert "is file 4 in the archive" in read(write_archive(tmp_path / "a.tar.gz", contents))


@pytest.mark.parametrize("mode", ["w:bz2", "w:xz", "w"])
def test_other_packings_are_read(contents, tmp_path, mode):
    with tarfile.open(tmp_path / "a.tar", mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert len(load_cifar10(tmp_path / "a.tar", allow_unverified=True).train_images) == 100
