"""The notation of networks: one line of text and the layers that it stands for.

::

    network  = part part …
    part     = layer | "(" network ")*" number
    layer    = word [number] ["[" option "=" value "," … "]"] | "residual(" network ")"

The same layers have the same text: three or more repetitions are written once.
"""

import re
from collections.abc import Sequence
from dataclasses import fields

from exact_cntk.errors import InputError, nearest, shortened
from exact_cntk.networks.layers import EXAMPLE, MOST_LAYERS, MOST_NESTED, WORDS, Layer, Residual, count_layers

MOST_PARENTHESES = 5 * MOST_NESTED  # within each other: chains, and repetitions in them
LONGEST_REPEATED = 64  # layers of a repetition that is written once
FEWEST_REPEATED = 3  # repetitions that are written once
_TOKEN = re.compile(r"\s*(?:(residual)\s*\(|(\()|\)\s*\*\s*(\d+)|(\))|([a-z]+)(\d*)(?:\s*\[([^\]]*)\])?)")


def parse(text: str) -> tuple[Layer, ...]:
    """The layers of a line of text.

    Raises
    ------
    InputError
        Naming the word that is not allowed, and what is.
    """
    groups: list[tuple[str, list[Layer]]] = [("", [])]  # what opened each group, and its layers so far
    place, end = 0, len(text.rstrip())
    while place < end:
        token = _TOKEN.match(text, place)
        if token is None:
            raise InputError(f"network has {_rest(text, place)!r}; allowed is, for example, {EXAMPLE}")
        place = token.end()
        residual, opened, count, closed, word, number, options = token.groups()
        if residual or opened:
            groups.append((residual or opened, []))
            if len(groups) > MOST_PARENTHESES:
                raise InputError(f"network has more than {MOST_PARENTHESES} parentheses within each other")
        elif count or closed:
            opening, layers = groups.pop()
            if not groups:
                raise InputError(f"network has a ) without a ( before {_rest(text, place)!r}")
            groups[-1][1].extend(_closed(opening, layers, count))
        else:
            groups[-1][1].append(_layer(word, number, options))
        if sum(len(layers) for _, layers in groups) > MOST_LAYERS:
            raise InputError(f"network has more than {MOST_LAYERS} layers")
    if len(groups) > 1:
        raise InputError(f"network is {shortened(text)}, which has a ( without a )")
    return tuple(groups[0][1])


def text_of(layers: Sequence[Layer]) -> str:
    """The line of text of some layers."""
    return _compressed([str(layer) for layer in layers])


def _compressed(words: list[str]) -> str:
    parts, start = [], 0
    while start < len(words):
        length, count = _repetition(words, start)
        parts.append(words[start] if count == 1 else f"({_compressed(words[start : start + length])})*{count}")
        start += length * count
    return " ".join(parts)


def _repetition(words: list[str], start: int) -> tuple[int, int]:
    """Length and number of the repeated words at `start` that cover most of the text; (1, 1) if nothing repeats."""
    best = (1, 1)
    for length in range(1, min(LONGEST_REPEATED, (len(words) - start) // FEWEST_REPEATED) + 1):
        block, count = words[start : start + length], 1
        while words[start + count * length : start + (count + 1) * length] == block:
            count += 1
        if count >= FEWEST_REPEATED and length * count > best[0] * best[1]:
            best = (length, count)
    return best


def _closed(opening: str, layers: list[Layer], count: str | None) -> list[Layer]:
    """The layers of a group that ends here."""
    if opening == "residual":
        if count is not None:
            raise InputError(f"network has residual(…)*{count}; write (residual(…))*{count}")
        return [Residual(tuple(layers))]
    if count is None:
        raise InputError(f"network has ({text_of(layers)}) without the number of its repetitions; write (…)*3")
    if len(count) > 9 or not 1 <= int(count) * count_layers("network", layers) <= MOST_LAYERS:
        raise InputError(f"network has ({text_of(layers)})*{count}; allowed are 1 to {MOST_LAYERS} layers in all")
    return layers * int(count)


def _layer(word: str, number: str, options: str | None) -> Layer:
    if word not in WORDS:
        raise InputError(
            f"network has {shortened(word + number)}{nearest(word, list(WORDS))}; allowed are {_allowed()}"
        )
    kind = WORDS[word]
    if kind is Residual or bool(number) != (kind.numbered is not None) or len(number) > 9:
        raise InputError(f"network has {shortened(word + number)}; write {_form(kind)}")
    values: dict[str, object] = {} if kind.numbered is None else {kind.numbered: int(number)}
    known = {part.name: part.default for part in fields(kind) if part.name != kind.numbered}
    for option in filter(None, (options or "").split(",")):
        name, equals, value = (text.strip() for text in option.partition("="))
        if not equals or name not in known or name in values:
            allowed = f"allowed are {', '.join(known)}, each once" if known else "it has no options"
            raise InputError(f"network has {shortened(option.strip())} in the brackets of {word}{number}; {allowed}")
        values[name] = _value(f"{word}: {name}", value, known[name])
    return kind(**values)  # checked by the layer itself


def _value(name: str, text: str, default: object) -> object:
    """An option's value, of the type of its default; None stands for an integer that is not given."""
    if isinstance(default, str):
        return text
    whole = not isinstance(default, float)
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "an integer" if whole else "a number"
        raise InputError(f"{name} is {shortened(text)}; allowed is {kind}") from None


def _allowed() -> str:
    return ", ".join(_form(kind) for kind in WORDS.values())


def _form(kind: type[Layer]) -> str:
    """How a word is written."""
    if kind is Residual:
        return "residual(…)"
    return kind.word + ("" if kind.numbered is None else {"conv": "3", "lap": "5"}.get(kind.word, "2"))


def _rest(text: str, place: int) -> str:
    return text[place : place + 20].strip() or "its end"
