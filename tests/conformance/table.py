"""The embedded platform as a table, method by method, from real exchanges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pocketenv_fp.local.methods import METHODS
from tests.conformance import contract, judge
from tests.conformance.observed import DEVIATIONS, ON_PURPOSE
from tests.conformance.recorder import Exchange


class Standing(NamedTuple):
    """The state of one method: whether it is there, and the places where its answers are not as published."""

    name: str
    implemented: bool
    answered: int
    misfits: frozenset[str]
    faults: frozenset[str]

    @property
    def method(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]


def standings(exchanges: Sequence[Exchange]) -> Iterator[Standing]:
    """Yield every method of the published contract."""
    for name in contract.methods():
        found = [exchange for exchange in exchanges if exchange.name == name]
        method = METHODS.get(name)
        good = [exchange for exchange in found if exchange.status == 200]
        yield Standing(
            name.removeprefix(contract.PREFIX),
            method is not None and method.handler is not None and any(not exchange.page for exchange in found),
            len(good),
            frozenset(line for exchange in good for line in judge.misfits(exchange)),
            frozenset(line for exchange in found for line in judge.faults(exchange)),
        )


def rows(exchanges: Sequence[Exchange]) -> Iterator[str]:
    """Yield the table, line by line."""
    all_of_them = list(standings(exchanges))
    wide = max(len(each.name) for each in all_of_them)
    yield f"{'method':{wide}}  implemented  as published                            differs on purpose"
    for each in all_of_them:
        there = "yes" if each.implemented else "no"
        yield f"{each.name:{wide}}  {there:11}  {_published(each):38}  {ON_PURPOSE.get(each.method, '')}".rstrip()
    implemented = sum(each.implemented for each in all_of_them)
    exact = sum(each.implemented and not each.misfits for each in all_of_them)
    odd = sum(bool(each.misfits) for each in all_of_them)
    broken = sum(bool(each.faults) for each in all_of_them)
    yield (
        f"{len(all_of_them)} methods, {implemented} implemented: {exact} as published, {odd} as observed on the platform "
        f"where that is something else, {broken} neither; {len(exchanges)} exchanges"
    )


def _published(standing: Standing) -> str:
    if not standing.implemented:
        return "-"
    if standing.faults or not standing.answered:
        return "NO" if standing.faults else "never answered"
    if not standing.misfits:
        return "yes"
    named = standing.misfits & DEVIATIONS.get(standing.method, set())
    kinds = {
        "undeclared": "not declared",
        "null": "null",
    }
    counted = {told: sum(line.endswith(f": {end}") for line in named) for end, told in kinds.items()}
    rest = len(named) - sum(counted.values())
    told = [f"{number} {kind}" for kind, number in {**counted, "otherwise": rest}.items() if number]
    return f"as observed: {', '.join(told)}"
