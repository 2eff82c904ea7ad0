"""Packages that only some need: asked for by name, and by the name of what brings them where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["needed"]


def needed(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise ImportError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module.partition('.')[0]} is not installed: pip install 'pocketenv-fp[{extra}]'", name=error.name
        ) from None
