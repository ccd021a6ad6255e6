"""Execute a notebook with papermill, and make one HTML page of it that opens offline.

    python workflow/scripts/run_notebook.py notebooks/ridge.ipynb OUT.ipynb OUT.html study_dir=results/digits

papermill itself runs a notebook whose parameter is misspelt, with the default instead; here that is an error.
"""

import argparse
import difflib
import html
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from exact_cntk._support.stated_files import stated_text, statement_metadata
from exact_cntk._support.statement import claim
from exact_cntk.errors import UserError

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 74rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; }}
p, ul {{ max-width: 52rem; }}
img, svg {{ max-width: 100%; height: auto; }}
pre {{ overflow-x: auto; padding: .6rem .8rem; border-radius: 4px; background: #f6f6f4; font-size: .85rem; }}
table {{ border-collapse: collapse; margin-bottom: 1.2rem; font-size: .9rem; }}
caption {{ padding-bottom: .3rem; text-align: left; font-weight: 600; white-space: nowrap; }}
th, td {{ padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }}
th.text, td.text, th.short, td.short {{ text-align: left; }}
td.number, td.short, th.name {{ white-space: nowrap; }}
.jp-OutputArea-output, .output_area, .output_subarea {{ overflow-x: auto; }}
.prompt, .jp-InputPrompt, .jp-OutputPrompt, .anchor-link {{ display: none; }}
{code}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the script; exit code 2 stands for parameters that the notebook does not have."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--made-from", type=Path, metavar="FILE", help="what the pages are made from, by the workflow")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("executed", type=Path, help="the notebook with its outputs")
    parser.add_argument("page", type=Path, help="the same as HTML")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="read as YAML")
    given = parser.parse_args(arguments)
    try:
        if given.made_from is not None:
            claim(given.made_from)
        parameters = read_parameters(given.notebook, given.parameters)
    except (ValueError, UserError) as error:
        print(f"run_notebook: error: {error}", file=sys.stderr)
        return 2
    # Under its final name only when complete: papermill writes after every cell.
    unfinished = given.executed.with_name(f".{given.executed.name}")
    papermill.execute_notebook(
        str(given.notebook), str(unfinished), parameters, kernel_name="python3", progress_bar=False, log_output=True
    )
    executed = nbformat.read(unfinished, as_version=4)
    executed.metadata.update(statement_metadata())
    given.page.write_text(stated_text(to_page(executed, given.notebook.stem), before="<head>"), encoding="utf-8")
    nbformat.write(executed, unfinished)
    unfinished.replace(given.executed)
    return 0


def read_parameters(notebook: Path, assignments: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE assignments.

    Raises
    ------
    ValueError
        A name that is not among the notebook's parameters, or no assignment at all.
    """
    allowed = list(papermill.inspect_notebook(str(notebook)))
    parameters = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is no parameter; write NAME=VALUE")
        if name not in allowed:
            nearest = difflib.get_close_matches(name, allowed, n=1)
            hint = f", did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{notebook} has no parameter {name!r}{hint}; it has: {', '.join(allowed) or 'none'}")
        parameters[name] = yaml.safe_load(value)
    return parameters


def to_page(notebook: nbformat.NotebookNode, title: str) -> str:
    """Render an executed notebook without a script, style or font from the web."""
    exporter = HTMLExporter(template_name="basic")
    body, _ = exporter.from_notebook_node(notebook)
    code = HtmlFormatter(style="friendly", nobackground=True).get_style_defs(".highlight")
    return PAGE.format(title=html.escape(title), code=code, body=body)


if __name__ == "__main__":
    raise SystemExit(main())
