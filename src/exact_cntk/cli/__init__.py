"""The command line `exact-cntk`: one verb for each kind of rule of the workflow.

Verbs import what they need when they run, so that `--help` and short jobs start at once.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import exact_cntk
from exact_cntk._support.atomic import FILE_SYSTEM_ERRNOS
from exact_cntk._support.console import escape_output
from exact_cntk._support.statement import claim
from exact_cntk.cli import data, kernel, section, study
from exact_cntk.cli.verb import Verb
from exact_cntk.errors import UserError

PROGRAM = "exact-cntk"
# Click's class of errors in usage; newer typers ship a click of their own, and give it no public name.
UsageError: Any = typer.BadParameter.__bases__[0]
# In the order of a study; typer would list groups last.
VERBS = ("data", "block", "merge", "solve", "section", "summary", "report", "estimate")
USAGE, INTERRUPTED, TERMINATED = 2, 128 + signal.SIGINT, 128 + signal.SIGTERM


class _Commands(TyperGroup):
    """Turns errors that the user can fix into one line on stderr; a bug keeps its traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of a study."""
        return sorted(super().list_commands(ctx), key=VERBS.index)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options that come before the verb."""
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        _fail(f"error: {error}", USAGE)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        command = error.ctx.command_path if error.ctx else PROGRAM
        _fail(f"error: {error.format_message()} (see `{command} --help`)", USAGE)
    except OSError as error:
        # Of a file, errors that are not this program's are a UserError, or have its name.
        if error.errno not in FILE_SYSTEM_ERRNOS or error.filename is not None:
            raise
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what still waits to be written
        _fail(f"error: cannot write the standard output: {error.strerror}; name another place for it", USAGE)
    except KeyboardInterrupt:
        _fail("interrupted; finished work is kept, run again to continue", INTERRUPTED)


def _fail(message: str, code: int) -> None:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _terminate(*_: object) -> None:
    # As an exception, so that temporary files are removed on the way out.
    raise SystemExit(TERMINATED)


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {exact_cntk.__version__}")
        raise typer.Exit


@app.callback()
def _program(
    made_from: Annotated[
        Path | None,
        typer.Option(
            help="The workflow's statement of what this job makes its files from; checked, and written into the files.",
            metavar="FILE.json",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exact convolutional neural tangent kernels, and the study around them.

    The verbs are in the order of a study: kernels and their accuracies (up to solve), sections, which compute and show
    everything else, and the report. The workflow (`snakemake`) calls them in this order; each also works alone.
    `estimate` says in advance what a study costs.
    """
    if made_from is not None:
        claim(made_from)


app.add_typer(data.app, name="data")
app.add_typer(section.app, name="section")
for verb in (kernel.block, kernel.merge, study.solve, study.summary, study.report, kernel.estimate):
    app.command(cls=Verb)(verb)


def main() -> None:
    """Run the command line on `sys.argv`.

    Exit code 2 stands for errors that the user can fix, 130 for Ctrl-C, 143 for a terminate signal.
    """
    signal.signal(signal.SIGTERM, _terminate)
    escape_output()
    app()
