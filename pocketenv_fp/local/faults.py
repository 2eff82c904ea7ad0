"""Faults on demand: the next answers of a platform go wrong, as a test plans it.

    >>> from pocketenv_fp import Config, create, exec, get_sandbox, local, start, using
    >>> from pocketenv_fp.local.faults import Drop, Refuse
    >>> with local.platform() as platform, using(Config(api_url=platform.url, token=platform.token)):
    ...     box = (create("box") | start).unwrap()
    ...     with platform.faults.on("sandbox.exec", Drop(after_work=True)) as planned:
    ...         lost = box | exec("make")
    ...     _ = platform.faults.add("sandbox.getSandbox", Refuse(503), times=2)
    ...     found = get_sandbox(box.id)
    >>> lost.failure().kind, lost.failure().maybe_sent
    ('dropped', True)
    >>> planned.played, planned.worked
    (1, 1)
    >>> found.unwrap().id == box.id
    True

The command ran once although its answer was lost, and the client did not send it again. The client repeated the refused
query until it was answered.

A fault is a value. Its docstring and its `works` say whether the work of the request is done all the same:

| fault | what the client gets | is the work done? |
| --- | --- | --- |
| `Slow(seconds)` | the true answer, late | yes; at once, or with `before_work` after the wait |
| `Drop()` | the connection ends before a byte of the answer | no; with `after_work` yes |
| `Cut(bytes=n)`, `Cut(fraction=f)` | the true head, a part of the body, the end of the connection | yes |
| `Truncated()` | half of the true body as if it were all | yes |
| `Refuse(status)` | an error in the platform's own words | no; with `after_work` yes |
| `Html(status)` | a page, as proxies and captive portals have them | no; with `after_work` yes |
| `Garbage()` | 200 and bytes that are no JSON | no; with `after_work` yes |
| `DeadShell()` | 500, and so for every later command until stop and start | no |
| `BlockedShell()` | no answer, before the time limit of a command | no |
| `NoStderr()` | the true answer of exec without `stderr` | yes |
| `LostSession()` | 500 AgentCreationError where the AT Protocol is needed | no; but `createSandbox` makes one |

`platform.calls` has the status that went on the wire, and 0 where none did. A request that the rate limit refuses
meets no fault.
"""

import difflib
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "BlockedShell",
    "Cut",
    "DeadShell",
    "Drop",
    "Fault",
    "Faults",
    "Garbage",
    "Html",
    "LostSession",
    "NoStderr",
    "Plan",
    "Played",
    "Refuse",
    "Slow",
    "Truncated",
]

NAMESPACE = "io.pocketenv."
PREFIX = "/xrpc/"
EVERYTHING = "*"
STORAGE = "/cp"
PLAYED_KEPT = 10_000

_JUNK = b"\x16\x03\x01 what is this? \xff\xfe\x00"


