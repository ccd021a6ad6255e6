"""Options that describe a family of networks, for all verbs that take one."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from exact_cntk._support.console import LARGEST_SIZE, parse_names, whole

Verb = Callable[..., None]

# Parts of `exact_cntk.networks.Family` → type, default and text of their options.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "readout": (
        Annotated[
            str,
            typer.Option(
                help="Dense layer on all pixels, or local or global pooling before it.", metavar="flatten|lap|gap"
            ),
        ],
        inspect.Parameter.empty,
    ),
    "pooling_window": (
        Annotated[
            int | None,
            typer.Option(
                parser=whole(1, LARGEST_SIZE),
                help="Pixels along a side of a window of the readout lap, odd.",
                metavar="N",
            ),
        ],
        None,
    ),
    "trained": (
        Annotated[
            str,
            typer.Option(
                help="Layers: all, or all except the first and the last; or both in one pass.",
                metavar="all|hidden|all,hidden",
            ),
        ],
        "all",
    ),
    "flips": (
        Annotated[bool, typer.Option("--flips", help="Average over horizontal flips, at twice the cost.")],
        False,
    ),
    "filter_size": (
        Annotated[
            int,
            typer.Option(parser=whole(1, LARGEST_SIZE), help="Pixels along a side of a filter, odd.", metavar="N"),
        ],
        3,
    ),
}


def with_family(verb: Verb) -> Verb:
    """Give a verb the options of a family in place of its parameter `network`, which gets their `Family`.

    Raises
    ------
    InputError
        From the verb, when it is called: a part is not allowed.
    """
    kind = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, kind, annotation=annotation, default=default)
        for name, (annotation, default) in _OPTIONS.items()
    ]

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        from exact_cntk.networks import Family  # with NumPy, which `--help` does without

        parts = {name: given.pop(name) for name in _OPTIONS}
        trained = parse_names("--trained", parts["trained"], "all, hidden or all,hidden")
        verb(network=Family.checked(**parts | {"trained": trained}), **given)

    signature = inspect.signature(verb)
    parameters = []
    for parameter in signature.parameters.values():
        parameters += options if parameter.name == "network" else [parameter.replace(kind=kind)]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
