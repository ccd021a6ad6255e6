"""Reading YAML files: what versions of YAML read differently, or what has no bound, is refused by its key."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from exact_cntk._support.reading import check_regular, read_text
from exact_cntk.errors import InputError, shortened

LARGEST_BYTES = 2**18  # fifty times the largest file of config/; PyYAML takes half a second for them
# Values of a file, counted as they are written out: an anchor of YAML that repeats another may hold billions.
MOST_VALUES = 5_000
_TAG = "tag:yaml.org,2002:"
_SCALARS = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}
# Numbers that YAML 1.1, which PyYAML reads, and YAML 1.2, which DVC reads, understand alike. Others: 060 is 48 in one
# and 60 in the other, and so with 1:00, 1_000 and 0b1.
_ALIKE = re.compile(
    r"[-+]?(0|[1-9]\d*)|[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.A
)
# A number of YAML 1.2 that YAML 1.1 takes for a string.
_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+", re.A)


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    InputError
        Naming the file: it cannot be read, is empty, too large or not YAML, gives a key twice, has a tag, or a number
        that versions of YAML read differently.
    """
    try:
        if (size := check_regular(path)) > LARGEST_BYTES:
            raise InputError(f"has {size} bytes, more than {LARGEST_BYTES}; give a parameter file like params.yaml")
        loader = yaml.SafeLoader(read_text(path))
        if (root := loader.get_single_node()) is None:
            raise InputError("is empty; give a parameter file like params.yaml")
        _check(loader, root, "", count())
        return loader.construct_document(root)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a parameter file like params.yaml"
        ) from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: {too_many()}") from None
    except (yaml.YAMLError, ValueError) as error:  # of a date, or an encoding
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


def read_scalar(text: str) -> int | float | bool | None:
    """Read a number, truth value or null as in a YAML file; ValueError if the text is none of these."""
    if _FLOAT.fullmatch(text):
        return float(text)
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag not in _SCALARS or not text or text != text.strip() or _read_differently(tag, text):
        raise ValueError(text)
    value: int | float | bool | None = loader.construct_object(yaml.ScalarNode(tag, text))
    return value


def too_many() -> str:
    """What is said of values without end."""
    return f"the file: a value holds itself, is nested without end, or there are more than {MOST_VALUES}; write it out"


def join(key: str, part: str | int) -> str:
    """The dotted name of a part of a key's value; an index is in brackets."""
    if isinstance(part, int):
        return f"{key}[{part}]"
    return f"{key}.{part}" if key else part


def _check(loader: yaml.SafeLoader, node: yaml.Node, key: str, counter: Iterator[int]) -> None:
    """Check a value before it is built, with all that it holds, at every place that an anchor repeats it."""
    if next(counter) > MOST_VALUES:
        raise RecursionError
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(loader, node, key)
        return
    _refuse_tag(node, loader.resolve(type(node), None, True), key)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _check(loader, item, join(key, i), counter)
        return
    seen: set[str] = set()
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise InputError(f"{key or 'the file'}: one of its keys is a list or a mapping; allowed are words")
        inner = join(key, name.value)
        _check_scalar(loader, name, inner)
        if name.value in seen:
            raise InputError(f"{inner}: given twice, again in line {name.start_mark.line + 1}; keep one of them")
        seen.add(name.value)
        _check(loader, value, inner, counter)


def _check_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, key: str) -> None:
    plain = node.style is None
    _refuse_tag(node, loader.resolve(yaml.ScalarNode, node.value, (plain, not plain)), key)
    if _read_differently(node.tag, node.value):
        raise InputError(
            f"{key}: {shortened(node.value)} is a number that versions of YAML read differently; write it in decimal "
            "digits without leading zeros, or in quotes if it is a text"
        )


def _refuse_tag(node: yaml.Node, natural: str, key: str) -> None:
    """Refuse a tag such as !!int, which may not suit the value."""
    if node.tag != natural:
        raise InputError(
            f"{key or 'the file'}: the tag {shortened(node.tag.replace(_TAG, '!!'))} is not allowed; leave it out, and "
            "put a text in quotes"
        )


def _read_differently(tag: str, text: str) -> bool:
    return tag in (f"{_TAG}int", f"{_TAG}float") and not _ALIKE.fullmatch(text)
