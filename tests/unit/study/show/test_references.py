import numpy as np
import pytest

from exact_cntk.study.show import references

# The paper's Table 1 (columns of v2, then v1's) and Table 2, typed a second time and by row, against slips.
TABLE1 = """
 3 59.97 64.47 40.94 63.81 70.47 49.71 61.97 57.96
 4 60.20 65.52 42.54 80.93 75.93 51.06 62.12 80.58
 6 64.11 66.03 43.43 83.75 76.73 51.73 64.03 80.97
11 69.48 65.90 43.42 82.92 77.43 51.92 70.97 75.45
21 75.57 64.09 42.53 83.30 77.08 52.22 80.56 81.23
"""
TABLE2 = """
 3 87.25 92.15 51.10 71.05
 4 87.78 92.80 52.85 94.50
 6 88.73 93.10 53.98 95.25
11 87.80 93.05 56.55 95.40
21 85.35 91.95 90.65 95.70
"""


def _rows(text):
    return np.array([line.split() for line in text.strip().splitlines()], dtype=float)


def test_table1_is_the_paper_s():
    table = references.table1_wide("all")
    assert list(table.columns) == [
        "CNN-V",
        "CNTK-V",
        "CNTK-V-2K",
        "CNN-GAP",
        "CNTK-GAP",
        "CNTK-GAP-2K",
        "CNN-V (v1)",
        "CNN-GAP (v1)",
    ]
    np.testing.assert_array_equal(table.reset_index().to_numpy(), _rows(TABLE1))


def test_table2_is_the_paper_s():
    table = references.table2()
    assert list(table.columns) == ["RF vanilla", "exact vanilla", "RF GAP", "exact GAP"]
    np.testing.assert_array_equal(table.reset_index().to_numpy(), _rows(TABLE2))


def test_columns_of_v2_alone_by_default():
    assert list(references.table1_wide().columns) == list(references.table1_wide("all").columns[:6])


def test_table1_tidy_has_every_cell_once_with_its_source():
    table = references.table1()
    assert len(table) == 40
    assert not table.duplicated(["column", "depth"]).any()
    assert table.accuracy.between(0, 1).all()
    assert set(table[table.column.str.contains("v1")].source) == {"paper-v1"}
    assert set(table[table.train_images == 2000].column) == {"CNTK-V-2K", "CNTK-GAP-2K"}


@pytest.mark.parametrize(
    ("readout", "train_images", "column"),
    [("flatten", 2000, "CNTK-V-2K"), ("flatten", 50000, "CNTK-V"), ("gap", 2000, "CNTK-GAP-2K")],
)
def test_paper_kernel(readout, train_images, column):
    chosen = references.paper_kernel(readout, train_images)
    assert set(chosen.column) == {column}
    assert set(chosen.source) == {"paper"}
    assert references.paper_kernel(readout, 1000) is None


def test_review_and_follow_ups():
    review = references.review()
    assert review[["column", "accuracy", "depth", "train_images", "test_images"]].to_numpy().tolist() == [
        ["CNTK-V", 0.25, 6, 200, 100],
        ["CNTK-GAP", 0.37, 6, 200, 100],
    ]
    assert (100 * references.follow_ups().accuracy).round(2).tolist() == [
        80.11,
        81.34,
        76.79,
        77.63,
        80.78,
        87.28,
        88.92,
    ]


def test_follow_ups_by_architecture():
    local = references.follow_ups().query("readout == 'lap'").set_index("flips")
    assert local.loc[True, ["kind", "conv_layers", "pooling_window"]].tolist() == ["ntk", 5, 25]
    assert local.accuracy[True] > local.accuracy[False]


def test_every_number_names_a_known_source():
    document = references.read()
    sources = set(document["sources"])
    named = [document[key]["source"] for key in ("protocol", "claims", "table2", "review")]
    for entries in (document["table1"]["columns"], document["table1"]["misprints"], document["costs"]):
        named += [entry["source"] for entry in entries]
    named += [entry["source"] for entry in document["follow_ups"]]
    assert set(named) <= sources
    assert all(references.citation(source) for source in sources)


def test_the_blog_s_misprint_differs_from_the_paper():
    (misprint,) = references.read()["table1"]["misprints"]
    assert misprint["printed"] != references.table1_wide().loc[misprint["depth"], misprint["column"]]


def test_citation_names_the_version():
    assert references.citation("paper").endswith("(arXiv:1904.11955v2)")
