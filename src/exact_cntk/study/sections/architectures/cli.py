"""`exact-cntk architectures`: a pass of the grid of architectures, from its blocks to accuracies."""

import time
from pathlib import Path
from typing import Annotated

import typer

from exact_cntk._support.console import MaxMemory, Ridges, StudyName, log, on_terminal, parse_list


def architectures(
    data: Annotated[Path, typer.Option(help="The images that the blocks were computed from.", metavar="FILE.h5")],
    train_images: Annotated[int, typer.Option(help="Full training set: the first of the pool.", metavar="N", min=2)],
    subset: Annotated[
        list[str],
        typer.Option(
            help="Small training sets, consecutive in the pool; repeatable, or with commas.", metavar="NxREPEATS"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Accuracies of all architectures of the pass.", metavar="FILE.json")],
    blocks: Annotated[list[Path] | None, typer.Argument(help="All blocks of one pass.", metavar="BLOCK")] = None,
    listed: Annotated[
        Path | None, typer.Option("--blocks", help="A text file with the names of blocks, one a line.", metavar="FILE")
    ] = None,
    ridges: Ridges = "0",
    timings: Annotated[
        Path | None,
        typer.Option(help="Folder of what `exact-cntk block --timing` wrote, for the measured seconds.", metavar="DIR"),
    ] = None,
    study: StudyName = None,
    max_memory_gib: MaxMemory = None,
) -> None:
    """Solve every architecture of one pass.

    On few training images and on all of them. A pass has one filter size and readout; every depth in its blocks, with
    each kind of kernel and of trained layers, is an architecture. Each is tested without ridge (the paper's protocol)
    and with the ridge that leave-one-out chooses on the training images. Run again after an interruption, it goes on
    with the next architecture.

    \b
    Example:
      exact-cntk architectures --data data/processed/digits.h5 --train-images 500 --subset 100x5
        --ridges 0,1e-6,1e-4 --out arch-f3-gap.json blocks/arch-f3-gap-d3-4-6/*.h5
    """
    from exact_cntk.blocks import read_list
    from exact_cntk.study.sections.architectures.jobs import solve_pass
    from exact_cntk.study.subsets import parse_subset

    start = time.perf_counter()
    document = solve_pass(
        [*(blocks or []), *(read_list(listed) if listed else [])],
        data,
        out,
        train_images=train_images,
        subsets=[parse_subset(one) for text in subset for one in text.split(",")],
        ridges=parse_list("--ridges", ridges, float),
        study=study,
        timings=timings,
        max_memory_gib=max_memory_gib,
        progress=on_terminal(),
    )
    log(f"{out}: {document['family']}, {len(document['results'])} fits, {time.perf_counter() - start:.1f} s")
