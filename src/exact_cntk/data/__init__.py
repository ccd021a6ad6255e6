"""The images of the study: download, verification, preprocessing, and the file that the kernels read.

One kind of file a hop: archive → `load_cifar10` (verified, uint8) → `prepare` (standardised float32) →
``data/processed/<study>.h5`` → `load_processed`. Images are (n, P, Q, C) everywhere.
"""

from exact_cntk.data._cifar10 import fetch_cifar10, load_cifar10
from exact_cntk.data._dataset import Dataset
from exact_cntk.data._digits import load_digits
from exact_cntk.data._prepare import RESOLUTIONS, SELECTIONS, prepare
from exact_cntk.data._processed import ProcessedData, load_processed, sidecar_path

__all__ = [
    "RESOLUTIONS",
    "SELECTIONS",
    "Dataset",
    "ProcessedData",
    "fetch_cifar10",
    "load_cifar10",
    "load_digits",
    "load_processed",
    "prepare",
    "sidecar_path",
]
