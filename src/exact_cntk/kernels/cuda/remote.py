"""The core's part of a pass whose sums a GPU computes: images and tables before, outputs after; through ctypes."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import numpy as np

from exact_cntk.kernels.cpu import Call, library


class _Shape(ctypes.Structure):
    """`exact_cntk_remote_shape` of kernels/core/api.hpp, field by field."""

    _fields_ = (
        ("scalar_bytes", ctypes.c_int32),
        ("layers", ctypes.c_int32),
        ("emissions", ctypes.c_int32),
        ("fields", ctypes.c_int32),
        ("theta_from_sigma", ctypes.c_int32),
        ("arccos_degree", ctypes.c_int32),
        ("pooling", ctypes.c_int32),
        ("reach_rows", ctypes.c_int32),
        ("reach_columns", ctypes.c_int32),
        ("pooling_radius", ctypes.c_int32),
    )


@dataclass(frozen=True)
class PassShape:
    """What a pass computes, as the core settled it.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the recursion; float64 also where planes are too small for float32.
    height, width, channels, radius : int
        Of the images and the filter.
    layers : int
        ReLU layers of the deepest network.
    emissions : int
        Depths asked for.
    pooling : bool
        Whether other displacements than (0, 0) count.
    reach : (int, int)
        The largest displacements that do, of rows and of columns.
    pooling_radius : int
        (w − 1)/2 of local pooling, which weighs the entries; −1 where all count once.
    fields : {0, 1, 2}
        Fields beside Sigma; a pair has 1 + fields sums a depth.
    theta_from_sigma : bool
        Theta⁰ = Sigma⁰ instead of 0.
    """

    dtype: np.dtype
    height: int
    width: int
    channels: int
    radius: int
    layers: int
    emissions: int
    pooling: bool
    reach: tuple[int, int]
    pooling_radius: int
    fields: int
    theta_from_sigma: bool
    arccos_degree: int

    @property
    def parts(self) -> int:
        """Groups of displacements that are summed apart: (0, 0), and with pooling all others."""
        return 2 if self.pooling else 1

    @property
    def sums(self) -> int:
        """Sums of a pair."""
        return self.parts * self.emissions * (1 + self.fields)

    @property
    def near_counts(self) -> int:
        """Counts of near pixels of a pair, two a part."""
        return 2 * self.parts

    @property
    def image_bytes(self) -> int:
        """Bytes of one image and its norms."""
        return (self.channels + self.layers) * self.height * self.width * self.dtype.itemsize

    @property
    def element_layers(self) -> int:
        """Of one pair."""
        rows, columns = (
            sum(size - abs(shift) for shift in range(-reach, reach + 1))
            for size, reach in zip((self.height, self.width), self.reach, strict=True)
        )
        return self.layers * rows * columns


class Remote:
    """One pass; a context, as the core holds memory for it.

    Parameters
    ----------
    call : Call
    gains : sequence of float or None
        Of the layers, what they are scaled by instead of 1/q²; None lets each have its best.
    """

    def __init__(self, call: Call, gains: Sequence[float] | None) -> None:
        """Make the pass in the core."""
        self.call = call
        self._handle = ctypes.c_void_p()
        given = None if gains is None else (ctypes.c_double * len(gains))(*gains)
        call.check(_core().exact_cntk_remote_create(ctypes.byref(call.request), given, ctypes.byref(self._handle)))
        asked, found = call.request, _Shape()
        _core().exact_cntk_remote_describe(self._handle, ctypes.byref(found))
        self.shape = PassShape(
            dtype=np.dtype(np.float32 if found.scalar_bytes == 4 else np.float64),
            height=asked.height,
            width=asked.width,
            channels=asked.channels,
            radius=asked.filter_size // 2,
            layers=found.layers,
            emissions=found.emissions,
            pooling=bool(found.pooling),
            reach=(found.reach_rows, found.reach_columns),
            pooling_radius=found.pooling_radius,
            fields=found.fields,
            theta_from_sigma=bool(found.theta_from_sigma),
            arccos_degree=found.arccos_degree,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the core's memory back; nothing of this pass may be running."""
        _core().exact_cntk_remote_destroy(self._handle)

    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Emissions of shape (layers,), int32, and constants of shape (layers, 2 + degree + 1) of the pass's dtype."""
        emission = np.empty(self.shape.layers, np.int32)
        constants = np.empty((self.shape.layers, 3 + self.shape.arccos_degree), self.shape.dtype)
        _core().exact_cntk_remote_constants(self._handle, emission.ctypes.data, constants.ctypes.data)
        return emission, constants

    def prepare(self, columns: bool, first: int, pixels: np.ndarray, norms: np.ndarray) -> None:
        """Fill `pixels` (count, channels, P, Q) and `norms` (count, layers, P, Q) for images from `first` on."""
        status = _core().exact_cntk_remote_prepare(
            self._handle, columns, first, len(pixels), pixels.ctypes.data, norms.ctypes.data
        )
        self.call.check(status)

    def finish(
        self, first_row: int, rows: int, first_column: int, columns: int, sums: np.ndarray, near: np.ndarray
    ) -> None:
        """Write the outputs of a rectangle of pairs from what a kernel left of them."""
        status = _core().exact_cntk_remote_finish(
            self._handle, first_row, rows, first_column, columns, sums.ctypes.data, near.ctypes.data
        )
        self.call.check(status)


@cache
def _core() -> ctypes.CDLL:
    core = library()
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    core.exact_cntk_remote_create.argtypes = [pointer, pointer, pointer]
    core.exact_cntk_remote_create.restype = i32
    core.exact_cntk_remote_destroy.argtypes = [pointer]
    core.exact_cntk_remote_destroy.restype = None
    core.exact_cntk_remote_describe.argtypes = [pointer, pointer]
    core.exact_cntk_remote_describe.restype = None
    core.exact_cntk_remote_constants.argtypes = [pointer, pointer, pointer]
    core.exact_cntk_remote_constants.restype = None
    core.exact_cntk_remote_prepare.argtypes = [pointer, i32, i64, i64, pointer, pointer]
    core.exact_cntk_remote_prepare.restype = i32
    core.exact_cntk_remote_finish.argtypes = [pointer, i64, i64, i64, i64, pointer, pointer]
    core.exact_cntk_remote_finish.restype = i32
    return core
