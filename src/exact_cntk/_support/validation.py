"""Checks of what a user passes in: each error names the argument, its value and what is allowed."""

import operator
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from exact_cntk.errors import InputError

LARGEST_WINDOW = 2**31 - 1  # what the compiled core takes; from twice the image on, only the scale changes


def as_array(name: str, value: Any) -> np.ndarray:
    """A real, finite NumPy array, float32 or float64, of a NumPy array, a torch tensor or nested sequences.

    Booleans, half precision and integers of at most 16 bits become float32 (exactly), all else float64.
    """
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, recognised without importing torch
        value = _from_torch(name, value)
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested sequences of unequal lengths
        raise InputError(f"{name} must be an array of numbers: {error}") from None
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} has dtype {array.dtype}; allowed are real numbers (floats, integers, booleans)")
    narrow = array.dtype == np.float32 or np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if narrow else np.float64, copy=False)
    require_finite(name, array)
    return array


def require_finite(name: str, array: np.ndarray, first: tuple[int, ...] | None = None) -> None:
    """Refuse NaN and infinities by the index of the first, counted from `first` where this is a part of an array."""
    if not (finite := np.isfinite(array)).all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        shown = ", ".join(str(i + start) for i, start in zip(index, first or (0,) * array.ndim, strict=True))
        raise InputError(f"{name} must be finite, but {f'{name}[{shown}]' if index else 'it'} is {array[index]}")


def as_images(name: str, value: Any) -> np.ndarray:
    """Images of shape (n, P, Q, C), C-contiguous, as `as_array`; at least one image, pixel and channel."""
    array = as_array(name, value)
    if array.ndim != 4:
        hint = f"; a single image is {name}[None]" if array.ndim == 3 else ""
        raise InputError(
            f"{name} has shape {array.shape}; allowed are 4 dimensions: (images, rows, columns, channels){hint}"
        )
    if 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}; allowed are at least one image, pixel and channel")
    return np.ascontiguousarray(array)


def as_image_sets(x1: Any, x2: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The arguments x1 and x2, which may be None, as `as_images`, with images of one shape."""
    images = as_images("x1", x1)
    others = None if x2 is None else as_images("x2", x2)
    if others is not None and others.shape[1:] != images.shape[1:]:
        raise InputError(f"x2 has images of shape {others.shape[1:]}; allowed is x1's image shape {images.shape[1:]}")
    return images, others


def as_vectors(name: str, value: Any) -> np.ndarray:
    """Vectors of shape (n, d), float64; at least one of at least one entry."""
    array = as_array(name, value)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}; allowed are 2 dimensions, none empty: (vectors, features)")
    return array.astype(np.float64, copy=False)


def as_integer(name: str, value: Any, *, at_least: int) -> int:
    """An integer ≥ `at_least`; booleans and floats are no integers."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; allowed are integers ≥ {at_least}") from None
    if number < at_least:
        raise InputError(f"{name} is {number}; allowed are integers ≥ {at_least}")
    return number


def as_number(name: str, value: Any) -> float:
    """A finite number ≥ 0."""
    array = as_array(name, value)
    if array.ndim != 0 or array < 0:
        raise InputError(f"{name} is {value!r}; allowed is a number ≥ 0")
    return float(array)


def as_depths(name: str, value: Any) -> tuple[int, ...]:
    """One depth or several as a strictly increasing tuple; a depth is an integer ≥ 2."""
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    if not values:
        raise InputError(f"{name} is empty; allowed are one integer ≥ 2 or a sequence of them")
    return tuple(sorted({as_integer(name, depth, at_least=2) for depth in values}))


def as_filter_size(name: str, value: Any) -> int:
    """An odd integer ≥ 1."""
    size = as_integer(name, value, at_least=1)
    if size % 2 == 0:
        raise InputError(f"{name} is {size}; allowed are odd integers (nearest: {size - 1} and {size + 1})")
    return size


def as_pooling_window(name: str, value: Any, readout: str) -> int | None:
    """An odd integer from 1 to `LARGEST_WINDOW` with the readout "lap", None with the others."""
    if readout != "lap":
        if value is not None:
            raise InputError(f"{name} is {value!r} with readout {readout!r}; allowed is None, or readout 'lap'")
        return None
    if value is None:
        raise InputError(f"{name} is None with readout 'lap'; allowed are odd integers ≥ 1, the window's pixels a side")
    window = as_integer(name, value, at_least=1)
    if window % 2 == 0:
        raise InputError(f"{name} is {window}; allowed are odd integers (nearest: {window - 1} and {window + 1})")
    if window > LARGEST_WINDOW:
        raise InputError(f"{name} is {window}; allowed are odd integers from 1 to {LARGEST_WINDOW}")
    return window


def as_flag(name: str, value: Any) -> bool:
    """False or True."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InputError(f"{name} is {value!r}; allowed are False and True")


def as_choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """One of the names `allowed`; the error proposes the nearest one."""
    if isinstance(value, str) and value in allowed:
        return str(value)
    nearest = get_close_matches(value.lower(), allowed, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise InputError(f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}{hint}")


def as_choices(name: str, value: Any, allowed: Sequence[str]) -> tuple[str, ...]:
    """One name or a sequence of names out of `allowed`, as a tuple without repeats."""
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    if not values:
        raise InputError(f"{name} is empty; allowed are {', '.join(map(repr, allowed))}")
    return tuple(dict.fromkeys(as_choice(name, item, allowed) for item in values))


def as_progress(name: str, value: Any) -> bool | Callable[[int, int], object]:
    """False, True or a callable."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if not callable(value):
        raise InputError(f"{name} is {value!r}; allowed are False, True or a callable taking (done, total)")
    return value


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:  # bfloat16, sparse tensors: NumPy has no such thing
        raise InputError(f"{name} is a torch tensor that NumPy cannot hold ({error}); pass {name}.float()") from None
