"""The parameters of all verbs, as their functions declare them; for tests alone."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import typer


class Parameter(NamedTuple):
    """One of a verb's: its name, the types that its value may have or hold, and typer's description."""

    name: str
    kinds: set[Any]
    option: Any


def parameters(app: typer.Typer) -> Iterator[Parameter]:
    """All of them, those of options before the verb too."""
    callbacks = [command.callback for command in app.registered_commands]
    callbacks += [app.registered_callback.callback] if app.registered_callback else []
    for callback in callbacks:
        for name, parameter in inspect.signature(callback).parameters.items():
            kind, option = get_args(parameter.annotation)
            yield Parameter(name, set(_parts(kind)), option)
    for group in app.registered_groups:
        yield from parameters(group.typer_instance)


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in get_args(kind):
        yield from _parts(part)
