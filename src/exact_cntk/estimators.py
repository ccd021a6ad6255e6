"""Kernel regression with the CNTK behind scikit-learn's interface."""

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from exact_cntk._support import validation as check
from exact_cntk._support.cut import cut
from exact_cntk._support.progress import Progress, reporting
from exact_cntk.errors import InputError
from exact_cntk.kernels.cntk import cntk
from exact_cntk.kernels.network_kernel import kernel
from exact_cntk.networks import KINDS, TRAINED, Layer, Network
from exact_cntk.networks.layers import weighted_layers
from exact_cntk.regression.inputs import DEFAULT_RIDGES, as_labels, as_numbers, as_ridges, one_hot_step
from exact_cntk.regression.kernel_regression import kernel_regression
from exact_cntk.regression.result import KernelRegression, choose

# Images whose kernel with the training images is in memory at a time, when they are predicted. A constant, as how BLAS
# rounds a row of a product depends on the number of rows.
ROWS_AT_ONCE = 1024


class _CNTKEstimator(BaseEstimator):
    """What classifier and regressor share: parameters, images, the kernel, the choice of depth and ridge."""

    def __init__(
        self,
        *,
        network: str | Network | Sequence[Layer] | None = None,
        readout: Literal["flatten", "lap", "gap"] = "flatten",
        pooling_window: int | None = None,
        flips: bool = False,
        depth: int | Sequence[int] = 3,
        trained: Literal["all", "hidden"] = "all",
        filter_size: int = 3,
        get: Literal["ntk", "nngp"] = "ntk",
        ridge: float | Literal["loo"] = "loo",
        ridges: Sequence[float] = DEFAULT_RIDGES,
        image_shape: tuple[int, int, int] | None = None,
        channels_first: bool | None = None,
        backend: Literal["auto", "reference", "cpu", "cuda"] = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        threads: int | None = None,
        progress: bool | Progress = False,
    ) -> None:
        self.network = network
        self.readout = readout
        self.pooling_window = pooling_window
        self.flips = flips
        self.depth = depth
        self.trained = trained
        self.filter_size = filter_size
        self.get = get
        self.ridge = ridge
        self.ridges = ridges
        self.image_shape = image_shape
        self.channels_first = channels_first
        self.backend = backend
        self.dtype = dtype
        self.threads = threads
        self.progress = progress

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
        self.depths_ = self._depths()
        network_layers = () if self.network is None else tuple(weighted_layers(Network(self.network).layers))
        if (self.get, self.trained) == ("ntk", "hidden") and 0 < len(network_layers) < 3:
            raise InputError("network has no hidden layer with weights, so trained='hidden' trains nothing")
        if (self.get, self.trained, self.depths_[0]) == ("ntk", "hidden", 2):
            raise InputError("depth 2 has no hidden layer, so trained='hidden' trains nothing; allowed are depths ≥ 3")
        kernels = self._kernels(images, None, self.depths_, self.progress)
        fits = {
            depth: kernel_regression(kernels[depth], targets, ridges=path, dtype=self.dtype) for depth in self.depths_
        }
        self.depth_ = min(fits, key=lambda depth: (_score(fits[depth]), depth or 0))
        best = fits[self.depth_]
        self.ridges_ = path
        self.ridge_ = best.best_ridge
        self.dual_coef_ = best.dual[best.best].copy()
        self.X_fit_ = images
        self.loo_error_ = np.array([fits[depth].loo_error for depth in self.depths_])
        if best.loo_accuracy is not None:
            self.loo_accuracy_ = np.array([fits[depth].loo_accuracy for depth in self.depths_])

    def _depths(self) -> tuple[int | None, ...]:
        """The depths to choose from; None stands for that of `network`, which states all of its layers."""
        if self.network is None:
            return check.as_depths("depth", self.depth)
        defaults = signature(type(self)).parameters
        for name in ("readout", "pooling_window", "flips", "depth", "filter_size"):
            if np.any((value := getattr(self, name)) != defaults[name].default):
                raise InputError(f"{name} is {value!r} beside network; a network has all of its layers: leave it out")
        return (None,)

    def _scores(self, X: Any) -> np.ndarray:
        """Predictions of the targets, of shape (m,) or (m, k)."""
        check_is_fitted(self)
        images = self._images(X, reset=False)
        scores = np.empty((len(images), *self.dual_coef_.shape[1:]))
        with reporting(check.as_progress("progress", self.progress), "prediction", "images") as report:
            for rows in cut(len(images), ROWS_AT_ONCE):
                part = False if report is None else _part(report, rows, len(images))
                kernels = self._kernels(images[rows], self.X_fit_, (self.depth_,), part)
                scores[rows] = kernels[self.depth_] @ self.dual_coef_
        return scores

    def _kernels(
        self, x1: np.ndarray, x2: np.ndarray | None, depths: tuple[int | None, ...], progress: bool | Progress
    ) -> dict[int | None, np.ndarray]:
        """The kernel at each depth; `trained` and `get` are no sequences, as an estimator has a single kernel."""
        kind = check.as_choice("get", self.get, KINDS)
        options: dict[str, Any] = {
            "trained": check.as_choice("trained", self.trained, TRAINED),
            "get": kind,
            "channels_first": False,
            "backend": self.backend,
            "dtype": self.dtype,
            "threads": self.threads,
            "progress": progress,
        }
        if self.network is not None:
            return {None: kernel(Network(self.network), x1, x2, **options)[kind]}
        kernels = cntk(
            x1,
            x2,
            depths=tuple(depth for depth in depths if depth is not None),
            readout=self.readout,
            pooling_window=self.pooling_window,
            flips=self.flips,
            filter_size=self.filter_size,
            **options,
        )
        return {depth: kernels[kind, depth] for depth in depths}

    def _images(self, X: Any, *, reset: bool, **y: Any) -> Any:
        """Images of shape (n, P, Q, C) out of rows or images; with y, both checked."""
        first, X = check.is_channels_first(self.channels_first), _as_known(X)
        if not reset:
            self._require_layout(check.as_numpy("X", X).shape, first)
        checked = validate_data(self, X, reset=reset, allow_nd=True, dtype=[np.float64, np.float32], **y)
        array = checked[0] if y else checked
        if array.ndim == 2:
            images = self._of_rows(array, warn=reset)
        elif array.ndim == 4:
            images = check.as_images("X", array, self.channels_first if reset else first)
            if reset and (shape := self._image_shape()) is not None:
                check.require_image_shape("X", images, shape, "")
        else:
            stack = "X[:, None]" if first else "X[..., None]"
            hint = f"; a stack of grey images is {stack}" if array.ndim == 3 else ""
            raise InputError(f"X has shape {array.shape}; allowed are rows (n, features) and images (n, P, Q, C){hint}")
        if reset:
            self._of_images = array.ndim == 4
        return (images, checked[1]) if y else images

    def _require_layout(self, shape: tuple[int, ...], first: bool) -> None:
        """Refuse the shape of an X in another layout than that of `fit`; scikit-learn sees its second axis alone."""
        if len(shape) < 2 or (len(shape) == 2 and not self._of_images):
            return
        P, Q, C = self.X_fit_.shape[1:]
        last, planes, features = (P, Q, C), (C, P, Q), P * Q * C
        own, other, axes = (planes, last, (0, 3, 1, 2)) if first else (last, planes, (0, 2, 3, 1))
        if self._of_images and shape[1:] == own:
            return
        fitted = f"images of shape {own}" if self._of_images else f"rows of {features} numbers"
        given, step = f"images of shape {shape[1:]}", ""
        if len(shape) == 2:
            given = f"rows of {shape[1]} numbers"
            step = f"X.reshape(-1, {', '.join(map(str, own))})" if shape[1] == features else ""
        elif shape[1:] == (P, Q) and C == 1:
            step = ("X[:, None]" if first else "X[..., None]") if self._of_images else "X.reshape(len(X), -1)"
        elif shape[1:] in (own, other):
            turn = "" if shape[1:] == own else f".transpose{axes}"
            step = f"X{turn}{'' if self._of_images else '.reshape(len(X), -1)'}"
        hint = f": pass {step}" if step else ""
        raise InputError(f"X has {given}; allowed are {fitted}, which is what fit was given{hint}")

    def _of_rows(self, rows: np.ndarray, *, warn: bool) -> np.ndarray:
        """The images in rows: of the given shape, or of one row of pixels."""
        n, features = rows.shape
        shape = self._image_shape()
        if shape is None:
            if warn:
                check.warn_of_layout(_row_warning(features))
            shape = (1, features, 1)
        if features != math.prod(shape):
            raise InputError(f"image_shape is {shape}, {math.prod(shape)} numbers, but X has rows of {features}")
        if self.channels_first:
            return check.as_images("X", rows.reshape(n, shape[2], *shape[:2]), channels_first=True)
        return rows.reshape(n, *shape)

    def _image_shape(self) -> tuple[int, int, int] | None:
        """`image_shape`, checked: channels last, whatever the order of X."""
        if self.image_shape is None:
            return None
        return check.as_image_shape("image_shape", self.image_shape, self.channels_first and None)


