"""What our kernels are timed against computes the same kernels."""

import subprocess
import sys

import gpu_standin
import numpy as np
import pytest
from benchmarks.images import cifar_like
from benchmarks.machine import ROOT
from benchmarks.rivals.released import Released

from exact_cntk import cntk

CASES = [(readout, trained, depth) for readout, trained in (("flatten", "all"), ("gap", "hidden")) for depth in (2, 4)]
# float32 arccos near ρ = 1, which the rivals take as it comes.
TOLERANCE = 2e-4


def expected(x, y, readout, trained, depth):
    kernels = cntk(x, y, depths=depth, readout=readout, trained=trained, backend="reference")
    return kernels["ntk", depth]


@pytest.mark.parametrize(("readout", "trained", "depth"), CASES)
def test_released_algorithm(readout, trained, depth):
    images = cifar_like(3, 6, 6)
    rival = Released(gpu_standin, 6, depth=depth, readout=readout, trained=trained)
    kernel = rival.kernel(rival.upload(images[:1]), rival.upload(images[1:]))
    reference = expected(images[:1], images[1:], readout, trained, depth)
    np.testing.assert_allclose(kernel, reference, rtol=TOLERANCE, atol=1e-12)


@pytest.mark.parametrize(("readout", "trained", "depth"), CASES)
def test_whole_tensors(readout, trained, depth):
    from benchmarks.rivals import whole_tensor

    images = cifar_like(5, 7, 7)
    options = {"depth": depth, "readout": readout, "trained": trained}
    kernel = whole_tensor.kernel(images[:2], images[2:], **options, device="cpu", pairs=4)
    reference = expected(images[:2], images[2:], readout, trained, depth)
    np.testing.assert_allclose(kernel, reference, rtol=TOLERANCE, atol=1e-12)


def test_importing_the_rivals_needs_no_gpu():
    code = "import sys; from benchmarks.rivals import released, whole_tensor; sys.exit('cupy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
