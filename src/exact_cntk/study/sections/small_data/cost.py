"""Which result files the study of small training sets has, and what they cost; cheap to import."""

import math
from collections.abc import Mapping
from typing import Any

from exact_cntk.data import describe
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.sections.small_data.plan import jobs
from exact_cntk.study.work import BACKWARD, Convolutions, Fits, Work

RIDGES = 2  # the paper's protocol, and the one that leave-one-out chooses
PREDICTED_AT_ONCE = 256  # images, by a network
ROW_BYTES = 200  # of a result in a file

# Where nothing is measured: rough, from runs on two cores of an AMD EPYC.
LOGISTIC_STEPS = 100  # of L-BFGS, for one penalty on one fold
LOGISTIC_OVERHEAD = 3e-4  # seconds a step
TREE_SECONDS = 1.2e-3  # for the smallest training sets
TREE_GROWTH = 3e-8  # seconds for each image, level and feature that is tried


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """All jobs; rough, as how long descent takes depends on the images."""
    small = params["small_data"]
    if small is None:
        return []
    names, sizes, kinds = _names(params), small["train_images"], len(params["kernels"]["kinds"])
    works = [Work(jobs=len(names["kernel"]), fits=tuple(Fits(n, RIDGES, small["subsets"] * kinds) for n in sizes))]
    works += [_baseline_work(params, name) for name in names["baseline"]]
    return works + [_network_work(params, one) for one in (small["cnns"] or {"families": []})["families"]]


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
        layers = 4 * PREDICTED_AT_ONCE * math.prod(image_shape(prepare)[:2]) * small["cnns"]["width"] * unfolded
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


def _baseline_work(params: Mapping[str, Any], name: str) -> Work:
    """Of a standard method on all training sets."""
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
    """Of a network on all of its training sets, if no training ends early."""
    small, prepare = params["small_data"], params["prepare"]
    cnns, shape = small["cnns"], image_shape(prepare)
    family, outputs = Family.from_parts(network), len(describe(prepare).class_names)
    sizes = [n for n in small["train_images"] if n <= cnns["max_train_images"]]
    # the rates on all but the images held out, then all; an epoch's row is one pass more
    trained = (2 + BACKWARD) * cnns["epochs"] * sum(sizes) * (0.8 * len(cnns["rates"]) + 1)
    passes = cnns["subsets"] * (trained + len(sizes) * prepare["test_images"])
    operations = passes * family.operations(shape, network["depth"], cnns["width"], outputs)
    form = Convolutions(operations, shape, family, cnns["width"], cnns["batch_images"])
    return Work(jobs=1, convolutions=form, torch=True)


def _names(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the jobs, by what they test."""
    made = jobs(params)
    steps = {"kernel": "small_data_kernel", "baseline": "small_data_baseline", "cnn": "small_data_cnn"}
    return {kind: [name for name, job in made.items() if job.step == step] for kind, step in steps.items()}
