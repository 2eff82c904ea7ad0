"""The address of a sandbox's terminal, and the form of its messages. Each provider has one of three forms."""

from __future__ import annotations

import base64
import binascii
import codecs
import os
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import API_URL, Settings
from pocketenv_fp.errors import DecodeError, InvalidInput, NotLoggedIn, PocketenvError
from pocketenv_fp.http.exchange import delivered
from pocketenv_fp.http.tokens import request_headers
from pocketenv_fp.http.transport import Request
from pocketenv_fp.http.xrpc import decode, refusal
from pocketenv_fp.models import Sandbox
from pocketenv_fp.plain_types import UNDECODABLE, built
from pocketenv_fp.pocketenv.actors import get_terminal_token
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.redaction import HiddenText
from pocketenv_fp.runtime.deadline import unlimited
from pocketenv_fp.terminal.routes import OPERATION, ROUTES
from pocketenv_fp.validation import is_private

__all__ = ["TERMINAL_URL", "Control", "Link", "Message", "Size", "disconnect", "link_to"]

TERMINAL_URL = "https://sbx.pocketenv.io"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

Message = str | bytes
Size = tuple[int, int]


class Control(msgspec.Struct, frozen=True):
    """A message that is not output: ``kind`` is ``ready``, ``error``, ``exit``, or unknown."""

    kind: str = msgspec.field(default="", name="type")
    text: str = msgspec.field(default="", name="message")


class Link(NamedTuple):
    """The address of a terminal, and the form of its messages.

    ``keys`` makes a message of typed bytes, and ``output`` reads one. With ``has_ready`` no key may be sent before the
    message ``ready``. ``session`` is what `disconnect` ends.
    """

    address: HiddenText
    keys: Callable[[bytes], Message]
    output: Callable[[Message], bytes | Control]
    has_ready: bool = False
    session: str = ""


def link_to(sandbox: Sandbox, platform: Settings, size: Size) -> Result[Link, PocketenvError]:
    """Return the link to a terminal of (columns, rows). It asks the platform for a token or a session."""
    provider = provider_of(sandbox.provider).name
    if platform.token is None:
        return Failure(NotLoggedIn())
    if provider == CLOUDFLARE:
        return _cloudflare(sandbox, platform)
    route = ROUTES[provider]
    if route == "ssh":
        return _session(sandbox, platform, size).map(lambda session: _ssh(platform, session))
    address = f"{_web_socket(platform.api_url)}/{route}/{quote(sandbox.id, safe='')}/ws?token={quote(platform.token)}"
    return Success(Link(HiddenText(address), _text_keys(), _text_output))


def disconnect(link: Link, platform: Settings) -> None:
    """End the session of a link. A failure is ignored: the platform ends a session without a client by itself."""
    if not link.session:
        return
    request = Request("DELETE", f"/ssh/disconnect/{link.session}", dict(request_headers(platform.token)))
    with unlimited():
        delivered(request, platform, platform.read_timeout, OPERATION)


def _cloudflare(sandbox: Sandbox, platform: Settings) -> Result[Link, PocketenvError]:
    from uuid import uuid4

    base = sandbox.base_sandbox or ""
    if not _WORD.fullmatch(base):
        return Failure(DecodeError("sandbox.getSandbox", "it does not name the base image of the sandbox"))
    place = _terminal_url(base, platform)
    if isinstance(place, Failure):
        return place
    path = f"{_web_socket(place.unwrap())}/v1/sandboxes/{quote(sandbox.id, safe='')}/ws/terminal"
    return get_terminal_token().map(
        lambda made: Link(
            HiddenText(f"{path}?t={quote(made.token)}&session={uuid4()}"), bytes, _cloudflare_output, has_ready=True
        )
    )


def _terminal_url(base: str, platform: Settings) -> Result[str, PocketenvError]:
    """Return the address of the terminals of a base image: each image has a host of its own."""
    variable = os.environ.get("POCKETENV_CF_URL", "").rstrip("/")
    if not variable and platform.api_url != API_URL:
        # Another platform has its terminals at its API, as the embedded one does. Never send its token to another host.
        return Success(platform.api_url)
    place = (variable or TERMINAL_URL).replace("sbx", base).replace("claude-code", "claudecode")
    if not is_private(place) or not place.isprintable() or " " in place:
        return Failure(InvalidInput("POCKETENV_CF_URL", "must be an https:// URL, because a token is sent"))
    return Success(place)


class _Session(msgspec.Struct, rename="camel"):
    session_id: str


def _session(sandbox: Sandbox, platform: Settings, size: Size) -> Result[str, PocketenvError]:
    columns, rows = size
    body = msgspec.json.encode({"cols": columns, "rows": rows})
    headers = {
        **request_headers(platform.token),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Sandbox-Id": sandbox.id,
    }
    request = Request("POST", "/ssh/connect", headers, body)
    answer = delivered(request, platform, platform.read_timeout, OPERATION)
    if isinstance(answer, PocketenvError):
        return Failure(answer)
    if not answer.is_good:
        return Failure(refusal(OPERATION, answer, platform.token))
    try:
        session = decode(answer.body, _Session).session_id
    except UNDECODABLE:
        session = ""
    if not _WORD.fullmatch(session):
        return Failure(DecodeError(OPERATION, "it does not name the session"))
    return Success(session)


def _ssh(platform: Settings, session: str) -> Link:
    address = f"{_web_socket(platform.api_url)}/ssh/{session}/ws?token={quote(platform.token or '')}"
    return Link(HiddenText(address), _text_keys(), _base64_output, session=session)


def _web_socket(url: str) -> str:
    return url.replace("http", "ws", 1)


def _text_keys() -> Callable[[bytes], str]:
    # A read may end in the middle of a character.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode


def _text_output(message: Message) -> bytes:
    return message.encode("utf-8", "replace") if isinstance(message, str) else message


def _base64_output(message: Message) -> bytes:
    try:
        return base64.b64decode(message, validate=True) if isinstance(message, str) else message
    except (binascii.Error, ValueError):
        return _text_output(message)


def _cloudflare_output(message: Message) -> bytes | Control:
    if isinstance(message, bytes):
        return message
    try:
        control: Control = msgspec.json.decode(message, type=built(Control))
    except UNDECODABLE:
        return Control()
    return control
