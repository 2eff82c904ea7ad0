"""Find the settings of a call: the platform's address and the login. They are read at call time, in this order:

1. ``token=`` and ``config=`` on the call,
2. ``with using(Config(...)):``, then ``with local.platform():``,
3. the environment: ``POCKETENV_TOKEN``, ``POCKETENV_API_URL``, ``POCKETENV_STORAGE_URL``, ``POCKETENV_PUBLIC_KEY``,
4. ``~/.pocketenv/token.json``, for the token,
5. the real platform's defaults.

``POCKETENV_API_URL=local`` means the embedded platform (``pocketenv_fp.local``), which is started on first use. It has
its own token, key and storage. The values of the environment and of the token file belong to another platform, so they
are not used for it.

>>> from pocketenv_fp.config import Config, settings, using
>>> with using(Config(api_url="https://pocketenv.example", token="top-secret")):
...     known = settings().unwrap()
>>> known.api_url, known.read_timeout, known.token == "top-secret"
('https://pocketenv.example', 30.0, True)
>>> print(Config(token="top-secret", read_timeout=5))
Config(token='***', read_timeout=5)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.plain_types import UNDECODABLE, built, demand_type, normalize
from pocketenv_fp.redaction import HIDDEN, NOT_PICKLED, NOT_SHOWN, HiddenText, Source, secret_names
from pocketenv_fp.runtime.environment import Variables
from pocketenv_fp.runtime.rehearsal import is_rehearsed, stand_in, variable
from pocketenv_fp.runtime.scope import scope
from pocketenv_fp.validation import Name, Seconds, Text, is_loopback, is_one_word, wrong_value

if TYPE_CHECKING:
    from pocketenv_fp.local import Platform

__all__ = ["Config", "FromEnv", "Settings", "from_env", "hides_output", "in_use", "logged_in", "settings", "using"]

API_URL = "https://api.pocketenv.io"
STORAGE_URL = "https://sandbox.pocketenv.io"
PUBLIC_KEY = "2bf96e12d109e6948046a7803ef1696e12c11f04f20a6ce64dbd4bcd93db9341"
LOCAL = "local"
TOKEN_FILE = "~/.pocketenv/token.json"  # noqa: S105  # a path

T = TypeVar("T")


class _Masked(msgspec.Struct, frozen=True, kw_only=True):
    """A record with a token. It is masked when shown, and cannot be pickled with a token."""

    token: Annotated[Text, NOT_SHOWN, NOT_PICKLED] | None = None

    def __post_init__(self) -> None:
        # Tools that show the locals of a traceback use the repr of each value: hide the token there too.
        if isinstance(self.token, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            msgspec.structs.force_setattr(self, "token", HiddenText(self.token))

    def __repr__(self) -> str:
        shown = ((name, "float('inf')" if value == float("inf") else repr(value)) for name, value in self._fields())
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own method would show the token.
        return self._fields()

    def _fields(self) -> list[tuple[str, Any]]:
        hidden = secret_names(type(self))
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [
            (name, HIDDEN if name in hidden else _shown(name, value)) for name, value in fields if value is not None
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.token is not None:
            import pickle

            raise pickle.PicklingError(
                f"a {type(self).__name__} with a token cannot be pickled: set POCKETENV_TOKEN where it will be used"
            )
        return (_rebuild, (type(self), msgspec.structs.asdict(self)))


def _rebuild(kind: type[_Masked], values: dict[str, Any]) -> _Masked:
    return kind(**values)


def _shown(name: str, value: object) -> object:
    return _without_login(value) if name.endswith("_url") and isinstance(value, str) else value


def _without_login(url: str) -> str:
    # A URL with a password or a query is refused later. Mask both until then.
    scheme, slashes, _ = url.rpartition("@")[0].partition("//")
    host = url.rpartition("@")[2]
    url = f"{scheme if slashes else ''}{slashes}{HIDDEN}@{host}" if "@" in url else url
    return f"{url.partition('?')[0]}?{HIDDEN}" if "?" in url else url


_LOOSE = {"retries": int, "connect_timeout": float, "read_timeout": float, "hide_output": bool}


class Config(_Masked, frozen=True, kw_only=True):
    """Settings of a caller. A field with None is taken from the next source.

    Args:
        api_url: URL of the API, or ``"local"`` for the embedded platform.
        storage_url: URL of the storage host.
        public_key: The platform's public key for secrets, 64 hexadecimal digits.
        token: Login token. It is never shown.
        connect_timeout: Seconds until a connection is made. Default: 10.
        read_timeout: Seconds until a response is complete. Default: 30.
        retries: Number of retries of a request that is safe to repeat. Default: 3.
        verify: Path of a CA bundle to trust instead of the usual one.
        hide_output: True to leave the output of a failed command out of the message of CommandFailed. Default: False.

    """

    api_url: Text | None = None
    storage_url: Text | None = None
    public_key: Text | None = None
    connect_timeout: Seconds | None = None
    read_timeout: Seconds | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] | None = None
    verify: Text | None = None
    hide_output: bool | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            msgspec.structs.force_setattr(self, name, normalize(getattr(self, name)))
        self.wrong()
        super().__post_init__()

    def wrong(self) -> InvalidInput | None:
        """Return an error for the first field with a wrong value, or None. Raise TypeError for a wrong type."""
        for field in _config_fields():
            value = getattr(self, field.name)
            loose = _LOOSE.get(field.name, str)
            if value is not None and (wrong := wrong_value(field.name, value, field.type, loose)):
                return wrong
        return None


@lru_cache(maxsize=1)
def _config_fields() -> tuple[msgspec.structs.FieldInfo, ...]:
    # msgspec evaluates all annotations each time, and each call with `token=` makes a Config.
    return msgspec.structs.fields(Config)


class Settings(_Masked, frozen=True, kw_only=True):
    """The settings from all sources together. Without a login, ``token`` has the value None."""

    api_url: str
    storage_url: str
    public_key: str
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    retries: int = 3
    verify: str | None = None
    hide_output: bool = False


class FromEnv(msgspec.Struct, Source, frozen=True):
    """The name of an environment variable that is read when a step runs: see `from_env`."""

    name: Name

    def __post_init__(self) -> None:
        demand_type("from_env", "name", self.name, str)
        msgspec.structs.force_setattr(self, "name", normalize(self.name))

    def __repr__(self) -> str:
        return f"from_env({self.name!r})"

    def read(self, field: str) -> Result[str, PocketenvError]:
        """Return the variable's value, or Failure(InvalidInput) for ``field`` if it is not set."""
        if is_rehearsed():
            return Success(stand_in(variable(self.name)))
        value = os.environ.get(self.name)
        if not value:
            return Failure(InvalidInput(field, f"the environment variable {self.name} is not set"))
        return Success(HiddenText(value))


