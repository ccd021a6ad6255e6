"""The authors' released algorithm: one pair at a time, the whole tensor, three launches a layer (released.cu)."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.rivals import norms

SOURCE = Path(__file__).with_suffix(".cu")


class Released:
    """Kernels of one depth.

    Parameters
    ----------
    cupy : module
        CuPy, or what stands in for it in tests.
    side : int
        Images have side × side pixels.
    depth : int
    readout : {"flatten", "gap"}
    trained : {"all", "hidden"}
    """

    def __init__(self, cupy: ModuleType, side: int, *, depth: int, readout: str, trained: str) -> None:
        self.cupy, self.side, self.layers = cupy, side, depth - 1
        self.readout, self.trained = readout, trained
        # RawModule, as in the package itself: public, and it compiles through NVRTC at run time.
        module = cupy.RawModule(code=SOURCE.read_text(encoding="utf-8"), options=("-std=c++17", f"-DSIDE={side}"))
        self.box, self.relu = module.get_function("box"), module.get_function("relu")

    def upload(self, images: np.ndarray) -> tuple[Any, Any]:
        """Pixels of shape (n, P·Q, C) and norms of shape (n, layers, P, Q) on the device."""
        tables = norms(images, self.layers)
        flat = images.reshape(len(images), self.side**2, -1)
        return self.cupy.asarray(flat), self.cupy.asarray(tables)

    def kernel(self, x: tuple[Any, Any], y: tuple[Any, Any]) -> Any:
        """Kernel matrix (n, m) on the device, float64, of two sets that were uploaded."""
        n, m = len(x[0]), len(y[0])
        values = self.cupy.empty((n, m))
        for a in range(n):
            for b in range(m):
                values[a, b] = self._pair(x[0][a], x[1][a], y[0][b], y[1][b])
        return values

    def _pair(self, x: Any, x_norms: Any, y: Any, y_norms: Any) -> Any:
        """One entry; all tensors are of shape (P·Q, P·Q), float32."""
        cupy, side = self.cupy, self.side
        planes, pixels, threads = (2 * side - 1, 2 * side - 1), (side, side), (side, side)
        products = (x[:, None] * y[None]).sum(axis=2)  # of few channels; a product of matrices would take cuBLAS
        sigma, theta, spare = cupy.empty_like(products), cupy.empty_like(products), cupy.empty_like(products)
        self.box(planes, threads, (products, sigma))
        theta[...] = sigma if self.trained == "all" else 0
        for layer in range(self.layers):
            if layer > 0:
                self.box(planes, threads, (sigma, spare))
                sigma, spare = spare, sigma
                self.box(planes, threads, (theta, spare))
                theta, spare = spare, theta
            self.relu(pixels, threads, (sigma, theta, x_norms[layer], y_norms[layer]))
        last = theta - sigma if self.trained == "hidden" else theta
        if self.readout == "flatten":
            return last.trace(dtype=np.float64)
        return last.mean(dtype=np.float64)
