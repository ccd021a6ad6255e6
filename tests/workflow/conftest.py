"""The fixtures of these tests. Being here, it puts their helpers on the path."""

from checkouts import finished, finished_once, fresh  # noqa: F401


def pytest_collection_modifyitems(items):
    """Begin with the longest test, which all others can run beside."""
    items.sort(key=lambda item: item.path.name != "test_readme_dvc.py")
