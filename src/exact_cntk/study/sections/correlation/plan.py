"""Few training images against all of them: the section computes nothing itself, but compares what others have."""

from exact_cntk.study.sections._section import Section

SECTION = Section(
    notebooks={"correlation": "few training images against all of them, and the paper's table"},
    needs=("data", "kernels", "metrics"),
    tables=("correlation", "correlation_differences"),
    figures=("correlation_forest", "small_against_full", "correlation_regret", "paper_table1"),
    shows=("study/stats/*.py",),
    reads=("cnns",),
)
