"""What a run reports at its end: figures that the tests measured, in whichever process each of them ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any


class Figures:
    """Figures under titles: lines, counts that are summed, and tables that are filled cell by cell."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._tables: dict[str, dict[str, dict[str, str]]] = {}

    def line(self, title: str, *texts: str) -> None:
        """Add lines; one that is there already is not added again."""
        lines = self._lines.setdefault(title, [])
        lines += [text for text in texts if text not in lines]

    def count(self, title: str, kind: str, number: int = 1) -> None:
        """Add to the number of one kind."""
        self._counts.setdefault(title, Counter())[kind] += number

    def cell(self, title: str, row: str, column: str, text: str) -> None:
        """Fill one cell of a table."""
        self._tables.setdefault(title, {}).setdefault(row, {})[column] = text

    def plain(self) -> dict[str, Any]:
        """Return all of it as what may travel to another process."""
        return {"lines": self._lines, "counts": {t: dict(c) for t, c in self._counts.items()}, "tables": self._tables}

    def add(self, plain: dict[str, Any]) -> None:
        """Add what another process measured."""
        for title, lines in plain["lines"].items():
            self.line(title, *lines)
        for title, counted in plain["counts"].items():
            for kind, number in counted.items():
                self.count(title, kind, number)
        for title, rows in plain["tables"].items():
            for row, cells in rows.items():
                for column, text in cells.items():
                    self.cell(title, row, column, text)

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each title with its lines."""
        yield from sorted(self._lines.items())
        for title, counted in sorted(self._counts.items()):
            kinds = ", ".join(f"{kind}: {number}" for kind, number in sorted(counted.items()))
            yield title, [f"{counted.total()} ({kinds})"]
        for title, rows in sorted(self._tables.items()):
            yield title, list(_drawn(rows))


def _drawn(rows: dict[str, dict[str, str]]) -> Iterator[str]:
    columns = sorted({column for cells in rows.values() for column in cells})
    wide = {
        column: max(len(column), *(len(cells.get(column, "")) for cells in rows.values())) + 2 for column in columns
    }
    lead = max(map(len, rows)) + 2
    yield " " * lead + "".join(column.ljust(wide[column]) for column in columns).rstrip()
    for row, cells in sorted(rows.items()):
        yield (row.ljust(lead) + "".join(cells.get(column, "").ljust(wide[column]) for column in columns)).rstrip()
