"""Watch a program run: the start and the end of each step and request.

A watcher is a function. It is called with the start of an event, and returns a function that is called with its end:

>>> from pocketenv_fp import create, exec, start
>>> from pocketenv_fp.observing import Begun, Done, observing
>>> def watch(begun: Begun):
...     def ended(done: Done) -> None:
...         print(begun.kind, begun.name, done.outcome)
...     return ended
>>> box = create("my-box")
>>> with observing(watch):
...     ran = box | start | exec("cat missing", check=True)
call sandbox.startSandbox 200
call sandbox.getSandbox 200
step start() ok
call sandbox.exec 200
step exec('cat missing', check=True) CommandFailed

Events contain no secrets. A step is its source code with secrets masked, and a request is the name of its method. If a
watcher raises, the exception is logged and ignored. `logged` and `spans` return watchers for logging and OpenTelemetry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pocketenv_fp.errors import PocketenvError

if TYPE_CHECKING:
    import logging

    from opentelemetry.trace import Tracer

__all__ = [
    "Begun",
    "Done",
    "Ended",
    "Kind",
    "Watcher",
    "begin",
    "logged",
    "note",
    "observe",
    "observing",
    "reporting",
    "spans",
    "unobserved",
]

LOG = "pocketenv_fp"
INFO = 20  # logging's own

Kind = Literal["step", "call", "status"]


class Begun(msgspec.Struct, frozen=True):
    """The start of a step, with its source code, or of a call, with its method as in ``sandbox.exec``.

    A ``status`` is a message without an end: what `wait_until_running` sees, as in ``my-box INITIALIZING``, or the
    entries that a copy skipped.
    """

    kind: Kind
    name: str


class Done(msgspec.Struct, frozen=True):
    """The end of a step or call, after ``seconds``.

    ``error`` is the failure of a step, or the error of a call without a response. ``raised`` is the class of a raised
    exception. For a call, ``status`` is the HTTP status, or None without a response. ``requests`` is the number of
    requests: more than 1 with retries, 1 if the last response was lost, 0 if the request cannot have arrived. ``held``
    is the delay by the request limit, in seconds.
    """

    seconds: float
    error: PocketenvError | None = None
    raised: str | None = None
    status: int | None = None
    requests: int = 0
    held: float = 0.0

    @property
    def outcome(self) -> str:
        """One word: ``ok``, the status of a call, or the name of the error."""
        if self.error is not None:
            return type(self.error).__name__
        return self.raised or ("ok" if self.status is None else str(self.status))


Ended = Callable[[Done], None]
Watcher = Callable[[Begun], Ended | None]
"""A watcher is called in the thread that does the work, so it should be fast."""

# Each watcher with the kind of its events. None in `unobserved` blocks.
_Watchers = tuple[tuple[Watcher, Kind | None], ...]
_here: ContextVar[_Watchers | None] = ContextVar("pocketenv_fp.watchers", default=())
_everywhere: _Watchers = ()


@contextmanager
def observing(watcher: Watcher, kind: Kind | None = None) -> Generator[None]:
    """Call ``watcher`` for the events inside the block: in this thread or task, and in the threads of a `fan_out`.

    With ``kind``, it is called for the events of this kind only.
    """
    mark = _here.set((*(_here.get() or ()), (watcher, kind)))
    try:
        yield
    finally:
        _here.reset(mark)


def observe(watcher: Watcher) -> Callable[[], None]:
    """Call ``watcher`` for all events of this process from now on. Returns a function that stops it.

    >>> from pocketenv_fp.observing import logged, observe
    >>> stop = observe(logged())
    >>> stop()
    """
    global _everywhere  # noqa: PLW0603  # one process, one list

    def watch(begun: Begun) -> Ended | None:
        # A separate function: other code may observe with the same watcher, and stop later.
        return watcher(begun)

    _everywhere = (*_everywhere, (watch, None))

    def stop() -> None:
        global _everywhere  # noqa: PLW0603
        _everywhere = tuple(each for each in _everywhere if each[0] is not watch)

    return stop


def begin(kind: Kind, name: Callable[[], str]) -> Ended | None:
    """Report the start of an event. Returns a function to report its end, or None without watchers."""
    here = _here.get()
    if here is None or not (here or _everywhere):
        return None
    watchers = [watcher for watcher, wanted in _everywhere + here if wanted in {None, kind}]
    if not watchers:
        # The source of a step takes longer than its other work.
        return None
    begun = Begun(kind, name())
    endings = [ended for watcher in watchers if (ended := _called(watcher, begun)) is not None]

    def end(done: Done) -> None:
        # In reverse order, as with nested blocks.
        for ended in reversed(endings):
            _called(ended, done)

    return end


def note(name: Callable[[], str]) -> None:
    """Report a status message."""
    begin("status", name)


@contextmanager
def unobserved() -> Generator[None]:
    """Report no events inside the block, because the work is not really done."""
    mark = _here.set(None)
    try:
        yield
    finally:
        _here.reset(mark)


def _called(function: Callable[[Any], Any], event: Begun | Done) -> Any:
    try:
        return function(event)
    except Exception as error:  # noqa: BLE001  # an error of a watcher must not stop the work
        # Imported here: logging is slow to import, and most programs do not use watchers.
        import logging

        logging.getLogger(LOG).warning("a watcher raised %s", type(error).__name__)
        return None


def logged(logger: logging.Logger | None = None, level: int = INFO) -> Watcher:
    """Return a watcher that logs a line at the end of each step and request, at WARNING after a failure.

    ``logger`` is ``pocketenv_fp`` by default. ``level`` is for successful steps. Successful requests are at DEBUG.

    >>> import logging
    >>> from pocketenv_fp import create
    >>> from pocketenv_fp.observing import logged, observing
    >>> with observing(logged(logging.getLogger("my.pipelines"))):
    ...     create("my-box").map(lambda box: box.name)
    <Success: my-box>
    """
    import logging

    log = logging.getLogger(LOG) if logger is None else logger

    def watch(begun: Begun) -> Ended | None:
        if begun.kind == "status":
            log.debug("%s", begun.name)
            return None

        def ended(done: Done) -> None:
            failed = done.error is not None or done.raised is not None
            usual = level if begun.kind == "step" else logging.DEBUG
            log.log(
                logging.WARNING if failed else usual,
                "%s: %s, %.1f ms%s",
                begun.name,
                done.outcome,
                done.seconds * 1000,
                "" if done.error is None else f": {done.error.summary()}",
            )

        return ended

    return watch


def spans(tracer: Tracer | None = None) -> Watcher:
    """Return a watcher that makes a nested OpenTelemetry span of each step and each request.

    ``tracer`` is ``opentelemetry.trace.get_tracer("pocketenv_fp")`` by default. It needs the package opentelemetry-api,
    and raises ImportError if it is not installed.

    >>> from opentelemetry import trace
    >>> from pocketenv_fp import create
    >>> from pocketenv_fp.observing import observing, spans
    >>> with observing(spans(trace.get_tracer("my.pipelines"))):
    ...     create("my-box").map(lambda box: box.name)
    <Success: my-box>
    """
    from opentelemetry import context, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode

    source = trace.get_tracer("pocketenv_fp") if tracer is None else tracer
    kinds = {"step": SpanKind.INTERNAL, "call": SpanKind.CLIENT}

    def watch(begun: Begun) -> Ended | None:
        if begun.kind == "status":
            return None
        # The name has no arguments, so that spans can be grouped by it. The arguments are an attribute.
        name = begun.name.partition("(")[0]
        span = source.start_span(f"pocketenv.{name}", kind=kinds[begun.kind])
        span.set_attribute(f"pocketenv.{begun.kind}", begun.name)
        mark = context.attach(trace.set_span_in_context(span))

        def ended(done: Done) -> None:
            if done.status is not None:
                span.set_attribute("http.response.status_code", done.status)
            if done.requests > 1:
                span.set_attribute("http.request.resend_count", done.requests - 1)
            if done.held:
                span.set_attribute("pocketenv.held_seconds", done.held)
            if done.error is not None or done.raised is not None:
                span.set_attribute("error.type", done.outcome)
                span.set_status(Status(StatusCode.ERROR, None if done.error is None else done.error.summary()))
            span.end()
            context.detach(mark)

        return ended

    return watch


class reporting:  # noqa: N801  # used as a function
    """Report the end of a block that began at ``began``, also if it raises. The block passes its outcome to the yield."""

    def __init__(self, ended: Ended, began: float) -> None:
        self._ended = ended
        self._began = began
        self._done = Done(0.0)

    def __enter__(self) -> Callable[[Done], None]:
        return self._report

    def _report(self, done: Done) -> None:
        self._done = done

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        raised = None if kind is None else kind.__name__
        self._ended(msgspec.structs.replace(self._done, seconds=time.perf_counter() - self._began, raised=raised))
