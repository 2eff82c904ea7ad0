"""Rows of the table that ``python -m tests.benchmarks`` prints."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

__all__ = ["FILE", "QUICK", "Row", "read", "row", "shorter"]

QUICK = "POCKETENV_BENCHMARKS_QUICK"
"""The variable that is set where a benchmark is to be short."""
FILE = "POCKETENV_BENCHMARKS_ROWS"
"""The variable with the file to which rows are added."""


class Row(msgspec.Struct, frozen=True):
    """A figure, beside the floor of the same run and the aim. All three have one unit: ``×`` is a ratio.

    The aim is an upper limit.
    """

    measure: str
    figure: float
    unit: str
    aim: float
    floor: float | None = None
    floor_is: str = ""

    @property
    def is_met(self) -> bool:
        return self.figure <= self.aim

    def cells(self) -> tuple[str, ...]:
        """Return measure, figure, floor, aim, and the ratio of figure and aim."""
        floor = "" if self.floor is None else f"{_number(self.floor)} {self.unit} {self.floor_is}"
        ratio = f"{self.figure / self.aim:.2f}" if self.aim else ("0" if self.is_met else "more")
        return self.measure, f"{_number(self.figure)} {self.unit}", floor, f"{_number(self.aim)} {self.unit}", ratio


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.2f}"


def row(
    measure: str, figure: float, unit: str = "×", *, aim: float, floor: float | None = None, floor_is: str = ""
) -> None:
    """Add a row to the table, if one is made."""
    if path := os.environ.get(FILE):
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode(Row(measure, figure, unit, aim, floor, floor_is)) + b"\n")


def read(path: Path) -> list[Row]:
    """Return the rows of a file."""
    return [msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines()] if path.exists() else []


def shorter(usual: int, quick: int) -> int:
    """Return a number of rounds: ``quick`` with ``--quick``."""
    return quick if os.environ.get(QUICK) else usual
