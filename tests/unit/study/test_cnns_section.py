"""Trained CNNs beside the kernels: the right ones side by side, the paper's in columns of its own."""

import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from cnn_files import RATES, write_cnns
from IPython.core.interactiveshell import InteractiveShell
from synthetic import write_study

from exact_cntk.errors import UserError
from exact_cntk.study import references
from exact_cntk.study.params import find_schema
from exact_cntk.study.sections import SECTIONS, cnns, open_section, write_section

DEPTHS = (3, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "made-up"
    written = write_study(path, depths=(3, 6, 21), subsets=((100, 1), (20, 3)), n_test=61)
    write_cnns(path, json.loads(written[0].read_text())["data"], depths=DEPTHS)
    return path


@pytest.fixture(scope="module")
def results(folder):
    return open_section("cnns", folder)[1]


def test_networks_stand_beside_the_kernel_of_their_depth_and_images(folder, results):
    table = cnns.comparison(results)
    assert list(zip(table.network, table.kernel, table.depth, strict=True)) == [
        (f"CNN-{name}", f"CNTK-{name}", depth) for name in ("V", "GAP") for depth in DEPTHS
    ]
    paper = references.table1_wide() / 100
    for row in table.itertuples():
        document = json.loads((folder / "cnns" / f"{row.family}-depth-{row.depth:02d}.json").read_text())
        metrics = json.loads((folder / "metrics" / f"cntk{row.family[3:]}-depth-{row.depth:02d}.json").read_text())
        (kernel,) = [one for one in metrics["results"] if one["kind"] == "ntk" and one["train_images"] == 100]
        assert (row.accuracy, row.rate) == (document["accuracy"], document["rate"])
        assert (row.cntk_accuracy, row.train_images, row.seeds) == (kernel["accuracy"], 100, 3)
        assert row.difference == document["accuracy"] - kernel["accuracy"]
        bits = [np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=61) for text in right_of(document)]
        right = np.unpackbits(np.frombuffer(bytes.fromhex(kernel["test_correct_hex"]), np.uint8), count=61)
        gains = np.mean(bits, axis=0) - right
        assert row.difference_se == pytest.approx(gains.std(ddof=1) / np.sqrt(61))
        name = row.network.removeprefix("CNN")
        assert row.paper_cnn == paper[f"CNN{name}"][row.depth] and row.paper_cntk == paper[f"CNTK{name}"][row.depth]
        assert row.paper_difference == row.paper_cnn - row.paper_cntk


def right_of(document):
    return [text for text in document["test_correct_hex"] if text]


def test_a_network_without_a_kernel_stands_alone(tmp_path):
    """At a depth, or from a number of images, that no kernel was solved for; beyond the paper's depths, too."""
    written = write_study(tmp_path, depths=(3,), subsets=((50, 1),), n_test=61)
    write_cnns(tmp_path, json.loads(written[0].read_text())["data"], depths=(3, 5))
    results = open_section("cnns", tmp_path)[1]
    table = cnns.comparison(results)
    assert table.kernel.isna().all() and table.difference.isna().all() and table.accuracy.notna().all()
    assert table.paper_cnn.isna().tolist() == [False, True] * 2
    assert len(cnns.headline(results)) == 1
    assert set(cnns.figures(results)) == set(SECTIONS["cnns"].figures)


def test_rates(results):
    rates = results.rates
    assert len(rates) == 2 * len(DEPTHS) * len(RATES)
    chosen, by_test = rates[rates.chosen], rates[rates.test_chosen]
    assert (chosen.rate == 1).all() and (by_test.rate == 1).all()
    vanilla = rates[(rates.network == "CNN-V") & (rates.rate == 10)]
    assert vanilla.validation_accuracy.isna().all() and (vanilla.diverged_seeds == 1).all()
    assert vanilla.full_accuracy_epoch.isna().all()  # one seed never reaches it
    pooled = rates[(rates.network == "CNN-GAP") & (rates.rate == 10)]
    assert (pooled.full_accuracy_epoch == 10).all()


def test_everything_for_people_is_computed(results):
    beside, rates = cnns.shown(results)
    assert "16 channels" in beside[0] and "100 training images" in beside[0] and len(beside[1]) == 4
    assert any("the paper" in name for name in beside[1].columns)
    assert "20 images" in rates[0] and "3 seeds" in rates[0]
    assert list(rates[1].diverged) == ["0 of 3", "1 of 3"] * 2 + ["0 of 3"] * 4
    assert set(rates[1].chosen) == {"by both", ""}
    first, second = cnns.headline(results)
    assert first.startswith("Trained CNNs of 16 channels differ from kernel regression") and "depth 3, 6" in first
    assert second.endswith("gives 0 of 4 networks another one.")
    assert cnns.summary(results)["cnn-v"]["depth_03"]["accuracy"] == results.networks.accuracy[0]


def test_files(folder):
    written = write_section("cnns", folder)
    before = [path.read_bytes() for path in written]
    assert [path.stem for path in written] == [*SECTIONS["cnns"].tables, *SECTIONS["cnns"].figures, "cnns"]
    curves = pd.read_csv(folder / "tables" / "cnn_learning_curves.csv")
    assert set(curves.split) == {"test", "validation"} and curves.groupby("family").depth.nunique().eq(2).all()
    assert [path.read_bytes() for path in write_section("cnns", folder)] == before


def test_files_that_do_not_belong_are_refused(tmp_path):
    written = write_study(tmp_path, depths=(3,), subsets=((100, 1),), n_test=61)
    with pytest.raises(UserError, match="the section cnns has no results: run `exact-cntk gather-runs` first"):
        open_section("cnns", tmp_path)
    data = json.loads(written[0].read_text())["data"]
    files = write_cnns(tmp_path, data | {"digest": "6" * 64}, depths=(3,))
    with pytest.raises(UserError, match=r"cnn-.*\.json was made from other data"):
        open_section("cnns", tmp_path)
    files = write_cnns(tmp_path, data, depths=(3,))
    files[1].unlink()
    with pytest.raises(UserError, match=r"cnn-v-depth-03\.csv cannot be read as learning curves"):
        open_section("cnns", tmp_path)


def test_the_notebook_runs(folder):
    notebook = nbformat.read(find_schema().parents[2] / "notebooks" / "cnn_vs_cntk.ipynb", as_version=4)
    shell = InteractiveShell()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            given = f"\nstudy_dir = {str(folder)!r}" if "parameters" in cell.metadata.get("tags", []) else ""
            shell.run_cell(cell.source + given).raise_error()
