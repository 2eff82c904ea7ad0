r"""The results of `fan_out`, each with its target, its time and its number of requests.

>>> from pocketenv_fp import ephemeral, exec, fan_out, start, stdout
>>> results = fan_out(ephemeral(start | exec("echo up") | stdout), ["one", "two"])
>>> results.ok
[('one', 'up\n'), ('two', 'up\n')]
>>> [record["requests"] for record in results.to_records()] == list(results.requests)
True
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import CommandFailed, PocketenvError
from pocketenv_fp.models import ExecResult
from pocketenv_fp.runtime.optional import needed

__all__ = ["Outcome", "Results", "name_of"]

T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """The run of a pipeline on one target. ``seconds`` is its duration, ``requests`` its number of requests."""

    target: object
    result: Result[T, PocketenvError]
    seconds: float
    requests: int


class Results(list[Result[T, PocketenvError]]):
    """A list of Results in the order of their targets, with the targets.

    It compares and iterates as a list. `collect` and `partition` accept it. A notebook shows it as a table.
    """

    def __init__(self, outcomes: Iterable[Outcome[T]] = ()) -> None:
        self._outcomes = tuple(outcomes)
        super().__init__(outcome.result for outcome in self._outcomes)

    @property
    def targets(self) -> tuple[object, ...]:
        """The targets, in the order of the Results."""
        return tuple(outcome.target for outcome in self._outcomes)

    @property
    def seconds(self) -> tuple[float, ...]:
        """The duration for each target, in seconds."""
        return tuple(outcome.seconds for outcome in self._outcomes)

    @property
    def requests(self) -> tuple[int, ...]:
        """The number of requests for each target."""
        return tuple(outcome.requests for outcome in self._outcomes)

    @property
    def ok(self) -> list[tuple[object, T]]:
        """The pairs of target and value for each Success."""
        return [
            (outcome.target, outcome.result.unwrap())
            for outcome in self._outcomes
            if isinstance(outcome.result, Success)
        ]

    @property
    def failed(self) -> list[tuple[object, PocketenvError]]:
        """The pairs of target and error for each Failure."""
        return [
            (outcome.target, outcome.result.failure())
            for outcome in self._outcomes
            if isinstance(outcome.result, Failure)
        ]

    def to_records(self) -> list[dict[str, Any]]:
        """Return a dict for each target, as rows of a table.

        The keys are ``target``, ``ok``, ``value`` (None for a Failure), ``error`` (the class of the error, None for a
        Success), ``message``, ``exit_code`` (None if no command ended), ``seconds``, ``requests`` and ``where`` (the
        failed step).
        """
        return [_record(outcome) for outcome in self._outcomes]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of `to_records`. Raises ImportError if pandas is not installed."""
        return needed("pandas", "").DataFrame(self.to_records())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Results, (self._outcomes,))

    if not TYPE_CHECKING:
        # A changed list would not match its targets.
        def _refuse(self, *_: object, **__: object) -> Any:
            raise TypeError("the results of a fan_out cannot be changed: make a list with list(results)")

        append = extend = insert = remove = pop = clear = sort = reverse = _refuse
        __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse


def _record(outcome: Outcome[Any]) -> dict[str, Any]:
    error = outcome.result.failure() if isinstance(outcome.result, Failure) else None
    value = outcome.result.unwrap() if error is None else None
    return {
        "target": name_of(outcome.target),
        "ok": error is None,
        "value": value,
        "error": None if error is None else type(error).__name__,
        "message": None if error is None else str(error),
        "exit_code": _exit_code(error if value is None else value),
        "seconds": outcome.seconds,
        "requests": outcome.requests,
        "where": _where(error),
    }


def name_of(target: object) -> object:
    """Return the name of a target, unwrap a Success, and return any other target as it is."""
    if isinstance(target, Success):
        return name_of(cast("Success[object]", target).unwrap())
    name: object = getattr(target, "name", target)
    return name if isinstance(name, str) else target


def _exit_code(value: object) -> int | None:
    return value.exit_code if isinstance(value, (ExecResult, CommandFailed)) else None


def _where(error: object) -> str | None:
    return error.where[0].step if isinstance(error, PocketenvError) and error.where else None
