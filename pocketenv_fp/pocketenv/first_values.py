"""The variables and secrets that a `create` sets in its sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.config import FromEnv
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.pocketenv.records import Listing, Unit, add_or_update, text
from pocketenv_fp.pocketenv.secrets import add_secret, iter_secrets, update_secret
from pocketenv_fp.pocketenv.variables import add_variable, iter_variables, update_variable
from pocketenv_fp.validation import unsendable

__all__ = ["FirstValues"]


class _Setters(NamedTuple):
    """The functions for variables, or for secrets."""

    add: Callable[..., Unit]
    each: Callable[..., Iterator[Result[Any, PocketenvError]]]
    update: Callable[..., Unit]

    def set(self, listing: Listing[Any], name: str, value: str, add: Callable[[], Unit]) -> Unit:
        known = listing.known(name)
        return add_or_update(add, partial(listing.take, name), lambda old: self.update(old.id, name, value), known)


_VARIABLES = _Setters(add_variable, iter_variables, update_variable)
_SECRETS = _Setters(add_secret, iter_secrets, update_secret)


class FirstValues:
    """The variables and secrets of one call of `create`."""

    def __init__(self) -> None:
        self._values: list[tuple[_Setters, str, str]] = []

    def take(self, env: Mapping[str, str | FromEnv], secrets: Mapping[str, str | FromEnv]) -> Unit:
        """Read and check the variables and secrets before the create. Failures: InvalidInput, EncryptionError."""
        both = next((name for name in secrets if name in env), None)
        if both is not None:
            return Failure(InvalidInput("secrets", f"{both} is in env too"))
        for field, kind, values in (("env", _VARIABLES, env), ("secrets", _SECRETS, secrets)):
            for name, value in values.items():
                read = _read(f"{field}[{name!r}]", value, is_secret=kind is _SECRETS)
                if isinstance(read, Failure):
                    return read
                self._values.append((kind, name, read.unwrap()))
        return Success(None)

    def set_all(self, sandbox_id: str, *, is_new: bool) -> Unit:
        """Set them. A sandbox that is not new may have some of the names: they get the new values."""
        # Only a name that is there already needs the list.
        listings = {kind: Listing(partial(kind.each, sandbox_id)) for kind, *_ in self._values}
        for kind, name, value in self._values:
            add = partial(kind.add, sandbox_id, name, value)
            answer = add() if is_new else kind.set(listings[kind], name, value, add)
            if isinstance(answer, Failure):
                return answer
        return Success(None)


def _read(field: str, value: str | FromEnv, *, is_secret: bool) -> Result[str, PocketenvError]:
    if not isinstance(value, (str, FromEnv)):  # pyright: ignore[reportUnnecessaryIsInstance]  # a dict passes for one
        raise TypeError(f"create: {field}: expected str or from_env(…), got {type(value).__name__}")
    clear = plain(value, field) if is_secret else text(value, field)
    if isinstance(clear, Failure):
        return clear
    if wrong := unsendable(field, clear.unwrap()):
        return Failure(wrong)
    # Seal once as a check: a key or value that cannot be used is reported before the sandbox exists.
    sealed = seal(clear.unwrap()) if is_secret else clear
    return sealed if isinstance(sealed, Failure) else clear
