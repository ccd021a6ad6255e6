"""The core's part of a pass whose sums a GPU computes: images and tables before, outputs after; through ctypes."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
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
    """What a pass computes, as the core settled it."""

    dtype: np.dtype  # of the recursion; float64 also where planes are too small for float32
    height: int  # of the images, as width and channels
    width: int
    channels: int
    radius: int  # (q − 1)/2 of q×q filters
    layers: int  # ReLU layers of the deepest network
    emissions: int  # depths asked for
    pooling: bool  # whether other displacements than (0, 0) count
    reach: tuple[int, int]  # the largest displacements that do, of rows and of columns
    pooling_radius: int  # (w − 1)/2 of local pooling, which weighs the entries; −1 where all count once
    fields: int  # 0, 1 or 2 carried with Sigma; a pair has 1 + fields sums a depth
    theta_from_sigma: bool  # Theta⁰ = Sigma⁰ instead of 0
    arccos_degree: int

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.height * self.width

    @property
    def carried(self) -> int:
        """Fields of a pair, Sigma included."""
        return 1 + self.fields

    @property
    def parts(self) -> int:
        """Groups of displacements that are summed apart: (0, 0), and with pooling all others."""
        return 2 if self.pooling else 1

    @property
    def sums(self) -> int:
        """Sums of a pair."""
        return self.parts * self.emissions * self.carried

    @property
    def near_counts(self) -> int:
        """Counts of near pixels of a pair, two a part."""
        return 2 * self.parts

    @property
    def image_bytes(self) -> int:
        """Bytes of one image and its norms."""
        return (self.channels + self.layers) * self.pixels * self.dtype.itemsize

    @property
    def element_layers(self) -> int:
        """Of one pair."""
        rows, columns = (
            sum(size - abs(shift) for shift in range(-reach, reach + 1))
            for size, reach in zip((self.height, self.width), self.reach, strict=True)
        )
        return self.layers * rows * columns


class Remote:
    """One pass; a context, as the core allocates memory for it.

    Layers are scaled by `gains` instead of 1/q²; None lets each have its best.
    """

    def __init__(self, call: Call, gains: Sequence[float] | None) -> None:
        """Make the pass in the core."""
        self.call = call
        self._handle = ctypes.c_void_p()
        given = None if gains is None else (ctypes.c_double * len(gains))(*gains)
        call.check(_core().exact_cntk_remote_create(ctypes.byref(call.request), given, ctypes.byref(self._handle)))
        asked, settled = call.request, _Shape()
        _core().exact_cntk_remote_describe(self._handle, ctypes.byref(settled))
        self.shape = PassShape(
            dtype=np.dtype(np.float32 if settled.scalar_bytes == 4 else np.float64),
            height=asked.height,
            width=asked.width,
            channels=asked.channels,
            radius=asked.filter_size // 2,
            layers=settled.layers,
            emissions=settled.emissions,
            pooling=bool(settled.pooling),
            reach=(settled.reach_rows, settled.reach_columns),
            pooling_radius=settled.pooling_radius,
            fields=settled.fields,
            theta_from_sigma=bool(settled.theta_from_sigma),
            arccos_degree=settled.arccos_degree,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
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
    for name, result, arguments in (
        ("create", i32, (pointer, pointer, pointer)),
        ("destroy", None, (pointer,)),
        ("describe", None, (pointer, pointer)),
        ("constants", None, (pointer, pointer, pointer)),
        ("prepare", i32, (pointer, i32, i64, i64, pointer, pointer)),
        ("finish", i32, (pointer, i64, i64, i64, i64, pointer, pointer)),
    ):
        function = getattr(core, f"exact_cntk_remote_{name}")
        function.restype, function.argtypes = result, arguments
    return core
