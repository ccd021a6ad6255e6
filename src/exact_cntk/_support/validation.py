"""Checks of what a user passes in: each error names the argument, its value and what is allowed."""

import operator
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from exact_cntk.errors import InputError, LayoutWarning, shortened

# Channels of an image with colours and transparency. An image of no more rows, and of more columns and channels, has in
# all likelihood its channels first, as torch orders them.
MOST_CHANNELS = 4

# The schema of a study's parameters has the same two limits.
DEEPEST = 1000  # fifty times the paper's deepest; memory and time grow with each layer
LARGEST_FILTER = 1001  # from twice the image on, only the scale changes
LARGEST_WINDOW = 2**31 - 1  # what the compiled core takes; from twice the image on, only the scale changes

_SCALARS = frozenset({int, float, bool, str, bytes, complex})  # parts of lists that `as_known` need not look at


def as_array(name: str, value: Any) -> np.ndarray:
    """A real, finite NumPy array, float32 or float64, of a NumPy array, a torch tensor or nested sequences.

    Booleans, half precision and integers of at most 16 bits become float32 (exactly), all else float64.
    """
    array = as_numpy(name, value)
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{name} has dtype {array.dtype}; allowed are real numbers (floats, integers, booleans)"
            f"{stacking(name, array)}"
        )
    narrow = array.dtype == np.float32 or np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if narrow else np.float64, copy=False)
    require_finite(name, array)
    return array


def as_numpy(name: str, value: Any, dtype: Any = None) -> np.ndarray:
    """A NumPy array of any dtype, or of a given one, of what `as_array` takes."""
    known = as_known(name, value)
    try:
        return np.asarray(known, dtype=dtype)
    except ValueError as error:  # nested sequences of unequal lengths
        raise InputError(f"{name} must be an array of numbers: {error}") from None


def stacking(name: str, array: np.ndarray) -> str:
    """What makes one array of an array of arrays, for the end of a message; empty for any other."""
    if array.dtype.kind != "O" or array.ndim != 1 or not array.size or not all(np.ndim(part) for part in array):
        return ""
    as_known(name, list(array))  # which refuses masked entries, as np.stack does not
    return f": np.stack(list({name})) makes one array of these {len(array)}"


def as_known(name: str, value: Any) -> Any:
    """What NumPy and scikit-learn read correctly: torch tensors become arrays; sparse and masked ones are refused.

    In lists, tuples and deques the same is done to every part, at any depth.
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, list | tuple | deque):
        return [part if type(part) in _SCALARS else as_known(f"{name}[{i}]", part) for i, part in enumerate(value)]
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, recognised without importing torch
        value = _from_torch(name, value)
    if isinstance(value, np.ma.MaskedArray) and (masked := int(np.ma.count_masked(value))):
        raise InputError(f"{name} has {masked} masked entries; allowed are none: {name}.filled(value) gives them one")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):  # of SciPy, which need not be imported
        raise InputError(f"{name} is a sparse matrix; allowed are arrays that hold all entries: pass {name}.toarray()")
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


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
        sides = "channels, rows, columns" if first else "rows, columns, channels"
        stack = f"{name}[:, None]" if first else f"{name}[..., None]"
        hint = {
            2: f"; of rows of pixels, np.reshape(np.asarray({name}), (-1, {sides})) makes images",
            3: f"; a stack of grey images is {stack}, a single image is {name}[None]",
        }.get(array.ndim, "")
        raise InputError(f"{name} has shape {array.shape}; allowed are 4 dimensions: (images, {sides}){hint}")
    if 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}; allowed are at least one image, pixel and channel")
    if channels_first is None and looks_channels_first(array.shape[1:]):
        rows, _, channels = array.shape[1:]
        raise InputError(
            f"{name} has shape {array.shape}, which looks like (images, channels, rows, columns); allowed is (images, "
            f"rows, columns, channels): pass {name}.transpose(0, 2, 3, 1), of a tensor {name}.permute(0, 2, 3, 1), or "
            f"channels_first=True; with channels_first=False, these are images of {rows} rows and {channels} channels"
        )
    if channels_first is None and has_either_order(array.shape[1:]):
        warn_of_layout(
            f"{name} has shape {array.shape}, which is taken for (images, rows, columns, channels); pass "
            f"channels_first=True if it is (images, channels, rows, columns), or channels_first=False if not"
        )
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if first else array)


def is_channels_first(channels_first: Any) -> bool:
    """The argument `channels_first`, whose None stands for False."""
    if channels_first is None or isinstance(channels_first, bool | np.bool_):
        return bool(channels_first)
    raise InputError(f"channels_first is {channels_first!r}; allowed are None, False and True")


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Whether (P, Q, C) is in all likelihood (C, P, Q).

    As many rows as images have channels, and more columns and channels; or three rows, and more columns and as many
    channels: the colours of a small square.
    """
    rows, columns, channels = shape
    return rows <= MOST_CHANNELS < min(columns, channels) or (rows == 3 and rows < columns == channels)


