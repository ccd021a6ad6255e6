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
        "The images are the official ones encoded as JPEG, with boxes of 2×2 pixels averaged. The study is "
        "config/architectures.yaml with fewer training and test images and fewer windows; params.yaml beside its files "
        "has every number. Of that grid, filters of 1×1 with GAP are missing: their kernel was not finished. The "
        "machine did other work at the same time: the seconds in tables are those of a clock, and too many."
    ),
    program="benchmarks.architectures_page",
    rules={"kernels": "kernel_block", "solves": "solve_architectures"},
)

if __name__ == "__main__":
    sys.exit(PAGE.main())
