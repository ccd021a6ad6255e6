"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in 10 classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exact_cntk.data._cifar10_files import read_source, source_files
from exact_cntk.data._cifar10_versions import ARCHIVE
from exact_cntk.data._dataset import Dataset
from exact_cntk.data._source import Description, Source


class CIFAR10(Source):
    """CIFAR-10, from the official archive or a folder with its files."""

    description = Description(
        name="CIFAR-10",
        shape=(32, 32, 3),
        full_scale=255,
        resolutions=(32, 16, 8),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        train_images=50_000,
        test_images=10_000,
        images_by_class=((5000, 1000),) * 10,
    )
    needs_files = True
    download = ARCHIVE
    verifiable = True

    def files(self, path: Path) -> list[Path]:
        """List the archive alone, or the files of the folder."""
        return source_files(path)

    def load(self, prepare: Mapping[str, Any]) -> Dataset:
        """Read all images."""
        return load_cifar10(prepare["source"], allow_unverified=prepare["allow_unverified"])


def fetch_cifar10(folder: str | Path, *, url: str = ARCHIVE.url, progress: bool = True) -> Path:
    """Download the official archive, 170 MB, into `folder`; an existing verified file is kept.

    Parameters
    ----------
    folder : path
        Created if missing; the file has the official name.
    url : str
        A mirror, if the official server is out of reach; the checksum stays the official one.
    progress : bool
        Show a bar when stderr is a terminal.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    UserError
        See `exact_cntk.data._download.download`.
    """
    return ARCHIVE.fetch(folder, url=url, progress=progress)


def load_cifar10(source: str | Path | None = None, *, allow_unverified: bool = False) -> Dataset:
    """Load CIFAR-10 from the official archive or a folder with its files.

    Parameters
    ----------
    source : path, optional
        The .tar.gz archive of the Python or the binary version, the folder that it unpacks to
        (``cifar-10-batches-py`` or ``cifar-10-batches-bin``), or the folder that holds that. By default
        ``data/raw/cifar-10-python.tar.gz`` below the working directory.
    allow_unverified : bool
        Accept files whose checksums are not the official ones (another encoding of the images, a part of them). The
        data set's name then says so.

    Returns
    -------
    Dataset
        Images uint8 of shape (50000, 32, 32, 3) and (10000, 32, 32, 3), in file order. An unverified source may hold
        another number of them.

    Raises
    ------
    UserError
        The source is missing, damaged, not official (checked before anything is unpickled), or not CIFAR-10's format.

    Notes
    -----
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009),
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    from exact_cntk.data._cifar10_batches import read_batches  # with NumPy, which a description does not need

    path = ARCHIVE.path if source is None else Path(source)
    return read_batches(read_source(path, allow_unverified=allow_unverified), path, CIFAR10.description)
