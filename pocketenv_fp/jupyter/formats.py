"""Which card a notebook shows for which value: the formatters for HTML."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pocketenv_fp.jupyter.cards import CARDS, card, list_card

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["formats"]

Format = Callable[[Any], Any]


@contextmanager
def formats(ipython: InteractiveShell) -> Generator[None]:
    """Show values as cards inside the block. Formatters that were there before are there again behind it."""
    formatter = cast("Any", ipython).display_formatter.formatters["text/html"]
    printers = cast("dict[type, Format]", formatter.type_printers)
    ours: dict[type, Format] = dict.fromkeys(CARDS, card)
    ours[list] = _of_lists(formatter, printers.get(list))
    before = {kind: printers[kind] for kind in ours if kind in printers}
    for kind, show in ours.items():
        formatter.for_type(kind, show)
    try:
        yield
    finally:
        for kind, show in ours.items():
            # What somebody else has put in its place meanwhile is theirs.
            if printers.get(kind) is show:
                printers.pop(kind)
                printers.update({kind: before[kind]} if kind in before else {})


def _of_lists(formatter: BaseFormatter, before: Format | None) -> Format:
    """Give a formatter of lists that knows those of Results and of records, and leaves every other as it was."""

    def show(value: list[Any]) -> Any:
        if type(value) is list and (shown := list_card(value)) is not None:
            return shown
        if before is not None:
            return before(value)
        own = getattr(value, str(cast("Any", formatter).print_method), None)
        return own() if callable(own) else None

    return show
