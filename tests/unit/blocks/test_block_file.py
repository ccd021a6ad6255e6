"""Block files: what is written is what is read, and nothing else passes for a block."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from kernel_files import DEPTHS, KINDS, edit, entries, environment, make_header

from exact_cntk.blocks import Position, Span, read_header, read_kernel, write_block
from exact_cntk.blocks._file import is_complete
from exact_cntk.errors import UserError
from exact_cntk.networks import Family


@pytest.fixture
def header(data):
    return make_header(data, Position(Span(9, 18), Span(0, 9)))


@pytest.fixture
def block(tmp_path, header, full):
    path = tmp_path / "9-0.h5"
    write_block(path, header, entries(full, header), "avx512")
    return path


def test_round_trip(block, header, full):
    assert read_header(block) == (header, "avx512")
    for (kind, depth), kernel in entries(full, header).items():
        read = read_kernel(block, kind, depth)
        assert read.dtype == np.float64
        np.testing.assert_array_equal(read, kernel)
    assert is_complete(block, header)


def test_same_input_same_bytes(tmp_path, block, data_file):
    """Also in another process and at another time: there are no time stamps and no leftovers of memory in it."""
    script = """
import sys
from pathlib import Path
from exact_cntk.blocks import Position, Span, write_block
from kernel_files import entries, linear_kernel, make_data, make_header
data = make_data(Path(sys.argv[1]))
header = make_header(data, Position(Span(9, 18), Span(0, 9)))
[bytes(range(256)) * 4096 for _ in range(8)]
write_block(Path(sys.argv[2]), header, entries(linear_kernel(data), header), "avx512")
"""
    again = tmp_path / "again" / "9-0.h5"
    subprocess.run([sys.executable, "-c", script, str(data_file), str(again)], env=environment(), check=True)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (block, again)}
    assert len(digests) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_written(tmp_path, header, full, value):
    full[12, 3] = value
    with pytest.raises(UserError, match=r"ntk/depth_03 .* has (nan|inf) at row 3, column 3"):
        write_block(tmp_path / "new.h5", header, entries(full, header), "avx2")
    assert not (tmp_path / "new.h5").exists()


def test_full_disk(small_disk, data):
    header = make_header(data, Position(Span(0, 24), Span(0, 24)))
    kernels = {(kind, depth): np.ones((24, 24)) for kind in KINDS for depth in DEPTHS}
    with pytest.raises(UserError, match="No space left on device"):
        write_block(small_disk / "0-0.h5", header, kernels, "avx2")
    assert list(small_disk.iterdir()) == []


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"block .*nowhere\.h5 is missing"):
        read_header(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("length", [0, 100, 2000, -1])
def test_truncated(block, header, length):
    content = block.read_bytes()
    block.write_bytes(content[:length])
    with pytest.raises(UserError, match=r"9-0\.h5 .*(truncated or damaged|no block)"):
        read_header(block)
    assert not is_complete(block, header)


def test_a_flipped_bit_is_noticed(block, header, full):
    content = bytearray(block.read_bytes())
    place = content.find(entries(full, header)["ntk", 3].tobytes())
    content[place + 100] ^= 1
    block.write_bytes(content)
    with pytest.raises(UserError, match=r"9-0\.h5 cannot be read.*delete it"):
        read_kernel(block, "ntk", 3)
    assert not is_complete(block, header)


def _set_attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def _delete_attribute(name):
    return lambda file: file.attrs.__delitem__(name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set_attribute("format_version", 7), "no block of format version 2 .but 7"),
        (_delete_attribute("format_version"), "but None"),
        (_delete_attribute("family"), "wrong attributes"),
        (_delete_attribute("instruction_set"), "wrong attributes"),
        (_set_attribute("rows", [1, 2, 3]), "wrong attributes"),
        (_set_attribute("rows", [20, 30]), "impossible position"),
        (_set_attribute("depths", "three"), "wrong attributes"),
    ],
)
def test_foreign_header(block, header, change, reason):
    edit(block, change)
    with pytest.raises(UserError, match=reason):
        read_header(block)
    assert not is_complete(block, header)


def test_foreign_content(block, header):
    with pytest.raises(UserError, match=r"has no ntk/depth_04; by its attributes it has ntk/depth_03, ntk/depth_05"):
        read_kernel(block, "ntk", 4)
    edit(block, lambda file: file["ntk/depth_03"].__setitem__((3, 3), np.nan))
    with pytest.raises(UserError, match="ntk/depth_03 has nan at row 3, column 3"):
        read_kernel(block, "ntk", 3)
    edit(block, lambda file: file.__delitem__("nngp/depth_05"))
    assert not is_complete(block, header)
    edit(block, lambda file: file.__setitem__("nngp/depth_05", np.zeros((2, 2))))
    with pytest.raises(UserError, match=r"nngp/depth_05 has shape \(2, 2\), not \(9, 9\)"):
        read_kernel(block, "nngp", 5)


@pytest.mark.parametrize(
    "change",
    [{"data_digest": "f" * 64}, {"depths": (3,)}, {"network": Family("flatten", ("hidden",))}, {"dtype": "float64"}],
)
def test_another_header_is_not_complete(block, data, header, change):
    assert not is_complete(block, make_header(data, header.position, **change))
