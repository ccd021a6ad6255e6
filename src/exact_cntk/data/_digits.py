"""The digits bundled with scikit-learn: 1,797 images of 8x8 pixels, for studies without a download."""

import gzip
import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from exact_cntk.data._dataset import Dataset, display_name
from exact_cntk.data._source import Description, Source

# Computed from scikit-learn 1.9; the file has not changed since it was added in 2010.
OFFICIAL_DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


class Digits(Source):
    """The digits, without files: scikit-learn holds them."""

    description = Description(
        name="Digits",
        shape=(8, 8, 1),
        full_scale=16,
        resolutions=(8,),
        class_names=tuple("0123456789"),
        train_images=1000,
        test_images=797,
        images_by_class=(
            *((99, 79), (102, 80), (100, 77), (104, 79), (98, 83)),
            *((100, 82), (101, 80), (99, 80), (98, 76), (99, 81)),
        ),
    )
    needs_files = False
    verifiable = True

    def train_labels(self) -> list[int]:
        """Labels of the training images, read from scikit-learn's file, as importing that takes a second."""
        package = find_spec("sklearn")
        folders = package.submodule_search_locations if package else None
        path = Path(folders[0], "datasets/data/digits.csv.gz") if folders else Path()
        if not path.is_file():
            return []
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            labels = [int(line.rpartition(",")[2]) for line in lines]
        return labels[: self.description.train_images]

    def load(self, prepare: Mapping[str, Any]) -> Dataset:
        """Read all images."""
        return load_digits()


def load_digits() -> Dataset:
    """Load scikit-learn's digits, pixels 0…16, one channel.

    The training set is the first 1,000 images in file order and the test set the last 797. The file is ordered by
    writer, so the writers of the test digits are not in the training set.

    Returns
    -------
    Dataset
        Images uint8 of shape (1000, 8, 8, 1) and (797, 8, 8, 1). Its digest is over the pixels (row-major uint8)
        followed by the labels (uint8).

    Notes
    -----
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998),
    of which scikit-learn bundles the test part.
    """
    # 1 s to import, and a description needs neither.
    import numpy as np
    from sklearn.datasets import load_digits as load_bundled

    bundled = load_bundled()
    images = bundled.images.astype(np.uint8)[..., np.newaxis]
    labels = bundled.target.astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    verified = digest == OFFICIAL_DIGEST
    described = Digits.description
    first = described.train_images
    return Dataset(
        name=display_name(described.name, verified=verified, source_digest=digest),
        verified=verified,
        source_digest=digest,
        class_names=tuple(str(name) for name in bundled.target_names),
        full_scale=described.full_scale,
        train_images=images[:first],
        train_labels=labels[:first],
        test_images=images[first:],
        test_labels=labels[first:],
    )
