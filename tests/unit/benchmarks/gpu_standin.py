"""A stand-in for the few names of CuPy that benchmarks/rivals uses, so that its kernels run without a GPU.

The CUDA C++ is compiled by the C++ compiler behind a few macros. A block's threads are threads, all blocks run one
after the other, and a barrier is a barrier.
"""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SHIM = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
struct Index { int x, y; };
static thread_local Index threadIdx, blockIdx;
static std::barrier<>* block_barrier;
static void __syncthreads() { block_barrier->arrive_and_wait(); }
"""
LAUNCHER = """
template <class... Arguments>
static void launch(void (*kernel)(Arguments...), const int* grid, const int* block, Arguments... arguments) {
    std::barrier<> together(block[0] * block[1]);
    block_barrier = &together;
    std::vector<std::thread> threads;
    for (int t = 0; t < block[0] * block[1]; ++t) threads.emplace_back([=, &together] {
        threadIdx = {t % block[0], t / block[0]};
        for (int b = 0; b < grid[0] * grid[1]; ++b) {
            blockIdx = {b % grid[0], b / grid[0]};
            kernel(arguments...);
            // Threads that left the block early do not wait at its barriers: they meet the others here.
            together.arrive_and_wait();
        }
    });
    for (auto& thread : threads) thread.join();
}
extern "C" void launch_box(const int* grid, const int* block, const float* a, float* b) {
    launch(box, grid, block, a, b);
}
extern "C" void launch_relu(const int* grid, const int* block, float* a, float* b, const float* c, const float* d) {
    launch(relu, grid, block, a, b, c, d);
}
"""


class RawModule:
    """As CuPy's."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        self._library = compiled(code, options)

    def get_function(self, name: str) -> Any:
        function = self._library[f"launch_{name}"]

        def run(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[np.ndarray, ...]) -> None:
            assert all(array.flags.c_contiguous and array.dtype == np.float32 for array in arguments)
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in arguments]
            function((ctypes.c_int * 2)(*grid), (ctypes.c_int * 2)(*block), *pointers)

        return run


@cache
def compiled(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    compiler = shutil.which("c++")
    assert compiler, "a C++ compiler is needed, as it is to build the package"
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        source.write_text(SHIM + code + LAUNCHER)
        macros = [option for option in options if option.startswith("-D")]
        flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-pthread"]
        subprocess.run([compiler, *flags, *macros, "-o", str(library), str(source)], check=True)
        return ctypes.CDLL(str(library))


asarray, empty, empty_like = np.ascontiguousarray, np.empty, np.empty_like
