"""The page of a section's recorded results holds what the recorded files hold."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.architectures_page import PAGE

from exact_cntk.study._json import write_json
from exact_cntk.study.sections import SECTIONS


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """What a finished study leaves, as far as the page reads it."""
    folder = tmp_path / "results" / "grid"
    for name in ("tables", "figures", PAGE.key, *(f"benchmarks/{rule}/a" for rule in PAGE.rules.values())):
        (folder / name).mkdir(parents=True)
    for stem in SECTIONS[PAGE.key].tables:
        (folder / "tables" / f"{stem}.csv").write_text("architecture\n")
    for stem in SECTIONS[PAGE.key].figures:
        (folder / "figures" / f"{stem}.svg").write_text("<svg/>")
    (folder / PAGE.key / "arch-f3-gap.json").write_text("{}")
    for rule, seconds in (("kernel_block", 3.0), ("solve_architectures", 1.25)):
        for name in ("a/0-0.tsv", "b.tsv"):
            (folder / "benchmarks" / rule / name).write_text(f"s\tcpu_time\n9\t{seconds}\n")
    page = {"format_version": 1, "key": PAGE.key, "headline": ["All is well."]}
    page["figures"] = [{"name": "architecture_cost", "caption": "Costs."}]
    page["tables"] = [{"caption": "Ranking", "columns": ["architecture", "n = 10"], "rows": [["GAP", "18.00"]]}]
    write_json(folder / "sections" / f"{PAGE.key}.json", page)
    origin = {"hardware": {"cpu": "Some CPU", "cores": 4}, "git": {"revision": "abc"}}
    write_json(folder / "section_provenance" / f"{PAGE.key}.json", origin)
    return folder


def test_page_holds_tables_figures_and_cost(study_dir: Path, tmp_path: Path) -> None:
    page = replace(PAGE, folder=tmp_path / "docs")
    assert page.main(["--collect", str(study_dir)]) == 0
    text = (tmp_path / "docs" / "README.md").read_text(encoding="utf-8")
    assert page.write() == text
    assert "All is well." in text and "| GAP          |  18.00 |" in text
    assert "![Costs.](grid/figures/architecture_cost.svg)" in text
    assert "| grid  | Some CPU, 4 cores |               6 |              2 |" in text
    assert (tmp_path / "docs/grid/architectures/arch-f3-gap.json").exists()


def test_recorded_page_is_up_to_date() -> None:
    before = (PAGE.folder / "README.md").read_text(encoding="utf-8")
    assert PAGE.write() == before
