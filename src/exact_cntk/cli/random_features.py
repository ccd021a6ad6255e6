"""`exact-cntk random-features`: kernels of random finite networks, and the exact ones beside them."""

from pathlib import Path
from typing import Annotated

import typer

from exact_cntk.cli._common import log, on_terminal, parse_list

app = typer.Typer(no_args_is_help=True, help="Regress on the random features of finite networks.")

Data = Annotated[Path, typer.Option(help="Images from `exact-cntk data prepare`.", metavar="FILE.h5")]
Out = Annotated[Path, typer.Option(help="The results.", metavar="FILE.json")]
Name = Annotated[str, typer.Option(help="Architecture's name, recorded with the results.", metavar="NAME")]
Readout = Annotated[
    str, typer.Option(help="Dense layer on all pixels, or average pooling before it.", metavar="flatten|lap|gap")
]
Window = Annotated[int | None, typer.Option(help="Of lap: side of its windows in pixels, odd.", metavar="N")]
Trained = Annotated[str, typer.Option(help="Layers: all, or all but the first and the last.", metavar="all|hidden")]
Filter = Annotated[int, typer.Option(help="Pixels along a side of a filter, odd.", metavar="N")]
Kinds = Annotated[str, typer.Option(help="Gradients, last layers, or both.", metavar="ntk,nngp")]
TrainImages = Annotated[int, typer.Option(help="The first of the training pool.", metavar="N")]
TestImages = Annotated[int, typer.Option(help="The first of the test set.", metavar="N")]
Ridges = Annotated[
    str, typer.Option(help="Relative to the kernel's mean diagonal; 0 among them.", metavar="0,1e-6,...")
]
Study = Annotated[str | None, typer.Option(help="Name of the study. [default: the data file's]", metavar="NAME")]
Device = Annotated[str, typer.Option(help="auto takes a GPU where there is one.", metavar="auto|cpu|cuda")]


@app.command()
def draw(
    data: Data,
    family: Name,
    readout: Readout,
    depths: Annotated[str, typer.Option(help="Convolutional layers + 1, a network each.", metavar="3,4,6,...")],
    width: Annotated[int, typer.Option(help="Channels of every layer.", metavar="N")],
    number: Annotated[int, typer.Option("--draw", help="Which network: 0, 1, ...", metavar="N")],
    train_images: TrainImages,
    test_images: TestImages,
    out: Out,
    ridges: Ridges = "0",
    pooling_window: Window = None,
    trained: Trained = "all",
    filter_size: Filter = 3,
    kinds: Kinds = "ntk,nngp",
    device: Device = "cpu",
    study: Study = None,
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
    from exact_cntk.study._json import write_json
    from exact_cntk.study.random_features_jobs import Family, solve_draw

    document = solve_draw(
        data,
        Family(family, readout, trained, filter_size, pooling_window),
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
    write_json(out, document)
    log(f"{out}: {family}, draw {number} of {width} channels, {len(document['results'])} problems")


@app.command()
def exact(
    data: Data,
    train_images: TrainImages,
    test_images: TestImages,
    out: Out,
    kernels: Annotated[list[Path], typer.Argument(help="From `exact-cntk merge`, a depth each.", metavar="KERNEL")],
    ridges: Ridges = "0",
    study: Study = None,
) -> None:
    """Regress with the exact kernels of one family on the same images.

    \b
    Example:
      exact-cntk random-features exact --data data/processed/digits.h5 --train-images 200
        --test-images 797 --ridges 0,1e-6,1e-4 --out cntk-gap-exact.json cntk-gap-depth-*.h5
    """
    from exact_cntk.study._json import write_json
    from exact_cntk.study.random_features_jobs import solve_exact

    document = solve_exact(
        kernels,
        data,
        train_images=train_images,
        test_images=test_images,
        ridges=parse_list("--ridges", ridges, float),
        study=study,
        progress=on_terminal(),
    )
    write_json(out, document)
    log(f"{out}: {document['family']}, {len(document['results'])} problems")


@app.command()
def sweep(
    data: Data,
    family: Name,
    readout: Readout,
    depth: Annotated[int, typer.Option(help="Convolutional layers + 1.", metavar="N")],
    widths: Annotated[str, typer.Option(help="Channels of every layer.", metavar="16,32,...")],
    draws: Annotated[int, typer.Option(help="Networks of each width.", metavar="N")],
    images: Annotated[int, typer.Option(help="The first of the training pool.", metavar="N")],
    out: Out,
    pooling_window: Window = None,
    trained: Trained = "all",
    filter_size: Filter = 3,
    kinds: Kinds = "ntk,nngp",
    device: Device = "cpu",
    study: Study = None,
) -> None:
    """Measure how empirical kernels approach the exact one.

    \b
    Example:
      exact-cntk random-features sweep --data data/processed/digits.h5 --family cntk-v --readout flatten
        --depth 3 --widths 16,32,64 --draws 5 --images 20 --out cntk-v-sweep.json
    """
    from exact_cntk.study._json import write_json
    from exact_cntk.study.random_features_jobs import Family, sweep_widths

    document = sweep_widths(
        data,
        Family(family, readout, trained, filter_size, pooling_window),
        kinds=kinds.split(","),
        depth=depth,
        widths=parse_list("--widths", widths, int),
        images=images,
        draws=draws,
        study=study,
        device=device,
        progress=on_terminal(),
    )
    write_json(out, document)
    slopes = ", ".join(f"{one['kind']} {one['slope']:.3f}" for one in document["sweeps"])
    log(f"{out}: {family}, slopes {slopes}")