class _Value(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Base of all faults: they compare, hash, and print as their source."""


class _Instead(_Value, frozen=True, kw_only=True):
    """A fault that replaces the true answer, and by default the work."""

    after_work: bool = False

    @property
    def works(self) -> bool:
        """Whether the work of the request is done."""
        return self.after_work


class Slow(_Value, frozen=True):
    """The true answer, `seconds` later. **The work is done**, even for a client that no longer waits.

    It is done at once and only the answer comes late, or with `before_work` when the time is over: the request waits
    as it would in a queue, in memory, and is done even if the client has given it up.

        >>> Slow(0.5), Slow(2, before_work=True).works
        (Slow(seconds=0.5), True)
    """

    seconds: float
    before_work: bool = False
    works: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError("seconds: is below 0")


class Drop(_Instead, frozen=True):
    """The connection ends before a byte of the answer. **The work is not done**, with `after_work` **it is**.

    An orderly end (FIN), which the client sees as an early end of file; with `reset` a break (RST).

        >>> Drop().works, Drop(after_work=True).works
        (False, True)
    """

    reset: bool = False


class Cut(_Value, frozen=True, kw_only=True):
    """The true head with the full length, a part of the body, then the end of the connection. **The work is done.**

    `bytes`: how many of the body are sent; otherwise `fraction` of it. The last byte is never sent. An answer without
    a body is taken for `{}`. The connection ends in order (FIN), with `reset` it breaks (RST), and a part that is too
    long for the client to have got it all may arrive shorter.
    """

    bytes: int | None = None
    fraction: float = 0.5
    reset: bool = False
    works: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bytes is not None and self.bytes < 0:
            raise ValueError("bytes: is below 0")
        if not 0 <= self.fraction < 1:
            raise ValueError("fraction: is not between 0 and 1")

    def kept(self, size: int) -> int:
        """Return how many bytes of a body of this size are sent."""
        return min(int(size * self.fraction) if self.bytes is None else self.bytes, size - 1)


class Truncated(_Value, frozen=True):
    """The first half of the true body with a head that fits it: an answer that is complete and no JSON.

    **The work is done.** An answer without a body is taken for `{}`.
    """

    works: ClassVar[bool] = True


class Refuse(_Instead, frozen=True):
    """An error in the platform's own words and shape. **The work is not done**, with `after_work` **it is**.

    `status`: 400 to 599. `error` and `message`: otherwise the platform's own for that status. `retry_after`: what the
    header of that name says, None for no header; by default 30 for a 429, as the platform has it, and none for others.
    Texts that are no number may be tried as well.

        >>> Refuse(503), Refuse(429, retry_after=1)
        (Refuse(status=503), Refuse(status=429, retry_after=1))
    """

    status: int
    retry_after: int | str | UnsetType | None = UNSET
    error: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError("status: is not between 400 and 599")
        # uvicorn would refuse the header and answer a 500 in its own words.
        if isinstance(self.retry_after, str) and not (self.retry_after.isascii() and self.retry_after.isprintable()):
            raise ValueError("retry_after: is no text for a header")


class Html(_Instead, frozen=True):
    """A page of HTML, as a proxy sends it. **The work is not done**, with `after_work` **it is**.

    502, 503 and 504 are a gateway's, 200 a captive portal's.
    """

    status: int = 200

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599 or self.status in {204, 304}:
            raise ValueError("status: is none of an answer with a body")


class Garbage(_Instead, frozen=True):
    """200 and a body that is declared as JSON, but is not. **The work is not done**, with `after_work` **it is**."""

    body: bytes = _JUNK


class LostSession(_Value, frozen=True):
    """The user's AT Protocol session is gone: the platform cannot write the user's records until the next login.

    createSandbox, exposePort, addVolume, addSecret and putPreferences with a name answer 500 AgentCreationError, and
    getProfile answers `{}`. **Their work is not done, with one exception: createSandbox leaves a running sandbox**, under
    the name that the platform chose and without an at-uri. All other methods answer and work as always.
    The real platform takes 5 seconds for the error, and 20 for the empty profile. This one does not.

        >>> LostSession().works
        False
    """

    works: ClassVar[bool] = False


class DeadShell(_Value, frozen=True):
    """Another client has ended the sandbox's one shell: `sandbox.exec` is a 500. **The command is not run.**

    The shell is really dead: every later command and copy is a 500, while the status stays RUNNING. A start does not heal
    it. A stop and a start do, without the files. On a provider other than Cloudflare only this one answer is a 500.

        >>> DeadShell().works
        False
    """

    works: ClassVar[bool] = False


class BlockedShell(_Value, frozen=True):
    """The sandbox's one shell is held: `sandbox.exec` is not answered, nor are those after it. **The command is not run.**

    It ends with a stop of the sandbox, which is a 500 for those that wait. The platform's time limit of a command is a 500
    too (`exec_seconds`). On a provider other than Cloudflare the answer is a 500 at once.

        >>> BlockedShell().works
        False
    """

    works: ClassVar[bool] = False


class NoStderr(_Value, frozen=True):
    """The true answer of `sandbox.exec` without the key `stderr`, as Daytona's is. **The work is done.**

    >>> NoStderr().works
    True
    """

    works: ClassVar[bool] = True


ShellFault = DeadShell | BlockedShell | NoStderr
Fault = Slow | Drop | Cut | Truncated | Refuse | Html | Garbage | LostSession | ShellFault
"""All faults."""


class Played(NamedTuple):
    """A fault that has met its request: the method's full name, or `POST /cp` and `GET /cp` for the storage."""

    method: str
    fault: Fault


class Plan:
    """A fault and the requests that it waits for: the result of `Faults.add` and `Faults.on`."""

    def __init__(self, faults: "Faults", method: str, fault: Fault, times: int | None) -> None:
        self.method = method
        self.fault = fault
        self._times = times
        self._played = 0
        self._faults = faults
        self._names = faults.names(method)
        self._before = faults.worked(method)

    @property
    def played(self) -> int:
        """The number of requests that have met it."""
        return self._played

    @property
    def left(self) -> int | None:
        """The number of requests that it still waits for; None for no end."""
        return None if self._times is None else self._times - self._played

    @property
    def worked(self) -> int:
        """The number of times that the work of its method was done since it was planned, with or without the fault."""
        return self._faults.worked(self.method) - self._before

    def __repr__(self) -> str:
        return f"<Plan {self.method} {self.fault!r} played={self.played} left={self.left}>"

    def _meets(self, name: str) -> bool:
        # Under the lock of its Faults.
        if self.left == 0 or name not in self._names:
            return False
        self._played += 1
        return True


class Faults:
    """The faults of one platform: `platform.faults`. Every thread may use it.

    A method is named in full (`io.pocketenv.sandbox.exec`) or in short (`sandbox.exec`). `/cp` is the storage, and
    `POST /cp` and `GET /cp` are its uploads and downloads. `*` is all of these. Raises ValueError for an unknown name.
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self.armed = False
        self._known = frozenset([*methods, f"POST {STORAGE}", f"GET {STORAGE}"])
        self._lock = threading.Lock()
        self._plans: list[Plan] = []
        self._played: deque[Played] = deque(maxlen=PLAYED_KEPT)
        self._worked: Counter[str] = Counter()

    def add(self, method: str, fault: Fault, *, times: int | None = 1) -> Plan:
        """Plan `fault` for the next `times` requests for `method`; None for all until it is removed.

        A request meets one fault at most: the one that was planned first.
        """
        if not isinstance(fault, Fault):  # pyright: ignore[reportUnnecessaryIsInstance]  # programs without types call it
            raise TypeError(f"fault: is not a fault but {fault!r}; Drop() is one, Drop is none")
        if times is not None and times < 1:
            raise ValueError("times: is below 1")
        plan = Plan(self, method, fault, times)
        with self._lock:
            self._plans.append(plan)
            self.armed = True
        return plan

    @contextmanager
    def on(self, method: str, fault: Fault, *, times: int | None = None) -> Generator[Plan]:
        """Plan a fault for a `with` block: for all its requests, or the first `times`."""
        plan = self.add(method, fault, times=times)
        try:
            yield plan
        finally:
            self.remove(plan)

    def remove(self, plan: Plan) -> None:
        """Remove a plan. Requests that have met it go on."""
        with self._lock:
            self._keep(held for held in self._plans if held is not plan)

    def clear(self) -> None:
        """Remove all pending plans and the list of `seen`."""
        with self._lock:
            self._keep(())
            self._played.clear()

    @property
    def pending(self) -> tuple[Plan, ...]:
        """The plans that still wait for requests, the oldest first."""
        with self._lock:
            return tuple(self._plans)

    @property
    def seen(self) -> tuple[Played, ...]:
        """The newest 10,000 faults that have met a request, the oldest first."""
        with self._lock:
            return tuple(self._played)

    def worked(self, method: str) -> int:
        """Return how often the work of `method` was done since the platform started, with or without faults.

        A request that was refused is not counted: one that is not valid, not allowed, or about nothing that exists.
        It is counted before anything of its answer is sent.
        """
        names = self.names(method)
        with self._lock:
            return sum(self._worked[name] for name in names)

    def count(self, name: str) -> None:
        """Count the work of a request with this `name` as done."""
        with self._lock:
            self._worked[name] += 1

    def take(self, name: str) -> Fault | None:
        """Return the fault for a request with this full name, and use it up. Each call counts as a request."""
        with self._lock:
            met = next((plan for plan in self._plans if plan._meets(name)), None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if met is None:
                return None
            self._keep(plan for plan in self._plans if plan.left != 0)
            self._played.append(Played(name, met.fault))
            return met.fault

    def names(self, method: str) -> frozenset[str]:
        """Return the full names for `method`."""
        if method == EVERYTHING:
            return self._known
        if method == STORAGE:
            return frozenset([f"POST {STORAGE}", f"GET {STORAGE}"])
        for name in (method, f"{NAMESPACE}{method}"):
            if name in self._known:
                return frozenset([name])
        short = [name.removeprefix(NAMESPACE) for name in self._known]
        close = difflib.get_close_matches(method.removeprefix(NAMESPACE), short, 1)
        raise ValueError(f"method: there is no {method!r}" + "".join(f"; {name!r} is one" for name in close))

    def __repr__(self) -> str:
        return f"<Faults pending={list(self.pending)!r}>"

    def _keep(self, plans: Iterable[Plan]) -> None:
        self._plans = list(plans)
        self.armed = bool(self._plans)
