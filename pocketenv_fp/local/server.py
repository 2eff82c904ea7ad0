"""One running platform: its socket, its thread, its folder."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Token
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pocketenv_fp.local import actors, catalogue, claims, entered, lifecycle, processes, services, storage, web_server
from pocketenv_fp.local.app import App
from pocketenv_fp.local.box import Isolation, Kind
from pocketenv_fp.local.call import NOTHING, Call, Refusal, World
from pocketenv_fp.local.faults import Faults
from pocketenv_fp.local.methods import METHODS, PROVIDERS
from pocketenv_fp.local.request_log import Listener
from pocketenv_fp.local.sandboxes import CLOUDFLARE
from pocketenv_fp.local.store import Store
from pocketenv_fp.local.vault import open_vault

T = TypeVar("T")

HANDLE = "you.localhost"
STATE = "state.sqlite3"
LOCK = "lock"
# The time for open requests to end once their processes are gone.
GRACE_SECONDS = 0.5

_log = logging.getLogger("pocketenv_fp.local")


class Platform:
    """The platform on this machine. It serves on loopback from its creation until `close`.

    `pocketenv_fp.local.platform` makes one and documents the options.
    """

    def __init__(self, data: Path | None, kind: Kind, *, port: int, boot_delay: float, rate_limit: int | None) -> None:
        self._closed = False
        self._marks: list[Token[Platform | None]] = []
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._temporary = data is None
        self._socket = web_server.listen(port)
        self._lock: int | None = None
        self.data = (data or Path(tempfile.mkdtemp(prefix="pocketenv-"))).resolve()
        try:
            _claim(self.data)
            self._lock = _lock(self.data / LOCK)
            self._world = _open_world(self.data, boot_delay, kind)
        except BaseException:
            self._release()
            raise
        _warn_of_root(self._world.kind.isolation)
        store = self._world.store
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.storage_url = self._world.url = self.url
        self.public_key = self._world.vault.public_key
        self.token = actors.token(self._world, actors.add_user(store, HANDLE))
        self._app = App(self._world, METHODS, rate_limit)
        self._server = web_server.serving(self._app)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="pocketenv-platform", daemon=True)
        self._thread.start()
        self._ready.wait()
        _living.add(self)

    @property
    def isolation(self) -> Isolation:
        """The isolation of sandboxes from this machine.

        `"bubblewrap"`: each sandbox is a box with a root of its own, the system's directories read-only in it, and no
        other processes. `"processes"`: each has a folder, an environment and processes of its own, and nothing holds it
        there. Its commands can read and write whatever the user of the platform can, absolute paths included. Neither is
        a security boundary for hostile code.
        """
        return self._world.kind.isolation

    @property
    def environment(self) -> dict[str, str]:
        """The four variables by which clients find the platform, the token among them."""
        return {
            "POCKETENV_API_URL": self.url,
            "POCKETENV_STORAGE_URL": self.storage_url,
            "POCKETENV_PUBLIC_KEY": self.public_key,
            "POCKETENV_TOKEN": self.token,
        }

    @property
    def calls(self) -> deque[tuple[str, int]]:
        """The newest requests as (method, status), oldest first: the last 10,000, never a body.

        A status of 0: the connection was dropped without an answer, because of a fault.
        """
        return self._app.calls

    @property
    def faults(self) -> Faults:
        """The faults of the next answers, and the counts of work done: see `Faults`."""
        return self._app.faults

    def new_user(self, handle: str) -> str:
        """Return the token of the user with this handle (`alice.test`). Add the user where the handle is new."""
        return actors.token(self._world, self._do(partial(actors.add_user, self._world.store, handle)))

    def app_password(self, handle: str) -> str:
        """Return the app password of the user with this handle. It is the same at every start on the same folder.

        `POST /login` takes it, as `pocketenv_fp.login` sends it. Raises ValueError for an unknown handle.
        """
        user = self._do(partial(actors.by_identifier, self._world.store, handle))
        if user is None:
            raise ValueError(f"handle: there is no {handle!r}")
        return self._world.vault.app_password(user.did)

    def new_ownerless_sandbox(self, provider: str = CLOUDFLARE) -> str:
        """Make a running sandbox without an owner and return its id. The first call of claimSandbox takes it.

        `provider` may be blaxel too, which createSandbox refuses. Raises ValueError for an unknown provider.
        """
        if provider not in PROVIDERS:
            raise ValueError(f"provider: there is no {provider!r}")
        return self._do(partial(claims.add_ownerless, self._world, provider)).id

    def listen(self, listener: Listener | None) -> None:
        """Call this with every later request, in the platform's own thread. None ends it."""
        self._app.listener = listener

    def remove_sandboxes(self) -> None:
        """Delete every sandbox of every user, with its processes and data. Not from the platform's own thread."""
        self._wait_for(self._remove_sandboxes())

    def close(self) -> None:
        """Stop serving, kill every process of every sandbox, remove the folder if it is temporary.

        A second call does nothing. In a forked process it does nothing either.
        """
        with self._closing:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
        self._world.closed.set()
        boxes = [machine.box for machine in list(self._world.machines.values()) if machine.box is not None]
        for box in boxes:
            self._loop.call_soon_threadsafe(box.cut)
        self._server.should_exit = True
        self._thread.join(GRACE_SECONDS)
        self._server.force_exit = True
        self._thread.join()
        for box in boxes:
            box.wait_for_end()
        processes.end_marked(self.data)
        self._world.store.close()
        self._release()

    def __enter__(self) -> Self:
        self._marks.append(entered.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A block may end in another context, for instance that of a generator.
        with contextlib.suppress(ValueError):
            entered.reset(self._marks.pop())
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<Platform {self.url}{state} isolation={self.isolation!r} data={str(self.data)!r}>"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(web_server.ErrorHandler())
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._ready.set()
            self._loop.close()

    async def _run(self) -> None:
        await lifecycle.finish(self._world)
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for its start
            await asyncio.sleep(0.001)
        if self._server.started:
            web_server.lengthen_queue(self._socket)
        self._ready.set()
        self._world.run(services.revive(self._world))
        await serving
        await self._world.drop_tasks()
        self._app.terminals.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def _do(self, work: Callable[[], T]) -> T:
        """Do work in the server's thread, which alone uses the database. Raises RuntimeError after the end."""
        if threading.current_thread() is self._thread:
            return work()

        async def done() -> T:
            return work()

        return self._wait_for(done())

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise RuntimeError("this platform is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _remove_sandboxes(self) -> None:
        store = self._world.store
        for sandbox, owner in store.rows("SELECT id, owner FROM sandboxes"):
            # Refused where another caller has just deleted it.
            with contextlib.suppress(Refusal):
                await lifecycle.delete_sandbox(Call(self._world, actors.find(store, owner), {"id": sandbox}, NOTHING))

    def _release(self) -> None:
        self._socket.close()
        if self._lock is not None:
            os.close(self._lock)
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def _forget_in_child(self) -> None:
        # A forked child holds copies of the parent's sockets. While one is open, the port stays taken and no
        # client sees the parent hang up. They are pointed at nothing; their numbers stay with their owners.
        nothing = os.open(os.devnull, os.O_RDWR)
        transports = [getattr(connection, "transport", None) for connection in self._server.server_state.connections]
        sockets = [transport.get_extra_info("socket") for transport in transports if transport is not None]
        boxes = [machine.box for machine in self._world.machines.values()]
        numbers = [end.fileno() for end in (self._socket, *sockets, *boxes) if end is not None]
        for number in (*numbers, -1 if self._lock is None else self._lock):
            if number >= 0:
                os.dup2(nothing, number)
        os.close(nothing)


_living: "weakref.WeakSet[Platform]" = weakref.WeakSet()


def _after_fork() -> None:
    for platform in list(_living):
        with contextlib.suppress(OSError):
            platform._forget_in_child()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)


def _claim(data: Path) -> None:
    # Anything in the platform's folder without a record is removed at the start. In a project folder, passed by
    # mistake, that would be the user's work.
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {path.name for path in data.iterdir()} - {LOCK} and not (data / STATE).exists():
        raise OSError(f"{data} is not empty, and not the folder of a platform")
    data.chmod(0o700)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise OSError(f"another platform is using {path.parent}") from None
    return descriptor


def _warn_of_root(isolation: Isolation) -> None:
    # File permissions protect most of the machine from other users, and nothing of it from root.
    if isolation == "processes" and os.geteuid() == 0:
        _log.warning(
            "isolation 'processes' as root: an absolute path in a command is this machine's,"
            " and a command such as rm -rf /tmp/* deletes this machine's files"
        )


def _open_world(data: Path, boot_delay: float, kind: Kind) -> World:
    world = World(data, Store(data / STATE), open_vault(data / "key"), kind, lifecycle.plan, boot_delay)
    catalogue.fill(world.store)
    lifecycle.recover(world)
    storage.recover(world)
    return world
