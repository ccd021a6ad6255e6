"""`exact-cntk small-data`: kernels, networks and standard methods on the same small training sets."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exact_cntk._support.console import (
    Data,
    Depth,
    MaxMemory,
    OutputScale,
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

app = typer.Typer(
    no_args_is_help=True,
    help="Test methods on small random training sets.",
    rich_markup_mode=None,
)

Sizes = Annotated[str, typer.Option(help="Numbers of training images.", metavar="10,20,...")]
Subsets = Annotated[int, typer.Option(help="Training sets of each size, class-balanced.", metavar="N")]
Out = Annotated[Path, typer.Option(help="The results.", metavar="FILE.json")]
Seed = Annotated[int, typer.Option(help="Of the training sets; the same for all methods.", metavar="N")]
Checkpoint = Annotated[Path | None, typer.Option(help="Results so far, until all are there.", metavar="FILE.json")]


@app.command()
def kernel(
    kernel: Annotated[Path, typer.Option(help="From `exact-cntk merge`.", metavar="FILE.h5")],
    data: Data,
    train_images: Sizes,
    subsets: Subsets,
    out: Out,
    ridges: Ridges = "0",
    seed: Seed = 0,
    study: StudyName = None,
    max_memory_gib: MaxMemory = None,
) -> None:
    """Fit a merged kernel to small training sets.

    Every training set is tested on all test images, without ridge and with the one of --ridges that leave-one-out
    chooses on the training images.

    \b
    Example:
      exact-cntk small-data kernel --kernel cntk-v-depth-04.h5 --data data/processed/digits.h5
        --train-images 10,100 --subsets 10 --ridges 0,1e-4,1e-2 --out small_data/cntk-v-depth-04.json
    """
    from exact_cntk.study.sections.small_data.jobs import kernel_to_file

    _run(
        out,
        kernel_to_file,
        kernel,
        data,
        out,
        _design(train_images, subsets, seed),
        ridges=parse_list("--ridges", ridges, float),
        study=study,
        max_memory_gib=max_memory_gib,
    )


@app.command()
def baseline(
    method: Annotated[str, typer.Option(help="rbf, logistic or forest.", metavar="NAME")],
    data: Data,
    train_images: Sizes,
    subsets: Subsets,
    out: Out,
    ridges: Ridges = "0",
    bandwidths: Annotated[
        str, typer.Option(help="Of rbf, relative to the median distance.", metavar="0.5,1,...")
    ] = "1",
    inverse_penalties: Annotated[str, typer.Option(help="C of logistic.", metavar="0.1,1,...")] = "1",
    trees: Annotated[int, typer.Option(help="Of forest.", metavar="N")] = 100,
    seed: Seed = 0,
    study: StudyName = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Fit a standard method to the pixels of small training sets.

    rbf is kernel ridge regression with a Gaussian kernel, whose bandwidth and ridge are chosen by leave-one-out;
    logistic is multinomial logistic regression, whose penalty is chosen by cross-validation; forest is a random forest.
    All see the training images alone.

    \b
    Example:
      exact-cntk small-data baseline --method rbf --data data/processed/digits.h5
        --train-images 10,100 --subsets 10 --ridges 0,1e-4,1e-2 --bandwidths 0.5,1,2 --out small_data/rbf.json
    """
    from exact_cntk.study.sections.small_data.jobs import baseline_to_file

    _run(
        out,
        baseline_to_file,
        method,
        data,
        out,
        _design(train_images, subsets, seed),
        study=study,
        checkpoint=checkpoint,
        ridges=parse_list("--ridges", ridges, float),
        bandwidths=parse_list("--bandwidths", bandwidths, float),
        penalties=parse_list("--inverse-penalties", inverse_penalties, float),
        trees=trees,
    )


@app.command()
@with_family(readout="flatten")
def cnn(
    name: Annotated[str, typer.Option(help="Of the network.", metavar="NAME")],
    data: Data,
    train_images: Sizes,
    subsets: Subsets,
    out: Out,
    network: "Family",
    depth: Depth,
    width: Width,
    rates: Annotated[str, typer.Option(help="Learning rates to choose from.", metavar="1,10,...")],
    epochs: Annotated[int, typer.Option(help="At most; fewer once all training images are right.", metavar="N")],
    batch_images: Annotated[int, typer.Option(help="Of stochastic gradient descent.", metavar="N")],
    output_scale: OutputScale = 0.05,
    max_train_images: Annotated[
        int | None, typer.Option(help="Leave larger training sets out. [default: none]", metavar="N")
    ] = None,
    network_subsets: Annotated[
        int | None, typer.Option(help="Train on the first ones of each size. [default: all]", metavar="N")
    ] = None,
    seed: Seed = 0,
    study: StudyName = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Train a finite CNN on small training sets.

    Its learning rate is chosen on a held-out part of the training images.

    \b
    Example:
      exact-cntk small-data cnn --name cnn-v --data data/processed/digits.h5 --train-images 10,100
        --subsets 5 --depth 4 --width 32 --rates 3,10,30 --epochs 20 --batch-images 20 --out small_data/cnn-v.json
    """
    from exact_cntk.study.sections.small_data.jobs import network_to_file

    design = _design(train_images, subsets, seed)
    _run(
        out,
        network_to_file,
        name,
        network,
        data,
        out,
        design,
        max_train_images=max(design.train_images) if max_train_images is None else max_train_images,
        network_subsets=subsets if network_subsets is None else network_subsets,
        study=study,
        checkpoint=checkpoint,
        depth=depth,
        width=width,
        output_scale=output_scale,
        rates=parse_list("--rates", rates, float),
        batch_images=batch_images,
        epochs=epochs,
    )


def _design(train_images: str, subsets: int, seed: int) -> Any:
    from exact_cntk._support import validation as check
    from exact_cntk.study.sections.small_data.jobs import Design

    sizes = parse_list("--train-images", train_images, int)
    return Design(
        sizes, check.as_integer("--subsets", subsets, at_least=1), check.as_integer("--seed", seed, at_least=0)
    )


def _run(out: Path, function: Any, *arguments: Any, **options: Any) -> None:
    start = time.perf_counter()
    document = function(*arguments, progress=on_terminal(), **options)
    log(f"{out}: {len(document['results'])} results, {time.perf_counter() - start:.1f} s")
