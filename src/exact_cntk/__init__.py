"""Exact convolutional neural tangent kernels of infinitely wide CNNs, and the study around them.

`cntk` computes the kernels of the paper's convolutional nets, `ntk` those of fully connected ones, `kernel` those of a
`Network` of any layers. `kernel_regression` predicts from a kernel along a ridge path, and `CNTKClassifier` and
`CNTKRegressor` put both behind scikit-learn's interface.
The modules `finite` (networks of finite width), `networks` (their descriptions), `data` (sources of images) and
`errors` load when they are first used.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from exact_cntk._support.lazy import lazy_exports

if TYPE_CHECKING:
    from exact_cntk import data as data
    from exact_cntk import errors as errors
    from exact_cntk import finite as finite
    from exact_cntk import networks as networks
    from exact_cntk.estimators import CNTKClassifier, CNTKRegressor
    from exact_cntk.kernels.cntk import cntk
    from exact_cntk.kernels.network_kernel import kernel
    from exact_cntk.kernels.ntk import ntk
    from exact_cntk.networks.network import Network
    from exact_cntk.regression.kernel_regression import kernel_regression

__all__ = ["CNTKClassifier", "CNTKRegressor", "Network", "__version__", "cntk", "kernel", "kernel_regression", "ntk"]
_MODULES = ("data", "errors", "finite", "networks")

try:
    __version__ = version("exact-cntk")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

# `import exact_cntk` costs neither SciPy's nor scikit-learn's start.
__getattr__ = lazy_exports(
    __name__,
    {
        "CNTKClassifier": "estimators",
        "CNTKRegressor": "estimators",
        "Network": "networks.network",
        "cntk": "kernels.cntk",
        "kernel": "kernels.network_kernel",
        "kernel_regression": "regression.kernel_regression",
        "ntk": "kernels.ntk",
    },
    _MODULES,
)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
