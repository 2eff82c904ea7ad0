"""Symbolic links of a tree, and which of them lead out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

__all__ = ["ABSOLUTE", "LinkRule", "Links", "is_absolute", "way_out"]

LinkRule = Literal["refuse", "skip", "keep"]
"""For links that lead out of the tree: refuse the whole copy, skip them, or keep them with their targets."""

ABSOLUTE = "a link to an absolute name"

_OUTSIDE = "a link that leads outside"
_MOST_LINKS = 64
_MOST_STEPS = 512


def way_out(reason: str) -> str:
    """Return the reason for refusing a link, with the options of the caller."""
    return f'{reason}: links="skip" leaves such links out, links="keep" keeps them as they are'


class Links:
    """The links of a tree by name, each with its target.

    They are resolved in this mapping, not on the disk: it is complete, and nothing can change it.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def add(self, name: str, text: str) -> None:
        """Add a link."""
        self._texts[name] = text

    def repeat(self, name: str, known: str) -> None:
        """Add another name of a link."""
        self._texts[name] = self._texts[known]

    def leading_out(self, is_disguised: Callable[[str], bool] = lambda _: False) -> list[tuple[str, str]]:
        """Return the links that lead out of the tree, or may, each with the reason.

        ``is_disguised`` returns whether a name without a link is a link on the disk.
        """
        return [(name, reason) for name in self._texts if (reason := self._reason(name, is_disguised)) is not None]

    def _reason(self, name: str, is_disguised: Callable[[str], bool]) -> str | None:
        # A link that stays inside may lead nowhere or in circles; the system gives up on those as well. Where no more steps
        # up follow, it leads inside: down, or on by other links, and each of them is checked itself.
        text = self._texts[name]
        if is_absolute(text):
            return ABSOLUTE
        here, waiting, followed, steps = name.rpartition("/")[0], _steps(text), 0, 0
        upwards = waiting.count("..")
        while upwards and followed <= _MOST_LINKS:
            steps += 1
            if steps > _MOST_STEPS:
                return "a link of more steps than any tree needs"
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
                return "a link that leads on by another spelling of a link"
        return None


def is_absolute(text: str) -> bool:
    """Return whether a link's target is absolute."""
    return text.startswith("/")


def _steps(text: str) -> list[str]:
    # The last one first, as they are popped from the end.
    return [step for step in reversed(text.split("/")) if step not in {"", "."}]
