"""Merging: the kernel is put together exactly, or the file at fault is named."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from kernel_files import KINDS, edit, entries, environment, factor, make_blocks, make_header

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
    with open_kernel(out) as (kernel, matrices):
        assert kernel == merged
        assert (kernel.n_train, kernel.n_test, kernel.depth, kernel.kinds) == (24, 10, depth, KINDS)
        assert (kernel.data_digest, kernel.instruction_set) == (data.digest, "avx2")
        for kind in KINDS:
            np.testing.assert_array_equal(np.asarray(matrices[kind]), full * factor(kind, depth))
    assert [path.name for path in out.parent.iterdir()] == ["kernel.h5"]


def test_same_bytes_in_any_order(block_files, out):
    again = out.with_name("again.h5")
    merge_blocks(block_files, 3, out)
    merge_blocks(block_files[::-1], 3, again)
    assert out.read_bytes() == again.read_bytes()


def test_same_bytes_in_another_process(tmp_path, block_files, out):
    """And with other leftovers in its memory."""
    script = """
import sys
from pathlib import Path
from exact_cntk.blocks import merge_blocks
[bytes(range(256)) * 4096 for _ in range(8)]
merge_blocks([Path(name) for name in sys.argv[2:]], 3, Path(sys.argv[1]))
"""
    merge_blocks(block_files, 3, out)
    again = out.with_name("again.h5")
    subprocess.run([sys.executable, "-c", script, again, *block_files], env=environment(), check=True)
    assert again.read_bytes() == out.read_bytes()


def test_no_number_is_copied(tmp_path, data, full):
    """The kernel's file is small, however large the blocks."""
    sizes = []
    for n in (1, 4):
        folder = tmp_path / str(n)
        blocks = make_blocks(folder, data, full, 24 // n)
        merge_blocks(blocks, 3, folder / "kernel.h5")
        sizes.append((len(blocks), (folder / "kernel.h5").stat().st_size))
    (few, small), (many, large) = sizes
    assert large - small < 1000 * (many - few)


def test_names_of_blocks_are_relative_to_the_kernel(tmp_path, block_files, monkeypatch):
    """However they are given, and by way of links where those lead elsewhere."""

    def listed(out, paths):
        merge_blocks(paths, 3, out)
        with h5py.File(out) as file:
            return [os.fsdecode(name) for name in file["blocks"]["file"]]

    expected = [f"../{path.relative_to(tmp_path)}" for path in block_files]
    assert sorted(listed(tmp_path / "kernels/a.h5", block_files)) == sorted(expected)
    monkeypatch.chdir(tmp_path)
    relative = [path.relative_to(tmp_path) for path in block_files]
    merge_blocks(relative, 3, Path("kernels/b.h5"))
    assert Path("kernels/b.h5").read_bytes() == Path("kernels/a.h5").read_bytes()
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    names = listed(tmp_path / "link/c.h5", block_files)
    assert sorted(names) == sorted(f"../{name}" for name in expected)
    with open_kernel(tmp_path / "link/c.h5") as (kernel, matrices):
        assert matrices["ntk"][:].shape == kernel.shape


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
        ("storage", "float32"),
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
    assert "merging cntk-v at depth 3 needs 1.2e-06 GiB of memory, but --max-memory-gib allows 1e-06 GiB" in message
    monkeypatch.setattr("exact_cntk._support.machine.available_memory", lambda: 1000)
    assert "available" in refusal(block_files, out)


def test_full_disk(block_files, small_disk):
    with suppress(OSError):  # where no disk can be mounted, every write says that it is full
        (small_disk / "filler").write_bytes(bytes(1024 * 14))
    with pytest.raises(UserError, match="No space left on device"):
        merge_blocks(block_files, 3, small_disk / "kernel.h5")
    assert {path.name for path in small_disk.iterdir()} <= {"filler"}


def test_memory_does_not_grow_with_the_kernel(tmp_path, block_files, out, monkeypatch):
    """Only one block at a time is asked for, however many there are."""
    asked = []
    monkeypatch.setattr(merging, "require_memory", lambda what, need, limit: asked.append(need))
    merge_blocks(block_files, 3, out)
    assert asked == [2 * 8 * 9 * 9]


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
    images = tmp_path / "images.h5"
    with h5py.File(images, "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(UserError, match=r"images\.h5 is no kernel; name a file that"), open_kernel(images):
        pass
    with pytest.raises(UserError, match=r"images\.h5 is no block; name files that"):
        merge_blocks([images], 3, out)
    merge_blocks(block_files, 3, out)
    with pytest.raises(UserError, match="is a merged kernel, not a block"):
        merge_blocks([*block_files, out], 3, tmp_path / "again.h5")
    edit(out, lambda file: file.__delitem__("ntk"))
    with pytest.raises(UserError, match=r"has no virtual dataset ntk of shape \(34, 24\)"), open_kernel(out):
        pass
    edit(out, lambda file: file.attrs.__delitem__("depth"))
    with pytest.raises(UserError, match="wrong attributes"), open_kernel(out):
        pass
    edit(out, lambda file: file.attrs.__setitem__("format_version", 2))
    with pytest.raises(UserError, match=r"format version 3 \(2\): delete it and merge again"), open_kernel(out):
        pass
