"""Checks of what a user passes in: each error names the argument, its value and what is allowed."""

import operator
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from exact_cntk.errors import InputError

# Numbers of channels of grey and of colour images. An image that has as many rows, and more columns and channels than
# `MOST_CHANNELS`, has in all likelihood its channels first, as torch orders them.
USUAL_CHANNELS, MOST_CHANNELS = (1, 3), 4

LARGEST_WINDOW = 2**31 - 1  # what the compiled core takes; from twice the image on, only the scale changes


def as_array(name: str, value: Any) -> np.ndarray:
    """A real, finite NumPy array, float32 or float64, of a NumPy array, a torch tensor or nested sequences.

    Booleans, half precision and integers of at most 16 bits become float32 (exactly), all else float64.
    """
    array = as_numpy(name, value)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} has dtype {array.dtype}; allowed are real numbers (floats, integers, booleans)")
    narrow = array.dtype == np.float32 or np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if narrow else np.float64, copy=False)
    require_finite(name, array)
    return array


def as_numpy(name: str, value: Any) -> np.ndarray:
    """A NumPy array of any dtype, of what `as_array` takes."""
    known = as_known(name, value)
    try:
        return np.asarray(known)
    except ValueError as error:  # nested sequences of unequal lengths
        raise InputError(f"{name} must be an array of numbers: {error}") from None


def as_known(name: str, value: Any) -> Any:
    """What NumPy and scikit-learn read correctly: a torch tensor becomes an array, and masked entries are refused."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, recognised without importing torch
        return _from_torch(name, value)
    parts = value if isinstance(value, list | tuple) else [value]
    if masked := sum(int(np.ma.count_masked(part)) for part in parts if isinstance(part, np.ma.MaskedArray)):
        raise InputError(f"{name} has {masked} masked entries; allowed are none: {name}.filled(value) gives them one")
    return value


def require_finite(name: str, array: np.ndarray, first: tuple[int, ...] | None = None) -> None:
    """Refuse NaN and infinities by the index of the first, counted from `first` where this is a part of an array."""
    if not (finite := np.isfinite(array)).all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        shown = ", ".join(str(i + start) for i, start in zip(index, first or (0,) * array.ndim, strict=True))
        raise InputError(f"{name} must be finite, but {f'{name}[{shown}]' if index else 'it'} is {array[index]}")


def as_images(name: str, value: Any, channels_first: bool | None = False) -> np.ndarray:
    """Images of shape (n, P, Q, C), C-contiguous, as `as_array`; at least one image, pixel and channel.

    `channels_first` says whether `value` is (n, C, P, Q) instead. None stands for False, and refuses shapes that look
    like the other order.
    """
    first = is_channels_first(channels_first)
    array = as_array(name, value)
    if array.ndim != 4:
        axes = "(images, channels, rows, columns)" if first else "(images, rows, columns, channels)"
        stack = f"{name}[:, None]" if first else f"{name}[..., None]"
        hint = f"; a stack of grey images is {stack}, a single image is {name}[None]" if array.ndim == 3 else ""
        raise InputError(f"{name} has shape {array.shape}; allowed are 4 dimensions: {axes}{hint}")
    if 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}; allowed are at least one image, pixel and channel")
    if channels_first is None and looks_channels_first(array.shape[1:]):
        rows, _, channels = array.shape[1:]
        raise InputError(
            f"{name} has shape {array.shape}, which looks like (images, channels, rows, columns); allowed is (images, "
            f"rows, columns, channels): pass {name}.transpose(0, 2, 3, 1), of a tensor {name}.permute(0, 2, 3, 1), or "
            f"channels_first=True; with channels_first=False, these are images of {rows} rows and {channels} channels"
        )
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if first else array)


def is_channels_first(channels_first: Any) -> bool:
    """The argument `channels_first`, whose None stands for False."""
    return channels_first is not None and as_flag("channels_first", channels_first)


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Whether (P, Q, C) is in all likelihood (C, P, Q): as many rows as colours, and many columns and channels."""
    return shape[0] in USUAL_CHANNELS and min(shape[1:]) > MOST_CHANNELS


def as_image_shape(name: str, value: Any, channels_first: bool | None) -> tuple[int, int, int]:
    """An image's shape, (rows, columns, channels), integers ≥ 1; `channels_first` as `as_images` takes it."""
    first = is_channels_first(channels_first)
    sizes = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(sizes) != 3:
        axes = "(channels, rows, columns)" if first else "(rows, columns, channels)"
        raise InputError(f"{name} is {value!r}; allowed are three integers: {axes}")
    ordered = (*sizes[1:], sizes[0]) if first else sizes
    rows, columns, channels = (as_integer(name, size, at_least=1) for size in ordered)
    if channels_first is None and looks_channels_first((rows, columns, channels)):
        raise InputError(
            f"{name} is {(rows, columns, channels)}, which looks like (channels, rows, columns); allowed is (rows, "
            f"columns, channels), here {(columns, channels, rows)}; with channels_first=False, it has {rows} rows and "
            f"{channels} channels"
        )
    return rows, columns, channels


def require_image_shape(name: str, images: np.ndarray, shape: tuple[int, ...], whose: str) -> None:
    """Refuse images of another shape than (P, Q, C); `whose` that is stands in the message."""
    if images.shape[1:] != shape:
        other = tuple(np.moveaxis(images, 1, -1).shape[1:]) == shape
        hint = f"; the channels of {name} are first: pass {name}.transpose(0, 2, 3, 1)" if other else ""
        raise InputError(f"{name} has images of shape {images.shape[1:]}; allowed is {whose}{shape}{hint}")


def as_image_sets(x1: Any, x2: Any, channels_first: bool | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The arguments x1 and x2, which may be None, as `as_images`, with images of one shape."""
    images = as_images("x1", x1, channels_first)
    if x2 is None:
        return images, None
    # What x1 is taken for, x2 is: where both have the same shape, x1 was refused if it looks like the other order.
    others = as_images("x2", x2, bool(channels_first))
    require_image_shape("x2", others, images.shape[1:], "x1's image shape ")
    return images, others


def as_vectors(name: str, value: Any) -> np.ndarray:
    """Vectors of shape (n, d), float64; at least one of at least one entry."""
    array = as_array(name, value)
    if array.ndim != 2 or 0 in array.shape:
        hint = f"; of images, {name}.reshape(len({name}), -1) makes vectors" if array.ndim > 2 else ""
        raise InputError(
            f"{name} has shape {array.shape}; allowed are 2 dimensions, none empty: (vectors, features){hint}"
        )
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


def as_diagonal(diagonal: Any, x2: Any) -> bool:
    """The argument `diagonal`, which allows no second set."""
    if (alone := as_flag("diagonal", diagonal)) and x2 is not None:
        raise InputError(
            "x2 is given, but diagonal is True; allowed are x1 alone, whose diagonal it is, or no diagonal"
        )
    return alone


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
