"""The two versions in which CIFAR-10 is published, with the checksums that say whether files are official."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from exact_cntk.data._source import Download

ARCHIVE = Download(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    n_bytes=170_498_071,
)


@dataclass(frozen=True)
class Version:
    """One form of the same images and labels.

    Attributes
    ----------
    pickled : bool
        Whether its files are Python's pickles, not records of bytes.
    archive_md5 : str
        Of the archive.
    folder : str
        What the archive unpacks to.
    file_md5 : mapping of str to str
        By file that is read, in the order in which they are read and digested: training batches, then the test batch.
    """

    pickled: bool
    archive_md5: str
    folder: str
    file_md5: Mapping[str, str]


PYTHON = Version(
    pickled=True,
    archive_md5=ARCHIVE.md5,
    folder="cifar-10-batches-py",
    file_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3f5",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)
# Its text file of class names is not read: labels mean what they mean in the other version.
BINARY = Version(
    pickled=False,
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    file_md5={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
)
VERSIONS = (PYTHON, BINARY)


@dataclass(frozen=True, eq=False)
class SourceFiles:
    """The content of a version's files by name, in the version's order."""

    version: Version
    contents: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """What ``sha256sum data_batch_1 … test_batch batches.meta | sha256sum`` prints, whatever the container."""
        lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in self.contents.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def unofficial(self) -> dict[str, str]:
        """The md5 of each file that is not the official one."""
        digests = {name: hashlib.md5(content, usedforsecurity=False) for name, content in self.contents.items()}
        return {
            name: md5.hexdigest() for name, md5 in digests.items() if md5.hexdigest() != self.version.file_md5[name]
        }
