"""Kernel regression with the CNTK behind scikit-learn's interface."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from exact_cntk._support import validation as check
from exact_cntk.errors import InputError
from exact_cntk.kernels.cntk import cntk
from exact_cntk.regression.kernel_regression import KernelRegression, as_ridges, choose, kernel_regression

# From none to heavy regularisation, two per decade where accuracy usually peaks.
DEFAULT_RIDGES = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)

# The CNTK has no negative eigenvalues: apparent ones are rounding, worst between nearly parallel patches, where arccos
# turns an error ε into √ε. Relative to λ_max; ridges too small to outweigh it are never chosen.
ROUNDING = {"float32": 1e-3, "float64": 1e-6}


class _CNTKEstimator(BaseEstimator):
    """What classifier and regressor share: parameters, images, the kernel, the choice of depth and ridge."""

    def __init__(
        self,
        *,
        readout: Literal["flatten", "lap", "gap"] = "flatten",
        pooling_window: int | None = None,
        flips: bool = False,
        depth: int | Sequence[int] = 3,
        trained: Literal["all", "hidden"] = "all",
        filter_size: int = 3,
        ridge: float | Literal["loo"] = "loo",
        ridges: Sequence[float] = DEFAULT_RIDGES,
        image_shape: tuple[int, int, int] | None = None,
        backend: Literal["auto", "reference", "cpu", "cuda"] = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        threads: int | None = None,
    ) -> None:
        self.readout = readout
        self.pooling_window = pooling_window
        self.flips = flips
        self.depth = depth
        self.trained = trained
        self.filter_size = filter_size
        self.ridge = ridge
        self.ridges = ridges
        self.image_shape = image_shape
        self.backend = backend
        self.dtype = dtype
        self.threads = threads

    def _fit(self, images: np.ndarray, targets: np.ndarray) -> None:
        """One kernel pass for all depths, a ridge path for each, and the best of all by leave-one-out."""
        if isinstance(self.ridge, str):
            check.as_choice("ridge", self.ridge, ("loo",))
            path = as_ridges("ridges", self.ridges)
        else:
            path = as_ridges("ridge", self.ridge)
            if len(path) != 1:
                raise InputError(
                    f'ridge is {self.ridge!r}; allowed are one number ≥ 0, or "loo" with ridges as its path'
                )
        self.depths_ = check.as_depths("depth", self.depth)
        if self.trained == "hidden" and self.depths_[0] == 2:
            raise InputError("depth 2 has no hidden layer, so trained='hidden' trains nothing; allowed are depths ≥ 3")
        kernels = self._kernels(images, None, self.depths_)
        tolerance = ROUNDING[check.as_choice("dtype", self.dtype, tuple(ROUNDING))]
        fits = {
            depth: kernel_regression(kernels[depth], targets, ridges=path, tolerance=tolerance)
            for depth in self.depths_
        }
        self.depth_ = min(fits, key=lambda depth: (_score(fits[depth]), depth))
        best = fits[self.depth_]
        self.ridges_ = path
        self.ridge_ = best.best_ridge
        self.dual_coef_ = best.dual[best.best].copy()
        self.X_fit_ = images
        self.loo_error_ = np.array([fits[depth].loo_error for depth in self.depths_])
        if best.loo_accuracy is not None:
            self.loo_accuracy_ = np.array([fits[depth].loo_accuracy for depth in self.depths_])

    def _scores(self, X: Any) -> np.ndarray:
        """Predictions of the targets, of shape (m,) or (m, k)."""
        check_is_fitted(self)
        images = self._images(X, reset=False)
        return self._kernels(images, self.X_fit_, (self.depth_,))[self.depth_] @ self.dual_coef_

    def _kernels(self, x1: np.ndarray, x2: np.ndarray | None, depths: tuple[int, ...]) -> dict[int, np.ndarray]:
        """The NTK at each depth; `trained` is no sequence here, as an estimator has a single kernel."""
        kernels = cntk(
            x1,
            x2,
            depths=depths,
            readout=self.readout,
            pooling_window=self.pooling_window,
            flips=self.flips,
            trained=check.as_choice("trained", self.trained, ("all", "hidden")),
            filter_size=self.filter_size,
            backend=self.backend,
            dtype=self.dtype,
            threads=self.threads,
        )
        return {depth: kernels["ntk", depth] for depth in depths}

    def _images(self, X: Any, *, reset: bool, **y: Any) -> Any:
        """Images of shape (n, P, Q, C) out of rows or images; with y, both checked."""
        checked = validate_data(self, X, reset=reset, allow_nd=True, dtype=[np.float64, np.float32], **y)
        array = checked[0] if y else checked
        if array.ndim == 2:
            shape = (1, array.shape[1], 1) if self.image_shape is None else self._image_shape()
            if array.shape[1] != np.prod(shape):
                raise InputError(
                    f"image_shape is {shape}, {np.prod(shape)} numbers, but X has rows of {array.shape[1]}"
                )
        elif array.ndim == 4:
            shape = array.shape[1:]
            expected = shape if self.image_shape is None else self._image_shape()
            if not reset:
                expected = self.X_fit_.shape[1:]
            if shape != expected:
                raise InputError(f"X has images of shape {shape}; allowed is {expected}")
        else:
            raise InputError(f"X has shape {array.shape}; allowed are rows (n, features) and images (n, P, Q, C)")
        images = array.reshape(len(array), *shape)
        return (images, checked[1]) if y else images

    def _image_shape(self) -> tuple[int, ...]:
        sizes = self.image_shape if isinstance(self.image_shape, Sequence) else ()
        if len(sizes) != 3:
            raise InputError(f"image_shape is {self.image_shape!r}; allowed are None and (rows, columns, channels)")
        return tuple(check.as_integer("image_shape", size, at_least=1) for size in sizes)


_PARAMETERS = """
    Parameters
    ----------
    readout : {"flatten", "lap", "gap"}
    pooling_window : int, odd
        For `lap`, which needs it.
    flips : bool
        Average the kernel over horizontal flips of the images.
    depth : int or sequence of int, each ≥ 2 (≥ 3 if only hidden layers are trained)
        From a sequence, the depth with the best leave-one-out score is chosen. One kernel pass to the deepest gives all
        depths, at its cost: much cheaper than a grid search over `depth`, which starts a pass for every value.
    trained : {"all", "hidden"}
    filter_size : int, odd
    ridge : float ≥ 0 or "loo"
        Relative to mean(diag K); "loo" chooses from `ridges` by leave-one-out, in closed form.
    ridges : sequence of float ≥ 0
        The candidates for "loo".
    image_shape : (P, Q, C), optional
        Shape of the image in a row of X. Without, a row of F numbers is an image of one row: shape (1, F, 1).
    backend, dtype, threads
        As in `exact_cntk.cntk`, which explains the architecture's parameters as well.
