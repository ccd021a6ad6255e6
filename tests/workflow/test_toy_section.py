"""A section is added to a copy of the checkout: a folder, a rule file, a notebook, its key in two lists."""

import json
import os

import nbformat
import pytest
import yaml
from checkouts import Checkout, copy_of_sources

FILES = {
    "plan.py": '''"""Sums of powers: a section that needs nothing."""

from exact_cntk.study.sections._section import Job, Section

SECTION = Section(
    notebooks={"toy": "sums of powers"},
    tables=("toy",),
    figures=("toy",),
    steps={"toy_sum": ("study/sections/toy/jobs.py",)},
)


def contradictions(section, params):
    """A limit of 13 is bad luck."""
    if section["limit"] == 13:
        yield "toy.limit: 13 is not allowed; give another number"


def jobs(params):
    """One job for each power."""
    section = params["toy"]
    if section is None:
        return {}
    return {
        f"power-{power}": Job("toy_sum", (f"toy/power-{power}.json",), {"power": power, "limit": section["limit"]})
        for power in section["powers"]
    }
''',
    "jobs.py": '''"""The jobs of the section."""

from exact_cntk.study.documents import write_result


def run(job, context):
    """Sum up the powers of all numbers below the limit."""
    total = sum(number ** job.parameters["power"] for number in range(job.parameters["limit"]))
    write_result(context.files[0], {"format_version": 1, "data": {}, "total": total, **job.parameters})
    return f"total {total}"
''',
    "cost.py": '''"""Nothing worth mentioning."""


def expected_work(params):
    """Nothing."""
    return []


def expected_memory(params):
    """No memory."""
    return 0


def expected_disk(params):
    """A line for each power."""
    return 100 * len((params["toy"] or {}).get("powers", []))
''',
    "page.py": '''"""The sums, shown."""

import json

import pandas as pd

from exact_cntk.study.show.style import new_figure

CAPTIONS = {"toy": "Sums against power."}
TITLE, NAVIGATION, TEXT = "Sums of powers", "Sums", "Sums of powers of the numbers below a limit."


def load(study, files, *, resamples, seed):
    """Read the sums."""
    assert study is None
    return pd.DataFrame([json.loads(path.read_text()) for path in files if path.suffix == ".json"])


def tables(results):
    """All sums."""
    return {"toy": results[["power", "limit", "total"]]}


def figures(results):
    """Sums against power."""
    figure, axes = new_figure(1, 1)
    axes[0, 0].plot(results.power, results.total)
    return {"toy": figure}


def shown(results):
    """All sums."""
    return [("Sums of powers", tables(results)["toy"])]


def headline(results):
    """The largest."""
    return [f"The largest sum is {results.total.max():,}."]


def summary(results):
    """By power."""
    return {str(row.power): row.total for row in results.itertuples()}
''',
    "__init__.py": '"""Sums of powers."""\n',
    "params.schema.yaml": """description: Sums of powers.
type: object
additionalProperties: false
required: [powers, limit]
properties:
  powers: {description: Exponents., type: array, items: {type: integer, minimum: 1}}
  limit: {description: Numbers below it are summed up., type: integer, minimum: 1}
""",
    "captions/tables/toy.rst": "Sums of powers.\n",
    "captions/figures/toy.rst": "Sums against power.\n",
}
RULES = '''rule toy_sum:
    """One sum."""
    input:
        fits=fits("toy_sum"),
        sources=sources(step_sources("toy_sum")),
    output:
        f"{RESULTS}/toy/{{toy_sum}}.json",
    log:
        f"{RESULTS}/logs/toy_sum/{{toy_sum}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=500,
        max_memory_gib=MEMORY_GIB,
        study=study_parameters,
        runtime=10,
    params:
        job=job_words("toy_sum"),
        parameters=job_parameters("toy_sum"),
        made_from=made_from("toy_sum"),
    message:
        "toy_sum: {wildcards.toy_sum}"
    shell:
        RUN_JOB
'''
# The copy's own sources are imported, in place of the installed ones.
SITE = """
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path.insert(0, {source!r})
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    copy = copy_of_sources(tmp_path_factory.mktemp("toy") / "checkout")
    for name, text in FILES.items():
        path = copy / "src/exact_cntk/study/sections/toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (copy / "workflow/rules/toy.smk").write_text(RULES, encoding="utf-8")
    notebook = nbformat.read(copy / "notebooks/ridge.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    code = 'from exact_cntk.study.sections import open_section\nopen_section("toy", study_dir, metrics, files)[1]'
    notebook.cells = [parameters, nbformat.v4.new_code_cell(code)]
    nbformat.write(notebook, copy / "notebooks/toy.ipynb")
    copy.edit("src/exact_cntk/study/sections/__init__.py", '"small_data")', '"small_data", "toy")')
    copy.edit("dvc.yaml", "small_data]", "small_data, toy]")
    site = copy.path.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(source=str(copy / "src")), encoding="utf-8")
    copy.env["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return copy


def study(checkout: Checkout, name: str, **section) -> None:
    """A study of this section alone, without images and kernels."""
    params = {"study": name, "toy": {"powers": [1, 2], "limit": 10} | section, "report": {"resamples": 10, "seed": 0}}
    (checkout / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def test_only_two_lists_are_edited(checkout):
    edited = checkout.run("git", "diff", "--name-only", "--", "src", "workflow", "notebooks", "dvc.yaml").split()
    assert edited == ["dvc.yaml", "src/exact_cntk/study/sections/__init__.py"]


def test_study_of_the_section_alone(checkout):
    study(checkout, "toys")
    checkout.snakemake()
    results = checkout / "results/toys"
    assert json.loads((results / "summary.json").read_text()) == {"toy": {"1": 45, "2": 285}}
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "The largest sum is 285." in page and "Sums against power." in page
    assert (results / "notebooks/toy.html").is_file()
    assert checkout.planned() == {}

    # An edit computes again what depends on it, and nothing else.
    study(checkout, "toys", powers=[1, 2, 3])
    assert checkout.planned("toy") == {"toy": 1, "toy_sum": 1}
    study(checkout, "toys", limit=11)
    assert checkout.planned("toy") == {"toy": 1, "toy_sum": 2}


def test_schema_contradictions_names_and_estimate_know_it(checkout):
    study(checkout, "toys", limits=3)
    assert "toy.limits: unknown key, did you mean 'limit'?" in checkout.run("snakemake", "-n", code=1)
    study(checkout, "toys", limit=13)
    assert "toy.limit: 13 is not allowed; give another number" in checkout.run("snakemake", "-n", code=1)
    study(checkout, "toys")
    assert "toy" in checkout.run("exact-cntk", "estimate", "--calibration", "0")
    assert checkout.run("exact-cntk", "section", "run", "toy").split() == ["power-1", "power-2"]
