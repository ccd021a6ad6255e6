"""What training the CNNs of a study costs: operations, memory, disk."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exact_cntk._support.machine import cores, gpu_present
from exact_cntk.data import describe
from exact_cntk.networks import Family
from exact_cntk.study.passes import image_shape
from exact_cntk.study.work import BACKWARD, Convolutions, Work

# An epoch with this many operations takes a CPU about ten seconds: a GPU or several cores are then worth using.
HEAVY_OPERATIONS = 1e12
JOB_BYTES = 600 * 2**20
CURVE_BYTES = 100  # text of one epoch


def epoch_operations(
    network: Family,
    shape: Sequence[int],
    depth: int,
    width: int,
    outputs: int,
    train_images: int,
    held_out_images: int,
) -> int:
    """Additions and multiplications of an epoch: its steps, and one point of the learning curve."""
    seen = (1 + BACKWARD) * train_images + train_images + held_out_images
    return seen * network.operations(shape, depth, width, outputs)


def trains_long(params: Mapping[str, Any]) -> bool:
    """Whether a GPU (or all cores, without one) trains a study's CNNs, rather than one core for each."""
    return any(operations >= HEAVY_OPERATIONS for _, operations, _ in _epochs(params))


def expected_work(params: Mapping[str, Any]) -> list[Work]:
    """All training runs, an upper bound: some may end before the last epoch."""
    # Small runs take one core each; a large one takes the GPU, or all cores.
    cnns, long, shape = params["cnns"], trains_long(params), image_shape(params["prepare"])
    form = {"width": cnns["width"], "images": cnns["batch_images"], "tf32": cnns["tf32"]}
    return [
        Work(
            jobs=jobs,
            convolutions=Convolutions(cnns["max_epochs"] * operations, shape, network, **form),
            torch=True,
            all_cores=long,
            gpu=long and gpu_present(),
        )
        for network, operations, jobs in _epochs(params)
    ]


def expected_memory(params: Mapping[str, Any]) -> int:
    """Peak memory of the largest run, bytes: images as read, as checked and as tensors, weights, activations."""
    cnns, prepare, shape = params["cnns"], params["prepare"], image_shape(params["prepare"])
    images = (4 + 8 + 4) * (prepare["train_images"] + prepare["test_images"]) * math.prod(shape)
    depth = max(depth for family in cnns["families"] for depth in family["depths"])
    at_once = min(prepare["train_images"], max(256, cnns["batch_images"]))
    activations = 4 * at_once * shape[0] * shape[1] * cnns["width"] * (2 * depth + 4)
    return JOB_BYTES + images + 4 * _largest_weights(params) + activations


def expected_disk(params: Mapping[str, Any]) -> int:
    """Bytes of all results, and of the checkpoints of current runs."""
    jobs = sum(jobs for *_, jobs in _epochs(params))
    results = jobs * (2 * CURVE_BYTES * params["cnns"]["max_epochs"] + params["prepare"]["test_images"])
    return results + 2 * _largest_weights(params) * (1 if trains_long(params) else cores())


def _epochs(params: Mapping[str, Any]) -> Iterator[tuple[Family, int, int]]:
    """Yield (family, operations of an epoch, number of such runs)."""
    cnns, prepare = params["cnns"], params["prepare"]
    data, pool, left_out = describe(prepare), prepare["train_images"], cnns["validation_images"]
    shape, outputs = data.shape, len(data.class_names)
    for family in cnns["families"]:
        network, width, rates = Family.from_parts(family), cnns["width"], len(cnns["rates"])
        for depth in family["depths"]:
            form = (network, shape, depth, width, outputs)
            yield network, epoch_operations(*form, pool - left_out, left_out), rates
            yield network, epoch_operations(*form, pool, prepare["test_images"]), rates * cnns["seeds"]


def _largest_weights(params: Mapping[str, Any]) -> int:
    """Bytes of the weights of the largest network."""
    cnns, data = params["cnns"], describe(params["prepare"])
    return max(
        4 * sum(Family.from_parts(family).weights(data.shape, depth, cnns["width"], len(data.class_names)))
        for family in cnns["families"]
        for depth in family["depths"]
    )
