"""The public names of a package, which type checkers read from its imports and not from ``__all__``."""

from __future__ import annotations

from types import ModuleType

__all__ = ["public_names"]


def public_names(package: ModuleType) -> list[str]:
    names: list[str] = package.__all__
    return names
