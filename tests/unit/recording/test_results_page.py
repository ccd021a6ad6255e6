"""The page of results holds what the metrics files hold, beside the paper, and says what is missing."""

import json

import numpy as np
import pytest
from recording import results_page
from recording.real.plan import catalogue
from recording.real.state import State

from exact_cntk.study.documents import write_json, write_result
from exact_cntk.study.show import references

N_TEST = 40
NAME = "CIFAR-10 (unverified source, JPEG copy, sha256 0123456789ab)"
PIECES = {name: catalogue()[name] for name in ("v-2k-0", "v-2k-1", "gap-2k-0")}


def write_piece(folder, piece, hits):
    """A finished piece whose every problem gets the first `hits` test images right."""
    state, correct = State(folder, piece), np.arange(N_TEST) < hits
    data = {"digest": "d" * 64, "dataset": NAME, "verified": False, "source_digest": "0" * 64}
    data |= {"image_shape": [32, 32, 3], "classes": [str(k) for k in range(10)]}
    for depth in piece.depths:
        results = [
            {
                **{"kind": problem.kind, "train_images": problem.train_images, "repeat": problem.repeat},
                **{"test_images": N_TEST, "ridges": list(ridges)},
                **{"test_accuracy": [(hits + (ridge == 1e-4)) / N_TEST for ridge in ridges]},
                **{name: [0.5] * len(ridges) for name in ("loo_accuracy", "loo_error", "residual_norm")},
                **{"condition_number": [10.0] * len(ridges), "accuracy": hits / N_TEST, "loo_ridge": 1e-4},
                **{"accuracy_loo_ridge": (hits + 1) / N_TEST, "eigenvalues": None},
                "test_correct_hex": np.packbits(correct).tobytes().hex(),
            }
            for problem, ridges in piece.problems.items()
            if problem.depth == depth
        ]
        document = {"format_version": 1, "study": "x", "family": piece.family, "readout": piece.readout}
        document |= {"trained": piece.trained, "filter_size": 3, "depth": depth, "data": data, "results": results}
        write_result(state.metrics_file(depth), document)
    provenance = {
        **{"backend": "cuda", "instruction_set": "sm_90", "seconds": {"train kernel": 1.0, "test kernel": 2.4}},
        **{"hardware": {"cpu": "Some CPU", "cores": 4}, "device": "Some GPU"},
        **{"packages": {"exact-cntk": "0.1.0"}, "git": {"revision": None}, "source_digest": "abcdef0123456789"},
    }
    write_json(state.provenance_file, provenance)


@pytest.fixture
def folder(tmp_path):
    write_piece(tmp_path / "results", PIECES["v-2k-0"], 16)
    write_piece(tmp_path / "results", PIECES["v-2k-1"], 18)
    return tmp_path / "results"


def test_page(folder, tmp_path):
    text = results_page.write_page(folder, tmp_path / "results.md", PIECES)
    assert f"Data: **{NAME}**, 40 test images." in text
    paper = references.paper_kernel("flatten", 2000).set_index("depth").accuracy
    row = next(line for line in text.splitlines() if line.startswith("|    21 | 42.50 ± 3.54"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["21", "42.50 ± 3.54", "2", f"{100 * paper[21]:.2f}", "−0.03"]
    assert "More than 1.5 points from the paper at depth 3." in text
    assert "- `gap-2k-0`: CNTK-GAP on 1 × 2,000, 2 × 1,000, 2 × 500 training images, depth 3, 4, 6, 11, 21" in text
    assert "- `v-2k-0`" not in text
    assert "| Some GPU " in text and "source abcdef" in text
    assert "CNTK-GAP-2K" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| CNTK-V, n = 2000 → CNN-V (paper) ")]
    assert "undefined: proxy constant" in row  # `write_piece` gives every depth the same accuracy
    assert "| CNTK-V, 500 → 2000 " in text
    svg = (folder / "learning-curve.svg").read_bytes()
    assert results_page.write_page(folder, tmp_path / "results.md", PIECES) == text
    assert (folder / "learning-curve.svg").read_bytes() == svg


def test_page_with_jpeg_experiment(folder, tmp_path):
    rows = [
        {"quality": quality, "subset": subset, "added_mse": mse, "accuracy": {"3": 0.4 - mse}}
        for subset in range(2)
        for quality, mse in ((None, 0.0), (75, 0.01), (30, 0.02))
    ]
    document = {"dataset": NAME, "kernel": "CNTK-V", "depths": [3], "train_images": 2000, "test_images": 10}
    document |= {"source_quality": 75, "measurements": rows}
    (folder / results_page.JPEG).write_text(json.dumps(document))
    text = results_page.write_page(folder, tmp_path / "results.md", PIECES)
    assert "| not at all" in text
    assert " +1.00 |" in text and "straight line to 6 measurements" in text
    assert "what JPEG costs the copy" not in text


def test_nothing_measured(tmp_path):
    text = results_page.write_page(tmp_path / "results", tmp_path / "results.md", PIECES)
    assert "Nothing has been measured yet." in text
    assert text.count("\n- `") == 3


def test_collects_what_is_finished(folder, tmp_path):
    target = tmp_path / "recorded"
    assert results_page.collect(folder, target) == ["v-2k-0", "v-2k-1"]
    assert sorted(path.name for path in (target / "v-2k-0").iterdir()) == ["metrics", "provenance.json"]
