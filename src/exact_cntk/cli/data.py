"""`exact-cntk data`: from the official archive to the file that the kernels read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import log

app = typer.Typer(no_args_is_help=True, help="Fetch and prepare the images.")


class _Dataset(StrEnum):
    DIGITS = "digits"
    CIFAR10 = "cifar10"


class _Downloadable(StrEnum):
    CIFAR10 = "cifar10"


class _Selection(StrEnum):
    FIRST = "first"
    STRATIFIED = "stratified"


@app.command()
def fetch(
    dataset: Annotated[_Downloadable, typer.Argument(help="The digits come with scikit-learn and need no download.")],
    out: Annotated[Path, typer.Option(help="Folder for the archive.", metavar="DIR")] = Path("data/raw"),
    url: Annotated[str | None, typer.Option(help="A mirror instead of the official server; same checksum.")] = None,
) -> None:
    """Download the official archive (170 MB), verify its md5, and keep it.

    A broken download goes on where it stopped, also in a later run. An archive that is there already is only verified.
    """
    from exact_cntk.data import fetch_cifar10

    path = fetch_cifar10(out) if url is None else fetch_cifar10(out, url=url)
    log(f"{path}: the official archive of {dataset.value}, md5 verified")


@app.command()
def prepare(
    dataset: Annotated[_Dataset, typer.Argument()],
    out: Annotated[
        Path, typer.Option(help="The HDF5 file; a summary is written beside it as .json.", metavar="FILE.h5")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="cifar10: the archive, or an extracted folder. [default: data/raw/cifar-10-python.tar.gz]",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Accept a source that is not the official one, and say so.")
    ] = False,
    resolution: Annotated[
        int | None,
        typer.Option(help="Pixels a side, by box averages: digits 8; cifar10 32, 16 or 8. [default: native]"),
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option("--class", help="Keep this class; repeat for more, renumbered in this order. [default: all]"),
    ] = None,
    train_images: Annotated[int | None, typer.Option(help="Size of the training pool. [default: all]")] = None,
    selection: Annotated[
        _Selection, typer.Option(help="The pool: the first images, or drawn at random and balanced over classes.")
    ] = _Selection.FIRST,
    seed: Annotated[int, typer.Option(help="Of the stratified selection.")] = 0,
    test_images: Annotated[int | None, typer.Option(help="The first ones of the test set. [default: all]")] = None,
) -> None:
    """Scale, downsample and standardise the images, and choose the training pool and the test images.

    Mean and standard deviation are those of the whole training set, whatever is chosen of it.
    """
    from exact_cntk.data import prepare as prepare_data

    data = prepare_data(
        dataset.value,
        out,
        source=source,
        allow_unverified=allow_unverified,
        resolution=resolution,
        classes=classes or (),
        train_images=train_images,
        selection=selection.value,
        seed=seed,
        test_images=test_images,
    )
    shape = "x".join(map(str, data.train_images.shape[1:]))
    log(
        f"{out}: {data.dataset}, {len(data.train_images)} training and {len(data.test_images)} test images of {shape}, "
        f"{len(data.class_names)} classes, digest {data.digest[:12]}"
    )
