"""The page on random features holds what the recorded tables hold."""

from pathlib import Path

import pandas as pd
import pytest
from benchmarks import random_features_page
from benchmarks.random_features_page import KEY, TABLES

from exact_cntk.study._json import write_json
from exact_cntk.study.sections import SECTIONS


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """What a finished study leaves, as far as the page reads it."""
    folder = tmp_path / "results" / "small"
    for name in ("tables", "figures", "benchmarks/kernel_block/a", f"benchmarks/{KEY}", "benchmarks/solve"):
        (folder / name).mkdir(parents=True)
    for name in SECTIONS[KEY].figures:
        (folder / "figures" / f"{name}.svg").write_text("<svg/>")
    for name in TABLES:
        (folder / "tables" / f"{name}.csv").write_text("kernel\n")
    losses = {"kernel": "CNN-GP-GAP", "depth": 3, "weights": 4, "train_images": 24, "features": 0.5}
    pd.DataFrame([losses | {"lost_to_width": 0.1}]).to_csv(
        folder / "tables" / "random_features_losses.csv", index=False
    )
    for path, seconds in ((f"{KEY}/a.tsv", 1.25), (f"{KEY}/b.tsv", 2.0), ("kernel_block/a/0-0.tsv", 3.0)):
        (folder / "benchmarks" / path).write_text(f"s\tcpu_time\n9\t{seconds}\n")
    page = {"headline": ["All is well."], "figures": [{"name": "width_sweep", "caption": "Deviations."}]}
    page["tables"] = [{"caption": "Accuracies", "columns": ["kernel", "exact"], "rows": [["CNTK-V", "88.00"]]}]
    write_json(folder / "sections" / f"{KEY}.json", page)
    origin = {"hardware": {"cpu": "Some CPU", "cores": 4}, "packages": {"torch": "2.0"}, "git": {"revision": "abc"}}
    origin["data"] = {"dataset": "CIFAR-10", "classes": ["airplane", "automobile"], "image_shape": [8, 8, 3]}
    write_json(folder / "section_provenance" / f"{KEY}.json", origin)
    return folder


def test_page_holds_the_tables_and_the_cost(study_dir: Path, tmp_path: Path) -> None:
    target = random_features_page.collect(study_dir, tmp_path / "docs")
    text = random_features_page.write_page(tmp_path / "docs")
    assert random_features_page.write_page(tmp_path / "docs") == text == (tmp_path / "docs" / "README.md").read_text()
    assert "All is well." in text
    assert "Data: CIFAR-10, airplane and automobile, 8×8 pixels." in text
    assert "| CNTK-V | 88.00 |" in text
    assert "4 features for 24 training images: the kernel has no higher rank" in text
    assert "| small | Some CPU, 4 cores |                3 |               3 |               0 |" in text
    assert (target / "width_sweep.svg").exists()


def test_recorded_page_is_up_to_date() -> None:
    page = random_features_page.FOLDER / "README.md"
    before = page.read_text(encoding="utf-8")
    assert random_features_page.write_page() == before
