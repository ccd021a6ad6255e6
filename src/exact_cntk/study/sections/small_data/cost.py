"""What the section on small training sets costs; cheap to import."""

import math
from collections.abc import Mapping
from typing import Any

from exact_cntk.data import describe
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.small_data.plan import jobs
from exact_cntk.study.work import BACKWARD, Convolutions, Fits, Work

RIDGES = 2  # the paper's protocol, and the ridge that leave-one-out chooses
PREDICTED_AT_ONCE = 256  # images, by a network
ROW_BYTES = 200  # of a result in a file

# Rough values from runs on two cores of an AMD EPYC, used where nothing is measured.
LOGISTIC_STEPS = 100  # of L-BFGS, for one penalty on one fold
LOGISTIC_OVERHEAD = 3e-4  # seconds per step
TREE_SECONDS = 1.2e-3  # for the smallest training sets
TREE_GROWTH = 3e-8  # seconds per image, level and feature that is tried


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """All jobs; rough, because the number of steps of an optimisation depends on the images."""
    small, kinds = params["small_data"], len(params["kernels"]["kinds"])
    fits = tuple(Fits(n, RIDGES, small["subsets"] * kinds) for n in small["train_images"])
    works = [Work(jobs=len(small["kernels"]), fits=fits)]
    works += [_baseline_work(params, name) for name in small["baselines"]]
    return works + [_network_work(params, network) for network in (small["cnns"] or {"families": []})["families"]]


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak memory of the largest job, bytes: images in single and, flattened, double precision, and the method's."""
    small, prepare = params["small_data"], params["prepare"]
    n, pool, pixels = max(small["train_images"]), prepare["train_images"], math.prod(image_shape(prepare))
    fit = 8 * (4 * n**2 + 2 * 1000 * pool)
    images = 4 * (pool + prepare["test_images"]) * pixels + 2 * 8 * (n + prepare["test_images"]) * pixels
    layers = 0
    if small["cnns"]:
        unfolded = 2 + max(Family.from_parts(family).filter_size for family in small["cnns"]["families"]) ** 2
        layers = 4 * PREDICTED_AT_ONCE * math.prod(image_shape(prepare)[:2]) * small["cnns"]["width"] * unfolded
    return images + max(fit, layers)


def expected_disk(params: Mapping[str, Any]) -> int:
    """Result files and checkpoints, bytes."""
    small = params["small_data"]
    others = len(jobs(params)) - len(small["kernels"])
    rows = 2 * len(params["kernels"]["kinds"]) * len(small["kernels"]) + 2 * others
    return ROW_BYTES * small["subsets"] * len(small["train_images"]) * rows


def _baseline_work(params: Mapping[str, Any], name: str) -> Work:
    """Work of a standard method on all training sets."""
    small, prepare = params["small_data"], params["prepare"]
    tests, pixels, repeats = prepare["test_images"], math.prod(image_shape(prepare)), small["subsets"]
    sizes = small["train_images"]
    if name == "rbf":
        fits = tuple(Fits(n, RIDGES, repeats * len(small["bandwidths"])) for n in sizes)
        return Work(jobs=1, fits=fits, products=repeats * sum(2 * n * (n + tests) * pixels for n in sizes))
    if name == "logistic":
        classes = len(describe(prepare).class_names)
        steps = repeats * LOGISTIC_STEPS * (3 * len(small["inverse_penalties"]) + 1)
        products = steps * sum(4 * n * min(n, pixels) * classes for n in sizes)
        return Work(jobs=1, seconds=steps * len(sizes) * LOGISTIC_OVERHEAD, products=products)
    tree = sum(TREE_SECONDS + TREE_GROWTH * n * math.log2(n) * math.sqrt(pixels) for n in sizes)
    return Work(jobs=1, seconds=repeats * small["trees"] * tree)


def _network_work(params: Mapping[str, Any], network: Mapping[str, Any]) -> Work:
    """Work of a network on all of its training sets, if no training ends early."""
    small, prepare = params["small_data"], params["prepare"]
    cnns, shape = small["cnns"], image_shape(prepare)
    family, outputs = Family.from_parts(network), len(describe(prepare).class_names)
    sizes = [n for n in small["train_images"] if n <= cnns["max_train_images"]]
    # every rate on all but the validation images, then the chosen one on all; each epoch ends with one more pass
    trained = (2 + BACKWARD) * cnns["epochs"] * sum(sizes) * (0.8 * len(cnns["rates"]) + 1)
    passes = cnns["subsets"] * (trained + len(sizes) * prepare["test_images"])
    operations = passes * family.operations(shape, network["depth"], cnns["width"], outputs)
    form = Convolutions(operations, shape, family, cnns["width"], cnns["batch_images"])
    return Work(jobs=1, convolutions=form, torch=True)
