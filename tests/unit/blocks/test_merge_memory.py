"""Merging streams: its memory is that of a block, as it states beforehand, however large the kernel; reading too."""

import subprocess
import sys

import numpy as np
from kernel_files import environment, make_blocks, make_data

from exact_cntk.blocks._matrix import PIECE_BYTES

MERGE = """
import pathlib, resource, sys
from exact_cntk.blocks import _merge, _merged

def peak():
    status = pathlib.Path("/proc/self/status")
    if not status.exists():  # macOS, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux lets a child's ru_maxrss start from the memory of its parent; this is its own.
    return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])

stated = []
_merge.require_memory = lambda what, need, limit: stated.append(need)
folder = pathlib.Path(sys.argv[1])
before = peak()
kernel = _merge.merge_blocks(sorted((folder / "blocks").glob("*.h5")), 3, folder / "kernel.h5")
merged = peak() - before
rows = 200
with _merged.open_kernel(folder / "kernel.h5") as (_, matrices):
    for matrix in matrices.values():
        for start in range(0, len(matrix), rows):
            matrix[start : start + rows]
print(8 * kernel.shape[0] * kernel.shape[1], *stated, merged, 8 * rows * kernel.n_train, peak() - before)
"""


def test_peak_memory_is_as_stated(tmp_path):
    n, m, block = 1600, 400, 400
    data = make_data(tmp_path / "data.h5", n_train=n, n_test=m)
    full = np.random.default_rng(0).standard_normal((n + m, n))
    full[:n] += full[:n].T
    make_blocks(tmp_path / "blocks", data, full, block)
    done = subprocess.run(
        [sys.executable, "-c", MERGE, tmp_path], env=environment(), capture_output=True, text=True, check=True
    )
    size, stated, merged, rows, peak = map(int, done.stdout.split())
    assert (size, stated) == (8 * (n + m) * n, 2 * 8 * block**2)
    hdf5 = 4 * 2**20  # takes it for itself, whatever the size of a block
    assert merged <= stated + hdf5 < size / 3
    # What is asked for, that of before, and the pieces; for each open file HDF5 takes some, too.
    files = len(list((tmp_path / "blocks").iterdir()))
    assert peak <= max(stated, 2 * rows + 2 * PIECE_BYTES) + hdf5 + files * 2**20
