"""Public names of a package, which are imported on their first use.

A program then loads the modules of the functions that it uses. The package's ``__init__`` has a table of its modules and
their names. Type checkers read the same names from imports that never run.

>>> from pocketenv_fp.exports import exports
>>> names, get, listed = exports("pocketenv_fp", {"account": "login logout", "terminal": "console"})
>>> names
['console', 'login', 'logout']
>>> get("login").__name__
'login'
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["exports"]

TRIES = 100


def exports(package: str, table: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: The package's ``__name__``.
        table: The names by module, separated by spaces. A module is written from the package on: ``"steps.aio"``. The
            names of the module ``""`` are modules themselves.

    """
    modules = {name: module for module, names in table.items() for name in names.split()}
    children = {module.partition(".")[0] for module in table} - {""}

    def get(name: str) -> Any:
        # `import a` makes `a.b` no attribute. Here it is one, as after imports that run at once.
        if name in children:
            return _imported(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value = getattr(_imported(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return sorted(modules), get, listed


def _imported(module: str) -> ModuleType:
    for _ in range(TRIES):
        try:
            return import_module(module)
        except RuntimeError as error:
            # Two threads import parts of a package in another order, and each waits for the other: `import msgspec` and
            # `import msgspec.structs`. Python raises in one of them. The other one goes on.
            if type(error).__name__ != "_DeadlockError":
                raise
            time.sleep(0.001)
    return import_module(module)
