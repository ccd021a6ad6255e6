"""`exact-cntk train` and `gather-runs`: finite networks by the paper's protocol."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exact_cntk._support.console import (
    Data,
    Depth,
    FamilyName,
    OutputScale,
    StudyName,
    Width,
    log,
    on_terminal,
)
from exact_cntk._support.family_options import with_family

if TYPE_CHECKING:
    from exact_cntk.networks import Family


@with_family()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Outcome and learning curve.", metavar="FILE.json")],
    family: FamilyName,
    network: "Family",
    depth: Depth,
    width: Width,
    rate: Annotated[float, typer.Option(help="Learning rate.", metavar="RATE")],
    batch_images: Annotated[int, typer.Option(help="Images in a batch.", metavar="N")],
    max_epochs: Annotated[int, typer.Option(help="Training ends after so many.", metavar="N")],
    averaged_epochs: Annotated[
        int, typer.Option(help="Epochs after full training accuracy, whose accuracies are averaged.", metavar="N")
    ] = 10,
    split: Annotated[
        str, typer.Option(help="Where the accuracy is reported; see below.", metavar="test|validation")
    ] = "test",
    validation_images: Annotated[
        int, typer.Option(help="The last ones of the pool, left out of training for --split validation.", metavar="N")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the weights and of the order of images.", metavar="N")] = 0,
    output_scale: OutputScale = 0.05,
    tf32: Annotated[bool, typer.Option("--tf32", help="On a GPU: round products to TF32.")] = False,
    study: StudyName = None,
    device: Annotated[
        str, typer.Option(help="auto takes a GPU where a CPU would take long.", metavar="auto|cpu|cuda")
    ] = "auto",
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Use torch.compile. [default: on a GPU, where it works]"),
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option("--channels-last/--channels-first", help="Filters' order in memory. [default: last on a GPU]"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of the CPU. [default: one for each core]", metavar="N")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights so far, until the run is over. [default: beside the output]", metavar="FILE.npz"),
    ] = None,
) -> None:
    """Train one finite CNN by stochastic gradient descent.

    As in the paper: quadratic loss, a fixed rate, no momentum, decay or augmentation. Training ends --averaged-epochs
    after every training image is classified rightly, or after --max-epochs. Run again after an interruption, it goes on
    where it was, to the same bytes.

    Split test trains on the whole training pool and reports the accuracy on the test images. Split validation, by which
    the rate is chosen, trains on the pool without its last images and reports the accuracy on these.

    \b
    Example:
      exact-cntk train --data data/processed/digits.h5 --out run.json --family cnn-v --readout flatten
        --depth 3 --width 16 --rate 10 --batch-images 10 --max-epochs 20
    """
    from exact_cntk.study.sections.cnns.train import Run
    from exact_cntk.study.sections.cnns.train import train as train_run

    start = time.perf_counter()
    run = Run(
        name=family,
        network=network,
        depth=depth,
        width=width,
        output_scale=output_scale,
        rate=rate,
        seed=seed,
        split=split,
        batch_images=batch_images,
        max_epochs=max_epochs,
        averaged_epochs=averaged_epochs,
        validation_images=validation_images,
        tf32=tf32,
    )
    result = train_run(
        data,
        out,
        run,
        study=study,
        device=device,
        compiled=compiled,
        channels_last=channels_last,
        threads=threads,
        checkpoint=checkpoint,
        progress=on_terminal(),
        log=log,
    )
    accuracy = "diverged" if result["diverged"] else f"{split} accuracy {result['accuracy']:.4f}"
    log(f"{out}: {family}, depth {depth}, {result['epochs']} epochs, {accuracy}, {time.perf_counter() - start:.1f} s")


def gather_runs(
    runs: Annotated[list[Path], typer.Argument(help="From `exact-cntk train`, of one architecture.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="The rate chosen, and accuracies.", metavar="FILE.json")],
    curves: Annotated[Path, typer.Option(help="All learning curves.", metavar="FILE.csv")],
) -> None:
    """Choose an architecture's rate on validation images.

    Its runs are put together; the accuracy at the rate that the paper would choose, on the test images, stands beside
    and is named so.

    \b
    Example:
      exact-cntk gather-runs --out cnn-v-depth-03.json --curves cnn-v-depth-03.csv runs/*.json
    """
    from exact_cntk.study.sections.cnns.gather import gather

    found = gather(runs, out, curves)
    chosen = "every rate diverges" if found["rate"] is None else f"rate {found['rate']:g}"
    log(f"{out}: {found['family']}, depth {found['depth']}, {len(runs)} runs, {chosen}")
