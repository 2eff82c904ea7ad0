"""Which card a notebook shows for which value: the formatters for HTML, and for the text that a notebook keeps beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from returns.result import Result

from pocketenv_fp.jupyter.cards import CARDS, card, list_card
from pocketenv_fp.models import ExecResult
from pocketenv_fp.traces import Traced

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["formats"]

TEXT_CHARACTERS = 20_000

Format = Callable[..., Any]


@contextmanager
def formats(ipython: InteractiveShell) -> Generator[None]:
    """Show values as cards inside the block. Formatters that were there before are there again behind it."""
    formatters = cast("Any", ipython).display_formatter.formatters
    html, plain = formatters["text/html"], formatters["text/plain"]
    ours: dict[type, Format] = dict.fromkeys(CARDS, card)
    ours[list] = _of_lists(html, html.type_printers.get(list))
    with ExitStack() as stack:
        stack.enter_context(_printing(html, ours))
        if getattr(ipython, "kernel", None) is not None:
            # Jupyter's server lets a message of some megabytes not pass, and then there is no card either.
            stack.enter_context(_printing(plain, dict.fromkeys((ExecResult, Result, Traced), _print_cut)))
        yield


@contextmanager
def _printing(formatter: Any, ours: Mapping[type, Format]) -> Generator[None]:
    printers = cast("dict[type, Format]", formatter.type_printers)
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


def _print_cut(value: object, printer: Any, _: object) -> None:
    text = repr(value)
    more = len(text) - TEXT_CHARACTERS
    shown = text if more <= 0 else f"{text[:TEXT_CHARACTERS]}… {more:,} more characters"
    for number, line in enumerate(shown.splitlines()):
        if number:
            printer.break_()
        printer.text(line)


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
