"""`exact-cntk data`: from the official archive to the file that the kernels read."""

from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import LARGEST_SEED, MOST_IMAGES, log, number, whole
from exact_cntk._support.outputs import check_outputs
from exact_cntk._support.reading import parse_object
from exact_cntk.cli.verb import Verb
from exact_cntk.data import SOURCES
from exact_cntk.data._source import RAW_FOLDER, WHITENING_LIMITS
from exact_cntk.data.sources import find_source
from exact_cntk.errors import InputError, shortened

app = typer.Typer(no_args_is_help=True, help="Fetch and prepare the images.")
DOWNLOADS = [name for name, source in SOURCES.items() if source.download]


@app.command(cls=Verb)
def fetch(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(DOWNLOADS)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the archive.", metavar="DIR")] = RAW_FOLDER,
    url: Annotated[str | None, typer.Option(help="A mirror instead of the official server; same checksum.")] = None,
) -> None:
    """Download the official archive, verify its md5, and keep it.

    A broken download resumes where it stopped, also in a later run. An existing archive is only verified.
    """
    archive = find_source(dataset).download
    if archive is None:
        raise InputError(f"dataset: {dataset} is not downloaded; allowed: {', '.join(DOWNLOADS)}")
    log(f"{archive.fetch(out, url=url)}: the official archive of {dataset}, md5 verified")


@app.command(cls=Verb)
def prepare(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(SOURCES)}.")],
    out: Annotated[
        Path, typer.Option(help="The HDF5 file; a summary is written next to it as .json.", metavar="FILE.h5")
    ],
    source: Annotated[
        Path | None,
        typer.Option(help="Its file or folder. [default: its official archive in data/raw]", metavar="PATH"),
    ] = None,
    options: Annotated[str, typer.Option(help="The data set's own parameters, as an object.", metavar="JSON")] = "{}",
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Accept a source that is not the official one, and say so.")
    ] = False,
    resolution: Annotated[
        int | None,
        typer.Option(
            parser=whole(1, MOST_IMAGES),
            help="Rows of the images, by averages over boxes that the data set allows. [default: native]",
            metavar="N",
        ),
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option(
            "--class",
            parser=whole(0, MOST_IMAGES),
            help="Keep this class; repeat for more, renumbered in this order. [default: all]",
            metavar="N",
        ),
    ] = None,
    train_images: Annotated[
        int | None,
        typer.Option(parser=whole(1, MOST_IMAGES), help="Size of the training pool. [default: all]", metavar="N"),
    ] = None,
    selection: Annotated[
        str,
        typer.Option(
            help="The pool: the first images, or a random draw balanced over classes.", metavar="first|stratified"
        ),
    ] = "first",
    seed: Annotated[
        int, typer.Option(parser=whole(0, LARGEST_SEED), help="Seed of the stratified selection.", metavar="N")
    ] = 0,
    test_images: Annotated[
        int | None,
        typer.Option(
            parser=whole(1, MOST_IMAGES),
            help="Number of images from the start of the test set. [default: all]",
            metavar="N",
        ),
    ] = None,
    whitening: Annotated[
        float | None,
        typer.Option(
            parser=number(*WHITENING_LIMITS),
            help="ZCA whitening with this regularisation, relative to the mean eigenvalue. [default: none]",
            metavar="NUMBER",
        ),
    ] = None,
) -> None:
    """Scale, downsample and standardise the images, and choose the training pool and the test images.

    Mean and standard deviation are those of the whole training set, whichever images are chosen.
    """
    from exact_cntk.data import prepare as prepare_data
    from exact_cntk.data._processed import sidecar_path

    try:
        own = parse_object(options)
    except ValueError as error:
        raise InputError(f"--options: {shortened(options)} is no JSON object such as {{}} ({error})") from None
    if out.suffix == ".h5" and source is not None:
        check_outputs({"the summary next to --out": sidecar_path(out)}, [("--source", source)])
    data = prepare_data(
        dataset,
        out,
        source=source,
        options=own,
        allow_unverified=allow_unverified,
        resolution=resolution,
        classes=classes or (),
        train_images=train_images,
        selection=selection,
        seed=seed,
        test_images=test_images,
        whitening=whitening,
    )
    shape = "x".join(map(str, data.train_images.shape[1:]))
    log(
        f"{out}: {data.dataset}, {len(data.train_images)} training and {len(data.test_images)} test images of {shape}, "
        f"{len(data.class_names)} classes, digest {data.digest[:12]}"
    )
