"""Steps without their secrets, and requests with what may be seen of them.

What may be seen is listed: a field that is not is masked, so that a new one lets nothing out.

>>> from pocketenv_fp import from_env, set_secret, set_variable
>>> from pocketenv_fp.explaining.masking import without_secrets
>>> without_secrets(set_secret("API_KEY", from_env("MY_KEY"))), without_secrets(set_variable("STAGE", "test"))
(set_secret('API_KEY', '***'), set_variable('STAGE', 'test'))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from itertools import chain, repeat
from typing import Any, cast

from pocketenv_fp.config import FromEnv
from pocketenv_fp.explaining.fake_platform import stand_in
from pocketenv_fp.pocketenv.creation import create
from pocketenv_fp.pocketenv.credentials import CREDENTIALS
from pocketenv_fp.redaction import HIDDEN, without_passwords
from pocketenv_fp.sandbox.commands.spawn import spawn
from pocketenv_fp.steps.operation import Applied, Step, identity, is_step

__all__ = ["Shown", "sequence", "without_secrets"]

_CREDENTIALS = [credential for of_one in CREDENTIALS.values() for credential in of_one]
SHOWN = frozenset(
    {
        *("$type", "backupId", "base", "command", "description", "did", "directory", "directoryPath", "id"),
        *("isRunning", "keepAlive", "limit", "name", "offset", "path", "port", "ports", "provider", "publicKey"),
        *("readOnly", "repo", "sandboxId", "serviceId", "topics", "ttl", "uuid"),
        *(credential.on_the_wire for credential in _CREDENTIALS if not credential.is_secret),
    }
)
SEALED = frozenset(
    {
        *("authKey", "content", "privateKey"),
        *(credential.on_the_wire for credential in _CREDENTIALS if credential.is_secret),
    }
)
# What stands for a secret where only some texts are let pass.
INSTEAD: Mapping[str, str] = {
    "auth_key": "tskey-auth-masked",
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nmasked\n-----END OPENSSH PRIVATE KEY-----\n",
}
# What the library makes up: marks, names of services, staging directories, ids of archives.
_MADE_UP = re.compile(
    r"(?<=pocketenv-)[0-9a-f]{32}|(?<=\.pocketenv-copy-)[0-9a-f]{16}|(?<=spawn-)[0-9a-f]{12}|(?<=job-)[0-9a-f]{20}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def sequence(step: Step[Any, Any]) -> tuple[Applied, ...]:
    """Give the operations that a step is made of, each with its arguments."""
    return step._steps  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it is data, and this reads it


def without_secrets(step: Step[Any, Any]) -> Step[Any, Any]:
    """Give the same step with a mask for each secret in it, and with no token, configuration or `from_env`."""
    nothing: Step[Any, Any] = identity
    return reduce(lambda done, applied: done | _masked(applied), sequence(step), nothing)


def _masked(applied: Applied) -> Applied:
    names = chain(applied.operation.arguments.names, repeat(""))
    args = tuple(_mask(applied, name, each) for name, each in zip(names, applied.args, strict=False))
    given = {name: each for name, each in applied.kwargs.items() if name not in {"token", "config"}}
    kwargs = {name: _mask(applied, name, each) for name, each in given.items()}
    if applied.operation.function is _function(create) and kwargs.get("provider_credentials") is None:
        kwargs["provider_credentials"] = {}  # those of the environment are not read
    return Applied(applied.operation, args, kwargs)


def _function(step: object) -> object:
    return getattr(step, "function", None)


def _mask(applied: Applied, name: str, value: object) -> object:
    if is_step(value):
        return without_secrets(value)
    if isinstance(value, Mapping):
        named = cast("Mapping[object, object]", value)
        return {key: _mask_under(applied, name, key, each) for key, each in named.items()}
    if isinstance(value, FromEnv) and name not in applied.operation.secret:
        return stand_in(_variable(value.name))
    if isinstance(value, FromEnv) or (isinstance(value, str) and applied.is_secret(name, value)):
        return INSTEAD.get(name, HIDDEN)
    if isinstance(value, (list, tuple)):
        held = cast("list[object]", value)
        return [_mask(applied, name, each) for each in held] if applied.is_secret(name, held) else held
    return value


def _mask_under(applied: Applied, name: str, key: object, value: object) -> object:
    if isinstance(value, FromEnv):
        # Where it is refused, it is not read.
        return value if applied.operation.function is _function(spawn) else stand_in(_variable(value.name))
    return stand_in(_variable(str(key))) if applied.is_secret(name, value) else value


def _variable(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() or not name else name


class Shown:
    """What may be seen of requests. What is made up for each run has a stand-in, the same for the same text."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._known: dict[str, list[object]] = {}

    def fields(self, nsid: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Give parameters or a body, masked."""
        given = {name: value for name, value in fields.items() if value is not None}
        return {name: self._field(nsid, name, value, given) for name, value in given.items()}

    def _field(self, nsid: str, name: str, value: Any, beside: Mapping[str, Any]) -> Any:
        if name in SEALED or (name == "value" and nsid.startswith("secret.")):
            return self._sealed(name, beside)
        if isinstance(value, Mapping):
            return self.fields(nsid, cast("Mapping[str, Any]", value))
        if isinstance(value, (list, tuple)):
            return [self._field(nsid, name, each, beside) for each in cast("list[Any]", value)]
        is_shown = name in SHOWN or (name == "value" and nsid.startswith("variable."))
        if not is_shown or (isinstance(value, str) and "PRIVATE KEY" in value):
            return HIDDEN
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Give a text with stand-ins for what is made up, and without passwords."""
        return _MADE_UP.sub(self._made_up, without_passwords(text))

    def _sealed(self, name: str, beside: Mapping[str, Any]) -> str:
        if name == "value":
            return self._numbered(f"SEALED_{_variable(str(beside['name']))}", beside["name"])
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
        return self._numbered(f"SEALED_{words}", beside.get("path"))

    def _made_up(self, found: re.Match[str]) -> str:
        text = found.group()
        # What the program says itself is not made up.
        return text if text in self._said else self._numbered("UUID" if "-" in text else "RANDOM_HEX", text)

    def _numbered(self, name: str, what: object) -> str:
        known = self._known.setdefault(name, [])
        if what not in known:
            known.append(what)
        number = known.index(what) + 1
        return stand_in(name if number == 1 else f"{name}_{number}")
