"""Labels, numeric targets and ridges of kernel regression, as people have them."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError, shortened

OTHER_CLASSES = -0.1  # the paper's coding of labels, appendix A: −0.1 · 1 + e_c
# From none to heavy regularisation, two per decade where accuracy usually peaks.
DEFAULT_RIDGES = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Types of the labels in an array of objects, and the dtype that these become.
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "bytes": (bytes,), "bool": (bool, np.bool_), "int64": (Integral,)}
_LABELS = "labels that are all texts, all integers or all booleans, none missing, and numbers"


def as_targets(y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets of shape (n,) or (n, k), float64, and the classes if `y` holds labels; coded 0.9 and −0.1 then."""
    values = as_labels("y", y)
    if values.ndim not in (1, 2) or len(values) != n or values.size == 0:
        hint = ": pass np.ravel(y)" if values.shape == (1, n) else ""
        raise InputError(f"y has shape {values.shape}; allowed are ({n},) and ({n}, targets), as K has {n} rows{hint}")
    if values.dtype.kind == "f":
        return check.as_array("y", values).astype(np.float64), None
    if values.ndim == 1:
        classes, index = np.unique(values, return_inverse=True)
        return np.eye(len(classes))[index] + OTHER_CLASSES, classes
    refuse_matrix_of_labels("y", values)
    return values.astype(np.float64), None


def as_labels(name: str, values: Any) -> np.ndarray:
    """An array of booleans, integers or texts, which are labels, or of finite floats, which are not.

    Of objects, such as pandas' columns and categoricals of texts, all must be of one of the first three types. Lists,
    which may be of floats, are looked at before NumPy makes one type of theirs: a missing label becomes a text "nan".
    """
    known = check.as_known(name, values)
    nested = not (hasattr(known, "dtype") or hasattr(known, "__array__"))
    array = check.as_numpy(name, known, dtype=object if nested else None)
    if array.dtype.kind == "T":  # NumPy's texts of variable length
        array = array.astype(object)
    if array.dtype.kind == "O":
        array = _of_objects(name, array, floats=nested)
    if array.dtype.kind not in "biufUS":
        raise InputError(f"{name} has dtype {array.dtype}; allowed are {_LABELS}")
    if array.dtype.kind == "f":
        check.require_finite(name, array)
    return array


def as_numbers(name: str, values: Any) -> np.ndarray:
    """An array of finite numbers, float64, also of objects; texts are none, not even "1.5"."""
    array = check.as_numpy(name, values)
    if array.dtype.kind == "O" and not any(isinstance(value, str | bytes) for value in array.flat):
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name} has dtype object ({error}); allowed are numbers, none missing") from None
    if array.dtype.kind not in "biuf":
        texts = f": of texts that are, pass np.asarray({name}, dtype=float); of labels, use CNTKClassifier"
        hint = texts if array.dtype.kind in "OUST" else ""
        raise InputError(f"{name} has dtype {array.dtype}; allowed are numbers{hint}")
    return check.as_array(name, array).astype(np.float64, copy=False)


def _of_objects(name: str, array: np.ndarray, *, floats: bool) -> np.ndarray:
    """Objects as an array of their common type; `floats` allows these, and integers among them."""
    types_of = _TYPES | ({"float64": (Real,)} if floats else {})
    for dtype, types in types_of.items():
        number = dtype in ("int64", "float64")
        if all(isinstance(value, types) and not (number and type(value) is bool) for value in array.flat):
            return _as_type(name, array, dtype)
    kinds = sorted({type(value).__name__ for value in array.flat})
    what = "values of the types" if floats else f"dtype {array.dtype}, with values of the types"
    numbers = all(isinstance(value, Real | np.bool_) for value in array.flat)
    hint = f": pass np.asarray({name}, dtype=float)" if numbers else ""
    raise InputError(f"{name} has {what} {', '.join(kinds)}; allowed are {_LABELS}{hint}")


def _as_type(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Objects of one type as an array of it, in which no two of them become one."""
    nul = {"str": "\0", "bytes": b"\0"}.get(dtype)
    if nul and (ends := [value for value in array.flat if value.endswith(nul)]):
        raise InputError(f"{name} has {ends[0]!r}; allowed are texts that do not end in NUL, which NumPy drops")
    for fitting in ("int64", "uint64") if dtype == "int64" else (dtype,):
        try:
            return array.astype(fitting)
        except OverflowError:
            pass
    largest = max(array.flat, key=abs)
    raise InputError(f"{name} has {shortened(largest)}; allowed are numbers of 64 bits; as a label, pass it as a text")


def refuse_matrix_of_labels(name: str, values: np.ndarray) -> None:
    """Refuse labels in a column, and those of a matrix, which would be fitted as numbers; `values` is of shape (n, k).

    Integers of at most two values, such as 0 and 1, −1 and 1, or 0 and 255, are one-hot labels, or several for a point.
    """
    texts = values.dtype.kind in "US"
    if values.dtype.kind == "f" or not (texts or values.shape[1] == 1 or len(np.unique(values)) <= 2):
        return
    steps = [f"np.ravel({name})"] if values.shape[1] == 1 else one_hot_step(name, values)
    if not texts:
        steps += [f"np.asarray({name}, dtype=float) to fit these numbers"]
    raise InputError(
        f"{name} has shape {values.shape} and dtype {values.dtype}; allowed are labels of shape ({len(values)},)"
        + (f": pass {', or '.join(steps)}" if steps else ", one for each point")
    )


def one_hot_step(name: str, values: np.ndarray) -> list[str]:
    """What makes labels of one-hot numbers, which have two values, the larger one once in each row."""
    found = np.unique(values)
    one_hot = len(found) == 2 and values.dtype.kind not in "US" and ((values == found[-1]).sum(axis=1) == 1).all()
    return [f"np.argmax({name}, axis=1)"] if one_hot else []


def require_comparable(name: str, labels: np.ndarray, classes: np.ndarray) -> None:
    """Refuse labels that can equal none of the classes, as texts and numbers never do."""
    if _comparable(labels) != _comparable(classes):
        raise InputError(
            f"{name} has dtype {labels.dtype}, but the classes that were fitted have {classes.dtype} "
            f"({classes[0]!r}, …); allowed are labels of the same type"
        )


def _comparable(array: np.ndarray) -> str:
    return array.dtype.kind if array.dtype.kind in "US" else "number"


def as_ridges(name: str, value: Any) -> np.ndarray:
    """One ridge or several, or the default path for "loo", as an array of shape (r,); finite and ≥ 0."""
    if isinstance(value, str):
        check.as_choice(name, value, ("loo",))
        return np.array(DEFAULT_RIDGES)
    path = np.atleast_1d(check.as_array(name, value)).astype(np.float64)
    if path.ndim != 1 or path.size == 0 or (path < 0).any():
        raise InputError(f"{name} is {value!r}; allowed are one number ≥ 0 or a sequence of them")
    return path
