"""What a source of images states before any is read; cheap to import, for the workflow's rules."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from exact_cntk.data._dataset import Dataset
from exact_cntk.data._download import download
from exact_cntk.errors import InputError, nearest

RAW_FOLDER = Path("data/raw")
WHITENING_LIMITS = (1e-9, 1e6)  # of the regularisation relative to the mean eigenvalue; the schema has the same


@dataclass(frozen=True)
class Description:
    """Images of a data set before any is read: all of them, or those of some classes at some resolution.

    Attributes
    ----------
    name : str
        For readers.
    shape : (P, Q, C)
        Rows, columns and channels of an image.
    full_scale : int
        The value of a white pixel.
    resolutions : tuple of int
        Numbers of rows that box averages bring the images to, their own first.
    class_names : tuple of str
    train_images, test_images : int
    images_by_class : tuple of (int, int)
        Training and test images of each class; empty if only reading them tells.
    """

    name: str
    shape: tuple[int, int, int]
    full_scale: int
    resolutions: tuple[int, ...]
    class_names: tuple[str, ...]
    train_images: int
    test_images: int
    images_by_class: tuple[tuple[int, int], ...] = ()

    def select(self, resolution: int | None, classes: Sequence[int]) -> "Description":
        """Describe the images of some classes, none meaning all, at a resolution, None meaning their own.

        Raises
        ------
        InputError
            The images have no such resolution or class, or fewer than two classes are left.
        """
        rows, columns, channels = self.shape
        n_classes = len(self.class_names)
        if resolution is not None and resolution not in self.resolutions:
            allowed = ", ".join(map(str, self.resolutions))
            raise InputError(f"resolution: {resolution!r} is not possible with {self.name}; allowed: {allowed}")
        for k in classes:
            if isinstance(k, bool) or not hasattr(k, "__index__") or not 0 <= k < n_classes:
                raise InputError(f"classes: {k!r} is no class of {self.name}; allowed: 0 to {n_classes - 1}")
        if len(set(classes)) < len(classes) or len(classes) == 1:
            raise InputError(f"classes: {list(classes)} must be at least two different ones, or [] for all")
        box = rows // (resolution or rows)
        described = replace(self, shape=(rows // box, columns // box, channels))
        if not classes:
            return described
        by_class = tuple(self.images_by_class[k] for k in classes) if self.images_by_class else ()
        train, test = map(sum, zip(*by_class, strict=True)) if by_class else (self.train_images, self.test_images)
        names = tuple(self.class_names[k] for k in classes)
        return replace(described, class_names=names, train_images=train, test_images=test, images_by_class=by_class)


@dataclass(frozen=True)
class Download:
    """A file of a public server, and what it must have."""

    url: str
    md5: str
    n_bytes: int

    @property
    def path(self) -> Path:
        """Where a study keeps it."""
        return RAW_FOLDER / PurePosixPath(self.url).name

    def fetch(self, folder: str | Path, *, url: str | None = None, progress: bool = True) -> Path:
        """Download it into `folder`, from a mirror if `url` is given; see `exact_cntk.data._download.download`."""
        out = Path(folder) / self.path.name
        return download(self.url if url is None else url, out, md5=self.md5, n_bytes=self.n_bytes, progress=progress)


class Source(ABC):
    """A source of images, the only object that knows their facts.

    It takes the `prepare` part of a study's parameters, with all of its `options`.

    Attributes
    ----------
    description : Description
        All images as they are read.
    needs_files : bool
        Whether it reads `source`, a file or folder.
    download : Download, optional
        What is read if no `source` is given.
    verifiable : bool
        Whether the official digest of its images is known.
    options : mapping of str to Any
        Its own parameters, given under `options`, with their default values.
    """

    description: ClassVar[Description]
    needs_files: ClassVar[bool]
    download: ClassVar[Download | None] = None
    verifiable: ClassVar[bool]
    options: ClassVar[Mapping[str, Any]] = {}

    def describe(self, prepare: Mapping[str, Any]) -> Description:
        """Describe all images as they are read; to be overridden where that depends on the parameters."""
        return self.description

    def files(self, path: Path) -> list[Path]:
        """List the files that `source` = `path` consists of: what is read, and what must not change."""
        return [path]

    def train_labels(self) -> Sequence[int]:
        """Labels of the training images in file order, where they are known without reading files; else none."""
        return ()

    @abstractmethod
    def load(self, prepare: Mapping[str, Any]) -> Dataset:
        """Read all images."""

    def complete_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Add the defaults to the given options; refuse unknown names and values of another type."""
        for name, value in given.items():
            if name not in self.options:
                allowed = ", ".join(self.options) or "none"
                raise InputError(f"options.{name}: unknown key{nearest(name, list(self.options))}; allowed: {allowed}")
            allowed_type = type(self.options[name])
            if type(value) is not allowed_type:
                raise InputError(
                    f"options.{name}: {value!r} is not allowed; give a value of type {allowed_type.__name__}"
                )
        return {**self.options, **given}
