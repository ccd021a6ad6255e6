import subprocess
import sys

import pytest

import exact_cntk

MODULES = ("data", "errors", "finite", "networks")


@pytest.mark.parametrize("module", MODULES)
def test_public_modules_load_on_first_use(module):
    code = f"import sys, exact_cntk; print('exact_cntk.{module}' in sys.modules, exact_cntk.{module}.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # errors is loaded by nothing that `import exact_cntk` needs, either
    assert result.stdout.split() == ["False", f"exact_cntk.{module}"], result.stderr


def test_importing_the_package_loads_no_other():
    code = "import sys, exact_cntk; dir(exact_cntk); print({'numpy', 'scipy', 'sklearn', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()", result.stderr


def test_dir_lists_names_and_modules():
    assert {*MODULES, *exact_cntk.__all__} == set(dir(exact_cntk))
    with pytest.raises(AttributeError, match="module 'exact_cntk' has no attribute 'fintie'"):
        _ = exact_cntk.fintie
