"""The page on small training sets holds what the recorded files hold."""

from pathlib import Path

import pytest
from benchmarks import small_data_page
from benchmarks.small_data_page import KEY

from exact_cntk.study._json import write_json
from exact_cntk.study.sections import SECTIONS


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """What a finished study leaves, as far as the page reads it."""
    folder = tmp_path / "results" / "small"
    for name in ("tables", "figures", KEY, "benchmarks/kernel_block/a", f"benchmarks/{KEY}"):
        (folder / name).mkdir(parents=True)
    for stem in SECTIONS[KEY].tables:
        (folder / "tables" / f"{stem}.csv").write_text("method\n")
    for stem in SECTIONS[KEY].figures:
        (folder / "figures" / f"{stem}.svg").write_text("<svg/>")
    (folder / KEY / "rbf.json").write_text("{}")
    for path, seconds in ((f"{KEY}/rbf.tsv", 1.25), (f"{KEY}/forest.tsv", 2.0), ("kernel_block/a/0-0.tsv", 3.0)):
        (folder / "benchmarks" / path).write_text(f"s\tcpu_time\n9\t{seconds}\n")
    page = {"format_version": 1, "key": KEY, "headline": ["All is well."], "text": "<p>Dealt <em>fairly</em>.</p>"}
    page["figures"] = [{"name": "small_data_curves", "caption": "Curves."}]
    page["tables"] = [{"caption": "Accuracies", "columns": ["method", "n = 10"], "rows": [["RBF kernel", "18.00"]]}]
    write_json(folder / "sections" / f"{KEY}.json", page)
    origin = {"hardware": {"cpu": "Some CPU", "cores": 4}, "packages": {"scikit-learn": "1.9"}}
    origin["git"] = {"revision": "abc"}
    origin["data"] = {"dataset": "Squares", "image_shape": [4, 4, 1], "test_images": 1000}
    write_json(folder / "section_provenance" / f"{KEY}.json", origin)
    return folder


def test_page_holds_the_tables_and_the_cost(study_dir: Path, tmp_path: Path) -> None:
    target = small_data_page.collect(study_dir, tmp_path / "docs")
    text = small_data_page.write_page(tmp_path / "docs")
    assert small_data_page.write_page(tmp_path / "docs") == text == (tmp_path / "docs" / "README.md").read_text()
    assert "Data: Squares, 4×4 pixels, 1,000 test images." in text and "All is well." in text
    assert "\nDealt fairly.\n" in text
    assert "| RBF kernel |  18.00 |" in text
    assert "| small | Some CPU, 4 cores |               3 |               3 |" in text
    assert (target / "figures" / "small_data_curves.svg").exists() and (target / KEY / "rbf.json").exists()


def test_recorded_page_is_up_to_date() -> None:
    page = small_data_page.FOLDER / "README.md"
    before = page.read_text(encoding="utf-8")
    assert small_data_page.write_page() == before
