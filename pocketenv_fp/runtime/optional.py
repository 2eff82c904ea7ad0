"""Import optional packages, with an error that names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["needed"]


def needed(module: str, extra: str) -> ModuleType:
    """Import ``module``. Raise ImportError with the extra to install; for ``""`` it names the package itself."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        install = f"'pocketenv-fp[{extra}]'" if extra else package
        raise ImportError(f"{package} is not installed: pip install {install}", name=error.name) from None
