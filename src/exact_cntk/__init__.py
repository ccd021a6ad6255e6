"""Exact convolutional neural tangent kernels of infinitely wide CNNs, and the study around them.

`cntk` computes the kernels of convolutional nets, `ntk` those of fully connected ones, `kernel_regression` predicts
from a kernel along a ridge path, and `CNTKClassifier` and `CNTKRegressor` put both behind scikit-learn's interface.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from exact_cntk._lazy import lazy_exports

if TYPE_CHECKING:
    from exact_cntk._cntk import cntk
    from exact_cntk._estimators import CNTKClassifier, CNTKRegressor
    from exact_cntk._ntk import ntk
    from exact_cntk._regression import kernel_regression

__all__ = ["CNTKClassifier", "CNTKRegressor", "__version__", "cntk", "kernel_regression", "ntk"]

try:
    __version__ = version("exact-cntk")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

# `import exact_cntk` costs neither SciPy's nor scikit-learn's start.
__getattr__ = lazy_exports(
    __name__,
    {
        "CNTKClassifier": "_estimators",
        "CNTKRegressor": "_estimators",
        "cntk": "_cntk",
        "kernel_regression": "_regression",
        "ntk": "_ntk",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
