"""The pages of the platform's login. There are no accounts here: the token is printed when the platform starts."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from pocketenv_fp.local import bodies
from pocketenv_fp.local.call import Refusal

PATHS = frozenset(["/login", "/token"])
_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)


class Reply(NamedTuple):
    """An answer in plain words. With `page` it is shown as an error page."""

    status: int
    text: str
    page: bool = False


async def answer(scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Reply | None:
    """Answer a request for one of the pages. Return None for a verb that the page does not take."""
    verb = scope["method"]
    if scope["path"] == "/token":
        return Reply(401, "Unauthorized") if verb in {"GET", "HEAD"} else None
    if verb not in {"GET", "HEAD", "POST"}:
        return None
    try:
        handle = await _handle(scope, receive, headers)
    except (Refusal, ValueError):
        return Reply(500, "Error: there is no handle in the request", page=True)
    if not isinstance(handle, str) or not _HANDLE.fullmatch(handle):
        return Reply(400, "Invalid handle")
    return Reply(500, "Error: this platform knows no accounts; its token is printed when it starts", page=True)


async def _handle(scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Any:
    if scope["method"] != "POST":
        return parse_qs(scope["query_string"].decode("latin-1")).get("handle", [""])[0]
    sent: Any = await bodies.read(headers, receive)
    if sent is None:
        raise ValueError("no body")
    return cast("dict[str, Any]", sent).get("handle") if isinstance(sent, dict) else None
