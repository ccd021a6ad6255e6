"""K's lower triangle in memory, to be multiplied by some columns at a time, each number being read once for both sides.

Every thread takes tiles of its own, each with a product of its own, and BLAS works in one thread: BLAS's threads would
meet at the end of each of thousands of small products, and wait there for whoever else uses a core. Measured on two
cores at n = 8,000 with 20 columns: 30 GFlop/s on a free machine either way, 15 against 3 to 9 on a busy one; 17 a core
for NumPy's product with the whole of K, which reads twice as much.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from exact_cntk._support.cut import cut
from exact_cntk.regression.solvers.arrays import NumPyArrays

STRIP = 512  # rows of a tile that are multiplied from both sides at once, while they are in the cache
MOST_THREADS = 8  # memory, not the cores, sets the pace


class Triangle:
    """Tiles of K's lower triangle, in float32 where K was stored so; see `stores.LoadedTiles`.

    Parameters
    ----------
    n : int
    tile : int
        Rows and columns of a tile.
    dtype : dtype
        Of the source: all but float32 is kept in float64. Products are in float64 either way.
    """

    def __init__(self, n: int, tile: int, dtype: Any = np.float64) -> None:
        self.arrays = NumPyArrays()
        self.bounds = cut(n, tile)
        self._dtype = triangle_dtype(dtype)
        self._lower: dict[tuple[int, int], np.ndarray] = {}
        self._blas = ThreadpoolController().select(user_api="blas")
        self._threads = min([MOST_THREADS, *(library["num_threads"] for library in self._blas.info())])

    @classmethod
    def of(cls, K: np.ndarray, tile: int) -> "Triangle":
        """The triangle of an array in float64, whose memory it shares."""
        triangle = cls(len(K), tile)
        for i, rows in enumerate(triangle.bounds):
            for j, columns in enumerate(triangle.bounds[: i + 1]):
                triangle.load(i, j, K[rows, columns].T)
        return triangle

    def load(self, i: int, j: int, tile: np.ndarray) -> None:
        """Take K's tile (j, i), i ≥ j."""
        self._lower[i, j] = np.asarray(tile.T, dtype=self._dtype)

    def multiply(self, right: np.ndarray) -> np.ndarray:
        """K B of shape (n, m), in float64.

        There are as many threads as BLAS had when this was made, on whose number the last digits depend.
        """
        places, threads = list(self._lower), self._threads
        with self._blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda first: self._multiply(places[first::threads], right), range(threads))
            return sum(parts, start=np.zeros(right.shape))

    def _multiply(self, places: Sequence[tuple[int, int]], right: np.ndarray) -> np.ndarray:
        """What some tiles contribute to the product."""
        product = np.zeros(right.shape)
        for i, j in places:
            tile, rows, columns = self._lower[i, j], self.bounds[i], self.bounds[j]
            for part in cut(len(tile), STRIP):
                strip = tile[part].astype(np.float64, copy=False)
                here = slice(rows.start + part.start, rows.start + part.stop)
                product[here] += strip @ right[columns]
                if i != j:
                    product[columns] += strip.T @ right[here]
        return product


def triangle_dtype(dtype: Any) -> np.dtype:
    """What the numbers of a K of this dtype are kept in."""
    return np.dtype(np.float32 if np.dtype(dtype) == np.float32 else np.float64)
