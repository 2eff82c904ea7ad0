"""A pipeline gone through step by step against an imagined platform, and what is noted on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import wraps
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, InvalidInput, PocketenvError, SandboxNotFound
from pocketenv_fp.explaining.explanation import API, STORAGE, Part, Request, as_json, stand_ins
from pocketenv_fp.explaining.fake_platform import Imagined, stand_in
from pocketenv_fp.explaining.masking import Shown, sequence, without_secrets
from pocketenv_fp.http import storage
from pocketenv_fp.http.xrpc import NAMESPACE, Call
from pocketenv_fp.models import ExecResult, Job, Sandbox
from pocketenv_fp.pocketenv.creation import create, noting
from pocketenv_fp.pocketenv.credentials import CREDENTIALS
from pocketenv_fp.sandbox.copying.delivery import Goal, arrived
from pocketenv_fp.sandbox.copying.departure import fetch
from pocketenv_fp.sandbox.copying.remote import HOME, End, place, temporary
from pocketenv_fp.sandbox.lifecycle import delete
from pocketenv_fp.steps.operation import Applied, Curried, Step, is_step, operation
from pocketenv_fp.validation import wrong_value

__all__ = ["FALLBACK", "Rehearsal", "takes"]

Outcome = Result[Any, PocketenvError]

FALLBACK = "only if that fails"
# As JSON writes it: an even number of backslashes before it are no part of it.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class _Unknown:
    """A value that a function of the caller's would return: explain calls none."""


UNKNOWN = _Unknown()


def takes(step: Step[Any, Any]) -> type:
    """Return the type of target that a step is run on."""
    for applied in sequence(step):
        if place_of(applied.operation) == MANAGED:
            return takes(applied.kwargs.get("acquire", create))
        if place_of(applied.operation) == EPHEMERAL:
            return str
        inner = next((each for each in (*applied.args, *applied.kwargs.values()) if is_step(each)), None)
        return applied.operation.accepts if inner is None else takes(inner)
    return object


def place_of(curried: Curried) -> str:
    """Give where a function is, as in ``pocketenv_fp.steps.combinators.tap``."""
    return f"{curried.function.__module__}.{curried.function.__qualname__}"


class _Part:
    """A part of an explanation that is being written."""

    def __init__(self, source: str, depth: int) -> None:
        self.source = source
        self.depth = depth
        self.notes: list[str] = []
        self.requests: list[Request] = []

    def closed(self) -> Part:
        return Part(self.source, self.depth, tuple(self.notes), tuple(self.requests))


