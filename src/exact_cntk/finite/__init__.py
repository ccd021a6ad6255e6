"""Finite networks in the parametrisation of the kernels: trained weights, empirical kernels, convergence with width.

All of it takes torch, ``pip install "exact-cntk[torch]"``, which is imported when a name is first asked for.
"""

from typing import TYPE_CHECKING

from exact_cntk._support.lazy import lazy_exports

if TYPE_CHECKING:
    from exact_cntk.finite.convergence import WidthSweep, width_sweep
    from exact_cntk.finite.empirical import empirical_kernel, random_features
    from exact_cntk.finite.networks import CNN
    from exact_cntk.finite.protocol import Outcome, outcome
    from exact_cntk.finite.training import CurveRow, compiles, predict_classes, train_full_batch, train_sgd

__all__ = [
    "CNN",
    "CurveRow",
    "Outcome",
    "WidthSweep",
    "compiles",
    "empirical_kernel",
    "outcome",
    "predict_classes",
    "random_features",
    "train_full_batch",
    "train_sgd",
    "width_sweep",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "CNN": "networks",
        "CurveRow": "training",
        "Outcome": "protocol",
        "WidthSweep": "convergence",
        "compiles": "training",
        "empirical_kernel": "empirical",
        "outcome": "protocol",
        "predict_classes": "training",
        "random_features": "empirical",
        "train_full_batch": "training",
        "train_sgd": "training",
        "width_sweep": "convergence",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
