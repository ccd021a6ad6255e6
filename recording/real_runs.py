"""The paper's CIFAR-10 columns with the library alone: no workflow engine, no network, in as many sessions as needed.

    python -m recording.real_runs --data data/raw/cifar-10-python.tar.gz --out results/real --budget 300

A piece is one kernel on one pool of training images and all test images (`--list` names them). What is finished leaves
metrics files; a piece in the middle leaves its dual coefficients and, chunk by chunk, which test images were right:
some megabytes, so that `--out` can be carried from machine to machine. `--cache` keeps the training kernel's blocks
besides, gigabytes, for a piece whose training kernel alone takes longer than a sitting.
"""

import argparse
import sys
from pathlib import Path

from exact_cntk._support.machine import format_gib
from exact_cntk.errors import InputError, UserError
from exact_cntk.kernels.backends import describe_backend
from recording.real.clock import Clock, OutOfTimeError
from recording.real.images import CIFAR10, load_images
from recording.real.plan import Piece, catalogue
from recording.real.run import PieceRun, in_order, progress_of
from recording.real.state import State

RECORDED = Path("docs/results")


def log(message: str) -> None:
    """Print a line to stderr at once."""
    print(message, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None, pieces: dict[str, Piece] | None = None) -> int:
    """Run the command line; exit status 2 for errors that the user can fix, 0 also where the budget ended the run.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line's.
    pieces : dict of Piece, optional
        Instead of the catalogue.
    """
    options = _options(arguments)
    pieces = catalogue() if pieces is None else pieces
    clock = Clock(options.budget)
    try:
        if unknown := [name for name in options.only if name not in pieces]:
            raise InputError(f"--only is {unknown[0]!r}; allowed are {', '.join(pieces)}")
        chosen = {
            name: piece
            for name, piece in pieces.items()
            if name in options.only or not (options.only or State(options.recorded, piece).finished)
        }
        # A training kernel without pooling is made again sooner than it is read from a disk.
        caches = {name: options.cache if piece.readout == "gap" else None for name, piece in chosen.items()}
        states = {name: State(options.out, piece, caches[name]) for name, piece in chosen.items()}
        if options.list:
            _list(chosen, states)
            return 0
        if options.data is None:
            raise InputError("--data is missing; allowed are CIFAR-10's archive, its folder, or an archive of JPEGs")
        _run(chosen, states, options, clock)
    except UserError as error:
        log(f"error: {error}")
        return 2
    except OutOfTimeError as error:
        log(f"stopped: {error}; continue with the same command")
    _list(chosen, states)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recording.real_runs", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="CIFAR-10's archive or folder, or a tar archive of JPEGs")
    parser.add_argument(
        "--out", type=Path, default=Path("results/real"), help="metrics and state (default %(default)s)"
    )
    parser.add_argument("--cache", type=Path, help="folder for decoded images and blocks of training kernels")
    parser.add_argument(
        "--recorded", type=Path, default=RECORDED, help="pieces finished there are left out (%(default)s)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="PIECE", help="these pieces (default: all, in order)")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, help="of the kernel (default: all cores)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="stop cleanly after so long")
    parser.add_argument("--list", action="store_true", help="say where each piece stands, and do nothing")
    return parser.parse_args(arguments)


def _run(pieces: dict[str, Piece], states: dict[str, State], options: argparse.Namespace, clock: Clock) -> None:
    """Run the pieces one after the other; a piece that does not fit in memory or time does not stop the others."""
    backend = describe_backend(options.backend)
    data = load_images(options.data, options.cache)
    log(f"{data.dataset}; backend {backend.name} ({backend.instruction_set}), {backend.reason}")
    for name in in_order(pieces, states):
        piece = pieces[name] if backend.name == "cuda" else pieces[name].on_cpu()
        log(f"{name}: {progress_of(piece, states[name], len(data.test_labels))}")
        try:
            PieceRun(piece, data, states[name], backend, clock, options.threads).run()
        except OutOfTimeError as error:
            if clock.left <= 0:
                raise
            log(f"{name}: postponed: {error}")
        except UserError as error:
            if options.only:
                raise
            log(f"{name}: skipped: {error}")
        else:
            log(f"{name}: finished")


def _list(pieces: dict[str, Piece], states: dict[str, State]) -> None:
    """Print the state of each piece."""
    for name, piece in pieces.items():
        work = piece.element_layers(piece.pairs(CIFAR10.test_images), CIFAR10.shape)
        memory = format_gib(piece.kernel_bytes())
        where = progress_of(piece, states[name], CIFAR10.test_images)
        print(f"{name:14s} n = {piece.train_images:6d}  {work:.1e} element-layers  kernels {memory:>8s}  {where}")


if __name__ == "__main__":
    sys.exit(main())
