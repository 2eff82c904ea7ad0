"""The log of requests for a reader: the method, the sandbox, the status and the time.

It never has a body, a token or a value.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TextIO, cast

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import World

NAMESPACE = "io.pocketenv."
CREATE = f"{NAMESPACE}sandbox.createSandbox"
SANDBOX = "pocketenv.sandbox"
KEPT = 100
LONGEST = 80
NAMES_KEPT = 1000
LINES_WAITING = 10_000
PATIENCE_SECONDS = 1.0

# The form of an unknown sandbox in the log. A token or a key that was sent in place of an id is not shown.
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,40}|at://[\w.:/-]{1,120}")
_DIM, _GREEN, _YELLOW, _RED = "2", "32", "33", "31"
_SHADES = {2: _GREEN, 3: _GREEN, 4: _YELLOW}


class Answered(NamedTuple):
    """A request and its status. `at` is in seconds since 1970, `sandbox` as in the request. Status 0 is no answer."""

    at: float
    verb: str
    name: str
    status: int
    seconds: float
    sandbox: str | None

    @property
    def title(self) -> str:
        """The method without its namespace, or the verb and path of another request."""
        name = f"{self.verb} {self.name}" if self.name.startswith("/") else self.name.removeprefix(NAMESPACE)
        return _plain(name)

    @property
    def milliseconds(self) -> str:
        """The time of the work."""
        duration = self.seconds * 1000
        return f"{duration:.1f} ms" if duration < 1000 else f"{duration:,.0f} ms"


Listener = Callable[[Answered], None]


def sandbox(nsid: str, *inputs: Any) -> str | None:
    """Return the sandbox that the parameters or the body name, in any of its names."""
    keys = ("sandboxId", "id") if nsid.startswith(f"{NAMESPACE}sandbox.") else ("sandboxId",)
    for mapping in _mappings(inputs):
        for key in keys:
            if isinstance(name := mapping.get(key), str):
                return name
    return None


def _mappings(inputs: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    # The body of addSecret and similar methods has its sandbox one level deeper.
    for value in inputs:
        if isinstance(value, dict):
            outer = cast("dict[str, Any]", value)
            yield outer
            yield from (cast("dict[str, Any]", inner) for inner in outer.values() if isinstance(inner, dict))


class Names:
    """The names of sandboxes. A deleted sandbox keeps its last name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, str] = {}

    def keep(self, identifier: str, name: str) -> None:
        """Keep the name of a sandbox for the time after its deletion."""
        self._seen[identifier] = name
        if len(self._seen) > NAMES_KEPT:
            del self._seen[next(iter(self._seen))]

    def of(self, identifier: str | None) -> str | None:
        """Return the name of a sandbox by id, name or at-uri. Only in the server's thread."""
        if identifier is None:
            return None
        sandbox = sandboxes.find(self._world, identifier, by="uri")
        if sandbox is None:
            return self._seen.get(identifier) or (identifier if _IDENTIFIER.fullmatch(identifier) else None)
        self.keep(identifier, sandbox.name)
        return sandbox.name


class Log:
    """Write a line for each request, in a thread of its own: a slow reader stops no answer."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._waiting: queue.Queue[Answered | None] = queue.Queue(LINES_WAITING)
        self._missed = 0
        self._thread = threading.Thread(target=self._write, name="pocketenv-log", daemon=True)
        self._thread.start()

    def __call__(self, answered: Answered) -> None:
        """Write a line for this request, soon."""
        try:
            self._waiting.put_nowait(answered)
        except queue.Full:
            self._missed += 1

    def close(self) -> bool:
        """Write the waiting lines, unless the reader is gone. Return whether all is written."""
        try:
            self._waiting.put(None, timeout=PATIENCE_SECONDS)
        except queue.Full:
            return False
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def _write(self) -> None:
        while (answered := self._waiting.get()) is not None:
            missed, self._missed = self._missed, 0
            text = f"pocketenv: {missed} requests are not shown\n" if missed else ""
            try:
                self._stream.write(f"{text}{line(answered, colour=self._colour)}\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The reader is gone.
                return


def line(answered: Answered, *, colour: bool = False) -> str:
    """Return a line with time, method, status, milliseconds and sandbox, in columns."""
    status, shade = str(answered.status or "---"), _SHADES.get(answered.status // 100, _RED)
    clock = time.strftime("%H:%M:%S", time.localtime(answered.at))
    columns = (
        _painted(clock, _DIM, colour=colour),
        f"{answered.title:<28}",
        _painted(status, shade, colour=colour),
        f"{answered.milliseconds:>10}",
        _plain(answered.sandbox or ""),
    )
    return "  ".join(columns).rstrip()


def _painted(text: str, shade: str, *, colour: bool) -> str:
    return f"\x1b[{shade}m{text}\x1b[0m" if colour else text


def _plain(text: str) -> str:
    # The string is from the wire: no line break and no terminal sequence gets through.
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST])
    return printable if len(text) <= LONGEST else f"{printable}…"