def from_env(name: str) -> FromEnv:
    """Refer to an environment variable, so that a pipeline with secrets can be printed, pickled and sent.

    Returns a FromEnv. The variable is read on the machine and at the time at which the step runs. If it is not set
    there, the step is Failure(InvalidInput).

    Args:
        name: Name of the environment variable.

    >>> from pocketenv_fp import from_env
    >>> from pocketenv_fp.sandbox import set_secret
    >>> set_secret("API_KEY", from_env("MY_API_KEY"))
    set_secret('API_KEY', from_env('MY_API_KEY'))

    """
    return FromEnv(name)


_using: ContextVar[tuple[Config, ...]] = ContextVar("pocketenv_fp.using", default=())


@contextmanager
def using(config: Config) -> Generator[None]:
    """Use ``config`` for every call inside the block, in this thread or task. Yields nothing.

    Blocks can be nested: the inner one comes first.

    Args:
        config: The settings. Fields that are None are taken from the next source.

    >>> from pocketenv_fp import Config, me, using
    >>> with using(Config(read_timeout=5)):
    ...     me().map(lambda profile: bool(profile.handle))
    <Success: True>

    """
    demand_type("using", "config", config, Config)
    with scope(_using, (config, *_using.get())):
        yield


def in_use() -> tuple[Config, ...]:
    """Return the configurations of the surrounding `using` blocks, the innermost first."""
    return _using.get()


def hides_output() -> bool:
    """Return whether messages must not quote the output of commands."""
    return next((config.hide_output for config in _using.get() if config.hide_output is not None), False)


class _Source(_Masked, frozen=True, kw_only=True):
    """The values of the environment and the token file, or of the embedded platform."""

    api_url: str
    storage_url: str
    public_key: str