def has_either_order(shape: Sequence[int]) -> bool:
    """Whether (P, Q, C) may as well be (C, P, Q): a square of at most `MOST_CHANNELS` pixels a side."""
    rows, columns, channels = shape
    return 1 < columns == channels <= MOST_CHANNELS and rows <= columns and not looks_channels_first(shape)


def warn_of_layout(message: str) -> None:
    """Give a `LayoutWarning` at the line that called this package, however deep the call."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "exact_cntk":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, LayoutWarning, stacklevel=level)


def as_image_shape(name: str, value: Any, channels_first: bool | None) -> tuple[int, int, int]:
    """An image's shape, (rows, columns, channels), integers ≥ 1; `channels_first` as `as_images` takes it."""
    first = is_channels_first(channels_first)
    sizes = _as_list(value)
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


def as_integer(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """An integer from `at_least` to `at_most`; booleans and floats are no integers."""
    allowed = f"integers ≥ {at_least}" if at_most is None else f"integers from {at_least} to {at_most}"
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; allowed are {allowed}") from None
    if number < at_least or (at_most is not None and number > at_most):
        raise InputError(f"{name} is {shortened(number)}; allowed are {allowed}")
    return number


def as_number(name: str, value: Any) -> float:
    """A finite number ≥ 0."""
    array = as_array(name, value)
    if array.ndim != 0 or array < 0:
        raise InputError(f"{name} is {value!r}; allowed is a number ≥ 0")
    return float(array)


def as_depth(name: str, value: Any, *, at_least: int = 2) -> int:
    """An integer from `at_least` to `DEEPEST`."""
    depth = as_integer(name, value, at_least=at_least)
    if depth > DEEPEST:
        raise InputError(
            f"{name} is {shortened(depth)}; allowed are integers from {at_least} to {DEEPEST}, fifty times the paper's "
            "deepest, as time and memory grow with each layer"
        )
    return depth


def as_depths(name: str, value: Any) -> tuple[int, ...]:
    """One depth or several as a strictly increasing tuple; a depth is an integer from 2 to `DEEPEST`."""
    if not (values := _as_list(value)):
        raise InputError(f"{name} is empty; allowed are one integer ≥ 2 or a sequence of them")
    return tuple(sorted({as_depth(name, depth) for depth in values}))


def as_filter_size(name: str, value: Any) -> int:
    """An odd integer from 1 to `LARGEST_FILTER`."""
    size = as_integer(name, value, at_least=1)
    if size > LARGEST_FILTER:
        raise InputError(
            f"{name} is {shortened(size)}; allowed are odd integers from 1 to {LARGEST_FILTER}: larger than twice any "
            "image, filters change only the scale"
        )
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
    if not (values := _as_list(value)):
        raise InputError(f"{name} is empty; allowed are {', '.join(map(repr, allowed))}")
    return tuple(dict.fromkeys(as_choice(name, item, allowed) for item in values))


def as_progress(name: str, value: Any) -> bool | Callable[[int, int], object]:
    """False, True or a callable."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if not callable(value):
        raise InputError(f"{name} is {value!r}; allowed are False, True or a callable taking (done, total)")
    return value


def _as_list(value: Any) -> list[Any]:
    """The values of a sequence, or the only one: a number, a text, an array or tensor without dimensions."""
    single = not isinstance(value, Iterable) or isinstance(value, str | bytes) or getattr(value, "ndim", 1) == 0
    return [value] if single else list(value)


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    try:
        return tensor.numpy(force=True)  # also of a GPU, with gradients, or negated or conjugated lazily
    except (TypeError, RuntimeError) as error:  # sparse tensors, bfloat16: NumPy has no such thing
        step = "float()" if str(getattr(tensor, "layout", "torch.strided")) == "torch.strided" else "to_dense()"
        cause = str(error).partition("\n")[0]
        raise InputError(f"{name} is a torch tensor that NumPy cannot hold ({cause}); pass {name}.{step}") from None
