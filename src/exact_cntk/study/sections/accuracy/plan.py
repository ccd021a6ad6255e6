"""The accuracies of the study's own kernels: they are solved by the study, and only shown here."""

from exact_cntk.study.sections._section import Section

SECTION = Section(
    notebooks={
        "table1": "this study and the paper's table, differences, curves against depth",
        "ridge": "accuracy, and the error that chooses the ridge, along the ridge path, spectra, condition numbers",
    },
    needs=("data", "kernels", "metrics"),
    tables=("accuracy", "accuracy_by_depth", "ridge_path", "spectra", "table1"),
    figures=("accuracy", "ridge_path", "spectra", "condition_number"),
    texts=("table1.md",),
)