def logged_in(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Call ``function`` inside a `using` block for the ``token`` and the ``config`` among its arguments.

    The function does not get these two: whatever it calls finds them with `settings`. The token wins over the config.
    """
    token, config = kwargs.get("token"), kwargs.get("config")
    others = {name: value for name, value in kwargs.items() if name not in {"token", "config"}}
    if token is None and config is None:
        return function(*args, **others)
    with ExitStack() as blocks:
        if config is not None:
            blocks.enter_context(using(config))
        if token is not None:
            blocks.enter_context(using(Config(token=token)))
        return function(*args, **others)


def settings() -> Result[Settings, PocketenvError]:
    """Find the settings now, from all sources. Failures: InvalidInput for a value that is not valid.

    A token together with a plain ``http://`` URL is refused, except on this machine: others could read it.
    """
    layers = _using.get()
    api_url = token = None
    for layer in layers:
        api_url, token = api_url or layer.api_url, token or layer.token
    if api_url is None and (platform := _entered()) is not None:
        return _settled(layers, _source_of(platform), platform.url)
    source = _of_environment(_variables.raw())
    api_url = api_url or source.api_url
    if api_url == LOCAL:
        source = _embedded()
        return _settled(layers, source, source.api_url)
    if token is None and source.token is None:
        of_file = _token_file()
        if isinstance(of_file, InvalidInput):
            return Failure(of_file)
        source = msgspec.structs.replace(source, token=of_file)
    return _settled(layers, source, api_url)


_variables = Variables("POCKETENV_API_URL", "POCKETENV_STORAGE_URL", "POCKETENV_PUBLIC_KEY", "POCKETENV_TOKEN")


# Every call reads the environment, and it seldom changes.
@lru_cache(maxsize=8)
def _of_environment(values: tuple[bytes | str | None, ...]) -> _Source:
    api_url, storage_url, public_key, token = (os.fsdecode(value) if value else None for value in values)
    return _Source(
        api_url=api_url or API_URL,
        storage_url=storage_url or STORAGE_URL,
        public_key=public_key or PUBLIC_KEY,
        token=token,
    )


def _entered() -> Platform | None:
    # Not imported here: a program without the embedded platform does not pay for it.
    local = sys.modules.get("pocketenv_fp.local")
    return None if local is None else local.entered.get()


def _embedded() -> _Source:
    # Imported here: only the embedded platform needs its packages.
    from pocketenv_fp import local

    return _source_of(local.shared())


def _source_of(platform: Platform) -> _Source:
    return _Source(
        api_url=platform.url,
        storage_url=platform.storage_url,
        public_key=platform.public_key,
        token=platform.token,
    )


class _TokenFile(msgspec.Struct):
    token: Text


def _token_file() -> HiddenText | InvalidInput | None:
    try:
        # pathlib would be a tenth of this library's import time.
        with open(os.path.expanduser(TOKEN_FILE), "rb") as file:  # noqa: PTH111, PTH123  # pathlib is slow to import
            return HiddenText(msgspec.json.decode(file.read(), type=built(_TokenFile)).token)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return InvalidInput("token", f"{TOKEN_FILE} cannot be read: {error.strerror}")
    except UNDECODABLE:
        return InvalidInput("token", f'{TOKEN_FILE} does not contain {{"token": "…"}}')


# Every call asks for the settings, and they seldom change.
@lru_cache(maxsize=64)
def _settled(layers: tuple[Config, ...], source: _Source, api_url: str) -> Result[Settings, PocketenvError]:
    wrong = next((wrong for layer in layers if (wrong := layer.wrong())), None)
    if wrong:
        return Failure(wrong)
    values = msgspec.structs.asdict(source)
    for layer in reversed(layers):
        values |= {name: value for name, value in msgspec.structs.asdict(layer).items() if value is not None}
    values["api_url"] = api_url
    known = Settings(
        **{name: value.strip().rstrip("/") if name.endswith("_url") else value for name, value in values.items()}
    )
    wrong = (
        _wrong_url("api_url", known.api_url, known.token)
        or _wrong_url("storage_url", known.storage_url, known.token)
        or _wrong_token(known.token)
    )
    return Failure(wrong) if wrong else Success(known)


def _wrong_url(field: str, text: str, token: str | None) -> InvalidInput | None:
    from urllib.parse import urlsplit

    # urlsplit drops newlines, and some other URL parsers stop at a backslash.
    if not text.isprintable() or " " in text or "\\" in text:
        return InvalidInput(field, "is not a URL")
    try:
        url = urlsplit(text)
        host = url.hostname if url.port is None or url.port else None  # reading .port checks that it is a number
    except ValueError:
        return InvalidInput(field, "is not a URL")
    if url.scheme not in {"http", "https"} or not host:
        return InvalidInput(field, "must be an http:// or https:// URL, or 'local' for the embedded platform")
    if url.username is not None or "?" in text or "#" in text:
        return InvalidInput(field, "must not contain a password or a query")
    if url.scheme == "http" and token is not None and not is_loopback(host):
        return InvalidInput(field, "must be https://, because a token is sent: others can read plain http:// traffic")
    return None


def _wrong_token(token: str | None) -> InvalidInput | None:
    if token is not None and not is_one_word(token):
        return InvalidInput("token", "must be one word of printable ASCII characters")
    return None
