"""Show something in a cell, and replace it later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

__all__ = ["Show", "display_in_place"]

Show = Callable[[str, str], None]
"""A function that shows HTML, and in its place a string where no HTML is shown."""


def display_in_place() -> Show:
    """Return a function that always shows at the same place of the current cell."""
    from IPython import display

    handles: list[Any] = []

    def show(html: str, text: str) -> None:
        bundle = {"text/plain": text, "text/html": html}
        if handles:
            handles[0].update(bundle, raw=True)
        else:
            handles.append(cast("Any", display).display(bundle, raw=True, display_id=True))

    return show