_PARAMETERS = """
    Parameters
    ----------
    network : str, Network or sequence of layers, optional
        A network of any layers, as `exact_cntk.kernel` takes it, in place of `readout`, `pooling_window`, `flips`,
        `depth` and `filter_size`, which describe one of the paper's family.
    readout : {"flatten", "lap", "gap"}
    pooling_window : int, odd
        For `lap`, which needs it.
    flips : bool
        Average the kernel over horizontal flips of the images.
    depth : int or sequence of int, each from 2 (3 if only hidden layers are trained) to 1000
        Of the network, which has one, where `cntk` returns kernels of several `depths`. From a sequence, the depth with
        the best leave-one-out score is chosen. One kernel pass to the deepest gives all depths, at its cost: much
        cheaper than a grid search over `depth`, which starts a pass for every value.
    trained : {"all", "hidden"}
    filter_size : int, odd
    get : {"ntk", "nngp"}
        The tangent kernel, or that of the CNN-GP, which has no trained layers.
    ridge : float ≥ 0 or "loo"
        Relative to mean(diag K); "loo" chooses from `ridges` by leave-one-out, in closed form; of more than 10,000
        points, without a GPU, by a tenth of them that is held out (`kernel_regression`, method "auto").
    ridges : sequence of float ≥ 0
        The candidates for "loo".
    image_shape : (P, Q, C), optional
        Rows, columns and channels of the image in a row of X, which has its numbers in this order: all channels of the
        first pixel, then of the pixel to its right, and so on (`images.reshape(n, -1)` of images with channels last).
        Without, a row of F numbers is an image of one row, shape (1, F, 1), whose neighbouring numbers are convolved:
        `fit` warns of that (`exact_cntk.errors.LayoutWarning`), as it is right for series alone. Features without an
        order are one pixel, (1, 1, F); the network is then fully connected.
    channels_first : bool, optional
        True: a row of X has one plane after the other, such as the red, the green and the blue one in CIFAR-10's files;
        images are (n, C, P, Q). `image_shape` stays (P, Q, C). By default channels are last, and shapes that look
        otherwise, such as (n, 3, 32, 32), are refused or warned of, as by `cntk`; False takes them as they are.
    backend, dtype, threads, progress
        As in `exact_cntk.cntk`, which explains the architecture's parameters as well. Progress counts pairs of images
        in `fit`, and images in predictions.
"""


