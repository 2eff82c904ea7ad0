"""The formatters of a notebook: a card as HTML, and the plain text that the notebook stores with it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from pocketenv_fp.explaining import Explanation
from pocketenv_fp.jupyter.cards import CARDS, card, list_card
from pocketenv_fp.steps.results import Results
from pocketenv_fp.steps.trace import Trace

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["formats"]

TEXT_CHARACTERS = 20_000
DEPTH = 4
ITEMS = 1_000
KINDS = (*CARDS, Explanation, Trace)
CONTAINERS = (list, tuple, dict)

Format = Callable[..., Any]


@contextmanager
def formats(ipython: InteractiveShell) -> Generator[None]:
    """Show values as cards inside the block, and restore the previous formatters at its end."""
    display = cast("Any", ipython).display_formatter
    html, plain = display.formatters["text/html"], display.formatters["text/plain"]
    ours: dict[type, Format] = dict.fromkeys(CARDS, card)
    ours[list] = _of_lists(html, html.type_printers.get(list))
    cut = _Cut(plain, lambda: "text/html" in display.active_types)
    with ExitStack() as stack:
        stack.enter_context(_printing(html, ours))
        stack.enter_context(_printing(plain, dict.fromkeys((*KINDS, *CONTAINERS), cut.show)))
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
            # Do not remove a formatter that other code has set in the meantime.
            if printers.get(kind) is show:
                printers.pop(kind)
                printers.update({kind: before[kind]} if kind in before else {})


class _Cut:
    """Prints values as before, and shortens long ones if a card is shown too.

    A notebook sends and stores the plain text with the card. Jupyter's server drops messages of several megabytes, and
    the card with it.
    """

    def __init__(self, formatter: Any, has_cards: Callable[[], bool]) -> None:
        self._printers = cast("dict[type, Format]", formatter.type_printers)
        self._before = dict(self._printers)
        self._has_cards = has_cards
        self.show = self._show  # one object: `_printing` compares with `is`

    def _show(self, value: object, printer: Any, _: object) -> None:
        text = self._whole(value, printer)
        if self._has_cards() and _holds_ours(value):
            text = _shortened(text)
        for number, line in enumerate(text.split("\n")):
            if number:
                printer.break_()
            printer.text(line)

    def _whole(self, value: object, printer: Any) -> str:
        from IPython.lib.pretty import RepresentationPrinter

        others = {kind: show for kind, show in self._printers.items() if show is not self.show}
        stream = StringIO()
        whole = cast("Any", RepresentationPrinter)(
            stream,
            printer.verbose,
            printer.max_width,
            printer.newline,
            printer.singleton_pprinters,
            {**self._before, **others},
            printer.deferred_pprinters,
            printer.max_seq_length,
        )
        whole.pretty(value)
        whole.flush()
        return stream.getvalue()


def _shortened(text: str) -> str:
    more = len(text) - TEXT_CHARACTERS
    half = TEXT_CHARACTERS // 2
    return text if more <= 0 else f"{text[:half]}… {more:,} more characters …{text[-half:]}"


def _holds_ours(value: Any, depth: int = 0) -> bool:
    if isinstance(value, KINDS):
        return True
    if not isinstance(value, CONTAINERS) or depth == DEPTH:
        return False
    items = cast("Mapping[object, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    # IPython prints no more items than these.
    return any(_holds_ours(each, depth + 1) for each in islice(items, ITEMS))


def _of_lists(formatter: BaseFormatter, before: Format | None) -> Format:
    """Return a formatter for lists of Results and records. Other lists are shown as before."""

    def show(value: list[Any]) -> Any:
        if type(value) in {list, Results} and (shown := list_card(value)) is not None:
            return shown
        if before is not None:
            return before(value)
        method = getattr(value, str(cast("Any", formatter).print_method), None)
        return method() if callable(method) else None

    return show
