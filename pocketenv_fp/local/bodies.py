"""The body of a request: whether there is one, how it is encoded, and the JSON in it.

The rules are those of the platform's web framework. It reads the body of every procedure before the method sees it.
"""

import codecs
import json
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, cast
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive

from pocketenv_fp.local.call import Refusal, invalid
from pocketenv_fp.local.json_errors import not_a_container, syntax_error

Headers = Mapping[bytes, bytes]
Presence = Literal["missing", "empty", "present"]

LARGEST = 102_400
JSON = "application/json"
_PROTOTYPE = "__proto__"
# Python refuses to read an integer with more than a few thousand digits; to JavaScript it is infinite.
_LONGEST_NUMBER = 300
_UNICODE = re.compile(r"utf(7|8|16|16le|16be|32|32le|32be)")
_WINDOWS = {"gzip": 31, "deflate": 15}
_BLANK = re.compile(r"[ \t\r\n]*")

_decode = msgspec.json.Decoder().decode


def presence(headers: Headers) -> Presence:
    """Return whether a request has a body. A chunked one counts as present, even if it is empty."""
    if b"transfer-encoding" in headers:
        return "present"
    length = headers.get(b"content-length")
    if length is None:
        return "missing"
    return "empty" if length == b"0" else "present"


def media_type(headers: Headers) -> str:
    """Return the type without its parameters, as it was written. It may be empty."""
    return headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip()


async def read(headers: Headers, receive: Receive) -> Any:
    """Return the JSON value of a body; None where there is no body or another type. Raises Refusal."""
    kind = media_type(headers).lower()
    if presence(headers) == "missing" or kind not in {JSON, "text/plain"}:
        return None
    charset = _charset(headers)
    if kind == JSON and not charset.startswith("utf-"):
        raise _unsupported(f'charset "{charset.upper()}"')
    raw = await _content(headers, receive)
    if kind != JSON:
        return None
    return parse(_text(raw, charset)) if raw else {}


def read_fields(raw: bytes) -> dict[str, str]:
    """Return the fields of a query string or a form. Of equal names the first one counts."""
    return {name: values[0] for name, values in parse_qs(raw.decode("latin-1")).items()}


def parse(text: str) -> Any:
    """Parse the object or list in a string. Raises Refusal with the words of JavaScript."""
    first = text[cast("re.Match[str]", _BLANK.match(text)).end() :][:1]
    if first not in {"{", "["}:
        raise _malformed(not_a_container(text))
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # It may be JSON all the same: a half of a surrogate pair, a number that is too large, deep nesting.
        pass
    message = syntax_error(text)
    if message is not None:
        raise _malformed(message)
    try:
        return json.loads(text, parse_int=_number)
    except RecursionError:
        # No method takes a value that is nested so deeply.
        return {} if first == "{" else []


def _number(digits: str) -> int | float:
    return float(digits) if len(digits) > _LONGEST_NUMBER else int(digits)


def encode(value: Any) -> bytes:
    """Return a value as JSON. A half of a surrogate pair is escaped, as JavaScript does it."""
    try:
        return msgspec.json.encode(value)
    except UnicodeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def check_keys(value: Any) -> None:
    """Raise Refusal for an object with the key `__proto__`, at any depth."""
    waiting: list[Any] = [value]
    while waiting:
        inner: Any = waiting.pop()
        if isinstance(inner, dict):
            mapping = cast("dict[str, Any]", inner)
            if _PROTOTYPE in mapping:
                raise invalid(f"Invalid key: {_PROTOTYPE}")
            waiting.extend(mapping.values())
        elif isinstance(inner, list):
            waiting += inner


def _charset(headers: Headers) -> str:
    for part in headers.get(b"content-type", b"").decode("latin-1").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def _text(raw: bytes, charset: str) -> str:
    if not _UNICODE.fullmatch(re.sub(r"[^0-9a-z]", "", charset)):
        raise _unsupported(f'charset "{charset.upper()}"')
    text = codecs.decode(raw, charset, "replace")
    return text.removeprefix("\ufeff")


async def _content(headers: Headers, receive: Receive) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
    if encoding == "identity":
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > LARGEST:
            raise _too_large()
        return await _gather(_pieces(receive))
    if encoding not in _WINDOWS:
        raise _unsupported(f'content encoding "{encoding}"')
    return await _gather(_inflated(_pieces(receive), _WINDOWS[encoding]))


async def _gather(pieces: AsyncIterator[bytes]) -> bytes:
    whole = bytearray()
    async for piece in pieces:
        whole += piece
        if len(whole) > LARGEST:
            raise _too_large()
    return bytes(whole)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise invalid("request aborted")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _inflated(pieces: AsyncIterator[bytes], window: int) -> AsyncIterator[bytes]:
    stream = zlib.decompressobj(window)
    try:
        async for piece in pieces:
            # One byte more than is allowed is enough to see that it is too much.
            yield stream.decompress(piece, LARGEST + 1)
            if stream.unconsumed_tail:
                raise _too_large()
    except zlib.error as error:
        # Python puts a number and a phrase before the words of the library, separated by a colon.
        raise Refusal(400, "Error", str(error).rpartition(": ")[2]) from None
    if not stream.eof:
        raise Refusal(400, "Error", "unexpected end of file")


def _malformed(message: str) -> Refusal:
    return Refusal(400, "SyntaxError", message)


def _unsupported(what: str) -> Refusal:
    return Refusal(415, "UnsupportedMediaTypeError", f"unsupported {what}")


def _too_large() -> Refusal:
    return Refusal(413, "PayloadTooLargeError", "request entity too large")
