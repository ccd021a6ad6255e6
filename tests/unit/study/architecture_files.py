"""Made-up result files of a grid of architectures, whose qualities are known."""

import itertools

import numpy as np

TEST_IMAGES = 400
DATA = {"digest": "d" * 64, "dataset": "made up", "verified": True, "image_shape": [8, 8, 1], "classes": ["a", "b"]}


def one_pass(filter_size, readout, window=None, *, flips=False, qualities, small=(20, 40), repeats=4, seed=0):
    """The document of one pass; `qualities` are accuracies at full data by (depth, kind, trained).

    With n of the full 200 images, an architecture of quality p is right on each test image with probability
    p (1 − 10/n), on its own training set's draw.
    """
    rng = np.random.default_rng(seed)
    results = []
    for (depth, kind, trained), quality in qualities.items():
        for n, repeat in [(n, r) for n in small for r in range(repeats)] + [(200, 0)]:
            bits = rng.random(TEST_IMAGES) < quality * (1 - 10 / n)
            packed = np.packbits(bits).tobytes().hex()
            accuracy = float(bits.mean())
            results.append(
                {"depth": depth, "kind": kind, "trained": trained, "train_images": n, "repeat": repeat}
                | {"accuracy": accuracy, "accuracy_loo_ridge": accuracy, "loo_ridge": 0.0, "loo_accuracy": accuracy}
                | {"test_correct_hex": packed, "test_correct_loo_ridge_hex": packed}
            )
    depths = sorted({depth for depth, _, _ in qualities})
    entries = {"flatten": 64, "lap": 1156, "gap": 4096}[readout] * (1 + flips)
    return {
        "format_version": 1,
        "study": "made-up",
        "data": DATA,
        "family": f"arch-f{filter_size}-{readout}{window or ''}{'-flips' * flips}",
        "readout": readout,
        "pooling_window": window,
        "flips": flips,
        "filter_size": filter_size,
        "train_images": 200,
        "test_images": TEST_IMAGES,
        "element_layers_per_pair": {str(depth): entries * (depth - 1) for depth in depths},
        "results": results,
    }


def grid(seed=0):
    """Documents of a grid of 3 × 3 passes, 54 architectures: the deeper and the more pooled, the better."""
    kinds = [("ntk", "all"), ("ntk", "hidden"), ("nngp", None)]
    documents = []
    for i, (size, (readout, window)) in enumerate(
        itertools.product([1, 3, 5], [("flatten", None), ("lap", 3), ("gap", None)])
    ):
        qualities = {
            (depth, kind, trained): 0.5 + 0.04 * depth + 0.03 * (i % 3) + 0.02 * (i // 3) - 0.01 * k
            for depth in (3, 6)
            for k, (kind, trained) in enumerate(kinds)
        }
        documents.append(one_pass(size, readout, window, qualities=qualities, seed=seed + i))
    return documents
