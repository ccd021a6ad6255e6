"""Generate docs/results/architectures/README.md: the architecture search on CIFAR-10 on a CPU.

    python -m benchmarks.architectures_page [--collect results/architectures-16]

Every number on the page is computed from the files recorded beside it; none is typed.
"""

import sys

from benchmarks.section_page import SectionPage, recorded

PAGE = SectionPage(
    key="architectures",
    folder=recorded("architectures"),
    title="Architecture search on CIFAR-10",
    about=(
        "A reduced version of config/architectures.yaml: fewer training and test images, fewer windows; "
        "architectures-16/params.yaml has every number."
    ),
    program="benchmarks.architectures_page",
    rules={"kernels": "kernel_block", "solves": "solve_architectures"},
)

if __name__ == "__main__":
    sys.exit(PAGE.main())