class Rehearsal:
    """One way through a pipeline, and what is noted on it."""

    def __init__(self, given: str) -> None:
        self.platform = Imagined()
        self.parts: list[_Part] = []
        self.local: str | None = None
        self.seconds: float | None = None
        self._shown = Shown(given)
        self._depth = 0
        self._when: list[str] = []
        self._say: str | None = None
        self._told: set[str] = set()
        self._failed: PocketenvError | None = None

    def stand_in_for(self, kind: type) -> object:
        """Give what stands for a target that is not given. Raises TypeError where nothing can."""
        if kind is str:
            return stand_in("NAME")
        if kind in {Sandbox, object}:
            return Sandbox(id=self.platform.new_box()["id"], name=stand_in("SANDBOX_NAME"))
        if kind is ExecResult:
            return ExecResult(f'"{stand_in("OUTPUT")}"', "", 0)
        if kind is Job:
            return Job(Sandbox(id=self.platform.new_box()["id"], name=stand_in("SANDBOX_NAME")), "JOB_ID")
        raise TypeError(f"explain: the step takes a {kind.__name__}: give one as the target")

    # Steps

    def through(self, step: Step[Any, Any], target: Outcome) -> Outcome:
        """Go from step to step."""
        for applied in sequence(step):
            target = self._one(applied, target)
        return target

    def inner(self, step: Step[Any, Any], target: Outcome, when: str | None = None) -> Outcome:
        """Go through a step that is in another one."""
        with self._below(when):
            return self.through(step, target)

    @contextmanager
    def _below(self, when: str | None) -> Generator[None]:
        self._depth += 1
        self._when += [when] if when else []
        self._say = when
        try:
            yield
        finally:
            self._depth -= 1
            if when:
                self._when.pop()

    def note(self, text: str) -> None:
        """Say something of the step that is under way."""
        self.parts[-1].notes.append(text)

    def _one(self, applied: Applied, target: Outcome) -> Outcome:
        part = _Part(str(applied), self._depth)
        part.notes += [self._say] if self._say else []
        self._say = None
        self.parts.append(part)
        if isinstance(target, Failure):
            self.note("is passed by: what comes before it is a Failure")
            return target
        if target.unwrap() is UNKNOWN and place_of(applied.operation) not in {CALLED_MAP, CALLED_BIND}:
            target = Success(self.stand_in_for(takes(applied)))
        self._introduce(target, applied)
        special = SPECIAL.get(place_of(applied.operation))
        result = self.perform(applied, target) if special is None else special(self, applied, target)
        if isinstance(result, Failure) and result.failure() is not self._failed:
            self._failed = result.failure()
            part.notes.append(f"is a Failure here: {result.failure().summary()}")
        return result

    def _introduce(self, target: Outcome, applied: Applied) -> None:
        for value in (target, *applied.args, *applied.kwargs.values()):
            held: object = cast("Success[object]", value).unwrap() if isinstance(value, Success) else value
            if isinstance(held, Sandbox):
                self.platform.show(held)

    def perform(self, applied: Applied, target: Outcome) -> Outcome:
        """Run an operation, without its secrets, and have its requests noted."""
        wanted = arguments(applied)
        self.platform.looked_for = wanted.get("name_or_id") or wanted.get("path_or_id")
        masked = sequence(without_secrets(applied))[0]
        other = INSTEAD.get(place_of(applied.operation))
        run = applied.operation if other is None else _instead(applied.operation, other)
        try:
            return run.run(target, masked.args, masked.kwargs)
        finally:
            self.platform.looked_for = None

    # Requests

    def answer(self, call: Call[Any]) -> Outcome:
        """Note a request, and give what the imagined platform answers."""
        try:
            request = self._request(call)
        except UnicodeEncodeError:
            return Failure(InvalidInput("text", "is not valid Unicode: it holds half of a surrogate pair"))
        if _NUL.search(request.body or "") or "%00" in request.path:
            return Failure(InvalidInput("text", "holds a NUL character"))
        is_archive = call.nsid in {storage.PUT, storage.TAKE}
        answer = dict(call.params) if is_archive else self.platform.answer(call)
        # What is sent before an answer tells it was known before.
        self._told |= {name for _, name in stand_ins(f"{request.path} {request.body}") if name}
        if not isinstance(answer, PocketenvError):
            told = (tuple(map(self._shown.text, each)) for each in _told_by(answer))
            new = [each for each in told if each[0] not in self._told]
            self._told |= {name for name, *_ in new}
            request = msgspec.structs.replace(request, gives=tuple(new))
        self.parts[-1].requests.append(request)
        return _decoded(call, answer)

    def _request(self, call: Call[Any]) -> Request:
        verb = "GET" if call.is_query else "POST"
        params = self._shown.fields(call.nsid, call.params)
        notes = tuple(self._when)
        if call.nsid == storage.TAKE:
            return Request(verb, f"/cp/{_quoted(params['uuid'])}", None, notes, STORAGE, local=self.local)
        query = "&".join(f"{_quoted(name)}={_quoted(each)}" for name, each in params.items())
        path = "/cp" if call.nsid == storage.PUT else f"/xrpc/{NAMESPACE}{call.nsid}"
        body = None if call.body is None else as_json(self._shown.fields(call.nsid, call.body))
        (body or "").encode()  # half of a surrogate pair cannot be sent
        host, local = (STORAGE, self.local) if call.nsid == storage.PUT else (API, None)
        whole = f"{path}?{query}" if query else path
        return Request(verb, whole, body, notes, host, local=local, seconds=self.seconds)


def arguments(applied: Applied) -> dict[str, Any]:
    """Give all arguments of an operation by name, those that were not given too."""
    bound = applied.operation.arguments.signature.bind(*applied.args, **applied.kwargs)
    bound.apply_defaults()
    return bound.arguments


def _decoded(call: Call[Any], answer: Any) -> Outcome:
    if isinstance(answer, PocketenvError):
        return Failure(answer)
    try:
        return Success(call.decode(b"" if answer is None else msgspec.json.encode(answer)))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Failure(DecodeError(call.nsid, "this version does not know what it answers, and explains no further"))


