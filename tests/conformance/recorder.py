"""A record of the exchanges on the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pocketenv_fp import local
from tests.local.wire import Answer, Wire
from tests.servers import Reply, Request, reply


class Exchange(NamedTuple):
    """One request and its answer: header names in lower case."""

    name: str
    request: Request
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        """The last part of the method's name."""
        return self.name.rpartition(".")[2]

    @property
    def json(self) -> Any:
        """The decoded body of the answer."""
        return json.loads(self.body)

    @property
    def page(self) -> bool:
        """Whether this is the platform's page for an unknown path."""
        return self.status == 404 and self.headers.get("content-type", "").startswith("text/html")


class Recorder:
    """Pass requests on to a platform and keep them with their answers."""

    def __init__(self, platform: local.Platform) -> None:
        self.exchanges: list[Exchange] = []
        self._api, self._storage = urlsplit(platform.url), urlsplit(platform.storage_url)

    def send(self, request: Request) -> Exchange:
        """Return the request with the platform's answer."""
        path = urlsplit(request.path).path
        place = self._storage if path.startswith("/cp") else self._api
        far = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        try:
            headers = {name: value for name, value in request.headers.items() if name != "host"}
            far.request(request.verb, request.path, request.body or None, headers)
            answer = far.getresponse()
            body = answer.read()
        finally:
            far.close()
        shown = {name.lower(): value for name, value in answer.getheaders()}
        name = path.removeprefix("/xrpc/") if path.startswith("/xrpc/") else path
        exchange = Exchange(name, request, answer.status, shown, body)
        self.exchanges.append(exchange)
        return exchange

    def __call__(self, request: Request) -> Reply:
        """Answer as a server between the library and the platform."""
        answer = self.send(request)
        kept = {name: value for name, value in answer.headers.items() if name in {"content-type", "retry-after"}}
        return reply(answer.body, answer.status, kept)


class Forgetful(Recorder):
    """Pass requests on to a platform on which putPreferences removes every setting that is left out."""

    def send(self, request: Request) -> Exchange:
        """Return the request with the platform's answer. Settings that are left out are sent as removed."""
        if not request.path.endswith("putPreferences"):
            return super().send(request)
        told = json.loads(request.body)
        nothing = dict.fromkeys(("description", "topics", "repo"))
        body = json.dumps({**told, "preferences": [{**nothing, **each} for each in told["preferences"]]}).encode()
        headers = {**request.headers, "content-length": str(len(body))}
        return super().send(request._replace(body=body, headers=headers))


class Recorded(Wire):
    """A client that knows nothing but HTTP. All its requests are kept."""

    def __init__(self, platform: local.Platform, token: str | None, recorder: Recorder) -> None:
        super().__init__(platform, token)
        self.recorder = recorder

    def raw(self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send exactly this."""
        login = {"authorization": f"Bearer {self.token}"} if self.token else {}
        sent = {**login, **{name.lower(): value for name, value in (headers or {}).items()}}
        answer = self.recorder.send(Request(verb, path, sent, body or b"", 0, 0.0))
        return Answer(answer.status, answer.headers, answer.body)