"""


class CNTKClassifier(ClassifierMixin, _CNTKEstimator):  # noqa: D101
    __doc__ = f"""Classification by kernel regression with the CNTK on labels coded −0.1 and 0.9.

    f(X_*) = K_* (K + λI)⁻¹ Y; the class is the largest of its columns, as in Arora et al. 2019, appendix A.
    X is of shape (n, features), see `image_shape`, or (n, P, Q, C).
{_PARAMETERS}
    Attributes
    ----------
    classes_ : array of shape (k,)
    depth_, ridge_ : int and float
        As chosen: the highest leave-one-out accuracy, then the lowest squared error.
    depths_, ridges_ : tuple and array
        The candidates that they were chosen from.
    loo_accuracy_, loo_error_ : arrays of shape (depths, ridges)
        Leave-one-out accuracy, and mean squared error of the coded labels; NaN where K + λI is singular.
    X_fit_ : array of shape (n, P, Q, C)
        The training images, which every prediction needs.
    dual_coef_ : array of shape (n, k)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = CNTKClassifier(depth=[2, 3, 4], image_shape=(8, 8, 1)).fit(X[:300], y[:300])
    >>> bool(model.score(X[1000:1300], y[1000:1300]) > 0.9)
    True
    """

    def fit(self, X: Any, y: Any) -> "CNTKClassifier":
        """Fit to images X and labels y of shape (n,)."""
        images, y = self._images(X, reset=True, y=y)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._fit(images, codes)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """f(X), of shape (m, k); with two classes the second column minus the first, of shape (m,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Labels of shape (m,)."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]


class CNTKRegressor(MultiOutputMixin, RegressorMixin, _CNTKEstimator):  # noqa: D101
    __doc__ = f"""Kernel ridge regression with the CNTK, for one target or several.

    f(X_*) = K_* (K + λI)⁻¹ Y, without intercept: centre the targets where their mean is large.
    X is of shape (n, features), see `image_shape`, or (n, P, Q, C).
{_PARAMETERS}
    Attributes
    ----------
    depth_, ridge_ : int and float
        As chosen: the lowest mean squared leave-one-out error.
    depths_, ridges_ : tuple and array
        The candidates that they were chosen from.
    loo_error_ : array of shape (depths, ridges)
        Mean squared leave-one-out error; NaN where K + λI is singular.
    X_fit_ : array of shape (n, P, Q, C)
        The training images, which every prediction needs.
    dual_coef_ : array of shape (n,) or (n, k)
    """

    def fit(self, X: Any, y: Any) -> "CNTKRegressor":
        """Fit to images X and targets y of shape (n,) or (n, k)."""
        images, y = self._images(X, reset=True, y=y, multi_output=True, y_numeric=True)
        self._fit(images, np.asarray(y, dtype=np.float64))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predictions of shape (m,) or (m, k)."""
        return self._scores(X)


def _score(fit: KernelRegression) -> tuple[float, ...]:
    """Score of the best ridge, the smaller the better; without the ridge, which is not comparable between depths."""
    _, score = choose(fit.ridges, fit.loo_error, fit.loo_accuracy, fit.solved)
    return score[:2]
