"""Kernel regression on a real device: the CPU's results, within the memory that is stated."""

import h5py
import numpy as np
import pytest
from presence import require_gpu_of_torch

from exact_cntk import kernel_regression
from exact_cntk.regression.solvers import choice, tiled
from exact_cntk.regression.solvers.choice import Problem, Solver, device_bytes
from exact_cntk.regression.solvers.stores import Device

torch = pytest.importorskip("torch", reason="torch is not installed")

RIDGES = (0.0, 1e-6, 1e-2)


@pytest.fixture(autouse=True, scope="session")
def gpu():
    """In place of the folder's own: here it is torch that needs the GPU, not CuPy."""
    require_gpu_of_torch(torch)


def make_kernel(n, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, n + 100))
    K = X @ X.T / n
    return (K + K.T) / 2


@pytest.mark.parametrize(("n", "tile"), [(5000, 2048), (1111, 300), (700, 2048)])
def test_agrees_with_lapack(tmp_path, monkeypatch, n, tile):
    monkeypatch.setattr(choice, "DEVICE_TILE", tile)
    K, labels = make_kernel(n), np.arange(n) % 10
    with h5py.File(tmp_path / "K.h5", "w") as file:
        file["K"] = K
    with h5py.File(tmp_path / "K.h5") as file:
        result = kernel_regression(file["K"], labels, ridges=RIDGES, method="cuda")
    expected = kernel_regression(K, labels, ridges=RIDGES, method="cholesky")
    assert result.method == "cuda" and result.solved.all()
    for name in ("dual", "loo_predictions"):
        values = getattr(expected, name)
        np.testing.assert_allclose(getattr(result, name), values, rtol=1e-7, atol=1e-8 * abs(values).max())
    np.testing.assert_allclose(result.condition_number, expected.condition_number, rtol=1e-6)
    assert result.residual_norm.max() < 1e-11


def test_the_same_bytes_at_every_run():
    K, labels = make_kernel(3000), np.arange(3000) % 10
    one, two = (kernel_regression(K, labels, ridges=RIDGES, method="cuda") for _ in range(2))
    assert one.dual.tobytes() == two.dual.tobytes()
    assert one.loo_predictions.tobytes() == two.loo_predictions.tobytes()


def test_large_kernels_go_to_the_device(monkeypatch):
    monkeypatch.setattr(choice, "EIGH_LIMIT", 1000)
    result = kernel_regression(make_kernel(1200), np.arange(1200) % 10, ridges=[1e-3])
    assert (result.method, result.reason) == ("cuda", torch.cuda.get_device_name())


def test_memory_stays_within_what_is_stated():
    n = 8000
    problem = Problem(n, 10, 1)
    torch.ones(8, 8, device="cuda", dtype=torch.float64) @ torch.ones(8, 8, device="cuda", dtype=torch.float64)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()  # with the workspace of cuBLAS, which stays
    kernel_regression(
        np.exp(-abs(np.subtract.outer(*[np.arange(n) / 9.0] * 2))), np.arange(n) % 10, ridges=[1e-3], method="cuda"
    )
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= device_bytes(problem) - choice.DEVICE_SPARE
    assert torch.cuda.memory_allocated() == before


def test_a_negative_eigenvalue_is_named():
    K = make_kernel(900)
    values, V = np.linalg.eigh(K)
    values[0] = -0.0125
    K = V * values @ V.T
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -0\.0125,"):
        kernel_regression((K + K.T) / 2, np.arange(900.0), ridges=[0, 1e-3], method="cuda")


def test_full_scale():
    """n = 50,000, made on the device itself: exp(−|i − j|/s), whose inverse is known to be tridiagonal."""
    n, tile = 50_000, choice.DEVICE_TILE
    free, _ = torch.cuda.mem_get_info()
    if free < (needed := device_bytes(Problem(n, 1, 1))):
        pytest.skip(f"{free / 2**30:.1f} GiB of device memory are free, {needed / 2**30:.1f} GiB are needed")
    decay = np.exp(-0.5)
    entries = decay ** abs(np.arange(1 - n, n))

    class Source:
        shape = (n, n)

        def __getitem__(self, place):
            rows, columns = place
            windows = np.lib.stride_tricks.sliding_window_view(entries, columns.stop - columns.start)
            start = n + columns.start - rows.stop
            return windows[start : start + rows.stop - rows.start][::-1]

    Y = np.zeros((n, 1))
    Y[n // 2] = 1
    assert Device(n, tile).bounds[-1].stop == n
    scale, path = tiled.solve_tiled(Source(), Y, np.array([0.0]), Solver("cuda", tile, 0, 0, ""))
    assert scale == 1
    inverse = np.full(n, (1 + decay**2) / (1 - decay**2))
    inverse[[0, -1]] = 1 / (1 - decay**2)
    np.testing.assert_allclose(path.inverse_diagonal[0], inverse, rtol=1e-10)
    np.testing.assert_allclose(path.dual[0, n // 2, 0], inverse[n // 2], rtol=1e-10)
    np.testing.assert_allclose(path.dual[0, n // 2 + 1, 0], -decay / (1 - decay**2), rtol=1e-10)
    np.testing.assert_allclose(path.dual[0, n // 2 + 2 :], 0, atol=1e-10)
    assert path.residual_norm[0] < 1e-10
