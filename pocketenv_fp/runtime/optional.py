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
        from pocketenv_fp.extras import install_command

        package = module.partition(".")[0]
        install = install_command(extra) if extra else f"pip install {package}"
        raise ImportError(f"{package} is not installed: {install}", name=error.name) from None
