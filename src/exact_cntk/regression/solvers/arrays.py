"""What the tiled algorithms do to one tile, in float64: by BLAS on NumPy arrays, or by torch on a device.

Both offer the same methods. L is a lower triangle with zeros above.
"""

from types import ModuleType
from typing import Any, Protocol

import numpy as np
from scipy.linalg import blas, lapack

Array = Any  # np.ndarray or torch.Tensor: the algorithms use what both share


class Arrays(Protocol):
    """Linear algebra on tiles."""

    def from_host(self, values: np.ndarray) -> Array:
        """Values as a tile that may be overwritten; on the host without a copy."""

    def to_host(self, tile: Array) -> np.ndarray:
        """A tile as a NumPy array."""

    def zeros(self, rows: int, columns: int) -> Array:
        """A new tile of zeros."""

    def add_to_diagonal(self, tile: Array, number: float) -> None:
        """Add one number to all entries of the diagonal, in place."""

    def add_product(self, C: Array, a: Array, b: Array, factor: float = 1.0) -> None:
        """C += factor · a b, in place."""

    def subtract_gram(self, C: Array, a: Array) -> None:
        """C −= a aᵀ in place; of the symmetric C the lower triangle is enough."""

    def cholesky(self, tile: Array) -> Array | None:
        """L of tile = L Lᵀ, out of its lower triangle; None if it is not positive definite. Destroys `tile`."""

    def solve(self, L: Array, B: Array) -> None:
        """B becomes L⁻¹ B."""

    def solve_transposed(self, L: Array, B: Array) -> None:
        """B becomes L⁻ᵀ B."""

    def solve_right(self, L: Array, B: Array) -> None:
        """B becomes B L⁻ᵀ."""


class NumPyArrays:
    """C-ordered NumPy arrays. BLAS is given their transposes, which are Fortran-ordered: so nothing is copied."""

    def from_host(self, values: np.ndarray) -> np.ndarray:
        return values

    def to_host(self, tile: np.ndarray) -> np.ndarray:
        return tile

    def zeros(self, rows: int, columns: int) -> np.ndarray:
        return np.zeros((rows, columns))

    def add_to_diagonal(self, tile: np.ndarray, number: float) -> None:
        tile.reshape(-1)[:: len(tile) + 1] += number

    def add_product(self, C: np.ndarray, a: np.ndarray, b: np.ndarray, factor: float = 1.0) -> None:
        (left, left_flag), (right, right_flag) = _fortran(b.T), _fortran(a.T)
        blas.dgemm(factor, left, right, beta=1.0, c=C.T, trans_a=left_flag, trans_b=right_flag, overwrite_c=1)

    def subtract_gram(self, C: np.ndarray, a: np.ndarray) -> None:
        blas.dsyrk(-1.0, a.T, beta=1.0, c=C.T, trans=1, lower=0, overwrite_c=1)

    def cholesky(self, tile: np.ndarray) -> np.ndarray | None:
        _, failed = lapack.dpotrf(tile.T, lower=0, clean=1, overwrite_a=1)
        return None if failed else tile

    def solve(self, L: np.ndarray, B: np.ndarray) -> None:
        blas.dtrsm(1.0, L.T, B.T, side=1, lower=0, overwrite_b=1)

    def solve_transposed(self, L: np.ndarray, B: np.ndarray) -> None:
        blas.dtrsm(1.0, L.T, B.T, side=1, lower=0, trans_a=1, overwrite_b=1)

    def solve_right(self, L: np.ndarray, B: np.ndarray) -> None:
        blas.dtrsm(1.0, L.T, B.T, side=0, lower=0, trans_a=1, overwrite_b=1)


class TorchArrays:
    """Torch tensors on one device, in float64, which no setting of torch's makes less exact."""

    def __init__(self, device: str = "cuda") -> None:
        self.torch = import_torch()
        self.device = self.torch.device(device)

    def from_host(self, values: np.ndarray) -> Array:
        return self.torch.from_numpy(values).to(self.device)

    def to_host(self, tile: Array) -> np.ndarray:
        return tile.cpu().numpy()

    def zeros(self, rows: int, columns: int) -> Array:
        return self.torch.zeros((rows, columns), dtype=self.torch.float64, device=self.device)

    def add_to_diagonal(self, tile: Array, number: float) -> None:
        tile.diagonal().add_(number)

    def add_product(self, C: Array, a: Array, b: Array, factor: float = 1.0) -> None:
        C.addmm_(a, b, alpha=factor)

    def subtract_gram(self, C: Array, a: Array) -> None:
        C.addmm_(a, a.T, alpha=-1.0)

    def cholesky(self, tile: Array) -> Array | None:
        L, failed = self.torch.linalg.cholesky_ex(tile)
        return None if int(failed) else L

    def solve(self, L: Array, B: Array) -> None:
        self.torch.linalg.solve_triangular(L, B, upper=False, out=B)

    def solve_transposed(self, L: Array, B: Array) -> None:
        self.torch.linalg.solve_triangular(L.T, B, upper=True, out=B)

    def solve_right(self, L: Array, B: Array) -> None:
        self.torch.linalg.solve_triangular(L.T, B, upper=True, left=False, out=B)


def import_torch() -> ModuleType:
    """Import torch, which takes seconds and is optional: only solving on a GPU loads it."""
    import torch

    return torch


def _fortran(matrix: np.ndarray) -> tuple[np.ndarray, int]:
    """A matrix as BLAS takes it without a copy: Fortran-ordered, and whether it is to be transposed."""
    return (matrix, 0) if matrix.flags.f_contiguous else (matrix.T, 1)
