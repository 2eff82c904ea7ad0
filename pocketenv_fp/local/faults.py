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

import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import NamedTuple

from pocketenv_fp.local.fault_kinds import (
    BlockedShell,
    Cut,
    DeadShell,
    Drop,
    Fault,
    Garbage,
    Html,
    LostSession,
    NoStderr,
    Refuse,
    Slow,
    Truncated,
)

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


class Played(NamedTuple):
    """A fault that has met its request: the method's full name, or `POST /cp` and `GET /cp` for the storage."""

    method: str
    fault: Fault


class Plan:
    """A fault and the requests that it waits for: the result of `Faults.add` and `Faults.on`."""

    def __init__(self, faults: "Faults", method: str, fault: Fault, times: int | None) -> None:
        self.method = method
        self.fault = fault
        self.played = 0
        """The number of requests that have met it."""
        self._times = times
        self._faults = faults
        self._names = faults.names(method)
        self._before = faults.worked(method)

    @property
    def left(self) -> int | None:
        """The number of requests that it still waits for; None for no end."""
        return None if self._times is None else self._times - self.played

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
        self.played += 1
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
            raise TypeError(f"fault: {fault!r} is not a fault: write Drop(), for instance")
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
            self._keep(other for other in self._plans if other is not plan)

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

        A refused request is not counted: it is not valid, not allowed, or about a missing thing. A request is counted
        before its answer is sent.
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
            plan = next((plan for plan in self._plans if plan._meets(name)), None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if plan is None:
                return None
            self._keep(plan for plan in self._plans if plan.left != 0)
            self._played.append(Played(name, plan.fault))
            return plan.fault

    def names(self, method: str) -> frozenset[str]:
        """Return the full names for `method`."""
        if method == EVERYTHING:
            return self._known
        if method == STORAGE:
            return frozenset([f"POST {STORAGE}", f"GET {STORAGE}"])
        for name in (method, f"{NAMESPACE}{method}"):
            if name in self._known:
                return frozenset([name])
        # Imported here: a platform without a wrong name does not need it.
        import difflib

        short = [name.removeprefix(NAMESPACE) for name in self._known]
        close = difflib.get_close_matches(method.removeprefix(NAMESPACE), short, 1)
        raise ValueError(f"method: there is no {method!r}" + "".join(f"; {name!r} is one" for name in close))

    def __repr__(self) -> str:
        return f"<Faults pending={list(self.pending)!r}>"

    def _keep(self, plans: Iterable[Plan]) -> None:
        self._plans = list(plans)
        self.armed = bool(self._plans)
