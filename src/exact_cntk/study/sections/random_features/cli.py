"""`exact-cntk random-features`: kernels of random finite networks, and the exact ones beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exact_cntk._support.console import (
    Data,
    Depth,
    FamilyName,
    Ridges,
    StudyName,
    Width,
    log,
    on_terminal,
    parse_list,
)
from exact_cntk._support.family_options import with_family

if TYPE_CHECKING:
    from exact_cntk.networks import Family

app = typer.Typer(no_args_is_help=True, help="Regress on the random features of finite networks.")

Out = Annotated[Path, typer.Option(help="The results.", metavar="FILE.json")]
Kinds = Annotated[str, typer.Option(help="Gradients, last layers, or both.", metavar="ntk,nngp")]
TrainImages = Annotated[int, typer.Option(help="The first of the training pool.", metavar="N")]
TestImages = Annotated[int, typer.Option(help="The first of the test set.", metavar="N")]
Device = Annotated[str, typer.Option(help="auto takes a GPU where there is one.", metavar="auto|cpu|cuda")]


@app.command()
@with_family()
def draw(
    data: Data,
    family: FamilyName,
    network: "Family",
    depths: Annotated[str, typer.Option(help="Convolutional layers + 1, a network each.", metavar="3,4,6,...")],
    width: Width,
    number: Annotated[int, typer.Option("--draw", help="Which network: 0, 1, ...", metavar="N")],
    train_images: TrainImages,
    test_images: TestImages,
    out: Out,
    ridges: Ridges = "0",
    kinds: Kinds = "ntk,nngp",
    device: Device = "cpu",
    study: StudyName = None,
) -> None:
    """Regress on the features of one random network of each depth.

    Its empirical kernels are computed in float32 and in float64, and each is solved along the whole ridge path, on the
    training images, half of them, and a quarter.

    \b
    Example:
      exact-cntk random-features draw --data data/processed/digits.h5 --family cntk-gap --readout gap
        --trained hidden --depths 3,4,6 --width 32 --draw 0 --train-images 200 --test-images 797
        --ridges 0,1e-6,1e-4 --out cntk-gap-draw-00.json
    """
    from exact_cntk.study.documents import write_result
    from exact_cntk.study.sections.random_features import jobs

    document = jobs.solve_draw(
        data,
        family,
        network,
        depths=parse_list("--depths", depths, int),
        kinds=kinds.split(","),
        width=width,
        draw=number,
        train_images=train_images,
        test_images=test_images,
        ridges=parse_list("--ridges", ridges, float),
        study=study,
        device=device,
        progress=on_terminal(),
    )
    write_result(out, document)
    log(f"{out}: {family}, draw {number} of {width} channels, {len(document['results'])} problems")


@app.command()
def exact(
    data: Data,
    train_images: TrainImages,
    test_images: TestImages,
    out: Out,
    kernels: Annotated[list[Path], typer.Argument(help="From `exact-cntk merge`, a depth each.", metavar="KERNEL")],
    ridges: Ridges = "0",
    study: StudyName = None,
) -> None:
    """Regress with the exact kernels of one family on the same images.

    \b
    Example:
      exact-cntk random-features exact --data data/processed/digits.h5 --train-images 200
        --test-images 797 --ridges 0,1e-6,1e-4 --out cntk-gap-exact.json cntk-gap-depth-*.h5
    """
    from exact_cntk.study.documents import write_result
    from exact_cntk.study.sections.random_features.jobs import solve_exact

    document = solve_exact(
        kernels,
        data,
        train_images=train_images,
        test_images=test_images,
        ridges=parse_list("--ridges", ridges, float),
        study=study,
        progress=on_terminal(),
    )
    write_result(out, document)
    log(f"{out}: {document['family']}, {len(document['results'])} problems")


@app.command()
@with_family()
def sweep(
    data: Data,
    family: FamilyName,
    network: "Family",
    depth: Depth,
    widths: Annotated[str, typer.Option(help="Channels of every layer.", metavar="16,32,...")],
    draws: Annotated[int, typer.Option(help="Networks of each width.", metavar="N")],
    images: Annotated[int, typer.Option(help="The first of the training pool.", metavar="N")],
    out: Out,
    kinds: Kinds = "ntk,nngp",
    device: Device = "cpu",
    study: StudyName = None,
) -> None:
    """Measure how empirical kernels approach the exact one.

    \b
    Example:
      exact-cntk random-features sweep --data data/processed/digits.h5 --family cntk-v --readout flatten
        --depth 3 --widths 16,32,64 --draws 5 --images 20 --out cntk-v-sweep.json
    """
    from exact_cntk.study.documents import write_result
    from exact_cntk.study.sections.random_features import jobs

    document = jobs.sweep_widths(
        data,
        family,
        network,
        kinds=kinds.split(","),
        depth=depth,
        widths=parse_list("--widths", widths, int),
        images=images,
        draws=draws,
        study=study,
        device=device,
        progress=on_terminal(),
    )
    write_result(out, document)
    slopes = ", ".join(f"{one['kind']} {one['slope']:.3f}" for one in document["sweeps"])
    log(f"{out}: {family}, slopes {slopes}")
