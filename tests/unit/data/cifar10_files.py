"""A tiny CIFAR-10 with the layout of the official one: pickled as Python 2 did, or binary."""

import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
IMAGES_PER_BATCH = 20


def python2_dumps(value: object) -> bytes:
    """Pickle as Python 2's cPickle did with protocol 2: strings of bytes, NumPy's old module names."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, bytes):
        head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        return head + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    assert isinstance(value, np.ndarray)
    code = value.dtype.str[1:].encode()
    dtype = b"cnumpy\ndtype\n" + _python2(code) + b"K\x00K\x01\x87R(K\x03" + _python2(b"|") + b"NNN"
    dtype += _python2(-1) * 2 + b"K\x00tb"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"


def make_batches() -> dict[str, dict[bytes, object]]:
    """Random images; labels run through the classes unevenly."""
    generator = np.random.default_rng(0)
    batches: dict[str, dict[bytes, object]] = {}
    for name in BATCHES:
        labels = [int(label) for label in generator.integers(0, 10, IMAGES_PER_BATCH)]
        batches[name] = {
            b"batch_label": name.encode(),
            b"labels": labels,
            b"data": generator.integers(0, 256, (IMAGES_PER_BATCH, 3072), dtype=np.uint8),
            b"filenames": [b"image.png"] * IMAGES_PER_BATCH,
        }
    batches["batches.meta"] = {b"label_names": [name.encode() for name in CLASS_NAMES], b"num_vis": 3072}
    return batches


def binary_contents(batches: dict[str, dict[bytes, object]]) -> dict[str, bytes]:
    """Files of the binary version: of each image its label, one byte, and its row of pixels."""
    return {
        f"{name}.bin": np.column_stack([np.array(batches[name][b"labels"], np.uint8), batches[name][b"data"]]).tobytes()
        for name in BATCHES
    }


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def write_folder(parent: Path, contents: dict[str, bytes], name: str = "cifar-10-batches-py") -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return folder
