import ast
import inspect
import re
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from synthetic import write_study

from exact_cntk.study.sections import KEYS, open_section, plan

FOLDER = Path(__file__).parents[3] / "notebooks"


ALL = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
# Those that the metrics alone are enough for; the others are run where their sections are tested.
OF_METRICS = [name for key in KEYS if not plan(key).SECTION.steps for name in plan(key).SECTION.notebooks]


@pytest.fixture(params=ALL)
def notebook(request):
    return nbformat.read(FOLDER / f"{request.param}.ipynb", as_version=4)


def _code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_listed_in_the_report():
    assert sorted(name for key in KEYS for name in plan(key).SECTION.notebooks) == ALL


def test_format(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")


def test_outputs_are_stripped(notebook):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in _code(notebook))


def test_it_imports_calls_and_explains_and_nothing_else(notebook):
    for cell in _code(notebook):
        nodes = list(ast.walk(ast.parse(cell.source)))
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda) for node in nodes)
        assert len(cell.source.splitlines()) <= 12


def test_prose_holds_no_measured_number(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # names such as 2K, v1 and Table 1 are not measured
            assert not re.search(r"\d+\.\d|\d\s*%", cell.source)


def test_parameters_are_tagged_once(notebook):
    (cell,) = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    names = [node.targets[0].id for node in ast.parse(cell.source).body]
    assert names == ["study_dir", *list(inspect.signature(open_section).parameters)[2:]]


def _run(notebook, folder, cells=None):
    shell = InteractiveShell()
    for cell in _code(notebook)[:cells]:
        source = cell.source
        if "parameters" in cell.metadata.get("tags", []):
            source = source.replace("resamples = 2000", "resamples = 20") + f"\nstudy_dir = {str(folder)!r}\n"
        shell.run_cell(source).raise_error()


@pytest.mark.parametrize("name", OF_METRICS)
def test_it_runs(name, tmp_path):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    write_study(tmp_path, depths=(3, 4, 6), subsets=((100, 1), (20, 3)), n_test=61, kinds=("ntk",))
    _run(notebook, tmp_path)


@pytest.mark.parametrize("name", OF_METRICS)
def test_it_finds_the_study_from_its_own_folder(name, tmp_path, monkeypatch):
    """Jupyter runs a notebook there; `study_dir` is as seen from the folder above."""
    write_study(tmp_path / "results" / "digits", depths=(3, 4), subsets=((100, 1), (20, 3)), n_test=61, kinds=("ntk",))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    _run(notebook, "results/digits", cells=2)  # the parameters, and what loads the study


def test_every_notebook_looks_for_the_study(notebook):
    sources = [cell.source for cell in _code(notebook)]
    assert sum("find_study(study_dir)" in source or "= open_section(" in source for source in sources) == 1


@pytest.mark.parametrize("name", ["table1", "correlation"])
def test_it_runs_on_the_paper_s_data(name, tmp_path):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    data = {"dataset": "CIFAR-10", "image_shape": (32, 32, 3)}
    write_study(tmp_path, depths=(3, 4, 6), subsets=((2000, 1),), n_test=61, **data)
    _run(notebook, tmp_path)
