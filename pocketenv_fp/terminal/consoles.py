"""An interactive terminal in a sandbox."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, Settings, settings
from pocketenv_fp.errors import (
    InvalidInput,
    PocketenvError,
    RateLimited,
    SandboxNotFound,
    TransportError,
    api_error_kind,
)
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.pocketenv.actors import get_terminal_token
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.redaction import HIDDEN, printable
from pocketenv_fp.runtime.optional import needed
from pocketenv_fp.runtime.rehearsal import is_rehearsed
from pocketenv_fp.steps.operation import step
from pocketenv_fp.terminal.routes import OPERATION, unsupported
from pocketenv_fp.validation import Text, is_loopback

if TYPE_CHECKING:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import ClientConnection

    from pocketenv_fp.terminal.keyboard import Terminal
    from pocketenv_fp.terminal.links import Link

__all__ = ["console"]

Connect = Callable[..., Any]

CLOSE_SECONDS = 2.0
LARGEST_MESSAGE = 16 * 1024 * 1024
# The address of a WebSocket has the token in it, and the package logs it at DEBUG.
_silent = logging.getLogger("pocketenv_fp.terminal.websockets")
_silent.setLevel(logging.CRITICAL + 1)


@step(Sandbox)
def console(  # noqa: PLR0911  # a return for each condition
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Open an interactive shell of the sandbox in this terminal. Returns the Sandbox unchanged, after its end.

    **Ctrl-] leaves.** All other keys go to the sandbox, Ctrl-C too. The size of the terminal is passed on. After the
    end the terminal is restored. On Cloudflare the platform does not report the end of the shell: leave with Ctrl-]
    after ``exit``. A shell that is left there runs on until the sandbox stops. The shell is not the one of `exec`.

    The terminal must be ready within ``Config.read_timeout``, and before the deadline of ``within``.

    Needs the extra ``console``, and raises ImportError without it.

    Failures: NotSupported for a provider whose terminal is not known; InvalidInput if standard input or output is not a
    terminal, and for a sandbox that does not run; SandboxNotFound, also for a sandbox of another user; TransportError.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import console, create
    >>> create("my-box") | console
    <Failure: stdin: console needs a terminal. Run single commands with exec(…).>
    """
    from pocketenv_fp.terminal.keyboard import own_terminal
    from pocketenv_fp.terminal.links import disconnect, link_to

    if refusal := unsupported(sandbox):
        return Failure(refusal)
    if is_rehearsed():
        return _rehearsed(sandbox)
    mine = own_terminal()
    if isinstance(mine, Failure):
        return mine
    connect = needed("websockets.sync.client", "console").connect
    box = look(sandbox, login=True).bind(_running)
    if isinstance(box, Failure):
        return box
    platform = settings()
    if isinstance(platform, Failure):
        return platform
    link = link_to(box.unwrap(), platform.unwrap(), mine.unwrap().size())
    if isinstance(link, Failure):
        return link
    try:
        error = _converse(connect, link.unwrap(), platform.unwrap(), mine.unwrap(), box.unwrap().name)
    finally:
        disconnect(link.unwrap(), platform.unwrap())
    return Failure(error) if error else Success(sandbox)


def _rehearsed(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    box = look(sandbox, login=True)
    if isinstance(box, Failure) or provider_of(sandbox.provider).name != CLOUDFLARE:
        return box.map(lambda _: sandbox)
    return get_terminal_token().map(lambda _: sandbox)


def _running(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    if sandbox.status is Status.RUNNING:
        return Success(sandbox)
    return Failure(InvalidInput("sandbox", f"is {sandbox.status.name}: start it and wait_until_running first"))


def _converse(connect: Connect, link: Link, platform: Settings, terminal: Terminal, name: str) -> PocketenvError | None:
    from pocketenv_fp.terminal.conversation import Conversation

    with ExitStack() as stack:
        line = _connect(connect, stack, link, platform)
        if isinstance(line, PocketenvError):
            return line
        try:
            terminal.write(f"Connected to {printable(name)}. Ctrl-] leaves.\n".encode())
            return Conversation(line, link, terminal, platform.read_timeout).run()
        except OSError as error:
            return InvalidInput("stdin", f"the terminal cannot be used: {error.strerror}")


def _connect(connect: Connect, stack: ExitStack, link: Link, platform: Settings) -> ClientConnection | PocketenvError:
    from websockets.exceptions import WebSocketException

    from pocketenv_fp.http.transport import tls_context

    is_here = is_loopback(urlsplit(str(link.address)).hostname or "")
    try:
        options: dict[str, Any] = {"ssl": tls_context(platform)} if link.address.startswith("wss:") else {}
        # The type of this function changes with version 17.
        line: ClientConnection = stack.enter_context(
            connect(
                str(link.address),
                **options,
                proxy=None if is_here else True,
                compression=None,
                open_timeout=platform.connect_timeout,
                close_timeout=CLOSE_SECONDS,
                max_size=LARGEST_MESSAGE,
                user_agent_header="pocketenv-fp",
                logger=_silent,
            )
        )
    except (WebSocketException, OSError, ValueError, EOFError, ImportError) as error:
        return _failure(error, platform)
    except KeyboardInterrupt:
        pass
    else:
        return line
    # Raise it here: frames of the package are in the other traceback, and their locals show the address with the token.
    raise KeyboardInterrupt


def _failure(error: Exception, platform: Settings) -> PocketenvError:  # noqa: PLR0911  # one line for each kind of error
    from websockets.exceptions import InvalidProxy, InvalidStatus, ProxyError

    match error:
        case InvalidStatus():
            return _refusal(error, platform)
        # ImportError: a SOCKS proxy needs another package.
        case InvalidProxy() | ProxyError() | ImportError():
            return TransportError("proxy", "the proxy cannot be used", OPERATION)
        case TimeoutError():
            return TransportError("connect", "no connection in time", OPERATION)
        case ssl.SSLError():
            # Only an error of OpenSSL itself has a reason.
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", None) or "no reason is known"
            return TransportError("tls", f"the TLS connection failed: {reason}", OPERATION)
        case OSError():
            return TransportError("connect", f"no connection: {error.strerror or 'the host is not known'}", OPERATION)
        case EOFError():
            return TransportError("dropped", "the connection broke before the terminal was open", OPERATION)
        case _:
            return TransportError("protocol", "the response is not that of a WebSocket", OPERATION)


def _refusal(refused: InvalidStatus, platform: Settings) -> PocketenvError:
    status, body = refused.response.status_code, bytes(refused.response.body or b"")
    text = body.decode("utf-8", "replace")
    if platform.token:
        # Mask it before the cut, which may leave a part of it.
        text = text.replace(platform.token, HIDDEN)
    message = "" if text.lstrip().startswith("<") else printable(text[:200]).strip()
    if status in {403, 404}:
        # 403: the sandbox of another user.
        return SandboxNotFound(status, "", message, OPERATION)
    if status == 429:
        return RateLimited(status, "", message, OPERATION)
    return api_error_kind(status, "")(status, "", message, OPERATION)
