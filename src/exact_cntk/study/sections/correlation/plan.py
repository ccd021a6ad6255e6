"""Can a small training set rank kernels? The section compares results of the others and has no jobs of its own."""

from exact_cntk.study.sections._section import Section

SECTION = Section(
    notebooks={"correlation": "can a small training set rank kernels? With the paper's table"},
    needs=("data", "kernels", "metrics"),
    tables=("correlation", "correlation_differences"),
    figures=("correlation_forest", "small_against_full", "correlation_regret", "paper_table1"),
    shows=("study/stats/*.py",),
    reads=("cnns",),
)
