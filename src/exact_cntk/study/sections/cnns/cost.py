"""What training the CNNs of a study costs: operations, seconds, memory, disk."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exact_cntk._support.machine import cores, gpu_present
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape

ALL_CLASSES = 10  # of digits as of CIFAR-10
BACKWARD = 2  # passes forward that one backward costs
# An epoch of as many operations is some ten seconds of a CPU: a GPU, if there is one, and more cores are worth while.
HEAVY_OPERATIONS = 1e12
# Operations/s where nothing is measured; one core, and one H100 or H200 in float32 and TF32: expected, below the data
# sheet's 6.7e13 and 4.9e14.
CPU_OPERATIONS, GPU_OPERATIONS = 3e10, {False: 4e13, True: 2e14}
JOB_SECONDS = 3.0  # of a core, for Python, torch and the images
JOB_BYTES = 600 * 2**20
LARGEST_STEP = 5e10  # operations of the step that is measured
CURVE_BYTES = 100  # of an epoch, in text


def epoch_operations(
    network: Family, shape: Sequence[int], depth: int, width: int, train_images: int, held_out_images: int
) -> int:
    """Additions and multiplications of an epoch: its steps, and the row of the learning curve."""
    seen = (1 + BACKWARD) * train_images + train_images + held_out_images
    return seen * network.operations(shape, depth, width, ALL_CLASSES)


def trains_long(params: Mapping[str, Any]) -> bool:
    """Whether a GPU, if there is one, or all cores train a study's CNNs, not one core each."""
    return any(operations >= HEAVY_OPERATIONS for _, _, operations, _ in _epochs(params))


def expected_seconds(params: Mapping[str, Any], calibration_seconds: float) -> float:
    """Seconds that all runs of a study take on this machine, at most: some may end before the last epoch.

    Parameters
    ----------
    params : mapping
        Checked parameters of a study.
    calibration_seconds : float
        About how long to measure; 0, or without torch, or where a GPU would compute, rates are expected ones.
    """
    if params["cnns"] is None:
        return 0.0
    epochs, gpu = list(_epochs(params)), trains_long(params) and gpu_present()
    speed = {True: GPU_OPERATIONS[params["cnns"]["tf32"]], False: CPU_OPERATIONS}[gpu]
    measured: dict[tuple[Family, int], float] = {}
    if calibration_seconds > 0 and not gpu and _has_torch():
        networks = dict.fromkeys((network, depth) for network, depth, _, _ in epochs)
        for network, depth in networks:
            measured[network, depth] = _measured_speed(params, network, depth, calibration_seconds / len(networks))
    seconds = sum(
        jobs * (JOB_SECONDS + params["cnns"]["max_epochs"] * operations / measured.get((network, depth), speed))
        for network, depth, operations, jobs in epochs
    )
    # Small runs take a core each, side by side; a large one takes the GPU, or all cores, whose rate has been measured.
    return seconds if gpu or (measured and trains_long(params)) else seconds / cores()


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak of the largest run, in bytes: the images as read, as checked and as tensors, weights, activations."""
    cnns, prepare = params["cnns"], params["prepare"]
    if cnns is None:
        return 0
    shape = image_shape(prepare)
    images = (4 + 8 + 4) * (prepare["train_images"] + prepare["test_images"]) * math.prod(shape)
    depth = max(depth for family in cnns["families"] for depth in family["depths"])
    at_once = min(prepare["train_images"], max(256, cnns["batch_images"]))
    activations = 4 * at_once * shape[0] * shape[1] * cnns["width"] * (2 * depth + 4)
    return JOB_BYTES + images + 4 * _largest_weights(params) + activations


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of all results, and of the checkpoints of runs that are under way."""
    cnns = params["cnns"]
    if cnns is None:
        return 0
    jobs = sum(jobs for *_, jobs in _epochs(params))
    results = jobs * (2 * CURVE_BYTES * cnns["max_epochs"] + params["prepare"]["test_images"])
    return results + 2 * _largest_weights(params) * (1 if trains_long(params) else cores())


def _epochs(params: Mapping[str, Any]) -> Iterator[tuple[Family, int, int, int]]:
    """(family, depth, operations of an epoch, number of such runs)."""
    cnns, prepare = params["cnns"], params["prepare"]
    if cnns is None:
        return
    shape, pool, left_out = image_shape(prepare), prepare["train_images"], cnns["validation_images"]
    for family in cnns["families"]:
        network, width, rates = Family.from_parts(family), cnns["width"], len(cnns["rates"])
        for depth in family["depths"]:
            yield network, depth, epoch_operations(network, shape, depth, width, pool - left_out, left_out), rates
            test = epoch_operations(network, shape, depth, width, pool, prepare["test_images"])
            yield network, depth, test, rates * cnns["seeds"]


def _largest_weights(params: Mapping[str, Any]) -> int:
    """Bytes of the weights of the largest network."""
    cnns, shape = params["cnns"], image_shape(params["prepare"])
    return max(
        4 * sum(Family.from_parts(family).weights(shape, depth, cnns["width"], ALL_CLASSES))
        for family in cnns["families"]
        for depth in family["depths"]
    )


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _measured_speed(params: Mapping[str, Any], network: Family, depth: int, seconds: float) -> float:
    """Operations/s of steps of the real network; of a narrower one on fewer images where a step takes long.

    On one core, as the small runs take, or on all of them, as the large ones do.
    """
    import numpy as np

    from exact_cntk import finite
    from exact_cntk.finite._torch import torch

    shape = image_shape(params["prepare"])
    images, width = params["cnns"]["batch_images"], params["cnns"]["width"]
    limit = min(LARGEST_STEP, seconds * CPU_OPERATIONS / 4)

    def step() -> int:
        return images * (1 + BACKWARD) * network.operations(shape, depth, width, ALL_CLASSES)

    while step() > limit and images > 1:
        images = math.ceil(images / 2)
    while step() > limit and width > 1:
        width = math.ceil(width / 2)
    x, labels = np.random.default_rng(0).standard_normal((images, *shape)), np.zeros(images)
    before = torch.get_num_threads()
    torch.set_num_threads(cores() if trains_long(params) else 1)
    try:
        model = finite.CNN(shape, depth=depth, width=width, outputs=ALL_CLASSES, **network.arguments())

        def run(steps: int) -> float:
            start = time.perf_counter()
            # The last step's row is one pass that is no step.
            finite.train_full_batch(model, x, labels, rate=0.0, steps=steps, every=steps + 1, images_at_once=images)
            return time.perf_counter() - start

        steps = max(1, min(1000, math.floor(seconds / max(run(1), 1e-6))))
        return (steps + 1) * step() / run(steps)
    finally:
        torch.set_num_threads(before)
