"""The `cuda` backend's `compute`: the variant of the kernels, and what fits on the device."""

import numpy as np
from numpy.typing import NDArray

from exact_cntk._support.machine import format_gib
from exact_cntk._support.progress import Progress
from exact_cntk.errors import UserError
from exact_cntk.kernels.cpu import Call
from exact_cntk.kernels.cuda import device as devices
from exact_cntk.kernels.cuda import plan
from exact_cntk.kernels.cuda.device import Device, DeviceMemoryError
from exact_cntk.kernels.cuda.remote import Remote
from exact_cntk.kernels.cuda.run import Run
from exact_cntk.kernels.spec import Computed, KernelSpec, OnRows

# Of the device's free memory, what tables may take; drivers and allocation in whole pages want some too.
TABLE_SHARE = 0.85
LEAST_SHARE = 1e-3

streams_rows = True


def compute(
    x1: NDArray[np.floating],
    x2: NDArray[np.floating] | None,
    spec: KernelSpec,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    progress: Progress | None = None,
    on_rows: OnRows | None = None,
    device: Device | None = None,
) -> Computed:
    """Compute all kernel matrices of `spec` in one pass on the current GPU.

    The recursion runs on the GPU in `dtype`; the host, by the compiled core, makes the norms, takes K(x, x) from its
    closed form, repeats near-duplicates in float64, and scales.

    Arguments are those of `BackendModule.compute`; `threads` are the host's, and a `device` of None is the current GPU.
    The result has the same bytes at every run on GPUs of one architecture, whatever their memory and the number of
    threads; its seconds are those in which kernels ran, by the GPU's clock. No work on the GPU is left at the end, also
    after Ctrl-C.

    Raises
    ------
    UserError
        There is no GPU, or CuPy is not installed, or not one pair of images fits on the GPU.
    """
    call = Call(x1, x2, spec, dtype, threads)
    if device is None:
        device = devices.open_device()
    seconds = 0.0
    if call.out.size:
        with Remote(call, None) as settled:
            variant = plan.choose_variant(settled.shape, device.properties.shared_bytes)
        with Remote(call, variant.gains) as remote:
            run = _fit(device, remote, variant)
            run.all_pairs(progress, on_rows)
            seconds = run.kernel_seconds
    return Computed(call.out, seconds)


def _fit(device: Device, remote: Remote, variant: plan.Variant) -> Run:
    """Allocate all that a run needs, with smaller chunks of images if others have taken memory meanwhile."""
    share = TABLE_SHARE
    while True:
        try:
            return Run(device, remote, variant, share)
        except DeviceMemoryError as error:
            share /= 2
            if share < LEAST_SHARE:
                raise UserError(
                    f"{device.properties.name} has {format_gib(device.free_bytes())} of memory free, too little for "
                    f"one pair of images, of {format_gib(remote.shape.image_bytes)} each with tables: free some, "
                    "compute fewer depths, or use backend='cpu'"
                ) from error
