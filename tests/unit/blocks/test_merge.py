"""Merging: the kernel is put together exactly, or the file at fault is named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from kernel_files import KINDS, edit, entries, factor, make_blocks, make_header

from exact_cntk.blocks import Position, Span, block_name, merge_blocks, open_kernel, read_list, write_block
from exact_cntk.blocks import _merge as merging
from exact_cntk.errors import UserError
from exact_cntk.networks import Family


@pytest.fixture
def out(tmp_path):
    return tmp_path / "kernels" / "kernel.h5"


def refusal(paths, out, depth=3, **options):
    """The message; and nothing is written."""
    with pytest.raises(UserError) as caught:
        merge_blocks(paths, depth, out, **options)
    assert not out.parent.exists() or list(out.parent.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("block_images", [4, 5, 9, 24, 100])
@pytest.mark.parametrize("depth", [3, 5])
def test_any_grid_gives_the_kernel(tmp_path, data, full, out, block_images, depth):
    blocks = make_blocks(tmp_path / "other", data, full, block_images)
    merged = merge_blocks(blocks, depth, out)
    with open_kernel(out) as (kernel, file):
        assert kernel == merged
        assert (kernel.n_train, kernel.n_test, kernel.depth, kernel.kinds) == (24, 10, depth, KINDS)
        assert (kernel.data_digest, kernel.instruction_set) == (data.digest, "avx2")
        for kind in KINDS:
            np.testing.assert_array_equal(file[kind][()], full * factor(kind, depth))
    assert [path.name for path in out.parent.iterdir()] == ["kernel.h5"]


def test_same_bytes_in_any_order(tmp_path, block_files, out):
    merge_blocks(block_files, 3, out)
    merge_blocks(block_files[::-1], 3, tmp_path / "again.h5")
    assert out.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_blocks_of_two_instruction_sets(data, full, block_files, out):
    header = make_header(data, Position(Span(9, 18), Span(0, 9)))
    write_block(block_files[1], header, entries(full, header), "avx512")
    assert merge_blocks(block_files, 3, out).instruction_set == "avx2, avx512"


def test_reports_progress(block_files, out):
    seen = []
    merge_blocks(block_files, 3, out, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, len(block_files)) for i in range(len(block_files))]


def test_missing_file(block_files, out):
    block_files[2].unlink()
    assert refusal(block_files, out) == f"block {block_files[2]} is missing"


def test_missing_from_the_list(block_files, out):
    message = refusal(block_files[:2] + block_files[3:], out)
    assert message.startswith("no block covers rows 9:18, columns 9:18 of the kernel") and "9-9.h5" in message


def test_stale_grid(tmp_path, data, full, block_files, out):
    stale = make_blocks(tmp_path / "old", data, full, 8)[1]
    message = refusal([*block_files, stale], out)
    assert f"block {stale} (rows 8:16, columns 0:8) overlaps {block_files[0]}" in message
    assert "of two grids" in message


def test_block_under_a_wrong_name(block_files, out):
    shutil.copy(block_files[0], block_files[1])
    assert f"block {block_files[1]} (rows 0:9, columns 0:9) overlaps {block_files[0]}" in refusal(block_files, out)


def test_named_twice(block_files, out):
    message = refusal([*block_files, block_files[0]], out)
    assert message == f"block {block_files[0]} is named 2 times; name each block once"


def test_nothing_to_merge(out):
    assert "no blocks to merge" in refusal([], out)


def test_truncated(block_files, out):
    block_files[3].write_bytes(block_files[3].read_bytes()[:-500])
    message = refusal(block_files, out)
    assert message.startswith(f"block {block_files[3]} cannot be read, it is truncated or damaged")


def test_not_hdf5(block_files, out):
    block_files[3].write_text("not a block")
    assert str(block_files[3]) in refusal(block_files, out)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_digest", "f" * 64),
        ("family", "cntk-gap"),
        ("readout", "gap"),
        ("trained", "hidden"),
        ("flips", True),
        ("filter_size", 5),
        ("kinds", ("ntk",)),
        ("depths", (3,)),
        ("backend", "reference"),
        ("dtype", "float64"),
        ("n_test", 11),
    ],
)
@pytest.mark.parametrize("number", [0, 4])
def test_a_foreign_block_is_named(data, full, block_files, out, name, value, number):
    """Also if it is the first one: the majority is right."""
    position = Position(Span(0, 9), Span(0, 9)) if number == 0 else Position(Span(18, 24), Span(9, 18))
    assert block_files[number].name == block_name(position)
    if name in Family("flatten").parts():
        changes = {"network": replace(Family("flatten"), **{name: (value,) if name == "trained" else value})}
    else:
        changes = {"name" if name == "family" else name: value}
    header = make_header(data, position, **changes)
    write_block(block_files[number], header, entries(full, header), "avx2")
    message = refusal(block_files, out)
    assert message.startswith(f"block {block_files[number]} does not belong to the others: its {name} is {value!r}")
    assert ("kernels.backend" in message) == (name == "backend")


def test_not_finite(block_files, out):
    edit(block_files[1], lambda file: file["nngp/depth_03"].__setitem__((2, 4), np.nan))
    assert refusal(block_files, out) == f"block {block_files[1]}: nngp/depth_03 has nan at row 2, column 4"


def test_not_symmetric(block_files, out):
    edit(block_files[2], lambda file: file["ntk/depth_03"].__setitem__((2, 4), 0.5))
    message = refusal(block_files, out)
    assert message.startswith(f"block {block_files[2]} lies on the diagonal, but its ntk kernel is not symmetric")


def test_depth_that_is_not_there(block_files, out):
    assert refusal(block_files, out, depth=4) == f"depth is 4; block {block_files[0]} has depths 3, 5"


def test_too_little_memory(block_files, out, monkeypatch):
    message = refusal(block_files, out, max_memory_gib=1e-6)
    assert "merging cntk-v at depth 3 needs 1.8e-06 GiB of memory, but --max-memory-gib allows 1e-06 GiB" in message
    monkeypatch.setattr("exact_cntk._support.machine.available_memory", lambda: 1000)
    assert "available" in refusal(block_files, out)


def test_too_little_disk(block_files, out, monkeypatch):
    monkeypatch.setattr("exact_cntk._support.machine.free_disk", lambda path: 1000)
    assert "merging cntk-v at depth 3 needs" in (message := refusal(block_files, out)) and "of disk" in message


def test_disk_that_fills_up(block_files, small_disk, monkeypatch):
    """As by another process, after the check."""
    monkeypatch.setattr(merging, "require_disk", lambda *_: None)
    with pytest.raises(UserError, match="No space left on device"):
        merge_blocks(block_files, 3, small_disk / "kernel.h5")
    assert list(small_disk.iterdir()) == []


def test_memory_does_not_grow_with_the_kernel(tmp_path, block_files, out, monkeypatch):
    """Only one block at a time is asked for, however many there are."""
    asked = []
    monkeypatch.setattr(merging, "require_memory", lambda what, need, limit: asked.append(need))
    merge_blocks(block_files, 3, out)
    assert asked == [3 * 8 * 9 * 9]


def test_list_of_blocks(tmp_path):
    (tmp_path / "list").write_text("a/0-0.h5\n\n b/9-0.h5 \n")
    assert [str(path) for path in read_list(tmp_path / "list")] == ["a/0-0.h5", "b/9-0.h5"]
    with pytest.raises(UserError, match=r"list of blocks .*nothing cannot be read"):
        read_list(tmp_path / "nothing")


@pytest.mark.parametrize("length", [0, 100, -8])
def test_truncated_kernel(block_files, out, length):
    merge_blocks(block_files, 3, out)
    out.write_bytes(out.read_bytes()[:length])
    with pytest.raises(UserError, match=r"kernel\.h5 .*(truncated or damaged|format version)"), open_kernel(out):
        pass


def test_foreign_kernel(tmp_path, block_files, out):
    with pytest.raises(UserError, match="is missing"), open_kernel(tmp_path / "nowhere.h5"):
        pass
    with pytest.raises(UserError, match="is a block, not a merged kernel"), open_kernel(block_files[0]):
        pass
    merge_blocks(block_files, 3, out)
    with pytest.raises(UserError, match="is a merged kernel, not a block"):
        merge_blocks([*block_files, out], 3, tmp_path / "again.h5")
    edit(out, lambda file: file.__delitem__("ntk"))
    with pytest.raises(UserError, match=r"has no dataset ntk of shape \(34, 24\)"), open_kernel(out):
        pass
    edit(out, lambda file: file.attrs.__delitem__("depth"))
    with pytest.raises(UserError, match="wrong attributes"), open_kernel(out):
        pass
    edit(out, lambda file: file.attrs.__setitem__("format_version", 1))
    with pytest.raises(UserError, match=r"format version 2 \(1\): delete it and merge again"), open_kernel(out):
        pass
