"""The storage host: archives on their way between this machine and sandboxes, streamed both ways.

An upload names its own uuid, so it may be sent again after anything that broke: the second replaces the first. A
download may not, since reading an archive takes it away before a byte of it is sent. Whoever wants it again has the
sandbox pack it again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, Settings, settings
from pocketenv_fp.errors import (
    ApiError,
    DeadlineExceeded,
    DecodeError,
    NotLoggedIn,
    PocketenvError,
    RateLimited,
    TransportError,
)
from pocketenv_fp.http.rate_limit import LONGEST_WAIT
from pocketenv_fp.http.xrpc import Call, answered, connected, decode, refusal
from pocketenv_fp.redaction import HiddenText
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, over, remaining

if TYPE_CHECKING:
    from pocketenv_fp.http.transport import Answer, Request, Transport

__all__ = ["Incoming", "Pieces", "Readable", "again", "put", "take"]

T = TypeVar("T")
Pieces = Callable[[], Generator[bytes]]

PUT = "storage.put"
TAKE = "storage.take"
# The time to send one piece is limited, too: a slow line must manage it.
PIECE = 64 * 1024
PASSING = frozenset({429, 502, 503, 504})
PASSING_KINDS = frozenset({"connect", "dropped", "timeout"})


class Readable(Protocol):
    """An archive that is arriving. ``total`` is its size in bytes, None where it is not known."""

    total: int | None

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, and none at the end."""
        ...


class Incoming:
    """An archive that is arriving. ``total`` is its size in bytes, None where the host did not tell it."""

    def __init__(self, answer: Answer) -> None:
        length = answer.headers.get("Content-Length", "")
        self.total: int | None = int(length) if length.isdecimal() else None
        self.broken: TransportError | None = None
        self._raw = answer.raw

    def read(self, size: int = -1, /) -> bytes:
        """Give up to ``size`` bytes, and none at the end. Raises TransportError where it breaks off before."""
        from pocketenv_fp.http.failures import TROUBLE, trouble

        try:
            data: bytes = self._raw.read(None if size < 0 else size, decode_content=False)
        except TROUBLE as error:
            # Kept, too: what reads on another thread, or in the middle of an archive, may make something else of it.
            self.broken = trouble(error, TAKE)
            raise self.broken from None
        return data


def put(pieces: Pieces, *, token: str | None = None, config: Config | None = None) -> Result[str, PocketenvError]:
    """Upload what ``pieces`` gives: it is called anew for each attempt. Gives the uuid to fetch it by.

    Failures: what ``pieces`` raises as a PocketenvError; after the configured retries TransportError, RateLimited and
    ServerError; Unauthorized. Anything else that it raises comes out.
    """
    from uuid import uuid4

    own = str(uuid4())
    answer = answered(Call(PUT, _uuid, {"uuid": own}))
    if answer is not None:
        return answer
    return _logged_in(token, config).bind(lambda found: again(lambda: _post(own, pieces, found), found))


def take(
    uuid: str, use: Callable[[Incoming], T], *, token: str | None = None, config: Config | None = None
) -> Result[T, PocketenvError]:
    """Fetch an archive, once, and give what ``use`` makes of it while it arrives: reading to the end shows it is whole.

    Failures: ApiError (404) where there is none; TransportError where it breaks off; what ``use`` raises as a
    PocketenvError. Anything else that it raises comes out.
    """
    # No archive comes from a door: what it gives is given, and not used.
    answer = answered(Call(TAKE, cast("Callable[[bytes], T]", bytes), {"uuid": uuid}, is_query=True))
    return _logged_in(token, config).bind(lambda found: _get(uuid, use, found)) if answer is None else answer


def again(attempt: Callable[[], Result[T, PocketenvError]], found: Settings) -> Result[T, PocketenvError]:
    """Do ``attempt``, and as often again as configured, a little later each time, while storage has passing troubles.

    Only what `put` and `take` failed with counts. Of the rest of an attempt nobody knows whether it may be done twice.
    """
    from urllib3.exceptions import HTTPError

    from pocketenv_fp.http.transport import pauses

    pause = pauses(found.retries)
    arrived = set[str]()
    while True:
        result = attempt()
        if isinstance(result, Success):
            return result
        error = result.failure()
        if isinstance(error, DeadlineExceeded) and error.operation in arrived:
            return Failure(DeadlineExceeded(error.seconds, error.operation, maybe_sent=True))
        if not _passes(error) or remaining() <= 0:
            return result
        if isinstance(error, ApiError) or (isinstance(error, TransportError) and error.maybe_sent):
            arrived.add(error.operation)
        try:
            pause = pause.increment(error=HTTPError())
        except HTTPError:  # no repetitions are left, or no time
            return result
        if isinstance(error, RateLimited):
            _hold_back(error, found)
        pause.sleep()


def _passes(error: PocketenvError) -> bool:
    match error:
        case TransportError(operation=("storage.put" | "storage.take")):
            return error.kind in PASSING_KINDS
        case RateLimited(operation=("storage.put" | "storage.take")):
            return (error.retry_after or 0) <= LONGEST_WAIT
        case ApiError(operation=("storage.put" | "storage.take")):
            # What was taken from storage and lost on the way is not there the next time.
            return error.status in PASSING or (error.status, error.operation) == (404, TAKE)
        case _:
            return False


