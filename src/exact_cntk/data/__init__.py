"""The images of the study: download, verification, preprocessing, and the file that the kernels read.

One kind of file a hop: a source's own → `prepare` (standardised float32) → ``data/processed/<study>.h5`` →
`load_processed`. Images are (n, P, Q, C) everywhere.

What is known before an image is read loads at once, for the workflow's rules; what needs NumPy loads on first use.
"""

from typing import TYPE_CHECKING

from exact_cntk._support.lazy import lazy_exports
from exact_cntk.data._cifar10 import fetch_cifar10, load_cifar10
from exact_cntk.data._cifar10_files import source_files
from exact_cntk.data._dataset import Dataset
from exact_cntk.data._digits import load_digits
from exact_cntk.data._source import Description, Source
from exact_cntk.data.sources import SOURCES, describe

if TYPE_CHECKING:
    from exact_cntk.data._prepare import SELECTIONS, prepare
    from exact_cntk.data._processed import ProcessedData, load_processed, sidecar_path

__all__ = [
    "SELECTIONS",
    "SOURCES",
    "Dataset",
    "Description",
    "ProcessedData",
    "Source",
    "describe",
    "fetch_cifar10",
    "load_cifar10",
    "load_digits",
    "load_processed",
    "prepare",
    "sidecar_path",
    "source_files",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "SELECTIONS": "_prepare",
        "ProcessedData": "_processed",
        "load_processed": "_processed",
        "prepare": "_prepare",
        "sidecar_path": "_processed",
    },
)
