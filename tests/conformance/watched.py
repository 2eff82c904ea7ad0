"""The functions that call each method, as observed and not declared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from tests.conformance import contract
from tests.conformance.recorder import Exchange

# Methods of the contract that the platform has no handler for: it answers with an HTML page, or with `{}` to anything.
UNHANDLED = {
    "sandbox.createIntegration": "",
    "sandbox.getIntegrations": "",
    "sandbox.getTailscaleToken": "sandbox.getTailscaleAuthKey is what the platform has",
    "sandbox.putTailscaleToken": "sandbox.putTailscaleAuthKey is what the platform has",
    "sandbox.updateSandboxSettings": "sandbox.putPreferences is what the platform has",
}


class Watched:
    """A namespace of the library. Each call of its functions records the exchanges that it makes."""

    def __init__(self, namespace: ModuleType, exchanges: Sequence[Exchange], seen: dict[str, set[str]]) -> None:
        self._namespace = namespace
        self._exchanges = exchanges
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._namespace, name)
        label = f"{self._namespace.__name__.removeprefix('pocketenv_fp.')}.{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            before = len(self._exchanges)
            result: Any = function(*args, **kwargs)
            if hasattr(result, "__next__"):
                result = list(result)
            for exchange in self._exchanges[before:]:
                self._seen.setdefault(exchange.name, set()).add(label)
            return result

        return call


def page(seen: dict[str, set[str]]) -> Iterator[str]:
    """Yield the same table in the form of the documentation."""
    for name in contract.methods():
        method = name.removeprefix(contract.PREFIX)
        functions = ", ".join(f"`{each}`" for each in sorted(seen.get(name, ())))
        yield f"| `{method}` | {functions or _unhandled(method)} |"


def _unhandled(method: str) -> str:
    instead = UNHANDLED[method].split()
    return f"no handler on the platform: `{instead[0]}` is what it has" if instead else "no handler on the platform"


def rows(seen: dict[str, set[str]]) -> Iterator[str]:
    """Yield the table, method by method: the functions that call it, the plainest first."""
    names = [name.removeprefix(contract.PREFIX) for name in contract.methods()]
    wide = max(map(len, names))
    for name in names:
        functions = sorted(seen.get(contract.PREFIX + name, ()), key=lambda each: (each.count("."), len(each), each))
        told = ", ".join(functions) or f"- (no handler on the platform: {UNHANDLED.get(name, 'MISSING')})"
        yield f"{name:{wide}}  {told}"
    called = sum(contract.PREFIX + name in seen for name in names)
    yield f"{len(names)} methods: {called} called by the library, {len(UNHANDLED)} that the platform has no handler for"
