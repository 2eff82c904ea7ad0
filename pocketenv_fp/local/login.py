"""The login of the platform: an OAuth login in the browser, and a login with an app password.

The server of the user's account is a stand-in: one page with two buttons. It asks for no password, because every user of
this platform belongs to the user of this machine. All other parts are as on the platform. A login from a command line ends
on a page that sends the token to port 6997 of this machine.

A script of another web site gets a 403. On the platform it would need the user's consent.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard, TypeVar, cast
from urllib.parse import quote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from pocketenv_fp.local import actors, bodies, hosts, login_pages
from pocketenv_fp.local.call import Refusal, User, World, now
from pocketenv_fp.local.replies import TEXT, Reply, error_reply, json_reply

T = TypeVar("T")
Fields = Mapping[str, str]

WEEK_SECONDS = 7 * 24 * 3600
CLI_SECONDS = 365 * 1000 * 24 * 3600
MOST_PENDING = 1000
LARGEST_FORM = 10_000

_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_PATHS = frozenset(["/login", "/token", "/oauth/authorize", "/oauth/callback", "/projects"])


class _Consent(NamedTuple):
    """A login that waits for the user's consent."""

    handle: str
    state: str


class Login:
    """The pages of the login of one platform, and the logins that are under way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._consents: dict[str, _Consent] = {}
        self._codes: dict[str, _Consent] = {}
        self._of_command_lines: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    async def answer(  # noqa: PLR0911 - a return for each page
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> Reply | None:
        """Answer a request for one of the pages. Return None for another path, or a verb that it does not take."""
        path, verb = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        if path not in _PATHS:
            return None
        if hosts.is_foreign(headers):
            return json_reply(403, dict(zip(("error", "message"), hosts.FOREIGN, strict=True)))
        query = bodies.read_fields(scope["query_string"])
        match verb, path:
            case "GET", "/login":
                return self._to_account(query.get("handle"))
            case "POST", "/login":
                return await self._login(receive, headers)
            case "GET", "/oauth/authorize":
                return self._ask(query)
            case "POST", "/oauth/authorize":
                return self._consent(await _form(scope, receive))
            case "GET", "/oauth/callback":
                return self._callback(query)
            case "GET", "/projects":
                return Reply(200, login_pages.PROJECTS)
            case "GET", "/token":
                return self._token(headers.get(b"session-did", b"").decode("latin-1"))
            case _:
                return None

    # The platform's own pages.

    async def _login(self, receive: Receive, headers: Mapping[bytes, bytes]) -> Reply:
        try:
            sent: Any = await bodies.read(headers, receive)
        except Refusal as refusal:
            return error_reply(f"{refusal.error}: {refusal.message}")
        if not isinstance(sent, dict):
            return error_reply("TypeError: Cannot destructure property 'handle' of 'req.body' as it is undefined.")
        body = cast("dict[str, Any]", sent)
        handle = body.get("handle")
        if not _is_handle(handle):
            return Reply(400, "Invalid handle")
        user = actors.by_identifier(self._world.store, handle)
        if user is None:
            return error_reply(f"Error: Failed to resolve identity: {handle}")
        if body.get("password"):
            return self._with_password(user, body["password"])
        if body.get("cli"):
            _keep(self._of_command_lines, handle, "1")
        return Reply(200, self._authorization(handle))

    def _with_password(self, user: User, password: object) -> Reply:
        right = self._world.vault.app_password(user.did)
        if not isinstance(password, str) or not secrets.compare_digest(
            right.encode(), password.encode("utf-8", "replace")
        ):
            return error_reply("Error: Invalid identifier or password")
        return Reply(200, f"jwt:{self._sign(user.did, WEEK_SECONDS)}")

    def _to_account(self, handle: str | None) -> Reply:
        if not _is_handle(handle):
            return Reply(400, "Invalid handle")
        if actors.by_identifier(self._world.store, handle) is None:
            return error_reply(f"Error: Failed to resolve identity: {handle}")
        return _redirect(self._authorization(handle))

    def _callback(self, query: Fields) -> Reply:
        consent = self._codes.pop(query.get("code", ""), None)
        user = None if consent is None else actors.by_identifier(self._world.store, consent.handle)
        state = query.get("state", "").encode("utf-8", "replace")
        if consent is None or user is None or not secrets.compare_digest(consent.state.encode(), state):
            return _redirect(f"{self._world.url}?error=1")
        cli = self._of_command_lines.pop(consent.handle, "undefined")
        _keep(self._tokens, user.did, self._sign(user.did, CLI_SECONDS if cli == "1" else WEEK_SECONDS))
        return _redirect(f"{self._world.url}/projects?did={user.did}&cli={cli}")

    def _token(self, did: str) -> Reply:
        token = self._tokens.pop(did, None)
        if token is None:
            return Reply(401, "Unauthorized")
        return json_reply(200, {"token": token})

    def _sign(self, did: str, seconds: int) -> str:
        moment = int(now())
        return self._world.vault.sign({"did": did, "iat": moment, "exp": moment + seconds})

    # The server of the account.

    def _authorization(self, handle: str) -> str:
        request = f"urn:ietf:params:oauth:request_uri:req-{secrets.token_hex(16)}"
        _keep(self._consents, request, _Consent(handle, secrets.token_urlsafe(16)))
        client = f"{self._world.url}/oauth-client-metadata.json"
        return f"{self._world.url}/oauth/authorize?{urlencode({'client_id': client, 'request_uri': request})}"

    def _ask(self, query: Fields) -> Reply:
        request = query.get("request_uri", "")
        consent = self._consents.get(request)
        if consent is None:
            return Reply(400, login_pages.unknown())
        return Reply(200, login_pages.consent(consent.handle, request))

    def _consent(self, form: Fields) -> Reply:
        consent = self._consents.pop(form.get("request_uri", ""), None)
        if consent is None:
            return Reply(400, login_pages.unknown())
        fields = {"iss": self._world.url, "state": consent.state}
        if form.get("decision") != "allow":
            fields |= {"error": "access_denied"}
        else:
            fields |= {"code": f"cod-{secrets.token_hex(32)}"}
            _keep(self._codes, fields["code"], consent)
        return _redirect(f"{self._world.url}/oauth/callback?{urlencode(fields, quote_via=quote)}")


async def _form(scope: Scope, receive: Receive) -> Fields:
    raw = bytearray()
    try:
        async for piece in Request(scope, receive).stream():
            raw += piece
            if len(raw) > LARGEST_FORM:
                return {}
    except ClientDisconnect:
        return {}
    return bodies.read_fields(bytes(raw))


def _is_handle(handle: object) -> TypeGuard[str]:
    return isinstance(handle, str) and len(handle) <= 253 and _HANDLE.fullmatch(handle) is not None


def _keep(pending: dict[str, T], key: str, value: T) -> None:
    # A login that is never finished is dropped when there are many newer ones.
    pending[key] = value
    while len(pending) > MOST_PENDING:
        del pending[next(iter(pending))]


def _redirect(address: str) -> Reply:
    headers = (TEXT, (b"location", address.encode()), (b"vary", b"Accept"))
    return Reply(302, f"Found. Redirecting to {address}", headers)
