"""Labels, numeric targets and ridges of kernel regression, as people have them."""

from numbers import Integral
from typing import Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError

OTHER_CLASSES = -0.1  # the paper's coding of labels, appendix A: −0.1 · 1 + e_c
# From none to heavy regularisation, two per decade where accuracy usually peaks.
DEFAULT_RIDGES = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Types of the labels in an array of objects, and the dtype that these become.
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "bytes": (bytes,), "bool": (bool, np.bool_), "int64": (Integral,)}


def as_targets(y: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets of shape (n,) or (n, k), float64, and the classes if `y` holds labels; coded 0.9 and −0.1 then."""
    values = as_labels("y", y)
    if values.ndim not in (1, 2) or len(values) != n or values.size == 0:
        raise InputError(f"y has shape {values.shape}; allowed are ({n},) and ({n}, targets), as K has {n} rows")
    if values.dtype.kind == "f":
        return check.as_array("y", values).astype(np.float64), None
    if values.ndim == 1:
        classes, index = np.unique(values, return_inverse=True)
        return np.eye(len(classes))[index] + OTHER_CLASSES, classes
    refuse_matrix_of_labels("y", values)
    return check.as_array("y", values).astype(np.float64), None


def as_labels(name: str, values: Any) -> np.ndarray:
    """An array of booleans, integers or texts, which are labels, or of floats, which are not.

    Of objects, such as pandas' columns and categoricals of texts, all must be of one of the first three types.
    """
    array = check.as_numpy(name, values)
    if array.dtype.kind == "T":  # NumPy's texts of variable length
        array = array.astype(object)
    if array.dtype.kind != "O":
        return array
    for dtype, types in _TYPES.items():
        if all(isinstance(value, types) and (dtype != "int64" or type(value) is not bool) for value in array.flat):
            return array.astype(dtype)
    kinds = sorted({type(value).__name__ for value in array.flat})
    raise InputError(
        f"{name} has dtype object, with values of the types {', '.join(kinds)}; allowed are labels that are all texts, "
        f"all integers or all booleans, none missing, and numbers: np.asarray({name}, dtype=float)"
    )


def refuse_matrix_of_labels(name: str, values: np.ndarray) -> None:
    """Refuse labels in a column, and one-hot ones, which would be fitted as numbers; `values` is of shape (n, k)."""
    if values.dtype.kind == "f":
        return
    mend = ""
    if values.shape[1] == 1:
        mend = f"np.ravel({name})"
    elif values.dtype.kind in "biu" and ((values != 0).sum(axis=1) == 1).all() and (values.max(axis=1) == 1).all():
        mend = f"np.argmax({name}, axis=1)"
    if mend:
        raise InputError(
            f"{name} has shape {values.shape} and dtype {values.dtype}; allowed are labels of shape ({len(values)},): "
            f"pass {mend}, or np.asarray({name}, dtype=float) to fit these numbers"
        )


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
