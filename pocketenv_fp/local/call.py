"""The request as a handler sees it, and the ways to answer."""

import asyncio
import datetime as dt
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pocketenv_fp.local.box import Kind, Plan
from pocketenv_fp.local.fault_kinds import ShellFault
from pocketenv_fp.local.machine import Machine, Refused
from pocketenv_fp.local.store import Store
from pocketenv_fp.local.vault import Vault

PAGE_ROWS = 30
LIST_ROWS = 20
MOST_ROWS = 10_000
# How long work for after the answer waits. A client that does not wait for its effect should fail here too.
PAUSE_SECONDS = 0.2
CANCEL_SECONDS = 1.0
# The id of a caller with a valid token and no user record: no row has it.
UNKNOWN = ""
_log = logging.getLogger("pocketenv_fp.local")
_LETTERS = "0123456789abcdefghijklmnopqrstuv"


class User(NamedTuple):
    """A row of `users`; times in seconds since 1970."""

    id: str
    did: str
    handle: str
    display_name: str | None
    created_at: float
    updated_at: float


@dataclass
class World:
    """Everything that one platform owns. Once `closed` is set, no machine starts another process."""

    data: Path
    store: Store
    vault: Vault
    kind: Kind
    plan: Callable[["World", str], Plan]
    boot_delay: float = 0.0
    url: str = ""
    closed: threading.Event = field(default_factory=threading.Event)
    machines: dict[str, Machine] = field(default_factory=dict[str, Machine])
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def machine(self, sandbox_id: str) -> Machine:
        """Return the machine of a sandbox, the same object at every call. That of a deleted sandbox refuses all work."""
        if (machine := self.machines.get(sandbox_id)) is not None:
            return machine
        folder, trash = self.data / "sandboxes" / sandbox_id, self.data / "trash"
        plan = partial(self.plan, self, sandbox_id)
        machine = Machine(folder, trash, self.closed, self.kind, plan)
        if self.store.rows("SELECT 1 FROM sandboxes WHERE id = ?", sandbox_id):
            self.machines[sandbox_id] = machine
        else:
            machine.is_retired = True
        return machine

    def do_later(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work that the platform does after its answer. A failure is logged."""
        self.run(_after_pause(work))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the requests, until `drop_tasks`."""
        task = asyncio.create_task(work)
        # The event loop keeps only a weak reference to a task.
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def drop_tasks(self) -> None:
        """Cancel the work that is still to be done, and wait until it has ended."""
        while tasks := list(self.tasks):
            for task in tasks:
                task.cancel()
            # In Python 3.11, `asyncio.wait_for` may lose a cancel that comes at the end of its wait.
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)


async def _after_pause(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(PAUSE_SECONDS)
    try:
        await work()
    except (Refused, OSError) as error:
        _log.warning("work after an answer was not done: %s", error)


@dataclass
class Call:
    """One request with valid parameters and a valid body.

    `session`: whether the user's AT Protocol session lives. A fault can end it. `shell`: what is wrong with the sandbox's
    shell.
    """

    world: World
    user: User | None
    params: dict[str, Any]
    body: dict[str, Any]
    session: bool = True
    shell: ShellFault | None = None

    @property
    def me(self) -> User:
        """Return the user, in a method that needs a login. Raises Refusal (401) without one."""
        if self.user is None:
            raise unauthorized()
        return self.user

    @property
    def owner(self) -> str | None:
        """Return the id of the user, None for a caller without a login."""
        return self.user.id if self.user else None

    @property
    def has_agent(self) -> bool:
        """Return whether the platform can write the user's AT Protocol records."""
        return self.session and self.user is not None and self.user.id != UNKNOWN

    def need_agent(self) -> None:
        """Raise Refusal (500 AgentCreationError) where the user's AT Protocol session is gone."""
        if not self.has_agent:
            raise agent_lost()

    def window(self, default: int) -> tuple[int, int]:
        """Return the (limit, offset) of the request."""
        # SQLite takes 64 bits and JavaScript's numbers do not end there.
        return min(self.params.get("limit", default), MOST_ROWS), min(self.params.get("offset", 0), 2**62)


NOTHING: dict[str, Any] = {}
Handler = Callable[[Call], Awaitable[Any]]
"""The function of a method. It returns the answer, or None for zero bytes without a Content-Type."""


class Refusal(Exception):
    """An error answer: status, name and message as they go on the wire."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(status, error, message)
        self.status = status
        self.error = error
        self.message = message


def invalid(message: str) -> Refusal:
    """Make a 400: the request is not valid, or the provider refused it."""
    return Refusal(400, "InvalidRequest", message)


def provider_refused() -> Refusal:
    """Make a 400: the provider refused, and the platform lost the reason."""
    return invalid("Request failed with status code 400")


def unauthorized(error: str = "AuthenticationRequired") -> Refusal:
    """Make a 401: a login is needed."""
    challenge = error == "AuthenticationError"
    return Refusal(401, error, "Authentication failed, invalid challenge" if challenge else "Unauthorized")


def agent_lost() -> Refusal:
    """Make a 500: the user's AT Protocol session is gone."""
    return Refusal(500, "AgentCreationError", "Internal Server Error")


def not_found(message: str, error: str = "XRPCNotSupported") -> Refusal:
    """Make a 404. Only exec, start, stop and delete have an error name of their own for it."""
    return Refusal(404, error, message)


def server_error() -> Refusal:
    """Make a 500 as a database error looks like. Its message is hidden."""
    return Refusal(500, "InternalServerError", "Internal Server Error")


def new_id(prefix: str) -> str:
    """Make a new identifier: `sandbox_`, `secret_`, `rec_` and the like, then 20 letters and digits."""
    return f"{prefix}_{''.join(secrets.choice(_LETTERS) for _ in range(20))}"


def record_key() -> str:
    """Make a key for an at-uri: 13 letters and digits."""
    return "".join(secrets.choice("234567abcdefghijklmnopqrstuvwxyz") for _ in range(13))


def now() -> float:
    """Return the seconds since 1970."""
    return time.time()


def iso(seconds: float) -> str:
    """Return a time in the platform's notation: UTC, milliseconds, Z."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return columns of a row as an answer has them: names in camelCase, and times in the platform's notation."""
    return {_camel(name): iso(values[name]) if name.endswith("_at") else values[name] for name in names}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
