"""Parameters, documents and their schemas: reading values, and explaining errors.

The same parameters come in several notations with the same meaning. Snakemake's ``--config "solve={'ridges': [0]}"``
hands nested numbers over as strings; DVC writes YAML 1.2, in which 1e-08 is a number, while PyYAML reads YAML 1.1,
where it is a string; 60.0 and 6e1 are as whole as 60.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache, reduce
from itertools import count
from operator import getitem
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError

from exact_cntk.errors import InputError, nearest, shortened
from exact_cntk.study.sections import KEYS, has_parameters, schema_file
from exact_cntk.study.yaml_files import MOST_VALUES, join, read_scalar, read_yaml, too_many

# Whole numbers up to here are exact for whoever reads them as floating-point numbers, as JSON's readers may.
LARGEST_WHOLE = 2**53


def fit_schema(params: object, schema: Path) -> dict[str, Any]:
    """Copy parameters, with every value of the type in the schema, and None for keys that are left out.

    Raises
    ------
    InputError
        Naming a key that does not fit, its value and what is allowed; for an unknown key or name, the nearest one.
    """
    try:
        checked = _plain(params, count())
    except RecursionError:
        raise InputError(too_many()) from None
    validator = _validator(schema)
    while True:
        for key, value in _numbers(checked):
            _refuse_unusual(key, value)
        errors = list(validator.iter_errors(checked))
        if not sum(_mend(checked, error, validator) for error in errors):
            break
    if errors:
        # An unknown key comes first: the key that it was meant to be is then missing as well, which is no news.
        first = min(errors, key=lambda error: (error.validator != "additionalProperties", error.json_path))
        raise InputError(_explain(first))
    return dict.fromkeys(validator.schema["properties"]) | checked


def check_form(document: dict[str, Any], schema: Path) -> None:
    """Check a document as it was read, in which nothing is mended, against a schema.

    Raises
    ------
    InputError
        Naming a key that does not fit, its value and what is allowed.
    """
    for key, value in _numbers(document):
        _refuse_unusual(key, value)
    for error in _form_validator(schema).iter_errors(document):
        raise InputError(_explain(error))


def _plain(value: object, counter: Iterator[int]) -> Any:
    """Copy nested mappings and sequences into dicts and lists, and count values."""
    if next(counter) > MOST_VALUES:
        raise RecursionError
    if isinstance(value, Mapping):
        return {str(key): _plain(item, counter) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item, counter) for item in value]
    return value


def _numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, int | float]]:
    """Yield key and value of every number."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, (*path, key))
    elif isinstance(value, int | float):
        yield _key(path), value


def _refuse_unusual(key: str, value: int | float) -> None:
    """Refuse numbers that are not finite, or too large to be exact."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}: {value} is not allowed; give a finite number")
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise InputError(f"{key}: a whole number of {value.bit_length()} bits is not allowed; give one within ±2^53")


@cache
def _validator(schema: Path) -> Any:
    """Validator of the parameters' schema."""
    return _strict(read_schema(schema))


@cache
def _form_validator(schema: Path) -> Any:
    """Validator of a document's schema."""
    return _strict(read_yaml(schema))


def _strict(schema: dict[str, Any]) -> Any:
    """Validator in which an integer is an int, because 60.0 can be neither a range nor part of a file name."""
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=types)
    return validator(schema)


def read_schema(path: Path) -> dict[str, Any]:
    """Read the schema of parameters and put those of the sections, which lie in their folders, into it.

    Each may be null or left out.
    """
    schema: dict[str, Any] = read_yaml(path)
    properties = {name: value for name, value in schema["properties"].items() if name != "report"}
    for key in filter(has_parameters, KEYS):
        section = read_yaml(schema_file(key))
        properties[key] = section | {"type": ["object", "null"]}
    return schema | {"properties": properties | {"report": schema["properties"]["report"]}}


def _mend(checked: Any, error: ValidationError, validator: Any) -> bool:
    """Replace a value that does not fit by its meaning, if that fits; return whether it does."""
    if not error.absolute_path:
        return False
    *parents, last = error.absolute_path
    wanted = {name: error.schema[name] for name in ("type", error.validator) if name in error.schema}
    for reading in _readings(error.instance):
        if validator.evolve(schema=wanted).is_valid(reading):
            reduce(getitem, parents, checked)[last] = reading
            return True
    return False


def _readings(value: object) -> Iterator[int | float | bool | None]:
    """Yield possible meanings of a value: the number, truth value or null in a string, a whole number."""
    if isinstance(value, str):
        try:
            value = read_scalar(value)
        except ValueError:
            return
        yield value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_WHOLE:
        yield int(value)


def _explain(error: ValidationError) -> str:
    """Turn a validation error into: key, value, what is allowed, and the nearest valid name."""
    key = _key(error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema["properties"])
        unknown = next(name for name in error.instance if name not in allowed)
        return f"{join(key, unknown)}: unknown key{nearest(unknown, allowed)}; allowed here: {', '.join(allowed)}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"{join(key, missing)}: this key is missing; every key must be given"
    if error.validator == "enum":
        allowed = [str(name) for name in error.validator_value]
        given = shortened(error.instance)
        return f"{key}: {given} is unknown{nearest(given, allowed)}; allowed: {', '.join(allowed)}"
    meaning = error.schema.get("description", "")
    message = error.message.replace(repr(error.instance), shortened(error.instance))
    if error.validator == "pattern":
        message = f"{shortened(error.instance)} is not allowed"
    if error.validator_value == "string" and isinstance(error.instance, int | float | date):
        message += "; put it in quotes, or give one with a letter"
    return f"{key or 'the file'}: {message}" + (f" ({meaning})" if meaning else "")


def _key(path: Sequence[str | int]) -> str:
    return reduce(join, path, "")
