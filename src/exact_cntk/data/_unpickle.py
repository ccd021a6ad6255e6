"""Reading CIFAR-10's pickles without trusting them.

A pickle is a program: it may name any importable function and call it. Here it gets stand-ins for the few NumPy
names that an array of plain numbers needs, and nothing else. The stand-ins check what the file claims (shape, item
size, number of bytes) before anything is allocated, so that NumPy itself never sees an unchecked value.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from exact_cntk.errors import UserError

# Binary opcodes for numbers, strings and plain containers, and the four that rebuild an array (GLOBAL, STACK_GLOBAL,
# REDUCE, BUILD). Left out: classes and instances, the extension registry, persistent ids, text forms of protocol 0.
_OPCODE_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
    BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_LIST APPEND APPENDS LIST EMPTY_DICT SETITEM SETITEMS DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_OPCODES = frozenset(_OPCODE_NAMES.split())
# Budgets for what takes more memory, or a deeper stack, than its bytes in the file. The largest file that is read has
# 22,000 images: two lists with their labels and names, each perhaps a scalar of NumPy, which takes two tuples.
_MAX_OPCODES = 10**6
_MAX_CONTAINERS = 50_000
_CONTAINERS = frozenset(name for name in _OPCODES if re.search("LIST|DICT|TUPLE", name))
_MALFORMED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError,
    RecursionError, BufferError,
)  # fmt: skip


def load_pickled_dict(content: bytes, name: str) -> dict[str, Any]:
    """Unpickle a dict of numbers, strings, plain containers and NumPy arrays of numbers, and nothing else.

    Parameters
    ----------
    content : bytes
        A pickle of protocol 2 or newer; strings written by Python 2 come back as bytes.
    name : str
        What the error messages call it.

    Returns
    -------
    dict
        Keys as str (also where the file holds bytes). Arrays are read-only.

    Raises
    ------
    UserError
        The pickle is damaged, asks for any other global, holds an array of objects, or is not a dict.
    """
    try:
        _scan(content)
        loaded = _Unpickler(content).load()
    except _MALFORMED as error:
        reason = (str(error) or type(error).__name__).encode("ascii", "backslashreplace").decode()[:200]
        raise UserError(f"{name}: not a pickle that can be read safely: {reason}") from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str | bytes) for key in loaded):
        raise UserError(f"{name}: expected a pickled dict with string keys, got {type(loaded).__name__}")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in loaded.items()}


def _scan(content: bytes) -> None:
    """Refuse opcodes outside the list or too many, and memo indices that would let it allocate gigabytes."""
    containers = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"opcode {opcode.name} is not allowed")
        containers += opcode.name in _CONTAINERS
        if count >= _MAX_OPCODES or containers > _MAX_CONTAINERS:
            raise pickle.UnpicklingError(
                f"more than {_MAX_OPCODES} opcodes, or {_MAX_CONTAINERS} lists, dicts and tuples: CIFAR-10 needs fewer"
            )
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > count:
            raise pickle.UnpicklingError(f"memo index {argument} after {count} opcodes")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise pickle.UnpicklingError(f"expected a string, got {type(value).__name__}")


class _Dtype:
    """Stands for `numpy.dtype`: booleans, integers and floats of at most 8 bytes."""

    __slots__ = ("_code", "value")

    def __init__(self, code: object, *_flags: object) -> None:
        self._code = _text(code)
        if not re.fullmatch(r"[<>=|]?([biu]1|[iuf][248])", self._code):
            raise pickle.UnpicklingError(f"arrays of dtype {self._code!r} are refused: numbers only")
        self.value = np.dtype(self._code)

    def __setstate__(self, state: object) -> None:
        """Take the byte order, the second item; the rest describes structured types, which are refused above."""
        if not isinstance(state, tuple) or len(state) < 2 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("unexpected state of a dtype")
        order = _text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"unknown byte order {order!r}")
        self.value = np.dtype(order + self._code.lstrip("<>=|"))


class _Array:
    """Stands for `numpy.ndarray` while it is rebuilt."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array = array

    def __setstate__(self, state: object) -> None:
        """Take NumPy's state (version, shape, dtype, is Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("unexpected state of an array")
        _version, shape, dtype, fortran, raw = state
        self.array = _checked_array(raw, dtype, shape, "F" if fortran else "C")


def _checked_array(raw: object, dtype: object, shape: object, order: object) -> np.ndarray:
    """The array, a view of `raw`, if its bytes are as many as its shape says."""
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a dtype")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError(f"an array whose content is a {type(raw).__name__}: bytes only")
    if len(raw) != math.prod(shape) * dtype.value.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} and {dtype.value} cannot have {len(raw)} bytes")
    array = np.frombuffer(raw, dtype.value).reshape(shape, order="F" if _text(order) == "F" else "C")
    array.flags.writeable = False
    return array


class _Global:
    """A name that the pickle may use: callable as far as arrays need, and nothing can be set on it."""

    __slots__ = ("_function", "_name")

    def __init__(self, name: str, function: Callable[..., object] | None) -> None:
        self._name = name
        self._function = function

    def __call__(self, *arguments: object) -> object:
        if self._function is None:
            raise pickle.UnpicklingError(f"{self._name} may not be called")
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        """Refuse: without this, BUILD would set attributes."""
        raise pickle.UnpicklingError(f"{self._name} may not be changed")


_NDARRAY = _Global("numpy.ndarray", None)


def _reconstruct(cls: object, *_shape_and_type: object) -> _Array:
    """An empty array; BUILD fills it."""
    if cls is not _NDARRAY:
        raise pickle.UnpicklingError("arrays must be plain numpy.ndarray")
    return _Array()


def _from_buffer(raw: object, dtype: object, shape: object, order: object) -> _Array:
    """Protocol 5's way to an array."""
    return _Array(_checked_array(raw, dtype, shape, order))


def _scalar(dtype: object, raw: object) -> int | float:
    """A NumPy number, as Python's."""
    return _checked_array(raw, dtype, (), "C").item()


class _Encode:
    """Protocol 2's way to bytes in Python 3, of which a pickle has no more than it has bytes itself."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or _text(encoding) != "latin1":
            raise pickle.UnpicklingError("_codecs.encode may turn text into latin1 bytes only")
        self._budget -= len(text)
        if self._budget < 0:
            raise pickle.UnpicklingError("it encodes the same text many times")
        return text.encode("latin1")


_GLOBALS = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Global("numpy.dtype", _Dtype),
} | {
    # "core" became "_core" with NumPy 2.
    f"numpy.{core}.{name}": _Global(name, function)
    for core in ("core", "_core")
    for name, function in (
        ("multiarray._reconstruct", _reconstruct),
        ("multiarray.scalar", _scalar),
        ("numeric._frombuffer", _from_buffer),
    )
}


class _Unpickler(pickle.Unpickler):
    """Resolves the names above and imports nothing."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._globals = _GLOBALS | {"_codecs.encode": _Global("_codecs.encode", _Encode(len(content)))}

    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in of a known name; any other is refused by name."""
        try:
            return self._globals[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for the global {module}.{name}; only NumPy arrays and plain containers are read"
            ) from None
