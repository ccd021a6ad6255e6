"""What training the CNNs of a study costs: operations, seconds, memory, disk."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exact_cntk._support.machine import cores, gpu_present
from exact_cntk.data import describe
from exact_cntk.study.passes import image_shape

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


def forward_operations(shape: Sequence[int], network: Mapping[str, Any], depth: int, outputs: int) -> int:
    """Additions and multiplications of one image's way through a network of depth − 1 convolutions.

    Parameters
    ----------
    shape : (P, Q, C₀)
    network : mapping
        `width`, `filter_size`, `readout`.
    """
    (P, Q, C0), C, q = shape, network["width"], network["filter_size"]
    convolutions = P * Q * q**2 * C * (C0 + (depth - 2) * C)
    return 2 * (convolutions + outputs * C * (1 if network["readout"] == "gap" else P * Q))


def epoch_operations(
    shape: Sequence[int],
    network: Mapping[str, Any],
    depth: int,
    outputs: int,
    train_images: int,
    held_out_images: int,
) -> int:
    """Additions and multiplications of an epoch: its steps, and the row of the learning curve."""
    seen = (1 + BACKWARD) * train_images + train_images + held_out_images
    return seen * forward_operations(shape, network, depth, outputs)


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
    measured: dict[tuple[str, int], float] = {}
    if calibration_seconds > 0 and not gpu and _has_torch():
        shapes = {(network["name"], depth): network for network, depth, _, _ in epochs}
        for (name, depth), network in shapes.items():
            measured[name, depth] = _measured_speed(params, network, depth, calibration_seconds / len(shapes))
    seconds = sum(
        jobs * (JOB_SECONDS + params["cnns"]["max_epochs"] * operations / measured.get((network["name"], depth), speed))
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


def _epochs(params: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int, int, int]]:
    """(family with the study's width, depth, operations of an epoch, number of such runs)."""
    cnns, prepare = params["cnns"], params["prepare"]
    if cnns is None:
        return
    outputs = len(describe(prepare).class_names)
    shape, pool, left_out = image_shape(prepare), prepare["train_images"], cnns["validation_images"]
    for family in cnns["families"]:
        network = family | {"width": cnns["width"]}
        for depth in family["depths"]:
            rates = len(cnns["rates"])
            yield network, depth, epoch_operations(shape, network, depth, outputs, pool - left_out, left_out), rates
            test = epoch_operations(shape, network, depth, outputs, pool, prepare["test_images"])
            yield network, depth, test, rates * cnns["seeds"]


def _largest_weights(params: Mapping[str, Any]) -> int:
    """Bytes of the weights of the largest network."""
    cnns, images = params["cnns"], describe(params["prepare"])
    shape, outputs = images.shape, len(images.class_names)
    C = cnns["width"]
    return max(
        4 * C * (f["filter_size"] ** 2 * (shape[2] + (depth - 2) * C) + outputs * math.prod(shape[:2]))
        for f in cnns["families"]
        for depth in f["depths"]
    )


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _measured_speed(params: Mapping[str, Any], network: Mapping[str, Any], depth: int, seconds: float) -> float:
    """Operations/s of steps of the real network; of a narrower one on fewer images where a step takes long.

    On one core, as the small runs take, or on all of them, as the large ones do.
    """
    import numpy as np

    from exact_cntk import finite
    from exact_cntk.finite._torch import torch

    described, network = describe(params["prepare"]), dict(network)
    shape, outputs = described.shape, len(described.class_names)
    images = params["cnns"]["batch_images"]
    limit = min(LARGEST_STEP, seconds * CPU_OPERATIONS / 4)

    def step() -> int:
        return images * (1 + BACKWARD) * forward_operations(shape, network, depth, outputs)

    while step() > limit and images > 1:
        images = math.ceil(images / 2)
    while step() > limit and network["width"] > 1:
        network["width"] = math.ceil(network["width"] / 2)
    x, labels = np.random.default_rng(0).standard_normal((images, *shape)), np.zeros(images)
    options = {name: network[name] for name in ("width", "readout", "filter_size", "trained")}
    before = torch.get_num_threads()
    torch.set_num_threads(cores() if trains_long(params) else 1)
    try:
        model = finite.CNN(shape, depth=depth, outputs=outputs, **options)

        def run(steps: int) -> float:
            start = time.perf_counter()
            # The last step's row is one pass that is no step.
            finite.train_full_batch(model, x, labels, rate=0.0, steps=steps, every=steps + 1, images_at_once=images)
            return time.perf_counter() - start

        steps = max(1, min(1000, math.floor(seconds / max(run(1), 1e-6))))
        return (steps + 1) * step() / run(steps)
    finally:
        torch.set_num_threads(before)
