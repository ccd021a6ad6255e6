"""The benchmarks are a package at the root of the checkout, which pytest does not put on the path by itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
