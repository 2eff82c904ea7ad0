"""The base of all errors, and the places of a failure."""

from __future__ import annotations

from copy import copy
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from inspect import Parameter, Signature
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast, dataclass_transform

import msgspec

__all__ = [
    "Named",
    "Place",
    "PocketenvError",
    "after_place",
    "typed_error",
]

E = TypeVar("E", bound="PocketenvError")


class Place(msgspec.Struct, frozen=True):
    """The place of a failure: a step of a pipeline, ``seconds`` after the pipeline began.

    Steps are shown as source code. Secrets are masked, and long steps are shortened. ``position`` counts from 1.
    """

    step: str
    position: int
    pipeline: str
    seconds: float

    def __str__(self) -> str:
        which = "" if self.pipeline == self.step else f", step {self.position} of {self.pipeline}"
        return f"{self.step}{which}, after {self.seconds:.3f} s"


class Named(Protocol):
    """A Sandbox, as far as errors know it."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def typed_error(kind: type[E]) -> type[E]:
    """Decorator like ``dataclass``, for a class of error. Its methods are those of `PocketenvError`."""
    return dataclass(init=False, eq=False, repr=False)(kind)


def after_place(place: str, text: str) -> str:
    """Return ``text`` after the name of an operation or a file, if there is one."""
    return f"{place}: {text}" if place else text


@cache
def _signature(kind: Any) -> Signature:
    parameters = [
        Parameter(
            each.name,
            Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if each.default is MISSING else each.default,
            annotation=each.type,
        )
        for each in fields(kind)
    ]
    return Signature(parameters, return_annotation=None)


class _FieldsOfClass:
    """The ``__signature__`` of a class of error: its fields, or None for a class with an ``__init__`` of its own."""

    def __get__(self, _: object, kind: Any) -> Signature | None:
        return _signature(kind) if kind.__init__ is PocketenvError.__init__ else None


# Not frozen: contextmanager and add_note assign to an exception. All methods are written once here.
# Generating them for each class would take a fifth of this library's import time.
@dataclass(init=False, eq=False, repr=False)
class PocketenvError(Exception):
    """The root of the tree. ``except PocketenvError`` catches every error that this library reports."""

    __signature__ = _FieldsOfClass()

    happened: ClassVar[str] = ""
    """What happened, as a clause. A field is written as in `str.format`: ``{seconds:g}``."""
    advice: ClassVar[str] = ""
    """What to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            bound = _signature(cast("Any", type(self))).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        self.__dict__.update(bound.arguments)

    def summary(self) -> str:
        """Return a clause that says what happened."""
        values: dict[str, object] = dict(zip(type(self).__match_args__, self._fields(), strict=True))
        return self.happened.format_map(values) or type(self).__name__

    @property
    def where(self) -> tuple[Place, ...]:
        """The places of the failure: first the step that failed, then the step around it, and so on.

        Equality ignores it. It is empty for an error that no step returned.

        >>> from pocketenv_fp import create, exec
        >>> ci = create | exec("make test", check=True)
        >>> place = ci("my-box").failure().where[0]
        >>> place.step, place.position, place.pipeline
        ("exec('make test', check=True)", 2, "create() | exec('make test', check=True)")
        """
        return cast("tuple[Place, ...]", self.__dict__.get("_where", ()))

    @property
    def sandbox(self) -> Named | None:
        """The Sandbox of the step that failed, or None. It may still exist, also after a create of this program.

        Its id, name and provider are sure. The rest may be older, or missing. `sandbox_of` returns it as the target of a
        cleanup. Equality ignores it.

        >>> from pocketenv_fp import create, exec
        >>> (create | exec("make test", check=True))("my-box").failure().sandbox.name
        'my-box'
        """
        return cast("Named | None", self.__dict__.get("_sandbox"))

    @property
    def job_id(self) -> str:
        """The id of a job that may run although its answers were lost, or an empty string. Equality ignores it.

        ``box | get_job(error.job_id) | follow`` reads it.

        >>> from pocketenv_fp.errors import TransportError
        >>> TransportError("dropped", "the connection broke").with_job("nightly").job_id
        'nightly'
        """
        return cast("str", self.__dict__.get("_job", ""))

    def with_job(self, id: str) -> Self:
        """Return a copy of the error of a job, whose message names the job."""
        named = copy(self)
        named.__dict__["_job"] = id
        return named

    def at(self, place: Place, sandbox: Named | None = None) -> Self:
        """Return a copy of the error with ``place`` added, and with ``sandbox`` if it has none.

        One error may be the result of several calls.
        """
        moved = copy(self)
        moved.__dict__["_where"] = (*self.where, place)
        if sandbox is not None:
            moved.__dict__.setdefault("_sandbox", sandbox)
        return moved

    def __str__(self) -> str:
        return self.with_advice(self.advice)

    def with_advice(self, advice: str) -> str:
        """Return the message: what happened, the advice, and the job that may run."""
        job = f"The job may run: read it with get_job({self.job_id!r}) | follow." if self.job_id else ""
        return " ".join(filter(None, (f"{self.summary()}.", advice, job)))

    def _fields(self) -> tuple[object, ...]:
        names: tuple[str, ...] = type(self).__match_args__
        return tuple(getattr(self, name) for name in names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PocketenvError) or type(self) is not type(other):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ rebuilds from `args`, which lack keyword arguments.
        state: dict[str, object] = {
            name: self.__dict__[name] for name in ("_where", "_sandbox", "_tail", "_job") if name in self.__dict__
        }
        if notes := getattr(self, "__notes__", None):
            state["__notes__"] = list(notes)
        return (type(self), self._fields(), state) if state else (type(self), self._fields())
