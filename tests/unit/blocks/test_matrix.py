"""Reading a merged kernel from its blocks: the right numbers, or the block at fault is named."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from kernel_files import DEPTHS, N_TEST, N_TRAIN, damage, edit, entries, factor, make_blocks, make_header, make_kernel

from exact_cntk._support.hdf5 import list_chunks
from exact_cntk.blocks import (
    Position,
    Span,
    _matrix,
    _writer,
    find_lost_block,
    merge_blocks,
    open_kernel,
    read_header,
    write_block,
)
from exact_cntk.errors import UserError
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.solvers.stores import StoredKernel

N = N_TRAIN + N_TEST


@pytest.fixture
def kernel_file(tmp_path, data, full):
    return make_kernel(tmp_path / "study", data, full)


def block_of(kernel_file, name):
    return kernel_file.parent / "blocks" / name


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def whole(kernel_file, kind="ntk"):
    with open_kernel(kernel_file) as (_, matrices):
        return matrices[kind][:]


def refusal(kernel_file, part=np.s_[:, :], kind="ntk"):
    with open_kernel(kernel_file) as (_, matrices), pytest.raises(UserError) as caught:
        matrices[kind][part]
    assert "\n" not in str(caught.value)
    return str(caught.value)


PARTS = [
    np.s_[:],
    np.s_[:, :],
    np.s_[3:20, 5:23],
    np.s_[:9, 9:18],  # above the diagonal: one block, mirrored
    np.s_[8:10, 17:19],
    np.s_[24:],
    np.s_[20:30, -4:],
    np.s_[5],
    np.s_[-1],
    np.s_[5, 20],
    np.s_[5, :7],
    np.s_[:, 12],
    np.s_[7:7, :],
    np.s_[30:100, 4:2],
]


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("block_images", [5, 9, 100])
def test_slices_are_those_of_the_kernel(tmp_path, data, full, part, block_images, monkeypatch):
    """Also of chunks of two rows, read one or several at a time."""
    monkeypatch.setattr(_writer, "CHUNK_BYTES", 2 * 8 * min(block_images, N_TRAIN))
    monkeypatch.setattr(_matrix, "PIECE_BYTES", 6 * 8 * min(block_images, N_TRAIN))
    merge_blocks(make_blocks(tmp_path / "blocks", data, full, block_images), 3, tmp_path / "kernel.h5")
    with open_kernel(tmp_path / "kernel.h5") as (_, matrices):
        found = matrices["ntk"][part]
    expected = (full * factor("ntk", 3))[part]
    assert found.shape == expected.shape and found.dtype == np.float64
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_lists_of_rows_and_columns_are_combined(kernel_file, full, monkeypatch):
    rows, cols = np.array([33, 2, 2, 17, 9]), [20, 3, 4, 1]
    for open_blocks in (1, 64):
        monkeypatch.setattr(_matrix, "OPEN_BLOCKS", open_blocks)
        with open_kernel(kernel_file) as (_, matrices):
            for chosen in ((rows, cols), (np.sort(rows), np.sort(cols)), (rows, slice(2, 9)), (-1, cols)):
                found = matrices["nngp"][chosen]
                expected = full[chosen[0]][..., chosen[1]]
                assert found.flags.c_contiguous
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (np.s_[::2], "a slice has step 2; allowed is 1"),
        (N, "an index of 34 to 34 leaves the 34 that there are"),
        (np.s_[:, [0, N_TRAIN]], "leaves the 24"),
        ("ntk", "is no number, slice or list"),
        (np.s_[0, 0, 0], "3 indices of a matrix"),
        ([True] * N, "is no number, slice or list"),
    ],
)
def test_indices_that_are_not_allowed(kernel_file, key, reason):
    with open_kernel(kernel_file) as (_, matrices), pytest.raises(IndexError, match=reason):
        matrices["ntk"][key]


def test_solvers_take_it(kernel_file, full):
    with open_kernel(kernel_file) as (_, matrices):
        part = StoredKernel(matrices["nngp"], slice(4, 20))
        np.testing.assert_array_equal(np.asarray(part), full[4:20, 4:20])
        labels = np.arange(16) % 2
        tiled = kernel_regression(part, labels, ridges=[1e-3], method="blocked")
        whole = kernel_regression(np.asarray(part), labels, ridges=[1e-3], method="eigh")
    np.testing.assert_allclose(tiled.dual, whole.dual, rtol=1e-8)


def test_each_chunk_is_read_about_once(tmp_path, data, full, monkeypatch):
    """Of a whole kernel, in rows, in columns, in tiles as large as a block."""
    monkeypatch.setattr(_writer, "CHUNK_BYTES", 8 * 8)  # a row
    blocks = make_blocks(tmp_path / "blocks", data, full, 8)
    merge_blocks(blocks, 3, tmp_path / "kernel.h5")
    read = []
    original = _matrix.KernelMatrix._read_block

    def counting(self, number, wanted, *outs):
        read.append(len(wanted.rows))
        original(self, number, wanted, *outs)

    monkeypatch.setattr(_matrix.KernelMatrix, "_read_block", counting)
    positions = [read_header(path)[0].position for path in blocks]
    own = [rows.length for rows, _ in positions]
    below = [rows.length for rows, cols in positions if cols.stop <= rows.start < N_TRAIN]  # have a mirror image
    cuts = [slice(start, start + 8) for start in range(0, N, 8)]
    for parts in (cuts, [np.s_[:, one] for one in cuts[:3]], [(one, other) for one in cuts for other in cuts[:3]]):
        read.clear()
        with open_kernel(tmp_path / "kernel.h5") as (_, matrices):
            for part in parts:
                matrices["ntk"][part]
        assert sum(read) == sum(own) + sum(below)
    read.clear()
    whole(tmp_path / "kernel.h5")
    assert sum(read) == sum(own)


def test_a_missing_block_is_named_and_never_read_as_zeros(kernel_file, full):
    block_of(kernel_file, "18-9.h5").unlink()
    message = refusal(kernel_file)
    assert message.startswith(
        f"block {block_of(kernel_file, '18-9.h5')}, which kernel {kernel_file} was merged from, is"
    )
    assert "missing" in message and "run the study again" in message
    # For whoever opens the file without this package, it has no numbers there.
    with h5py.File(kernel_file) as file:
        plain = file["ntk"][()]
    assert np.isnan(plain[18:24, 9:18]).all()
    np.testing.assert_array_equal(plain[24:], 3 * full[24:])
    # What is elsewhere can be read.
    with open_kernel(kernel_file) as (_, matrices):
        np.testing.assert_array_equal(matrices["ntk"][24:], 3 * full[24:])
    assert refusal(kernel_file, np.s_[10, 20]) == message


def test_by_plain_hdf5_the_symmetric_part_can_be_mirrored(kernel_file, full):
    with h5py.File(kernel_file) as file:
        K = file["nngp"][()]
    T = K[:N_TRAIN]
    assert np.isnan(T).any() and not np.isnan(K[N_TRAIN:]).any()
    np.testing.assert_array_equal(np.where(np.isnan(T), T.T, T), full[:N_TRAIN])


def exchanged(path, data, full, **changes):
    """A block of the same grid with other numbers or another statement."""
    header = make_header(data, Position(Span(9, 18), Span(0, 9)), **changes)
    write_block(path, header, entries(full, header), "avx2")


@pytest.mark.parametrize("how", ["numbers", "images", "another place", "instruction set"])
def test_an_exchanged_block_is_refused(kernel_file, data, full, how):
    path = block_of(kernel_file, "9-0.h5")
    if how == "numbers":
        exchanged(path, data, np.nextafter(full, 2))
    elif how == "images":
        exchanged(path, data, full, data_digest="f" * 64)
    elif how == "another place":
        shutil.copy(block_of(kernel_file, "18-0.h5"), path)
    else:
        header = make_header(data, Position(Span(9, 18), Span(0, 9)))
        write_block(path, header, entries(full, header), "avx512")
    message = refusal(kernel_file)
    assert message.startswith(
        f"block {path} is not the one that kernel {kernel_file} was merged from: delete the kernel"
    )
    whole_again = kernel_file.with_name("again.h5")
    if how in ("numbers", "instruction set"):
        merge_blocks(sorted(path.parent.iterdir()), 3, whole_again)
        assert whole(whole_again).shape == (N, N_TRAIN)


def test_a_block_that_is_computed_again_is_the_same(kernel_file, data, full):
    path = block_of(kernel_file, "9-0.h5")
    path.unlink()
    exchanged(path, data, full)
    np.testing.assert_array_equal(whole(kernel_file), 3 * full)


def test_damage_to_other_depths_does_not_matter(kernel_file, full):
    """They are not read."""
    path = block_of(kernel_file, "9-0.h5")
    with h5py.File(path) as file:
        first, end = list_chunks(file[f"ntk/depth_{DEPTHS[1]:02d}"])[0]
    damage(path, first, bytes(end - first))
    np.testing.assert_array_equal(whole(kernel_file), 3 * full)


def test_any_bit_of_the_numbers_is_noticed(kernel_file):
    path = block_of(kernel_file, "24-18.h5")
    with h5py.File(path) as file:
        ((first, end),) = list_chunks(file["ntk/depth_03"])
    content = path.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * (end - first), 100, replace=False):
        place = first + int(bit) // 8
        damage(path, place, bytes([content[place] ^ 1 << int(bit) % 8]))
        assert str(path) in refusal(kernel_file, np.s_[24:, 18:])
        damage(path, place, content[place : place + 1])
    assert whole(kernel_file).shape == (N, N_TRAIN)


def test_zeroed_chunks_are_noticed(kernel_file):
    """Those of a lost page: HDF5's checksum of nothing but zeros is 0 as well."""
    path = block_of(kernel_file, "24-18.h5")
    with h5py.File(path) as file:
        ((first, end),) = list_chunks(file["ntk/depth_03"])
    damage(path, first, bytes(end - first))
    assert f"block {path} is not the one" in refusal(kernel_file)


