"""The pages of sections' recorded results hold what the recorded files hold."""

from pathlib import Path

import pytest
from recording.section_pages import PAGES, RECORDED, main

from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_result
from exact_cntk.study.sections import plan


@pytest.fixture(params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def study_dir(name: str, tmp_path: Path) -> Path:
    """What a finished study leaves, as far as the page reads it."""
    page, folder = PAGES[name], tmp_path / "results" / "small"
    for part in ("tables", "figures", page.key, *(f"benchmarks/{rule}/a" for rule in page.rules.values())):
        (folder / part).mkdir(parents=True)
    for stem in plan(page.key).SECTION.tables:
        (folder / "tables" / f"{stem}.csv").write_text("method\n")
    for stem in plan(page.key).SECTION.figures:
        (folder / "figures" / f"{stem}.svg").write_text("<svg/>")
    (folder / page.key / "result.json").write_text("{}")
    for seconds, rule in enumerate(page.rules.values(), start=1):
        for job in ("a/0-0.tsv", "b.tsv"):
            (folder / "benchmarks" / rule / job).write_text(f"s\tcpu_time\n{seconds}\t9\n")
    section = {"format_version": 1, "key": page.key, "headline": ["All is well."]}
    section["text"] = "<p>Dealt <em>fairly</em>.</p>"
    section["figures"] = [{"name": plan(page.key).SECTION.figures[0], "caption": "Curves."}]
    section["tables"] = [{"caption": "Accuracies", "columns": ["method", "n = 10"], "rows": [["RBF kernel", "18.00"]]}]
    write_result(folder / "sections" / f"{page.key}.json", section)
    origin = {"hardware": {"cpu": "Some CPU", "cores": 4}, "git": {"revision": "abc"}}
    origin["data"] = {"dataset": "Squares", "image_shape": [4, 4, 1], "train_images": 90, "test_images": 1000}
    origin["data"] |= {"classes": ["large", "small"], "verified": False}
    write_result(folder / "section_provenance" / f"{page.key}.json", origin)
    return folder


def test_page_holds_tables_figures_and_cost(name: str, study_dir: Path, tmp_path: Path) -> None:
    page, folder = PAGES[name], tmp_path / "docs" / name
    for _ in range(2):
        assert main(["--collect", str(study_dir)], tmp_path / "docs") == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert page.write(folder) == text
    assert "Data: Squares, large and small, 4×4 pixels, 90 training and 1,000 test images." in text
    assert "All is well." in text and "\nDealt fairly.\n" in text
    assert "| RBF kernel |  18.00 |" in text
    figure = f"small/figures/{plan(page.key).SECTION.figures[0]}.svg"
    assert f"![Curves.]({figure})" in text and (folder / figure).exists()
    row = next(line for line in text.splitlines() if line.startswith("| small "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["small", "Some CPU, 4 cores", *(str(2 * n) for n in range(1, len(page.rules) + 1)), "abc"]
    assert (folder / "small" / page.key / "result.json").exists() == page.results


def test_unfinished_study_leaves_what_was_recorded(name: str, study_dir: Path, tmp_path: Path) -> None:
    page, recorded = PAGES[name], tmp_path / "docs"
    main(["--collect", str(study_dir)], recorded)
    before = {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()}
    figure = study_dir / "figures" / f"{plan(page.key).SECTION.figures[0]}.svg"
    figure.unlink()
    with pytest.raises(UserError, match=figure.name):
        page.collect(study_dir, recorded / name)
    assert before == {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()}


def test_study_without_any_section_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--collect", str(tmp_path)], tmp_path / "docs")
    assert "has none of the sections" in capsys.readouterr().err


def test_recorded_page_is_up_to_date(name: str) -> None:
    before = (RECORDED / name / "README.md").read_text(encoding="utf-8")
    assert PAGES[name].write(RECORDED / name) == before