def _told_by(answer: object, *way: str) -> Iterator[tuple[str, ...]]:
    """The stand-ins in an answer, each with the way to it; one in a list is found by its name."""
    if isinstance(answer, str):
        first, *more = stand_ins(answer)
        if first[0] == "" and more == [("", None)]:
            yield (cast("str", first[1]), *way)
    elif isinstance(answer, dict):
        for name, each in cast("dict[str, object]", answer).items():
            yield from _told_by(each, *way, name)
    elif isinstance(answer, list):
        for each in cast("list[object]", answer):
            if isinstance(each, dict):
                record = cast("dict[str, object]", each)
                key = "name" if "name" in record else "path"
                yield from _told_by(record, *way, f"{key}={record.get(key)}")


def _quoted(value: object) -> str:
    return "".join(quote(text, safe="") + (stand_in(name) if name else "") for text, name in stand_ins(str(value)))


def _instead(curried: Curried, function: Callable[..., Outcome]) -> Curried:
    # With the other's annotations: what is wrong there is wrong here.
    return operation(cast("type[Any]", curried.accepts))(wraps(curried.function)(function))


# Steps that run otherwise here: they look at this machine's files, wait, or ask functions of the program.


def _nothing() -> Generator[bytes]:
    yield from ()


def _upload(box: Sandbox, _: object, remote: str = HOME, **__: object) -> Outcome:
    def put(path: str) -> Outcome:
        goal = Goal(path, "directory", into=False)
        return storage.put(_nothing).bind(lambda uuid: arrived(End(box, None, None), goal, uuid, temporary()))

    return place("remote", remote).bind(put)


def _download(box: Sandbox, remote: str, local: Any, **_: object) -> Outcome:
    def arrive(*_: object) -> Path:
        return Path(local)

    end = End(box, None, None)
    return place("remote", remote).bind(lambda path: fetch(end, path, arrive, operation="download", most=-1))


INSTEAD: Mapping[str, Callable[..., Outcome]] = {
    "pocketenv_fp.sandbox.copying.copy.download": _download,
    "pocketenv_fp.sandbox.copying.copy.upload": _upload,
}


def _creating(walk: Rehearsal, applied: Applied, target: Outcome) -> Outcome:
    given = arguments(applied)
    if given["provider_credentials"] is None and given["provider"] in CREDENTIALS:
        walk.note("with the credentials for the provider that the environment has then, if any")
    return walk.perform(applied, target)


def _copying(walk: Rehearsal, applied: Applied, target: Outcome) -> Outcome:
    sends = applied.operation.__name__ == "upload"
    walk.local = str(arguments(applied)["local"])
    walk.note(
        "as for a large directory, since nothing here is looked at; a small one is in the last request, which is the only one"
        if sends
        else "as for a large directory; a small one comes with the first answer, and no other request is sent"
    )
    try:
        return walk.perform(applied, target)
    finally:
        walk.local = None


def _waiting(walk: Rehearsal, applied: Applied, target: Outcome) -> Outcome:
    box = target.unwrap()
    walk.seconds = float(arguments(applied)["timeout"])
    walk.note(f"is repeated until it runs, for {_seconds(walk.seconds)} at the most")
    if isinstance(box, Sandbox):
        walk.platform.run(box)
    try:
        return walk.perform(applied, target)
    finally:
        walk.seconds = None


def _seconds(seconds: float) -> str:
    return "any time" if seconds == math.inf else f"{seconds:g} s"


def _limited(through: Callable[[Rehearsal, dict[str, Any], Outcome], Outcome]) -> Special:
    """Let a combinator look at its numbers first, as it does when it runs."""

    def checked(walk: Rehearsal, applied: Applied, target: Outcome) -> Outcome:
        given = arguments(applied)
        limits: Mapping[str, tuple[Any, Any]] = getattr(applied.operation, "limits", {})
        for name in limits.keys() & given.keys():
            if wrong := wrong_value(name, given[name], *limits[name]):
                return Failure(wrong)
        return through(walk, given, target)

    return checked


