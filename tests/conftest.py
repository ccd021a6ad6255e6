"""How the tests are shared out where several processes run them (`-n`): whole files, and what shares a costly fixture.

The workflow's come first: they take as long as all others together.
"""

import pytest

TOGETHER = ("workflow", "cuda")  # a finished study, and the emulator's compiled kernels


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else item.path.stem))
