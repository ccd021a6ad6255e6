"""The formulas in plain torch: tensors of shape (pairs, P, Q, P, Q), the box filter as sums of shifted slices."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.rivals import norms


def kernel(
    x: np.ndarray, y: np.ndarray, *, depth: int, readout: str, trained: str, device: str, pairs: int = 32
) -> np.ndarray:
    """Kernel matrix (n, m) of images (n, P, Q, C) and (m, P, Q, C), float64; computed in float32.

    Parameters
    ----------
    pairs : int
        Tensors at a time.
    """
    n, m = len(x), len(y)
    x_norms, y_norms = (torch.from_numpy(norms(images, depth - 1)).to(device) for images in (x, y))
    x_images, y_images = (torch.from_numpy(images).to(device) for images in (x, y))
    rows, cols = (
        index.reshape(-1).to(device) for index in torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    )
    values = torch.empty(n * m, dtype=torch.float64, device=device)
    with torch.inference_mode():
        for start in range(0, n * m, pairs):
            a, b = rows[start : start + pairs], cols[start : start + pairs]
            values[start : start + pairs] = _pairs(
                x_images[a], y_images[b], x_norms[a], y_norms[b], readout=readout, trained=trained
            )
    return values.reshape(n, m).cpu().numpy()


def _pairs(x: Tensor, y: Tensor, x_norms: Tensor, y_norms: Tensor, *, readout: str, trained: str) -> Tensor:
    """One value a pair; x and y of shape (pairs, P, Q, C), the norms (pairs, layers, P, Q)."""
    K = torch.einsum("nijc,nklc->nijkl", x, y)
    theta = K if trained == "all" else torch.zeros_like(K)
    for layer in range(x_norms.shape[1]):
        sigma, theta = _box(K), _box(theta)
        norm = x_norms[:, layer, :, :, None, None] * y_norms[:, layer, None, None]
        rho = torch.where(norm > 0, sigma / norm, 0).clamp(-1, 1)
        angle = torch.pi - rho.arccos()
        K = norm * (rho * angle + (1 - rho * rho).sqrt()) / (9 * torch.pi)
        theta = theta * angle / (9 * torch.pi) + K
    if trained == "hidden":
        theta = theta - K
    if readout == "flatten":
        return torch.einsum("nijij->n", theta.double())
    return theta.mean(dim=(1, 2, 3, 4), dtype=torch.float64)


def _box(tensor: Tensor) -> Tensor:
    """Sum over 3×3 neighbours of both pixels together, zero outside: first along rows, then along columns."""
    for first, second in ((1, 3), (2, 4)):
        size = tensor.shape[first]
        result = tensor.clone()
        upper, lower = _slice(tensor, first, second, 1, size), _slice(tensor, first, second, 0, size - 1)
        _slice(result, first, second, 0, size - 1).add_(upper)
        _slice(result, first, second, 1, size).add_(lower)
        tensor = result
    return tensor


def _slice(tensor: Tensor, first: int, second: int, start: int, stop: int) -> Tensor:
    return tensor.narrow(first, start, stop - start).narrow(second, start, stop - start)
