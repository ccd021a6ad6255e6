"""Public names that load on first use, so that importing a package costs none of what its parts import."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str], modules: Sequence[str] = ()) -> Callable[[str], Any]:
    """A package's ``__getattr__`` (PEP 562), which imports a name from its module, or a module, on first use.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    homes : mapping of str to str
        Public name → module of the package that defines it.
    modules : sequence of str
        Public modules of the package.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in modules:
            return import_module(f"{package}.{name}")  # which makes it an attribute
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)  # looked up once
        return value

    return __getattr__
