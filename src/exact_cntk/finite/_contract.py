"""The NTK that one layer contributes, from what reaches its filters from either side, without its gradients.

For z^h = W^h * x^{h−1} and δ^h = ∂f/∂z^h, the gradient with respect to the filter's tap (a, b) is the matrix
Σ_p δ^h_p ⊗ x^{h−1}_{p+(a,b)}, p running over pixels, and the layer's kernel the product of two images' gradients,
summed over taps. It is summed over pixels first or over channels first, whichever is cheaper:

* by gradients: they are formed for some taps and output channels at a time, and multiplied: C C′ q² products a pair;
* by pixels: Σ_{p,p′} ⟨δ_p, δ′_{p′}⟩ · Σ_{a,b} ⟨x_{p+(a,b)}, x′_{p′+(a,b)}⟩, the second factor being a box filter of
  the pixels' products: (PQ)² (C + C′) products a pair, which wide networks and small images make the lesser number.

These are Jacobian contraction and structured derivatives of Novak, Sohl-Dickstein, Schoenholz: Fast Finite Width
Neural Tangent Kernel. ICML 2022, arXiv 2206.08720, section 3.
"""

from collections.abc import Iterator

from exact_cntk.finite._torch import torch

# Tensors of (pixels × pixels) of a pair at a time: both products, and one in two stages of the box filter.
PIXEL_TENSORS = 4
# Passes over such a tensor in memory, against products of a matrix multiplication, in time.
PIXEL_OVERHEAD = 100


def layer_kernel(
    x: torch.Tensor, delta_x: torch.Tensor, y: torch.Tensor, delta_y: torch.Tensor, filter_size: int, scratch: int
) -> torch.Tensor:
    """Σ over the layer's weights of ∂f(x[n])/∂W · ∂f(y[m])/∂W.

    Parameters
    ----------
    x, y : Tensors of shape (n, C′, P, Q) and (m, C′, P, Q)
        The layer's input.
    delta_x, delta_y : Tensors of shape (n, C, P, Q) and (m, C, P, Q)
        Gradients of f with respect to its output, before the ReLU.
    filter_size : int, odd
    scratch : int
        Bytes to work in, or as many as one pair of images takes, if these are more.

    Returns
    -------
    Tensor of shape (n, m), float64
    """
    pixels, channels, below = x.shape[2] * x.shape[3], delta_x.shape[1], x.shape[1]
    by_gradients = channels * below * filter_size**2 * (1 + pixels / len(x) + pixels / len(y))
    by_pixels = pixels**2 * (channels + below + PIXEL_OVERHEAD)
    contract = contract_gradients if by_gradients < by_pixels else contract_pixels
    return contract(x, delta_x, y, delta_y, filter_size, scratch)


def contract_gradients(
    x: torch.Tensor, delta_x: torch.Tensor, y: torch.Tensor, delta_y: torch.Tensor, filter_size: int, scratch: int
) -> torch.Tensor:
    """`layer_kernel` by explicit gradients of some weights at a time."""
    one_channel = (len(x) + len(y)) * x.shape[1] * x.element_size()
    step = max(1, scratch // one_channel)
    same = x is y and delta_x is delta_y
    kernel = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for tap_x, tap_y in zip(_taps(x, filter_size), _taps(y, filter_size), strict=True):
        for start in range(0, delta_x.shape[1], step):
            channels = slice(start, start + step)
            left = _gradients(delta_x[:, channels], tap_x)
            right = left if same else _gradients(delta_y[:, channels], tap_y)
            kernel += left @ right.T
    return kernel


def contract_pixels(
    x: torch.Tensor, delta_x: torch.Tensor, y: torch.Tensor, delta_y: torch.Tensor, filter_size: int, scratch: int
) -> torch.Tensor:
    """`layer_kernel` by products of pixels."""
    pairs = max(1, scratch // (PIXEL_TENSORS * (x.shape[2] * x.shape[3]) ** 2 * x.element_size()))
    columns = min(len(y), pairs)
    rows = pairs // columns
    kernel = torch.empty(len(x), len(y), dtype=torch.float64, device=x.device)
    for i in range(0, len(x), rows):
        for j in range(0, len(y), columns):
            some, others = slice(i, i + rows), slice(j, j + columns)
            products = _pixel_products(delta_x[some], delta_y[others])
            products *= _box(_pixel_products(x[some], y[others]), filter_size)
            kernel[some, others] = products.sum(dim=(1, 2, 4, 5))
    return kernel


def _taps(x: torch.Tensor, filter_size: int) -> Iterator[torch.Tensor]:
    """What each of the q² filter taps sees of x, shape (n, P·Q, channels)."""
    P, Q = x.shape[2:]
    padded = torch.nn.functional.pad(x, (filter_size // 2,) * 4)
    for a in range(filter_size):
        for b in range(filter_size):
            yield padded[:, :, a : a + P, b : b + Q].flatten(2).transpose(1, 2)


def _gradients(delta: torch.Tensor, tap: torch.Tensor) -> torch.Tensor:
    """Σ_p δ_p ⊗ x_{p+(a,b)} as vectors, shape (n, channels of δ · channels of x)."""
    return torch.bmm(delta.flatten(2), tap).flatten(1)


def _pixel_products(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """⟨x_ij, y_i′j′⟩ over channels of all pixels of all pairs, shape (n, P, Q, m, P, Q)."""
    P, Q = x.shape[2:]
    left, right = (tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1]) for tensor in (x, y))
    return (left @ right.T).view(len(x), P, Q, len(y), P, Q)


def _box(tensor: torch.Tensor, filter_size: int) -> torch.Tensor:
    """Σ_{|a|,|b| ≤ (q−1)/2} T[i+a, j+b, i′+a, j′+b], zero outside; axes (n, i, j, m, i′, j′)."""
    for first, second in ((1, 4), (2, 5)):
        total = tensor.clone()
        length = tensor.shape[first]
        for a in range(1, min(filter_size // 2, length - 1) + 1):
            low = tensor.narrow(first, 0, length - a).narrow(second, 0, length - a)
            high = tensor.narrow(first, a, length - a).narrow(second, a, length - a)
            total.narrow(first, 0, length - a).narrow(second, 0, length - a).add_(high)
            total.narrow(first, a, length - a).narrow(second, a, length - a).add_(low)
        tensor = total
    return tensor
