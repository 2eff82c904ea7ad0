"""Symbolic links of a tree, and which of them lead out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

__all__ = ["ABSOLUTE", "LinkRule", "Links", "is_absolute", "way_out"]

LinkRule = Literal["refuse", "skip", "keep"]
"""For links that lead out of the tree: refuse all of the copy, skip them, or keep them with the text that they have."""

ABSOLUTE = "a link to an absolute name"

_OUTSIDE = "a link that leads outside"
_MOST_LINKS = 64
_MOST_STEPS = 512


def way_out(reason: str) -> str:
    """Return the reason for refusing a link, with what a caller can do."""
    return f'{reason}: links="skip" leaves such links out, links="keep" keeps them as they are'


class Links:
    """The links of a tree by name, each with its text.

    They are followed in what is known, not on the disk: that is all there is, and nothing can trick it.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def add(self, name: str, text: str) -> None:
        """Note a link."""
        self._texts[name] = text

    def repeat(self, name: str, known: str) -> None:
        """Note that a link has another name as well."""
        self._texts[name] = self._texts[known]

    def leading_out(self, is_disguised: Callable[[str], bool] = lambda _: False) -> list[tuple[str, str]]:
        """Return the links that lead out, or may, each with the reason.

        ``is_disguised`` returns whether what is no link by its name is one on the disk.
        """
        return [(name, reason) for name in self._texts if (reason := self._reason(name, is_disguised)) is not None]

    def _reason(self, name: str, is_disguised: Callable[[str], bool]) -> str | None:
        # What stays inside may lead nowhere or in circles; the system gives up on those as well. Where no more steps
        # up are to come it leads inside: down, or on by other links, and each of them is looked at for itself.
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
    """Return whether a link's text starts at the root."""
    return text.startswith("/")


def _steps(text: str) -> list[str]:
    # The last one first, as they are taken from the end.
    return [step for step in reversed(text.split("/")) if step not in {"", "."}]
