"""The digits bundled with scikit-learn: 1,797 images of 8x8 pixels, the study that needs no network."""

import hashlib

import numpy as np

from exact_cntk.data._dataset import Dataset, display_name

N_TRAIN = 1000
# Computed from scikit-learn 1.9; the file has not changed since it was added in 2010.
OFFICIAL_DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def load_digits() -> Dataset:
    """Load scikit-learn's digits, pixels 0…16, one channel.

    The training set is the first 1,000 images in file order and the test set the last 797. The file is ordered by
    writer, so the test digits come from hands that the training set has not seen.

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
    from sklearn.datasets import load_digits as load_bundled  # 1 s to import, and only this function needs it

    bundled = load_bundled()
    images = bundled.images.astype(np.uint8)[..., np.newaxis]
    labels = bundled.target.astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    verified = digest == OFFICIAL_DIGEST
    return Dataset(
        name=display_name("Digits", verified=verified, source_digest=digest),
        verified=verified,
        source_digest=digest,
        class_names=tuple(str(name) for name in bundled.target_names),
        full_scale=16,
        train_images=images[:N_TRAIN],
        train_labels=labels[:N_TRAIN],
        test_images=images[N_TRAIN:],
        test_labels=labels[N_TRAIN:],
    )