def _tap(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    return walk.inner(given["step"], target).bind(lambda _: target)


def _gather(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    found: list[object] = []
    for each in (given["first"], *given["more"]):
        result = walk.inner(each, target)
        if isinstance(result, Failure):
            return result
        found.append(result.unwrap())
    return Success(tuple(found))


def _keep(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    return _gather(walk, given, target).map(lambda found: (target.unwrap(), *found))


def _recover(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    walk.note(f"where the step fails with {_kinds(given['on'])}, the value is given in its place")
    return walk.inner(given["step"], target)


def _or_else(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    first = walk.inner(given["step"], target)
    before = deepcopy(walk.platform)
    second = walk.inner(given["other"], target, FALLBACK)
    if not isinstance(first, Success):
        return second
    before.numbers, walk.platform = walk.platform.numbers, before
    return first


def _when(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    predicate = given["predicate"]
    name = getattr(predicate, "__qualname__", type(predicate).__qualname__)
    return walk.inner(given["step"], target, f"if {name} says so")


def _retrying(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    walk.note(f"is tried up to {given['attempts']} times, while it fails with {_kinds(given['on'])}")
    return walk.inner(given["step"], target)


def _within(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    walk.note(f"within {_seconds(float(given['seconds']))}")
    return walk.inner(given["step"], target)


def _managed(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    made: list[Sandbox] = []
    with noting(made):
        acquired = walk.inner(given["acquire"], target)
    result = walk.inner(given["use"], acquired)
    for box in reversed(made):
        released = walk.inner(given["release"], Success(box), "in the end, however the rest goes")
        is_gone = isinstance(released, Failure) and isinstance(released.failure(), SandboxNotFound)
        if isinstance(result, Success) and isinstance(released, Failure) and not is_gone:
            result = released
    return result


def _ephemeral(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    name = target.unwrap()
    if not isinstance(name, str):
        raise TypeError(f"ephemeral takes the beginning of a name, not a {type(name).__name__}")
    leased = {"use": given["use"], "acquire": create(**given["options"]), "release": delete}
    return _managed(walk, leased, Success(f"{name}-{stand_in('RANDOM_HEX')}"))


def _calling(walk: Rehearsal, applied: Applied, target: Outcome) -> Outcome:  # noqa: ARG001  # its value is unknown
    walk.note("is a function of yours, and is not called here")
    return Success(UNKNOWN)


def _alt(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    walk.note("where the step fails, a function of yours makes another error of it")
    return walk.inner(given["step"], target)


def _lash(walk: Rehearsal, given: dict[str, Any], target: Outcome) -> Outcome:
    walk.note("where the step fails, the Result of a function of yours takes its place")
    return walk.inner(given["step"], target)


def _kinds(on: type | tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in (on if isinstance(on, tuple) else (on,)))


Special = Callable[[Rehearsal, Applied, Outcome], Outcome]
CALLED_MAP, CALLED_BIND = "pocketenv_fp.steps.operation._map", "pocketenv_fp.steps.operation._bind"
MANAGED, EPHEMERAL = "pocketenv_fp.sandbox.managed.managed", "pocketenv_fp.sandbox.managed.ephemeral"

SPECIAL: Mapping[str, Special] = {
    **dict.fromkeys(INSTEAD, _copying),
    "pocketenv_fp.pocketenv.creation.create": _creating,
    "pocketenv_fp.sandbox.lifecycle.wait_until_running": _waiting,
    CALLED_BIND: _calling,
    CALLED_MAP: _calling,
    "pocketenv_fp.steps.operation._alt": _limited(_alt),
    "pocketenv_fp.steps.operation._lash": _limited(_lash),
    EPHEMERAL: _limited(_ephemeral),
    MANAGED: _limited(_managed),
    "pocketenv_fp.steps.combinators.gather": _limited(_gather),
    "pocketenv_fp.steps.combinators.keep": _limited(_keep),
    "pocketenv_fp.steps.combinators.or_else": _limited(_or_else),
    "pocketenv_fp.steps.combinators.recover": _limited(_recover),
    "pocketenv_fp.steps.combinators.retrying": _limited(_retrying),
    "pocketenv_fp.steps.combinators.tap": _limited(_tap),
    "pocketenv_fp.steps.combinators.when": _limited(_when),
    "pocketenv_fp.steps.combinators.within": _limited(_within),
}
"""By where they are: to import them all would make a circle of this."""