def test_damaged_attributes_and_truncated_blocks_are_noticed(kernel_file):
    path = block_of(kernel_file, "9-0.h5")
    content = path.read_bytes()
    place = content.index(b"flatten")
    damage(path, place, b"g")
    assert f"block {path} is truncated or damaged" in refusal(kernel_file)
    for length in (0, 100, 3000, -1):
        path.write_bytes(content[:length])
        assert f"block {path}" in refusal(kernel_file)
    path.write_bytes(content)
    assert whole(kernel_file).shape == (N, N_TRAIN)
    edit(path, lambda file: file.attrs.__setitem__("filter_size", 5))
    assert f"block {path} is not the one that" in refusal(kernel_file)


def test_what_is_no_file(kernel_file):
    path = block_of(kernel_file, "9-0.h5")
    path.unlink()
    path.symlink_to("nowhere")
    assert "is missing" in refusal(kernel_file)
    path.unlink()
    path.mkdir()
    assert "is a folder" in refusal(kernel_file)


def test_a_folder_can_be_moved_as_a_whole(tmp_path, kernel_file, full, monkeypatch):
    kernel_file.parent.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / kernel_file.name
    np.testing.assert_array_equal(whole(moved), 3 * full)
    with h5py.File(moved) as file:
        np.testing.assert_array_equal(file["ntk"][N_TRAIN:], 3 * full[N_TRAIN:])
    monkeypatch.chdir(moved.parent)
    np.testing.assert_array_equal(whole(Path(moved.name)), 3 * full)
    moved.rename(tmp_path / "alone.h5")
    assert "is missing" in refusal(tmp_path / "alone.h5")


