"""`exact-cntk block`, `merge` and `estimate`: kernel matrices, and what they cost."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exact_cntk._support.console import (
    LARGEST_DEPTH,
    MOST_SECONDS,
    Data,
    FamilyName,
    MaxMemory,
    Threads,
    log,
    number,
    on_terminal,
    parse_list,
    parse_names,
    whole,
)
from exact_cntk.cli.family import with_family

if TYPE_CHECKING:
    from exact_cntk.networks import Family


@with_family
def block(
    data: Data,
    family: FamilyName,
    network: "Family",
    depths: Annotated[str, typer.Option(help="Convolutional layers + 1; one pass gives all.", metavar="3,4,6,...")],
    rows: Annotated[str, typer.Option(help="Images, counted over training pool and test set.", metavar="START:STOP")],
    cols: Annotated[str, typer.Option(help="Images of the training pool.", metavar="START:STOP")],
    out: Annotated[Path, typer.Option(help="The block.", metavar="FILE.h5")],
    kinds: Annotated[str, typer.Option(help="Kernels, one or both.", metavar="ntk,nngp")] = "ntk,nngp",
    backend: Annotated[
        str, typer.Option(help="auto: the fastest on this machine.", metavar="auto|cpu|cuda|reference")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="Precision of the recursion.", metavar="float32|float64")] = "float32",
    storage: Annotated[
        str, typer.Option(help="Precision of the kernels in the file.", metavar="float32|float64")
    ] = "float64",
    threads: Threads = None,
    timing: Annotated[
        Path | None, typer.Option(help="Also record the seconds of the job and of the kernel.", metavar="FILE.json")
    ] = None,
) -> None:
    """Compute one block of a kernel, every kind and depth.

    The block is the kernel between two ranges of images. Ranges lie within the training pool or within the test
    set. Blocks of the pool's symmetric part lie below its diagonal, or have the same rows and columns. An existing
    block, complete and with the same parameters, is left as it is.

    \b
    Example:
      exact-cntk block --data data/processed/digits.h5 --family cntk-v --readout flatten
        --depths 3,4,6,11,21 --rows 500:1000 --cols 0:500 --out 500-0.h5
    """
    from exact_cntk._support.machine import process_seconds
    from exact_cntk.blocks import compute_block, parse_span
    from exact_cntk.study.documents import write_result

    before = process_seconds() or 0.0
    summary = compute_block(
        data,
        out,
        name=family,
        network=network,
        depths=parse_list("--depths", depths, whole(2, LARGEST_DEPTH)),
        kinds=parse_names("--kinds", kinds, "ntk, nngp or ntk,nngp"),
        rows=parse_span(rows, "--rows"),
        cols=parse_span(cols, "--cols"),
        backend=backend,
        dtype=dtype,
        storage=storage,
        threads=threads,
        progress=on_terminal(),
    )
    if summary.job_seconds is not None:
        summary = replace(summary, job_seconds=before + summary.job_seconds)
        if timing is not None:
            write_result(timing, summary.timing())
    log(f"{out}: {summary}")


def merge(
    depth: Annotated[
        int, typer.Option(parser=whole(2, LARGEST_DEPTH), help="One of the depths of the blocks.", metavar="N")
    ],
    out: Annotated[Path, typer.Option(help="The kernel.", metavar="FILE.h5")],
    blocks: Annotated[list[Path] | None, typer.Argument(help="All blocks of one pass.", metavar="BLOCK")] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--blocks", help="A text file with the names of blocks, one per line.", metavar="FILE"),
    ] = None,
    max_memory_gib: MaxMemory = None,
) -> None:
    """Merge checked blocks to the kernel of one depth.

    The kernel's file is small: it says in which blocks the numbers are, which must stay where they are, seen from it.
    Refused, naming the file: a block that is missing, damaged, has NaN, comes from other images or parameters, or
    overlaps another one.

    \b
    Example:
      exact-cntk merge --depth 3 --out cntk-v-depth-03.h5 blocks/*.h5
    """
    from exact_cntk._support.outputs import check_outputs
    from exact_cntk._support.progress import reporting
    from exact_cntk.blocks import merge_blocks, read_list

    paths = [*(blocks or []), *(read_list(listed) if listed else [])]
    check_outputs({"--out": out}, [("--blocks", path) for path in paths])
    start = time.perf_counter()
    with reporting(on_terminal(), "merge", "blocks") as report:
        kernel = merge_blocks(paths, depth, out, max_memory_gib=max_memory_gib, progress=report)
    log(
        f"{out}: {kernel.name}, depth {kernel.depth}, {' and '.join(kernel.kinds)}, {kernel.shape[0]} x "
        f"{kernel.shape[1]} from {len(paths)} blocks, "
        f"{time.perf_counter() - start:.1f} s"
    )


def estimate(
    params: Annotated[Path, typer.Option(help="Parameters of a study.", metavar="FILE.yaml")] = Path("params.yaml"),
    calibration: Annotated[
        float,
        typer.Option(parser=number(0, MOST_SECONDS), help="Seconds to measure; 0: not at all.", metavar="SECONDS"),
    ] = 2.0,
) -> None:
    """Estimate what a study costs before it starts.

    Pairs of images, element-layers, hours, memory and disk for each family of kernels; hours, memory and disk of the
    solves and of each section. Time on this machine comes from a short run of the real kernel; time on an H200 is an
    expectation, not measured.

    \b
    Example:
      exact-cntk estimate --params config/cifar10-2k.yaml
    """
    from exact_cntk.study.estimate import estimate_study

    print(estimate_study(params, calibration_seconds=calibration).table())
