"""The page of results holds what the metrics files hold, beside the paper, and says what is missing."""

import json

import numpy as np
import pytest
from recording import results_page
from recording.glance import prediction_half_width
from recording.real.plan import catalogue
from recording.real.state import State
from recording.recorded import collect_pieces, collect_study

from exact_cntk.errors import UserError
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


def write_study(folder, hits):
    """A study of the workflow on the official images, with one kernel and one subset; its folder."""
    write_piece(folder, PIECES["v-2k-0"], hits)
    document = json.loads((folder / "v-2k-0" / "metrics" / "cntk-v-depth-03.json").read_text())
    document |= {"study": "y", "data": document["data"] | {"digest": "e" * 64, "dataset": "CIFAR-10", "verified": True}}
    document["results"] = [
        result for result in document["results"] if (result["kind"], result["train_images"]) == ("ntk", 2000)
    ]
    write_result(folder / "metrics" / "cntk-v-depth-03.json", document)
    provenance = json.loads((folder / "v-2k-0" / "provenance.json").read_text())
    provenance |= {"parameters": {"solvers": {"2000x1": "eigh"}}, "git": {"revision": "0123456789abcdef"}}
    write_json(folder / "provenance" / "cntk-v-depth-03.json", provenance)
    write_json(folder / "benchmarks" / "solve" / "cntk-v-depth-03.json", {"seconds": {"solve": 7.0}})
    for block, seconds in (("0-0", 1.0), ("4-0", 2.0)):
        write_json(folder / "benchmarks" / "kernel_block" / "cntk-v" / f"{block}.json", {"kernel_seconds": seconds})
    return folder


@pytest.fixture
def folder(tmp_path):
    write_piece(tmp_path / "results", PIECES["v-2k-0"], 16)
    write_piece(tmp_path / "results", PIECES["v-2k-1"], 18)
    return tmp_path / "results"


def row_of(text, *beginning):
    """The cells of the table's row that begins so."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (row,) = [row for row in rows if row[: len(beginning)] == list(beginning)]
    return row


def test_page(folder, tmp_path):
    text = results_page.write_page(folder, tmp_path / "results.md")
    assert "The JPEG copy is the same images, once encoded with\nloss; runs" in text
    assert f"different orders: **{NAME}**." in text
    paper = references.paper_kernel("flatten", 2000).set_index("depth").accuracy
    # Accuracies 16/40 and 18/40: t of 1 degree of freedom is tan(0.475 π), times √(1/800) √(3/2).
    half = 100 * np.tan(0.475 * np.pi) * np.sqrt(3 / 1600)
    interval = f"[0.00, {42.5 + half:.2f}]"  # less than 0 is no accuracy
    cells = [f"{100 * paper[21]:.2f}", "42.50 ± 3.54", interval, "agrees (−0.03 points)", "JPEG copy, 2 subsets"]
    assert row_of(text, "CNTK-V-2K", "21") == ["CNTK-V-2K", "21", *cells]
    assert row_of(text, "CNTK-GAP-2K", "6")[3] == "not measured"
    assert "| Some GPU " in text and "source abcdef" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| CNTK-V, n = 2000 → CNN-V (paper) ")]
    assert "undefined: proxy constant" in row  # `write_piece` gives every depth the same accuracy
    assert "| CNTK-V, 500 → 2000 " in text
    assert "What JPEG costs" not in text
    svg = (folder / "learning-curve.svg").read_bytes()
    assert results_page.write_page(folder, tmp_path / "results.md") == text
    assert (folder / "learning-curve.svg").read_bytes() == svg


def test_official_images_come_first_and_the_copy_is_compared_with_them(folder, tmp_path):
    study = write_study(tmp_path / "study", hits=30)
    collect_study(study, folder / "official")
    text = results_page.write_page(folder, tmp_path / "results.md")
    half = 1.96 * np.sqrt(0.75 * 0.25 * (1 / 40 + 1 / 10_000))
    interval = f"[{100 * (0.75 - half):.2f}, {100 * (0.75 + half):.2f}]"
    said = f"differs (+{75 - 40.94:.2f} points): the paper's is below the interval"
    assert row_of(text, "CNTK-V-2K", "3")[3:] == ["75.00", interval, said, "official files"]
    assert row_of(text, "CNTK-V-2K", "4")[-1] == "JPEG copy, 2 subsets"
    # √(0.75·0.25/40 + 0.425·0.575/40)
    error = 1.96 * np.sqrt((0.75 * 0.25 + 0.425 * 0.575) / 40)
    interval = f"[{100 * (0.325 - error):+.2f}, {100 * (0.325 + error):+.2f}]"
    assert row_of(text, "CNTK-V", "2000", "3", "75.00") == [
        *["CNTK-V", "2000", "3", "75.00", "42.50", "+32.50", interval],
    ]
    assert row_of(text, "official", "official files")[4:6] == ["3", "7"]


def test_what_is_collected_of_a_study(tmp_path):
    study = write_study(tmp_path / "study", hits=30)
    collect_study(study, tmp_path / "official")
    origin = json.loads((tmp_path / "official" / "provenance.json").read_text())
    assert origin["seconds"] == {"kernels": 3.0, "solving": 7.0}
    assert origin["parameters"] == {"cntk-v-depth-03": {"solvers": {"2000x1": "eigh"}}}
    (study / "provenance" / "cntk-v-depth-03.json").unlink()
    with pytest.raises(UserError, match=r"cntk-v-depth-03.json: cannot be read: .*run the study to its end"):
        collect_study(study, tmp_path / "official")
    with pytest.raises(UserError, match="holds no metrics"):
        collect_study(tmp_path / "nothing", tmp_path / "official")


def test_metrics_of_several_machines_are_refused(tmp_path):
    study = write_study(tmp_path / "study", hits=30)
    for part in ("metrics", "provenance"):
        document = json.loads((study / part / "cntk-v-depth-03.json").read_text())
        document |= {"hardware": {"cpu": "another", "cores": 1}} if part == "provenance" else {}
        write_json(study / part / "cntk-v-depth-04.json", document)
    with pytest.raises(UserError, match="several machines or revisions"):
        collect_study(study, tmp_path / "official")


def test_prediction_of_a_single_training_set():
    assert prediction_half_width(0.5, float("nan"), 1, 10_000, 10_000) == pytest.approx(1.96 * np.sqrt(0.5) / 100, 1e-4)


def test_nothing_measured(tmp_path):
    text = results_page.write_page(tmp_path / "results", tmp_path / "results.md")
    assert "Nothing has been measured yet." in text


def test_collects_what_is_finished(folder, tmp_path):
    target = tmp_path / "recorded"
    assert collect_pieces(folder, target) == ["v-2k-0", "v-2k-1"]
    assert sorted(path.name for path in (target / "v-2k-0").iterdir()) == ["metrics", "provenance.json"]