def test_kernel_and_blocks_may_be_links(tmp_path, kernel_file, full):
    # As of a cache: the blocks are beside the link, not beside what it leads to.
    stored = tmp_path / "cache"
    stored.mkdir()
    for path in [kernel_file, *block_of(kernel_file, "").iterdir()]:
        path.rename(stored / path.name)
        path.symlink_to(stored / path.name)
    np.testing.assert_array_equal(whole(kernel_file), 3 * full)
    # And a link from anywhere to a kernel in its place.
    for path in [kernel_file, *block_of(kernel_file, "").iterdir()]:
        path.unlink()
        (stored / path.name).rename(path)
    (tmp_path / "link.h5").symlink_to(kernel_file)
    np.testing.assert_array_equal(whole(tmp_path / "link.h5"), 3 * full)


def test_few_files_are_open_at_a_time(kernel_file, full, monkeypatch):
    monkeypatch.setattr(_matrix, "OPEN_BLOCKS", 3)
    before = open_files()
    with open_kernel(kernel_file) as (_, matrices):
        for kind in ("ntk", "nngp", "ntk"):
            np.testing.assert_array_equal(matrices[kind][:], full * factor(kind, 3))
            assert open_files() <= before + 1 + 3
    assert open_files() == before


def test_lost_blocks_are_found_at_the_ends_of_files(kernel_file, data, full):
    assert find_lost_block(kernel_file) is None
    path = block_of(kernel_file, "9-0.h5")
    content = path.read_bytes()
    for change in (
        path.unlink,
        lambda: path.write_bytes(content[:-1]),
        lambda: exchanged(path, data, full, kinds=("ntk",)),
    ):
        change()
        assert find_lost_block(kernel_file) == path
    path.write_bytes(content)
    assert find_lost_block(kernel_file) is None


def test_float32_on_disk(tmp_path, data, full):
    blocks = {name: make_blocks(tmp_path / name, data, full, storage=name) for name in ("float32", "float64")}
    for name, paths in blocks.items():
        merge_blocks(paths, 3, tmp_path / f"{name}.h5")
    with open_kernel(tmp_path / "float32.h5") as (kernel, matrices):
        assert (kernel.storage, kernel.precision, kernel.dtype) == ("float32", "float32", "float32")
        found = matrices["ntk"][:]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, (3 * full).astype(np.float32))
    with h5py.File(tmp_path / "float32.h5") as file:
        assert file["ntk"].dtype == np.float32 and file.attrs["storage"] == "float32"
        np.testing.assert_array_equal(file["ntk"][N_TRAIN:], found[N_TRAIN:])
    with h5py.File(blocks["float32"][0]) as half, h5py.File(blocks["float64"][0]) as file:
        assert "storage" not in file.attrs and file["ntk/depth_03"].dtype == np.float64
        assert half["ntk/depth_03"].id.get_storage_size() == 9 * 9 * 4 + 4
