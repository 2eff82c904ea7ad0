"""Packages that only some need: asked for by name, and by the name of what brings them where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["needed"]


def needed(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise ImportError that says which extra brings it: ``""`` is none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        install = f"'pocketenv-fp[{extra}]'" if extra else package
        raise ImportError(f"{package} is not installed: pip install {install}", name=error.name) from None
