"""The storage host: send and fetch archives as streams.

An upload sets its own uuid, so it can be retried: the second archive replaces the first. A download cannot be retried,
because storage deletes the archive before it sends it. The caller must let the sandbox pack it again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Settings, settings
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
from pocketenv_fp.http.tokens import request_headers
from pocketenv_fp.http.xrpc import Call, answered, decode, refusal
from pocketenv_fp.plain_types import UNDECODABLE
from pocketenv_fp.runtime.backoff import pauses
from pocketenv_fp.runtime.deadline import exceeded, nap, remaining

if TYPE_CHECKING:
    from pocketenv_fp.http.transport import Answer, Request

__all__ = ["Incoming", "Pieces", "Readable", "again", "put", "take"]

T = TypeVar("T")
Pieces = Callable[[], Generator[bytes]]

PUT = "storage.put"
TAKE = "storage.take"
# Also the time for sending one piece is limited: small pieces work on slow connections.
PIECE = 64 * 1024
PASSING = frozenset({429, 502, 503, 504})
PASSING_KINDS = frozenset({"connect", "dropped", "timeout"})


class Readable(Protocol):
    """An archive that is being received. ``total`` is its size in bytes, or None if it is unknown."""

    total: int | None

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, or none at the end."""
        ...


# `int` raises for a number of thousands of digits.
DIGITS = 20


class Incoming:
    """An archive that is being received. ``total`` is its size in bytes, or None if the host did not send it."""

    def __init__(self, answer: Answer) -> None:
        length = answer.headers.get("Content-Length", "")
        self.total: int | None = int(length) if length.isdecimal() and len(length) < DIGITS else None
        self.broken: TransportError | None = None
        self._answer = answer

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, or none at the end. Raises TransportError if the connection breaks."""
        from pocketenv_fp.http.failures import TROUBLE, trouble

        try:
            return self._answer.read(size)
        except TROUBLE as error:
            # Also stored: another thread or the archive reader may replace the exception.
            self.broken = trouble(error, TAKE)
            raise self.broken from None


def put(pieces: Pieces) -> Result[str, PocketenvError]:
    """Upload the bytes that ``pieces`` yields. It is called once for each attempt. Returns the uuid of the archive.

    Failures: a PocketenvError that ``pieces`` raises; after the configured retries TransportError, RateLimited and
    ServerError; Unauthorized. Other exceptions of ``pieces`` are raised.
    """
    from uuid import uuid4

    uuid = str(uuid4())
    answer = answered(Call(PUT, _uuid, {"uuid": uuid}))
    if answer is not None:
        return answer
    known = _logged_in()
    if isinstance(known, Failure):
        return known
    return again(lambda: _post(uuid, pieces, known.unwrap()))


def take(uuid: str, use: Callable[[Incoming], T]) -> Result[T, PocketenvError]:
    """Fetch an archive once, and return the result of ``use`` on it. Reading to the end checks that it is complete.

    Failures: ApiError (404) for an unknown uuid; TransportError if the connection breaks; a PocketenvError that ``use``
    raises. Other exceptions of ``use`` are raised.
    """
    # A door has no archive: its result is returned without `use`.
    answer = answered(Call(TAKE, cast("Callable[[bytes], T]", bytes), {"uuid": uuid}, is_query=True))
    return _logged_in().bind(partial(_get, uuid, use)) if answer is None else answer


def again(attempt: Callable[[], Result[T, PocketenvError]]) -> Result[T, PocketenvError]:
    """Do ``attempt``, and as often again as configured, a little later each time, while storage has passing troubles.

    Only errors of `put` and `take` are retried. Other requests of an attempt may not be safe to repeat.
    """
    known = settings()
    if isinstance(known, Failure):
        return known
    arrived = set[str]()
    for pause in chain(pauses(known.unwrap().retries), (None,)):
        result = attempt()
        if isinstance(result, Success):
            return result
        error = result.failure()
        if isinstance(error, DeadlineExceeded) and error.operation in arrived:
            return Failure(DeadlineExceeded(error.seconds, error.operation, maybe_sent=True))
        if pause is None or not _passes(error) or remaining() <= 0:
            return result
        if isinstance(error, ApiError) or (isinstance(error, TransportError) and error.maybe_sent):
            arrived.add(error.operation)
        if isinstance(error, RateLimited):
            _hold_back(error, known.unwrap())
        nap(pause)
    raise AssertionError("the last attempt returns")


def _passes(error: PocketenvError) -> bool:
    match error:
        case TransportError(operation=("storage.put" | "storage.take")):
            return error.kind in PASSING_KINDS
        case RateLimited(operation=("storage.put" | "storage.take")):
            return (error.retry_after or 0) <= LONGEST_WAIT
        case ApiError(operation=("storage.put" | "storage.take")):
            # storage deletes an archive when it sends it: after a lost download, a retry gets a 404.
            return error.status in PASSING or (error.status, error.operation) == (404, TAKE)
        case _:
            return False


def _hold_back(error: RateLimited, known: Settings) -> None:
    from pocketenv_fp.http.exchange import connected
    from pocketenv_fp.http.transport import RETRY_AFTER

    seconds = RETRY_AFTER if error.retry_after is None else error.retry_after
    line = connected(_of_storage(known))
    if not isinstance(line, PocketenvError):
        line.limiter.pause(seconds)


def _of_storage(known: Settings) -> Settings:
    # No retries in the transport: an iterator cannot be rewound, and an archive cannot be read twice.
    return msgspec.structs.replace(known, api_url=known.storage_url, retries=0)


def _logged_in() -> Result[Settings, PocketenvError]:
    known = settings()
    if isinstance(known, Success) and known.unwrap().token is None:
        return Failure(NotLoggedIn())
    return known


class _Stopped(Exception):
    """The pieces raised an exception. It is separate from the exceptions of the transport."""


class _Form:
    """A multipart form with one file, generated piece by piece.

    requests-toolbelt's encoder needs the size, which is unknown before the archive is compressed.
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
        """Yield the body. An exception of the pieces is stored, and _Stopped is raised instead."""
        yield f"--{self.boundary}\r\n{self._field.render_headers()}".encode()
        try:
            yield from self._content()
        except Exception as error:  # noqa: BLE001  # `_post` raises it again
            # The transport would treat an OSError as its own.
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


