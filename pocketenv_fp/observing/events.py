"""Watch a program run: each step and each request, as it begins and as it ends.

A watcher is a function. It is told what begins, and gives a function that is told how it ended:

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

What it is told holds no secret: a step is its source, with secrets masked, and a request is the name of its method. A
watcher that raises is logged and harms nothing else. `logged` and `spans` give watchers for logging and OpenTelemetry.
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
    "spans",
    "told",
    "unobserved",
]

LOG = "pocketenv_fp"
INFO = 20  # logging's own

Kind = Literal["step", "call", "status"]


class Begun(msgspec.Struct, frozen=True):
    """What begins: a step, by its source, or a call, by its method as in ``sandbox.exec``.

    A ``status`` is what `wait_until_running` sees while it waits, as in ``my-box INITIALIZING``, or
    what a copy skipped. It has no end.
    """

    kind: Kind
    name: str


class Done(msgspec.Struct, frozen=True):
    """How it ended, after how many seconds.

    ``error`` is why a step failed, or why no answer came to a call; ``raised`` the class of an exception that came out.
    Of a call, ``status`` is the HTTP status, None without an answer; ``requests`` how often it was sent: more than once
    where it was repeated, 1 where the last answer was lost, and 0 where nothing can have arrived; ``held`` the seconds
    for which the request limit held it back before that.
    """

    seconds: float
    error: PocketenvError | None = None
    raised: str | None = None
    status: int | None = None
    requests: int = 0
    held: float = 0.0

    @property
    def outcome(self) -> str:
        """One word: ``ok``, the status of a call, or the name of what went wrong."""
        if self.error is not None:
            return type(self.error).__name__
        return self.raised or ("ok" if self.status is None else str(self.status))


Ended = Callable[[Done], None]
Watcher = Callable[[Begun], Ended | None]
"""It is called in the thread that does the work, and that waits for it: it should be quick."""

# None where nobody is to be told at all.
_here: ContextVar[tuple[Watcher, ...] | None] = ContextVar("pocketenv_fp.watchers", default=())
_everywhere: tuple[Watcher, ...] = ()


@contextmanager
def observing(watcher: Watcher) -> Generator[None]:
    """Have ``watcher`` told of what runs inside the block: in this thread or task, and in the threads of a `fan_out`."""
    mark = _here.set((*(_here.get() or ()), watcher))
    try:
        yield
    finally:
        _here.reset(mark)


def observe(watcher: Watcher) -> Callable[[], None]:
    """Have ``watcher`` told of all that runs in this process from now on. Gives the function that ends it.

    >>> from pocketenv_fp.observing import logged, observe
    >>> stop = observe(logged())
    >>> stop()
    """
    global _everywhere  # noqa: PLW0603  # one process, one list

    def own(begun: Begun) -> Ended | None:
        # Somebody else may observe with the same one, and stop later.
        return watcher(begun)

    _everywhere = (*_everywhere, own)

    def stop() -> None:
        global _everywhere  # noqa: PLW0603
        _everywhere = tuple(each for each in _everywhere if each is not own)

    return stop


def begin(kind: Kind, name: Callable[[], str]) -> Ended | None:
    """Tell the watchers that something begins. Gives what to tell its end to, None where nobody watches."""
    here = _here.get()
    if here is None or not (watchers := _everywhere + here):
        return None
    begun = Begun(kind, name())
    endings = [ended for watcher in watchers if (ended := _told(watcher, begun)) is not None]

    def end(done: Done) -> None:
        # The last that was told of the beginning is told of the end first, as with blocks in blocks.
        for ended in reversed(endings):
            _told(ended, done)

    return end


def note(name: Callable[[], str]) -> None:
    """Tell the watchers of a status that was seen."""
    begin("status", name)


@contextmanager
def unobserved() -> Generator[None]:
    """Tell nobody of what runs inside the block: it is not done."""
    mark = _here.set(None)
    try:
        yield
    finally:
        _here.reset(mark)


def _told(tell: Callable[[Any], Any], what: Begun | Done) -> Any:
    try:
        return tell(what)
    except Exception as error:  # noqa: BLE001  # a watcher is somebody else's code, and the work is not its business
        # Imported here, as elsewhere: most programs never need it, and it is slow to import.
        import logging

        logging.getLogger(LOG).warning("a watcher raised %s", type(error).__name__)
        return None


def logged(logger: logging.Logger | None = None, level: int = INFO) -> Watcher:
    """Give a watcher that writes a line when a step or a request ends, WARNING where it failed.

    ``logger`` is ``pocketenv_fp`` where it is not given; ``level`` is for what went well, and requests are at DEBUG.

    >>> import logging
    >>> from pocketenv_fp import create
    >>> from pocketenv_fp.observing import logged, observing
    >>> with observing(logged(logging.getLogger("my.pipelines"))):
    ...     create("my-box").map(lambda box: box.name)
    <Success: my-box>
    """
    import logging

    told = logging.getLogger(LOG) if logger is None else logger

    def watch(begun: Begun) -> Ended | None:
        if begun.kind == "status":
            told.debug("%s", begun.name)
            return None

        def ended(done: Done) -> None:
            failed = done.error is not None or done.raised is not None
            usual = level if begun.kind == "step" else logging.DEBUG
            told.log(
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
    """Give a watcher that makes an OpenTelemetry span of each step and each request, one in the other.

    ``tracer`` is that of ``opentelemetry.trace.get_tracer("pocketenv_fp")`` where it is not given. It needs the package
    opentelemetry-api, and raises ImportError where that is missing.

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
        # A name of many values would make statistics of spans useless: the arguments are an attribute.
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


@contextmanager
def told(ended: Ended, began: float) -> Generator[Callable[[Done], None]]:
    """Tell the end of a block that began at ``began``, also of one that raises. The block gives how it went."""
    seen = [Done(0.0)]
    try:
        yield lambda done: seen.__setitem__(0, done)
    except BaseException as error:
        seen[0] = msgspec.structs.replace(seen[0], raised=type(error).__name__)
        raise
    finally:
        ended(msgspec.structs.replace(seen[0], seconds=time.perf_counter() - began))
