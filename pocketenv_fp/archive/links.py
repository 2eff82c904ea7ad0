"""The symlinks of a tree, and which of them lead out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

__all__ = ["ABSOLUTE", "LinkRule", "Links", "is_absolute", "way_out"]

LinkRule = Literal["refuse", "skip", "keep"]
"""The rule for symlinks that lead out of the tree: refuse the copy, skip them, or keep them unchanged."""

ABSOLUTE = "a symlink to an absolute path"

_OUTSIDE = "a symlink that leads outside"
_MOST_LINKS = 64
_MOST_STEPS = 512


def way_out(reason: str) -> str:
    """Return the reason for refusing a symlink, with the alternatives."""
    return f'{reason}: links="skip" skips such symlinks, links="keep" keeps them'


class Links:
    """The symlinks of a tree by name, each with its target.

    They are resolved in this table, not on the disk, so that other programs cannot interfere.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def add(self, name: str, text: str) -> None:
        """Add a symlink."""
        self._texts[name] = text

    def repeat(self, name: str, known: str) -> None:
        """Add another name of a symlink."""
        self._texts[name] = self._texts[known]

    def leading_out(self, is_disguised: Callable[[str], bool] = lambda _: False) -> list[tuple[str, str]]:
        """Return the symlinks that lead out, or may, each with the reason.

        ``is_disguised`` returns whether a name that is not in this table is a symlink on the disk.
        """
        return [(name, reason) for name in self._texts if (reason := self._reason(name, is_disguised)) is not None]

    def _reason(self, name: str, is_disguised: Callable[[str], bool]) -> str | None:
        # A symlink inside may be broken or circular: the operating system handles both. Without further steps up, it
        # leads inside: down, or to other symlinks, which are checked separately.
        text = self._texts[name]
        if is_absolute(text):
            return ABSOLUTE
        here, waiting, followed, steps = name.rpartition("/")[0], _steps(text), 0, 0
        upwards = waiting.count("..")
        while upwards and followed <= _MOST_LINKS:
            steps += 1
            if steps > _MOST_STEPS:
                return "a symlink with too many steps"
            step = waiting.pop()
            if step == "..":
                if not here:
                    return _OUTSIDE
                here, upwards = here.rpartition("/")[0], upwards - 1
                continue
            here = f"{here}/{step}" if here else step
            if (link := self._texts.get(here)) is not None:
                if is_absolute(link):
                    return _OUTSIDE
                followed += 1
                here, on = here.rpartition("/")[0], _steps(link)
                waiting += on
                upwards += on.count("..")
            elif is_disguised(here):
                return "a symlink that uses another spelling of a symlink"
        return None


def is_absolute(text: str) -> bool:
    """Return whether a symlink's target starts at the root."""
    return text.startswith("/")


def _steps(text: str) -> list[str]:
    # In reverse order, because they are taken from the end.
    return [step for step in reversed(text.split("/")) if step not in {"", "."}]
