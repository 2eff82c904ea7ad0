"""Arguments of steps without secrets, and the fields of requests without secrets.

`SHOWN` lists the fields that are shown. Each other field is masked, also a new one.

>>> from pocketenv_fp.explaining.masking import MaskedFields
>>> MaskedFields("").masked("sandbox.exec", {"id": "3f", "newField": "sk-12345"})
{'id': '3f', 'newField': '***'}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any, cast

from pocketenv_fp.config import FromEnv
from pocketenv_fp.pocketenv.credentials import CREDENTIALS
from pocketenv_fp.redaction import HIDDEN, without_passwords
from pocketenv_fp.runtime.rehearsal import stand_in, variable
from pocketenv_fp.steps.step import Applied, is_step

__all__ = ["SHOWN", "MaskedFields", "masked"]

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
# Masks for arguments that are checked before they are sealed.
INSTEAD: Mapping[str, str] = {
    "auth_key": "tskey-auth-masked",
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nmasked\n-----END OPENSSH PRIVATE KEY-----\n",
}
# Random values of the library: marks, names of services, staging directories, ids of archives.
_RANDOM = re.compile(
    r"(?<=pocketenv-)[0-9a-f]{32}|(?<=\.pocketenv-copy-)[0-9a-f]{16}|(?<=spawn-)[0-9a-f]{12}|(?<=job-)[0-9a-f]{20}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def masked(applied: Applied) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of an operation with a mask for each secret, and without its token and configuration.

    The arguments of a combinator are returned as they are: its steps have them, and are masked when they are run.
    """
    names = chain(applied.operation.arguments.names, repeat(""))
    if any(map(is_step, (*applied.args, *applied.kwargs.values()))):
        return applied.args, dict(applied.kwargs)
    args = tuple(_mask(applied, name, each) for name, each in zip(names, applied.args, strict=False))
    options = {name: each for name, each in applied.kwargs.items() if name not in {"token", "config"}}
    return args, {name: _mask(applied, name, each) for name, each in options.items()}


def _mask(applied: Applied, name: str, value: object) -> object:
    if isinstance(value, Mapping):
        named = cast("Mapping[object, object]", value)
        return {
            key: stand_in(variable(str(key))) if applied.is_secret(name, each) else each for key, each in named.items()
        }
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return [_mask(applied, name, each) for each in items] if applied.is_secret(name, items) else items
    is_secret_variable = isinstance(value, FromEnv) and name in applied.operation.secret
    is_secret_text = isinstance(value, (str, bytes)) and applied.is_secret(name, value)
    return INSTEAD.get(name, HIDDEN) if is_secret_variable or is_secret_text else value


class MaskedFields:
    """Masks the fields of requests. A random value has a stand-in, the same for the same value."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._known: dict[str, list[object]] = {}

    def masked(self, nsid: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters or a body, masked."""
        options = {name: value for name, value in fields.items() if value is not None}
        return {name: self._field(nsid, name, value, options) for name, value in options.items()}

    def _field(self, nsid: str, name: str, value: Any, beside: Mapping[str, Any]) -> Any:
        if name in SEALED or (name == "value" and nsid.startswith("secret.")):
            return self._sealed(name, beside)
        if isinstance(value, Mapping):
            return self.masked(nsid, cast("Mapping[str, Any]", value))
        if isinstance(value, (list, tuple)):
            return [self._field(nsid, name, each, beside) for each in cast("list[Any]", value)]
        is_shown = name in SHOWN or (name == "value" and nsid.startswith("variable."))
        if not is_shown or (isinstance(value, str) and "PRIVATE KEY" in value):
            return HIDDEN
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return ``text`` with a stand-in for each random value, and without passwords."""
        return _RANDOM.sub(self._random, without_passwords(text))

    def _sealed(self, name: str, beside: Mapping[str, Any]) -> str:
        if name == "value":
            return self._numbered(f"SEALED_{variable(str(beside['name']))}", beside["name"])
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
        return self._numbered(f"SEALED_{words}", beside.get("path"))

    def _random(self, match: re.Match[str]) -> str:
        text = match.group()
        # A value in the source of the step is not random.
        return text if text in self._source else self._numbered("UUID" if "-" in text else "RANDOM_HEX", text)

    def _numbered(self, name: str, what: object) -> str:
        values = self._known.setdefault(name, [])
        if what not in values:
            values.append(what)
        number = values.index(what) + 1
        return stand_in(name if number == 1 else f"{name}_{number}")