class CNTKClassifier(ClassifierMixin, _CNTKEstimator):  # noqa: D101
    __doc__ = f"""Classification by kernel regression with the CNTK on labels coded −0.1 and 0.9.

    f(X_*) = K_* (K + λI)⁻¹ Y; the class is the largest of its columns, as in Arora et al. 2019, appendix A.
    X is of shape (n, features), see `image_shape`, or (n, P, Q, C).
{_PARAMETERS}
    Attributes
    ----------
    classes_ : array of shape (k,)
    depth_, ridge_ : int, or None with `network`, and float
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
        """Fit to images X and labels y of shape (n,).

        Labels are texts, integers or booleans, as `exact_cntk.kernel_regression` takes them, or whole floats.
        """
        X = _as_known(X)
        labels = None if y is None else as_labels("y", y)  # scikit-learn says that there is no y
        if labels is not None and labels.ndim == 2 and labels.shape[1] > 1:
            steps = ["np.ravel(y)"] if len(labels) == 1 else one_hot_step("y", labels)
            hint = f": pass {steps[0]}" if steps else ", one for each image"
            raise InputError(f"y has shape {labels.shape}; allowed are labels of shape (n,){hint}")
        images, labels = self._images(X, reset=True, y=labels)
        labels = column_or_1d(labels, warn=True)
        if labels.dtype.kind == "f":
            check_classification_targets(labels)  # which refuses fractions
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
    depth_, ridge_ : int, or None with `network`, and float
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
        X = _as_known(X)
        numbers = None if y is None else as_numbers("y", y)  # scikit-learn says that there is no y
        images, y = self._images(X, reset=True, y=numbers, multi_output=True, y_numeric=True)
        self._fit(images, np.asarray(y, dtype=np.float64))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predictions of shape (m,) or (m, k)."""
        return self._scores(X)


def _as_known(X: Any) -> Any:
    """What scikit-learn reads correctly, where it does not say in one line what else to pass."""
    known = check.as_known("X", X)
    array = check.as_numpy("X", known)
    if array.dtype.kind not in "biufO":
        what = "Complex data not supported: " if array.dtype.kind == "c" else ""  # scikit-learn's words
        raise InputError(f"{what}X has dtype {array.dtype}; allowed are real numbers")
    if step := check.stacking("X", array):
        raise InputError(f"X has dtype object; allowed are rows (n, features) and images (n, P, Q, C){step}")
    return known


def _row_warning(features: int) -> str:
    side = math.isqrt(features)
    square = f", such as ({side}, {side}, 1)" if side**2 == features else ""
    return (
        f"X has rows of {features} numbers, and image_shape is None: each is taken for an image of one row of pixels, "
        f"shape (1, {features}, 1), which is right for series alone; give image_shape=(rows, columns, channels) for "
        f"images{square}, or (1, 1, {features}) for features without an order"
    )


def _part(report: Progress, rows: slice, total: int) -> Progress:
    """The progress of some rows, in images, as part of that of all."""
    return lambda done, of: report(rows.start + done * (rows.stop - rows.start) // of, total)


def _score(fit: KernelRegression) -> tuple[float, ...]:
    """Score of the best ridge, the smaller the better; without the ridge, which is not comparable between depths."""
    _, score = choose(fit.ridges, fit.loo_error, fit.loo_accuracy, fit.solved)
    return score[:2]
