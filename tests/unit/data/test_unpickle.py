"""Pickles may hold arrays and plain containers; anything that could run code or fill the memory is refused."""

import os
import pickle
import struct

import numpy as np
import pytest
from cifar10_files import python2_dumps

from exact_cntk.data._unpickle import load_pickled_dict
from exact_cntk.errors import UserError

ARRAYS = {
    "uint8": np.arange(24, dtype=np.uint8).reshape(2, 12),
    "int64": np.arange(5),
    "big-endian": np.arange(6, dtype=">f4").reshape(3, 2),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_as_they_were(name, protocol):
    array = ARRAYS[name]
    loaded = load_pickled_dict(pickle.dumps({b"data": array, "n": 3, "list": [1, b"x"]}, protocol), "file")
    np.testing.assert_array_equal(loaded["data"], array)
    assert loaded["data"].dtype == array.dtype
    assert loaded["n"] == 3
    assert loaded["list"] == [1, b"x"]


def test_python_2_pickle_as_the_official_files():
    array = np.arange(600, dtype=np.uint8).reshape(2, 300)
    content = python2_dumps({b"data": array, b"labels": [3, 70000], b"batch_label": b"testing batch 1 of 1"})
    # Python's own unpickler reads it too: the hand-made pickle is a true one.
    np.testing.assert_array_equal(pickle.loads(content, encoding="bytes")[b"data"], array)
    loaded = load_pickled_dict(content, "file")
    np.testing.assert_array_equal(loaded["data"], array)
    assert loaded["labels"] == [3, 70000]
    assert loaded["batch_label"] == b"testing batch 1 of 1"


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_numbers_become_python_numbers(protocol):
    loaded = load_pickled_dict(pickle.dumps({"labels": [np.int64(7), np.float32(0.5)]}, protocol), "file")
    assert loaded["labels"] == [7, 0.5]


class _Calls:
    """Pickles to a call of `function` when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch pwned",), "system"),
        (eval, ("open('pwned', 'w')",), "eval"),
        (np.load, ("pwned.npy",), "numpy.load"),
        (np.fromfile, ("pwned",), "fromfile"),
        (getattr, ([], "append"), "getattr"),
        (bytearray, (10**12,), "bytearray"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_other_globals_are_refused_by_name(function, arguments, named, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"data": _Calls(function, *arguments)}, protocol)
    with pytest.raises(UserError, match=rf"batch: .*{named}.*only NumPy arrays and plain containers"):
        load_pickled_dict(content, "batch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "array",
    [np.array([os.system, None]), np.zeros(2, dtype=[("a", "u1"), ("b", "f4")]), np.array(["text"])],
    ids=["object", "structured", "text"],
)
def test_only_arrays_of_numbers(array, protocol):
    with pytest.raises(UserError, match=r"numbers only|global"):
        load_pickled_dict(pickle.dumps({"data": array}, protocol), "batch")


def _array_claiming(shape: tuple[int, ...]) -> bytes:
    array = np.arange(4, dtype=np.uint8)
    true, forged = (pickle.dumps(s, 2)[2:-1] for s in ((4,), shape))
    content = pickle.dumps({"data": array}, 2)
    assert content.count(true[:3]) == 1
    return content.replace(true[:3], forged.replace(b"q\x00", b""))


@pytest.mark.parametrize("shape", [(10**12,), (2**31 - 1, 2**31 - 1), (3,), (-4,)])
def test_claimed_shape_must_match_the_bytes(shape):
    with pytest.raises(UserError, match="shape"):
        load_pickled_dict(_array_claiming(shape), "batch")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x04}.trailing"[:2],
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo index that would allocate 16 GiB
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",  # a string of 4 EiB
        b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b".",  # an integer of 1 GiB
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",  # a frame of 4 EiB
        b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",  # np.ndarray(5): uninitialised memory
        b"\x80\x02cnumpy\ndtype\n}U\x01xK\x01sb.",  # setting an attribute of a stand-in
        b"\x80\x02cnumpy\ndtype\n)\x81.",  # NEWOBJ
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02U\x02idQ.",  # a persistent id
        b"(inumpy\nndarray\n.",  # protocol 0
        b"\x80\x02}U\x04data",
        b"\x80\x02K\x01.",
        b"\x80\x02}K\x01K\x02s.",
    ],
)
def test_damaged_and_forged_pickles_are_user_errors(content):
    with pytest.raises(UserError, match=r"^batch: "):
        load_pickled_dict(content, "batch")


def test_truncated_anywhere():
    content = python2_dumps({b"data": np.arange(12, dtype=np.uint8).reshape(2, 6), b"labels": [1, 2]})
    for n_bytes in range(len(content)):
        with pytest.raises(UserError):
            load_pickled_dict(content[:n_bytes], "batch")


def test_any_flipped_byte_is_an_error_or_plain_data():
    content = python2_dumps({b"data": np.arange(12, dtype=np.uint8).reshape(2, 6), b"labels": [1, 2]})
    for position in range(len(content)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            try:
                loaded = load_pickled_dict(bytes(damaged), "batch")
            except UserError:
                continue
            assert isinstance(loaded, dict)
