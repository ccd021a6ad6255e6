"""Damaged kernels and blocks: refused in one line, and never read as other numbers."""

from contextlib import suppress

import h5py
import numpy as np
import pytest
from kernel_files import KINDS, damage, edit, make_blocks, make_header, make_kernel

from exact_cntk._support.hdf5 import SLICE_BYTES
from exact_cntk.blocks import Position, Span, merge_blocks, open_kernel, read_header, read_kernel, write_block
from exact_cntk.errors import UserError
from exact_cntk.networks import Family

BITS = 300  # flipped one at a time, of some 160,000


@pytest.fixture
def kernel_file(tmp_path, data, full):
    return make_kernel(tmp_path, data, full)


def refusal(path):
    """What is said where a kernel is opened, or read."""
    with pytest.raises(UserError) as caught:
        numbers_of_kernel(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flips(content, seed):
    """Files that differ from `content` in one bit."""
    for bit in np.random.default_rng(seed).choice(8 * len(content), BITS, replace=False):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield damaged


def numbers_of_kernel(path):
    with open_kernel(path) as (kernel, matrices):
        return kernel, {kind: matrix[:] for kind, matrix in matrices.items()}


def numbers_of_block(path):
    header, instruction_set = read_header(path)
    return (header, instruction_set), {key: read_kernel(path, *key) for key in header.datasets}


def test_any_bit_of_a_kernel_is_noticed(kernel_file):
    for damaged in flips(kernel_file.read_bytes(), 0):
        kernel_file.write_bytes(damaged)
        assert str(kernel_file) in refusal(kernel_file)


def test_any_bit_of_a_block_is_noticed_or_harmless(block_files):
    path = block_files[1]
    header, kernels = numbers_of_block(path)
    refused = 0
    for damaged in flips(path.read_bytes(), 1):
        path.write_bytes(damaged)
        try:
            found, read = numbers_of_block(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert found == header
            assert all(np.array_equal(read[key], kernels[key]) for key in kernels)
    assert refused > BITS / 10


def test_zeroed_chunks_of_a_block_are_noticed(block_files):
    """Those of a lost page: HDF5's checksum of nothing but zeros is 0 as well."""
    path = block_files[0]
    with h5py.File(path) as file:
        chunk = file["nngp/depth_03"].id.get_chunk_info(0)
    damage(path, chunk.byte_offset, bytes(chunk.size))
    read_kernel(path, "ntk", 3)
    with pytest.raises(UserError, match="nngp/depth_03 has chunks of zeros, as of lost pages: delete it and run again"):
        read_kernel(path, "nngp", 3)


def test_a_kernel_that_is_zero_is_no_damage(tmp_path, data):
    header = make_header(data, Position(Span(0, 9), Span(0, 9)), network=Family("gap", ("hidden",)), depths=(2,))
    zeros = {("ntk", 2): np.zeros((9, 9)), ("nngp", 2): np.ones((9, 9))}
    write_block(tmp_path / "0-0.h5", header, zeros, "avx2")
    assert not read_kernel(tmp_path / "0-0.h5", "ntk", 2).any()


@pytest.mark.parametrize("length", [100, 5000, -8])
def test_truncated_kernel(kernel_file, length):
    kernel_file.write_bytes(kernel_file.read_bytes()[:length])
    assert "truncated or damaged" in refusal(kernel_file)


def test_damaged_attributes_are_noticed(kernel_file, block_files):
    """Also one that no class knows of."""
    for path, say in ((kernel_file, refusal), (block_files[0], refusal_of_block)):
        edit(path, lambda file: file.attrs.__setitem__("note", "of summer"))
        damage(path, path.read_bytes().index(b"of summer"), b"of winter")
        assert "does not have the checksum that it states" in say(path)


def refusal_of_block(path):
    with pytest.raises(UserError) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_edited_by_others_states_no_checksum(kernel_file, block_files):
    for path, say in ((kernel_file, refusal), (block_files[0], refusal_of_block)):
        with h5py.File(path, "r+") as file:
            file.attrs["filter_size"] = 5
        assert "does not have the checksum that it states" in say(path)


def test_files_of_before_there_were_checksums(kernel_file, block_files):
    """Named as such, by their version, not as damaged."""
    for path, say, version in ((kernel_file, refusal, 3), (block_files[0], refusal_of_block, 2)):
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 1
        assert f"of format version {version}" in say(path) and "delete it and" in say(path)


def test_checksum_of_a_kernel_of_many_slices(tmp_path, data, full, monkeypatch):
    """Its bytes are the same, and the last one counts."""
    once = make_kernel(tmp_path, data, full)
    slice_bytes = once.stat().st_size // 3  # of no whole number of rows
    assert slice_bytes < SLICE_BYTES
    monkeypatch.setattr("exact_cntk._support.hdf5.SLICE_BYTES", slice_bytes)
    again = tmp_path / "again.h5"
    merge_blocks(make_blocks(tmp_path / "blocks", data, full), 3, again)
    assert again.read_bytes() == once.read_bytes()
    content = again.read_bytes()
    for place in (slice_bytes - 1, slice_bytes, 2 * slice_bytes, len(content) - 1):
        damage(again, place, bytes([content[place] ^ 1]))
        assert "checksum" in refusal(again)
        damage(again, place, content[place : place + 1])
        numbers_of_kernel(again)


def numbers_in(file, name):
    return np.ones(file[name].shape)


def soft_link(file, name, _):
    file.move(name, "other")
    file[name] = h5py.SoftLink("/other")


def dangling_link(file, name, _):
    del file[name]
    file[name] = h5py.SoftLink("/nowhere")


def external_link(file, name, outside):
    with h5py.File(outside, "w") as other:
        other["numbers"] = numbers_in(file, name)
    del file[name]
    file[name] = h5py.ExternalLink(outside, "numbers")


def external_storage(file, name, outside):
    numbers = numbers_in(file, name)
    del file[name]
    file.create_dataset(name, data=numbers, external=[(outside, 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file, name, outside):
    """Its source is missing: HDF5 reads zeros."""
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype="<f8")
    layout[:] = h5py.VirtualSource(outside, "numbers", shape)
    file.create_virtual_dataset(name, layout)


ELSEWHERE = [soft_link, dangling_link, external_link, external_storage, virtual_dataset]


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_kernel_refers_to_the_blocks_that_it_lists_and_to_nothing_else(tmp_path, kernel_file, change):
    edit(kernel_file, lambda file: change(file, "nngp", str(tmp_path / "outside")))
    message = refusal(kernel_file)
    assert "nngp" in message and "delete it and merge again" in message
    assert ("over the blocks that it lists" if change is virtual_dataset else "must hold all") in message


@pytest.mark.parametrize("change", ELSEWHERE)
def test_the_list_of_blocks_is_in_the_kernel(tmp_path, kernel_file, change):
    edit(kernel_file, lambda file: change(file, "blocks", str(tmp_path / "outside")))
    message = refusal(kernel_file)
    assert "blocks" in message and "must hold all of its content): delete it and merge again" in message


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_block_holds_its_numbers_itself(tmp_path, block_files, change):
    edit(block_files[0], lambda file: change(file, "ntk/depth_03", str(tmp_path / "outside")))
    message = refusal_of_block(block_files[0])
    assert "ntk/depth_03" in message and "must hold all of its content): delete it and run again" in message


def test_a_file_may_be_a_link_itself(tmp_path, kernel_file, block_files):
    for path, numbers in ((kernel_file, numbers_of_kernel), (block_files[0], numbers_of_block)):
        link = tmp_path / f"link-{path.name}"
        link.symlink_to(path)
        assert numbers(link)[0] == numbers(path)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_in_the_kernel_itself_are_refused(kernel_file, kind):
    def change(file):
        shape = file[kind].shape
        del file[kind]
        file[kind] = np.ones(shape)

    edit(kernel_file, change)
    assert f"has no virtual dataset {kind} of" in refusal(kernel_file)


def test_a_list_of_blocks_that_do_not_cover_the_kernel(kernel_file):
    def change(file):
        listed = file["blocks"][:-1]
        del file["blocks"]
        file["blocks"] = listed

    edit(kernel_file, change)
    assert "the blocks that it lists do not cover it" in refusal(kernel_file)


def test_a_block_without_its_numbers_or_checksums_is_refused(block_files):
    def leave_out(file):
        shape = file["ntk/depth_03"].shape
        del file["ntk/depth_03"]
        file.create_dataset("ntk/depth_03", shape, dtype="<f8", chunks=shape, fletcher32=True)

    edit(block_files[0], leave_out)
    with pytest.raises(UserError, match="ntk/depth_03 is not complete, or not float64 with checksums"):
        read_kernel(block_files[0], "ntk", 3)


@pytest.mark.parametrize("filled", [6, 10, 12, 14, 16])
def test_disk_that_is_nearly_full(block_files, small_disk, filled):
    """Full for the head of the file, for its numbers, or for all: never for HDF5, which crashes then."""
    with suppress(OSError):  # where no disk can be mounted, every write says that it is full
        (small_disk / "filler").write_bytes(bytes(1024 * filled))
    with pytest.raises(UserError, match="No space left on device"):
        merge_blocks(block_files, 3, small_disk / "kernel.h5")
    assert not (small_disk / "kernel.h5").exists()
