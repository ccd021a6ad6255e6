import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_names_load_torch_only_when_asked_for():
    code = "import sys, exact_cntk, exact_cntk.finite; print(dir(exact_cntk.finite), 'torch' in sys.modules)"
    result = run(code)
    names = ["CNN", "CurveRow", "Outcome", "WidthSweep", "compiles", "empirical_kernel", "outcome", "predict_classes"]
    names += ["random_features", "train_full_batch", "train_sgd", "width_sweep"]
    assert result.stdout.strip() == f"{names} False", result.stderr


@pytest.mark.parametrize("name", ["CNN", "empirical_kernel", "width_sweep"])
def test_without_torch_what_to_install_is_said(name):
    code = f"""
import sys
sys.modules["torch"] = None  # as if it were not installed
from exact_cntk.errors import UserError
try:
    from exact_cntk.finite import {name}
except UserError as error:
    print(error)
"""
    result = run(code)
    assert 'pip install "exact-cntk[torch]"' in result.stdout, result.stderr
