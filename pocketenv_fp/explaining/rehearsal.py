"""Explain a pipeline: run its real steps on a fake platform, and record the steps and requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from copy import deepcopy
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import API_URL, PUBLIC_KEY, STORAGE_URL, Config, using
from pocketenv_fp.errors import DecodeError, InvalidInput, PocketenvError
from pocketenv_fp.explaining.explanation import API, FALLBACK, STORAGE, Explanation, Part, Request, as_json, stand_ins
from pocketenv_fp.explaining.fake_platform import FakePlatform
from pocketenv_fp.explaining.masking import MaskedFields, masked
from pocketenv_fp.http import storage
from pocketenv_fp.http.xrpc import NAMESPACE, Call, answered_by
from pocketenv_fp.models import ExecResult, Job, Sandbox
from pocketenv_fp.observing import unobserved
from pocketenv_fp.plain_types import UNDECODABLE
from pocketenv_fp.runtime.rehearsal import Unknown, rehearsed_by, stand_in
from pocketenv_fp.runtime.scope import scope
from pocketenv_fp.steps.needs import Need, current
from pocketenv_fp.steps.operation import demand_step
from pocketenv_fp.steps.step import Applied, Step, is_step
from pocketenv_fp.validation import not_unicode

__all__ = ["Recorder", "explain"]

A = TypeVar("A")
B = TypeVar("B")
Outcome = Result[Any, PocketenvError]

_LOGIN = Config(api_url=API_URL, storage_url=STORAGE_URL, public_key=PUBLIC_KEY, token="masked")  # noqa: S106  # no token
# In JSON, an even number of backslashes before it is not part of it.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def explain(step: Step[A, B], target: A | None | Result[A | None, PocketenvError] = None) -> Explanation:
    r"""List the requests that a step would send, in order, with secrets masked. Nothing is sent.

    Returns an Explanation. It prints as text, is a table in notebooks, and has the ``requests`` for programs. ``target``
    is the target of the step. Without it, a stand-in such as ``‹SANDBOX_ID›`` is used, as for each value that only a
    response has. `as_curl` writes the same requests as a script.

    It assumes success: a command exits with 0, and each name that is looked up exists. A note says where the requests
    depend on the outcome (`when`, `recover`, `or_else`, `retrying`). No token, secret, file or environment variable is
    read, and none of your functions is called. Only your own steps and combinators are run, with fake responses. A
    Failure that is certain, such as that of a wrong value, is a note.

    Raises TypeError where the call of the step raises it, and for a target that has no stand-in.

    >>> from pocketenv_fp import create, exec, explain, set_secret, start, tap
    >>> print(explain(create | tap(set_secret("API_KEY", "sk-12345")) | exec("make", ["test"]), "my-box"))
    create()
        POST /xrpc/io.pocketenv.sandbox.createSandbox
            {"name": "my-box", "base": "at://...", "provider": "cloudflare"}
        POST /xrpc/io.pocketenv.sandbox.putPreferences
            {"sandboxId": "‹SANDBOX_ID›", "preferences": [{"$type": "...", "name": "my-box"}]}
    tap(set_secret('API_KEY', '***'))
        set_secret('API_KEY', '***')
            POST /xrpc/io.pocketenv.secret.addSecret
                {"secret": {"sandboxId": "‹SANDBOX_ID›", "name": "API_KEY", "value": "‹SEALED_API_KEY›"}}
    exec('make', ['test'])
        POST /xrpc/io.pocketenv.sandbox.exec?id=‹SANDBOX_ID›
            {"command": "set +e; { (cd /workspace ... -c $'make test' bash ...}
    4 requests, each with Authorization: Bearer $POCKETENV_TOKEN; nothing was sent.
    >>> [request.verb for request in explain(start).requests]
    ['POST', 'GET']
    """
    demand_step(step, "explain")
    # An empty context: no configuration, watcher or `managed` block of the program applies.
    return Context().run(_explained, step, target)


def _explained(step: Step[Any, Any], target: Any) -> Explanation:
    recorder = Recorder(repr((target, step)))
    with answered_by(recorder.answer), rehearsed_by(recorder), using(_LOGIN), unobserved():
        first: Any = Unknown() if target is None else target
        _ = (cast("Outcome", first) if isinstance(first, Result) else Success(first)) | step
    return Explanation(repr(step), tuple(part.closed() for part in recorder.parts))


class _OpenPart(msgspec.Struct, eq=False):
    """A part of an explanation that still grows."""

    source: str
    depth: int
    notes: list[str]
    holds_steps: bool
    requests: list[Request] = []  # msgspec copies it for each part

    def closed(self) -> Part:
        return Part(self.source, self.depth, tuple(self.notes), tuple(self.requests))


class _Marks(msgspec.Struct, frozen=True):
    """The marks of requests, set by the hooks of `pocketenv_fp.runtime.rehearsal`."""

    conditions: tuple[str, ...] = ()
    local: str | None = None
    seconds: float | None = None


class Recorder:
    """Runs steps on a fake platform and records them: the Rehearsal of `pocketenv_fp.runtime.rehearsal`."""

    def __init__(self, source: str) -> None:
        self.platform = FakePlatform()
        self.parts: list[_OpenPart] = []
        self._open: list[_OpenPart] = []
        self._marks = _Marks()
        self._condition: tuple[str, ...] = ()
        self._fields = MaskedFields(source)
        self._known: set[str] = set()
        self._targets: dict[tuple[Unknown, type], object] = {}
        self._failed: PocketenvError | None = None

    # The hooks

    def run(self, steps: Sequence[Applied], needs: Sequence[Need], target: Outcome) -> Outcome:
        """Run each step on the result of the one before it."""
        for applied, need in zip(steps, needs, strict=True):
            # An operation is one part, with the requests of the operations that it calls.
            part = self._open[-1] if self._open and not self._open[-1].holds_steps else self._new_part(applied)
            if isinstance(target, Failure):
                if part not in self._open:
                    part.notes.append("is skipped: there is a Failure before it")
                continue
            self._open.append(part)
            try:
                with scope(current, need):
                    target = self._one(applied, target.unwrap())
            finally:
                self._open.pop()
            if isinstance(target, Failure) and target.failure() is not self._failed:
                self._failed = target.failure()
                part.notes.append(f"is a Failure here: {self._failed.summary()}")
        return target

    def _new_part(self, applied: Applied) -> _OpenPart:
        holds_steps = any(map(is_step, (*applied.args, *applied.kwargs.values())))
        part = _OpenPart(self._fields.text(str(applied)), len(self._open), [*self._condition], holds_steps)
        self._condition = ()
        self.parts.append(part)
        return part

    def note(self, text: str) -> None:
        """Add a note to the current step."""
        self._open[-1].notes.append(text)

    @contextmanager
    def marking(
        self, *, condition: str | None = None, local: str | None = None, seconds: float | None = None
    ) -> Generator[None]:
        """Mark each request of the block, and its first step with the condition."""
        before = self._marks
        self._condition = (condition,) if condition else ()
        self._marks = _Marks((*before.conditions, *self._condition), local or before.local, seconds)
        self.platform.is_polled = seconds is not None
        try:
            yield
        finally:
            self._condition, self._marks = (), before
            self.platform.is_polled = before.seconds is not None

    def fallback(self, run: Callable[[], object]) -> None:
        """Record what is sent only after a failure, and undo its effects on the platform."""
        before = deepcopy(self.platform)
        with self.marking(condition=FALLBACK):
            run()
        before.numbers, self.platform = self.platform.numbers, before

    # Steps

    def _one(self, applied: Applied, target: object) -> Outcome:
        if isinstance(target, Unknown) and (kind := applied.operation.needs) is not None:
            target = self._stand_in_for(target, kind)
        args, kwargs = masked(applied)
        self.platform.know(target, *args, *kwargs.values())
        before = self.platform.expected
        # Neighbours share a list, so it has the records of all of them.
        inner = [each.alone for each in (*applied.args, *applied.kwargs.values()) if is_step(each)]
        self.platform.expected = before | _expected(applied, *filter(None, inner))
        try:
            return applied.operation.run(target, Applied(applied.operation, args, kwargs))
        finally:
            self.platform.expected = before

    def _stand_in_for(self, unknown: Unknown, kind: type) -> object:
        # Steps that get the same unknown target get the same stand-in.
        if (unknown, kind) not in self._targets:
            self._targets[unknown, kind] = self._new_stand_in(kind)
        return self._targets[unknown, kind]

    def _new_stand_in(self, kind: type) -> object:
        if kind is str:
            return stand_in("NAME")
        if kind in {Sandbox, object}:
            return Sandbox(id=self.platform.new_box()["id"], name=stand_in("SANDBOX_NAME"))
        if kind is ExecResult:
            return ExecResult(f'"{stand_in("OUTPUT")}"', "", 0)
        if kind is Job:
            return Job(Sandbox(id=self.platform.new_box()["id"], name=stand_in("SANDBOX_NAME")), "JOB_ID")
        raise TypeError(f"explain: the step takes a {kind.__name__}: pass one as the target")

    # Requests

    def answer(self, call: Call[Any]) -> Outcome:
        """Record a request, and return the decoded response of the fake platform."""
        try:
            request = self._request(call)
        except UnicodeEncodeError:
            return Failure(not_unicode("text"))
        if _NUL.search(request.body or "") or "%00" in request.path:
            return Failure(InvalidInput("text", "holds a NUL character"))
        is_archive = call.nsid in {storage.PUT, storage.TAKE}
        response = dict(call.params) if is_archive else self.platform.answer(call)
        # A stand-in that is sent before a response has it comes from elsewhere.
        self._known |= {name for _, name in stand_ins(f"{request.path} {request.body}") if name}
        if not isinstance(response, PocketenvError):
            seen = (tuple(map(self._fields.text, each)) for each in _stand_ins_in(response))
            new = tuple(each for each in seen if each[0] not in self._known)
            self._known |= {name for name, *_ in new}
            request = msgspec.structs.replace(request, gives=new)
        self._current_part().requests.append(request)
        return _decoded(call, response)

    def _current_part(self) -> _OpenPart:
        part = self._open[-1]
        if part is not self.parts[-1] and self.parts[-1].depth > part.depth:
            # Inner steps came after its last request. The order of requests is that of the parts.
            part = self._open[-1] = _OpenPart(part.source, part.depth, ["goes on"], holds_steps=True)
            self.parts.append(part)
        return part

    def _request(self, call: Call[Any]) -> Request:
        verb, marks = "GET" if call.is_query else "POST", self._marks
        params = self._fields.masked(call.nsid, call.params)
        if call.nsid == storage.TAKE:
            return Request(verb, f"/cp/{_quoted(params['uuid'])}", None, marks.conditions, STORAGE, local=marks.local)
        query = "&".join(f"{_quoted(name)}={_quoted(each)}" for name, each in params.items())
        path = "/cp" if call.nsid == storage.PUT else f"/xrpc/{NAMESPACE}{call.nsid}"
        body = None if call.body is None else as_json(self._fields.masked(call.nsid, call.body))
        (body or "").encode()  # half of a surrogate pair cannot be sent
        host, local = (STORAGE, marks.local) if call.nsid == storage.PUT else (API, None)
        whole = f"{path}?{query}" if query else path
        return Request(verb, whole, body, marks.conditions, host, local=local, seconds=marks.seconds)


def _expected(*steps: Applied) -> frozenset[tuple[str, str]]:
    """Return the nouns and names of the records that these steps look up."""
    named = [
        (each.operation.record, given.get("name_or_id") or given.get("path_or_id"))
        for each in steps
        if each.operation.record
        for given in [each.operation.arguments.signature.bind(*each.args, **each.kwargs).arguments]
    ]
    return frozenset((noun, name) for noun, name in named if name)


def _decoded(call: Call[Any], response: Any) -> Outcome:
    if isinstance(response, PocketenvError):
        return Failure(response)
    try:
        return Success(call.decode(b"" if response is None else msgspec.json.encode(response)))
    except UNDECODABLE:
        return Failure(
            DecodeError(call.nsid, "this version does not know the response, so nothing after it is explained")
        )


def _stand_ins_in(response: object, *way: str) -> Iterator[tuple[str, ...]]:
    """Yield the stand-ins in a response, each with the keys to it; an item of a list has ``name=VALUE`` for a key."""
    if isinstance(response, str):
        first, *more = stand_ins(response)
        if first[0] == "" and more == [("", None)]:
            yield (cast("str", first[1]), *way)
    elif isinstance(response, dict):
        for name, each in cast("dict[str, object]", response).items():
            yield from _stand_ins_in(each, *way, name)
    elif isinstance(response, list):
        for each in cast("list[object]", response):
            if isinstance(each, dict):
                record = cast("dict[str, object]", each)
                key = "name" if "name" in record else "path"
                yield from _stand_ins_in(record, *way, f"{key}={record.get(key)}")


def _quoted(value: object) -> str:
    return "".join(quote(text, safe="") + (stand_in(name) if name else "") for text, name in stand_ins(str(value)))
