"""The base of all records, and the page of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, cast, overload

import msgspec

from pocketenv_fp.elements import element, markup
from pocketenv_fp.redaction import HIDDEN, NOT_PICKLED, secret_names, without_passwords

__all__ = ["Page", "Record"]

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, rename="camel", repr_omit_defaults=True):
    """The base of all records: camelCase in JSON, a repr without empty fields and passwords, a table in notebooks."""

    def __repr__(self) -> str:
        return without_passwords(msgspec.Struct.__repr__(self.shown()))

    def __reduce__(self) -> Any:
        if secret_names(type(self), NOT_PICKLED):
            import pickle

            raise pickle.PicklingError(f"a {type(self).__name__} cannot be pickled: it contains a secret")
        return super().__reduce__()

    def html(self) -> str:
        """Return the record as an HTML table, escaped."""
        left = {"style": "text-align:left"}
        shown = ((name, value if isinstance(value, str) else repr(value)) for name, value in self.__rich_repr__())
        rows = (
            element("tr", element("th", name, **left), element("td", element("code", without_passwords(text)), **left))
            for name, text in shown
        )
        return element("table", element("caption", type(self).__name__, **left), *rows)

    def _repr_html_(self) -> str:
        return self.html()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own method would show the fields that the repr hides.
        masked = self.shown()
        fields = ((name, getattr(masked, name)) for name in self.__struct_fields__)
        return [
            (name, without_passwords(value) if isinstance(value, str) else value)
            for name, value in fields
            if value is not None
        ]

    def shown(self) -> Self:
        """Return the record as its repr and its table show it: with masks in place of secrets."""
        hidden = secret_names(type(self))
        return msgspec.structs.replace(self, **dict.fromkeys(hidden, HIDDEN)) if hidden else self


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list, in order, and the ``total`` number of items. It reads like a list.

    >>> from pocketenv_fp.models import Page
    >>> page = Page((1, 2), total=5)
    >>> list(page), len(page), page[0], page == [1, 2]
    ([1, 2], 2, 1, True)
    """

    items: tuple[T, ...]
    total: int

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, tuple)):
            return self.items == tuple(cast("Sequence[object]", other))
        if not isinstance(other, Page):
            return NotImplemented
        return (self.items, self.total) == (cast("Page[object]", other).items, other.total)

    def __hash__(self) -> int:
        return hash((self.items, self.total))

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def _repr_html_(self) -> str:
        shown = (item.html() if isinstance(item, Record) else element("pre", repr(item)) for item in self.items)
        return markup(element("p", f"{len(self.items)} of {self.total}"), *shown)


cast("Any", Sequence).register(Page)  # for `case [first, *rest]`
