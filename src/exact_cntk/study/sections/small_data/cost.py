"""Which result files the study of small training sets has, and what they cost; cheap to import."""

import math
import time
from collections.abc import Mapping
from typing import Any

from exact_cntk._support.machine import cores
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.small_data.plan import jobs

ALL_CLASSES = 10  # of digits as of CIFAR-10
CALIBRATION_IMAGES = 300  # of the fit that is timed
PREDICTED_AT_ONCE = 256  # images, by a network
ROW_BYTES = 200  # of a result in a file

# Where nothing is measured: rough, from runs on two cores of an AMD EPYC.
JOB_SECONDS = 3.0  # to start, read the images and write
LOGISTIC_STEPS = 100  # of L-BFGS, for one penalty on one fold
LOGISTIC_OVERHEAD = 3e-4  # seconds a step
TREE_SECONDS = 1.2e-3  # for the smallest training sets
TREE_GROWTH = 3e-8  # seconds for each image, level and feature that is tried


def expected_seconds(params: Mapping[str, Any], calibration_seconds: float) -> float:
    """Seconds of all jobs, on all cores; a rough number, as how long descent takes depends on the images.

    A fit of a kernel and a product of matrices are measured here, for about `calibration_seconds`; the rest follows
    from numbers of operations.

    Parameters
    ----------
    params : mapping
        Of a study, checked.
    calibration_seconds : float
    """
    if params["small_data"] is None:
        return 0.0
    jobs = _job_seconds(params, _measure_fit(), _measure_rate(calibration_seconds))
    return max(max(jobs), sum(jobs) / min(cores(), len(jobs)))


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak of the largest job, bytes: images in single and, flattened, double precision, and what methods take."""
    small, prepare = params["small_data"], params["prepare"]
    if small is None:
        return 0
    n, pool, pixels = max(small["train_images"]), prepare["train_images"], math.prod(image_shape(prepare))
    fit = 8 * (4 * n**2 + 2 * 1000 * pool)
    images = 4 * (pool + prepare["test_images"]) * pixels + 2 * 8 * (n + prepare["test_images"]) * pixels
    layers = 0
    if small["cnns"]:
        unfolded = 2 + max(Family.from_parts(one).filter_size for one in small["cnns"]["families"]) ** 2
        layers = 4 * PREDICTED_AT_ONCE * prepare["resolution"] ** 2 * small["cnns"]["width"] * unfolded
    return images + max(fit, layers)


def expected_disk(params: Mapping[str, Any]) -> int:
    """Result files and checkpoints, bytes."""
    small = params["small_data"]
    if small is None:
        return 0
    names = _names(params)
    sets = small["subsets"] * len(small["train_images"])
    rows = 2 * len(params["kernels"]["kinds"]) * len(names["kernel"]) + 2 * (len(names["baseline"]) + len(names["cnn"]))
    return ROW_BYTES * sets * rows


def _job_seconds(params: Mapping[str, Any], fit: float, rate: float) -> list[float]:
    """Of each job, from the seconds of a fit to `CALIBRATION_IMAGES` and the operations a second of products."""
    small, prepare = params["small_data"], params["prepare"]
    tests, pixels, repeats = prepare["test_images"], math.prod(image_shape(prepare)), small["subsets"]
    classes = len(prepare["classes"]) or ALL_CLASSES

    def fits(n: int) -> float:
        return fit * (n / CALIBRATION_IMAGES) ** 3

    def baseline(name: str, n: int) -> float:
        if name == "rbf":
            return len(small["bandwidths"]) * fits(n) + 2 * n * (n + tests) * pixels / rate
        if name == "logistic":
            step = LOGISTIC_OVERHEAD + 4 * n * min(n, pixels) * classes / rate
            return LOGISTIC_STEPS * (3 * len(small["inverse_penalties"]) + 1) * step
        return small["trees"] * (TREE_SECONDS + TREE_GROWTH * n * math.log2(n) * math.sqrt(pixels))

    names = _names(params)
    jobs = [repeats * len(params["kernels"]["kinds"]) * sum(map(fits, small["train_images"])) for _ in names["kernel"]]
    jobs += [repeats * sum(baseline(name, n) for n in small["train_images"]) for name in names["baseline"]]
    jobs += [_network_operations(params, one) / rate for one in (small["cnns"] or {"families": []})["families"]]
    return [JOB_SECONDS + seconds for seconds in jobs]


def _network_operations(params: Mapping[str, Any], network: Mapping[str, Any]) -> float:
    """Of a network on all of its training sets, if no training ends early: 2 for a multiplication and an addition."""
    small, prepare = params["small_data"], params["prepare"]
    cnns, width = small["cnns"], small["cnns"]["width"]
    filters = Family.from_parts(network).weights(image_shape(prepare), network["depth"], width)[:-1]
    forward = 2 * prepare["resolution"] ** 2 * sum(filters)
    sizes = [n for n in small["train_images"] if n <= cnns["max_train_images"]]
    # the rates on all but the images held out, then all; a step is three passes forward, and an epoch's row one more
    trained = 4 * cnns["epochs"] * sum(sizes) * (0.8 * len(cnns["rates"]) + 1)
    return forward * cnns["subsets"] * (trained + len(sizes) * prepare["test_images"])


def _names(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the jobs, by what they test."""
    made = jobs(params)
    steps = {"kernel": "small_data_kernel", "baseline": "small_data_baseline", "cnn": "small_data_cnn"}
    return {kind: [name for name, job in made.items() if job.step == step] for kind, step in steps.items()}


def _measure_fit() -> float:
    import numpy as np
    from threadpoolctl import threadpool_limits

    from exact_cntk.regression.kernel_regression import kernel_regression

    features = np.random.default_rng(0).standard_normal((CALIBRATION_IMAGES, CALIBRATION_IMAGES))
    K, labels = features @ features.T, np.arange(CALIBRATION_IMAGES) % ALL_CLASSES
    start = time.perf_counter()
    with threadpool_limits(1):  # as the jobs
        kernel_regression(K, labels, ridges=(0.0, 1e-2), method="eigh")
    return time.perf_counter() - start


def _measure_rate(seconds: float) -> float:
    """Operations a second of products of matrices in single precision, on one core."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    matrix = np.random.default_rng(0).standard_normal((400, 400)).astype(np.float32)
    products, start = 0, time.perf_counter()
    with threadpool_limits(1):
        while products == 0 or time.perf_counter() - start < seconds:
            matrix @ matrix
            products += 1
    return products * 2 * len(matrix) ** 3 / (time.perf_counter() - start)
