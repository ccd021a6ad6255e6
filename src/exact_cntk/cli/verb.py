"""What every verb does before its own work: check the files that it is to write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from exact_cntk._support.outputs import check_outputs

# By the names of the verbs' parameters; all other files and folders are read, or are folders of a study.
OUTPUTS = ("out", "provenance", "timing")


class Verb(TyperCommand):
    """Refuses, before the verb runs, outputs that are an input or another output, or cannot be written."""

    def invoke(self, ctx: Any) -> Any:
        """Check the files, and run the verb."""
        outputs = dict(_paths(ctx, OUTPUTS))
        check_outputs(outputs, [item for item in _all_paths(ctx) if item[0] not in outputs])
        return super().invoke(ctx)


def _all_paths(ctx: Any) -> Iterator[tuple[str, Path]]:
    """Every file that the command line names, before the verb too: what stands for it, and its name."""
    while ctx is not None:
        yield from _paths(ctx, ctx.params)
        ctx = ctx.parent


def _paths(ctx: Any, names: Any) -> Iterator[tuple[str, Path]]:
    shown = {one.name: one.opts[0] if one.opts[0].startswith("-") else one.metavar for one in ctx.command.params}
    for name in names:
        value = ctx.params.get(name)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path):
                yield shown[name], path