def _hold_back(error: RateLimited, found: Settings) -> None:
    from pocketenv_fp.http.transport import RETRY_AFTER

    seconds = RETRY_AFTER if error.retry_after is None else error.retry_after
    _line(found).map(lambda line: line.limiter.pause(seconds))


def _line(found: Settings) -> Result[Transport, PocketenvError]:
    # urllib3 repeats nothing here: an iterator cannot be rewound, and an archive cannot be read twice.
    return connected(msgspec.structs.replace(found, api_url=found.storage_url, retries=0))


def _logged_in(token: str | None, config: Config | None) -> Result[Settings, PocketenvError]:
    def check(found: Settings) -> Result[Settings, PocketenvError]:
        return Failure(NotLoggedIn()) if found.token is None else Success(found)

    return settings(config, token=token).bind(check)


class _Stopped(Exception):
    """The pieces came to an end before their time. No trouble of the wire has this name."""


class _Form:
    """A multipart form with one file, made piece by piece.

    The size of what is still to be compressed is not known, which is why this is not requests-toolbelt's encoder.
    """

    def __init__(self, pieces: Pieces) -> None:
        from urllib3.fields import RequestField
        from urllib3.filepost import choose_boundary

        self.boundary = choose_boundary()
        self.raised: Exception | None = None
        self._pieces = pieces
        self._field = RequestField("file", b"", filename="archive.tar.gz")
        self._field.make_multipart(content_type="application/gzip")

    def body(self) -> Generator[bytes]:
        """Give what is to be sent. What the pieces raise is kept, and this raises _Stopped."""
        yield f"--{self.boundary}\r\n{self._field.render_headers()}".encode()
        try:
            yield from self._content()
        except Exception as error:  # noqa: BLE001  # whatever it is, it comes out
            # The transport would take an OSError for its own.
            self.raised = error
            raise _Stopped from None
        yield f"\r\n--{self.boundary}--\r\n".encode()

    def _content(self) -> Iterator[bytes]:
        with closing(self._pieces()) as pieces:
            for piece in pieces:
                if late := exceeded(PUT, maybe_sent=True):
                    raise late
                view = memoryview(piece)
                yield from (bytes(view[start : start + PIECE]) for start in range(0, len(view), PIECE))


class _Stored(msgspec.Struct):
    uuid: str


def _uuid(body: bytes) -> str:
    return decode(body, _Stored).uuid


def _post(own: str, pieces: Pieces, found: Settings) -> Result[str, PocketenvError]:
    form = _Form(pieces)
    sent_as = {
        "Content-Type": f"multipart/form-data; boundary={form.boundary}",
        "Transfer-Encoding": "chunked",
    }
    # A broken connection leaves the pieces half way, and they may hold a thread and open files.
    with closing(form.body()) as body:
        try:
            return _exchange(_request("POST", f"/cp?uuid={own}", found, sent_as, body), found, PUT, _stored)
        except _Stopped:
            if isinstance(form.raised, PocketenvError):
                return Failure(form.raised)
            raise cast("Exception", form.raised) from None


def _stored(answer: Answer) -> Result[str, PocketenvError]:
    try:
        return Success(_uuid(answer.body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Failure(DecodeError(PUT, "it does not contain the uuid of the stored archive"))


def _get(uuid: str, use: Callable[[Incoming], T], found: Settings) -> Result[T, PocketenvError]:
    from urllib.parse import quote

    def arrive(answer: Answer) -> Result[T, PocketenvError]:
        incoming = Incoming(answer)
        try:
            return Success(use(incoming))
        except PocketenvError as error:
            late = exceeded(TAKE, maybe_sent=True) if incoming.broken else None
            return Failure(late or incoming.broken or error)

    return _exchange(_request("GET", f"/cp/{quote(uuid, safe='')}", found), found, TAKE, arrive)


def _exchange(
    request: Request, found: Settings, operation: str, read: Callable[[Answer], Result[T, PocketenvError]]
) -> Result[T, PocketenvError]:
    from pocketenv_fp.http.failures import TROUBLE, trouble

    def ask(line: Transport) -> Result[Answer, PocketenvError]:
        try:
            # What answers an upload is short, and is read at once.
            sent = line.send if request.verb == "POST" else line.open
            answer = sent(request, found.read_timeout, operation)
            return Success(answer) if answer.is_good else Failure(refusal(operation, answer, found.token))
        except TimeIsOver:
            return Failure(over(operation))
        except TROUBLE as error:
            met = trouble(error, operation)
            return Failure(exceeded(operation, maybe_sent=met.maybe_sent) or met)

    def answered(answer: Answer) -> Result[T, PocketenvError]:
        with closing(answer):
            return read(answer)

    return _line(found).bind(ask).bind(answered)


def _request(
    verb: str,
    target: str,
    found: Settings,
    sent_as: Mapping[str, str] | None = None,
    body: Iterator[bytes] | None = None,
) -> Request:
    from pocketenv_fp.http.transport import Request

    headers = {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "pocketenv-fp",
        "Authorization": HiddenText(f"Bearer {found.token}"),
        **(sent_as or {}),
    }
    return Request(verb, target, headers, body)