def _post(uuid: str, pieces: Pieces, known: Settings) -> Result[str, PocketenvError]:
    form = _Form(pieces)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={form.boundary}",
        "Transfer-Encoding": "chunked",
    }
    # After a broken connection, close the pieces: they may own a thread and open files.
    with closing(form.body()) as body:
        try:
            return _exchange(_request("POST", f"/cp?uuid={uuid}", known, headers, body), known, PUT, _stored)
        except _Stopped:
            if isinstance(form.raised, PocketenvError):
                return Failure(form.raised)
            raise cast("Exception", form.raised) from None


def _stored(answer: Answer) -> Result[str, PocketenvError]:
    try:
        return Success(_uuid(answer.body))
    except UNDECODABLE:
        return Failure(DecodeError(PUT, "it does not contain the uuid of the stored archive"))


def _get(uuid: str, use: Callable[[Incoming], T], known: Settings) -> Result[T, PocketenvError]:
    from urllib.parse import quote

    def arrive(answer: Answer) -> Result[T, PocketenvError]:
        incoming = Incoming(answer)
        try:
            return Success(use(incoming))
        except PocketenvError as error:
            late = exceeded(TAKE, maybe_sent=True) if incoming.broken else None
            return Failure(late or incoming.broken or error)

    return _exchange(_request("GET", f"/cp/{quote(uuid, safe='')}", known), known, TAKE, arrive)


def _exchange(
    request: Request, known: Settings, operation: str, read: Callable[[Answer], Result[T, PocketenvError]]
) -> Result[T, PocketenvError]:
    from pocketenv_fp.http.exchange import delivered

    # The response to an upload is short, and is read at once.
    is_upload = request.verb == "POST"
    answer = delivered(request, _of_storage(known), known.read_timeout, operation, whole=is_upload)
    if isinstance(answer, PocketenvError):
        return Failure(answer)
    if not answer.is_good:
        return Failure(refusal(operation, answer, known.token))
    with closing(answer):
        return read(answer)


def _request(
    verb: str,
    target: str,
    known: Settings,
    extra: Mapping[str, str] | None = None,
    body: Iterator[bytes] | None = None,
) -> Request:
    from pocketenv_fp.http.transport import Request

    headers = {"Accept": "*/*", **request_headers(known.token), **(extra or {})}
    return Request(verb, target, headers, body)
