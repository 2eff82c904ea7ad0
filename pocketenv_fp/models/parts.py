"""The parts of a sandbox: its ports, variables, files, volumes, services, keys and backups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, Self

from msgspec.structs import replace

from pocketenv_fp.models.record import Record
from pocketenv_fp.models.sandboxes import Status
from pocketenv_fp.models.spawned import command_of
from pocketenv_fp.redaction import MaskedText, SecretText

__all__ = [
    "Backup",
    "DirectoryEntry",
    "File",
    "Integration",
    "Port",
    "Secret",
    "Service",
    "SshKey",
    "SshKeyPair",
    "TailscaleAuthKey",
    "TerminalToken",
    "Variable",
    "Volume",
]


class Port(Record, frozen=True):
    """An exposed port. ``preview_url`` is its URL, if the provider has one."""

    port: int
    description: str | None = None
    preview_url: str | None = None


class Secret(Record, frozen=True):
    """The name of a secret. The platform never returns the value."""

    id: str
    name: str
    created_at: datetime | None = None


class Variable(Record, frozen=True):
    """An environment variable of a sandbox. It is stored unencrypted. Users of the sandbox can read it."""

    id: str
    name: str
    value: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


class File(Record, frozen=True):
    """A file that each start writes to ``path``. The platform never returns the content."""

    id: str
    path: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


EntryKind = Literal["file", "directory", "symlink", "other"]
"""The kind of an entry of a directory. A pipe, a socket and a device are other."""


class DirectoryEntry(Record, frozen=True, kw_only=True):
    """An entry of a directory of a sandbox. ``size`` is in bytes, ``mode`` its permission bits.

    ``modified`` is the time of its last change, in whole seconds. ``target`` is the path that a symlink holds.
    """

    name: str
    kind: EntryKind
    size: int
    mode: int
    modified: datetime
    target: str | None = None


class Volume(Record, frozen=True):
    """Storage that survives stops, attached at ``path``."""

    id: str
    name: str
    path: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Service(Record, frozen=True):
    """A command that runs in the background until it is stopped. Each start of the sandbox starts it again.

    ``command`` is the line that the platform stores. For a service of `spawn`, the repr and the table show the caller's
    command in its place, without the directory and the environment.
    """

    id: str
    name: str
    command: str
    description: str | None = None
    status: Status = Status.UNKNOWN
    created_at: datetime | None = None

    def shown(self) -> Self:
        """Return the service as its repr and its table show it."""
        return replace(super().shown(), command=command_of(self.command))


class Integration(Record, frozen=True):
    """A service that is connected with a sandbox. ``webhook_url`` can be called without a login, so it is not shown."""

    id: str
    name: str
    webhook_url: SecretText = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class TerminalToken(Record, frozen=True):
    """A short-lived token for the terminal service. ``token`` is never shown."""

    token: SecretText


class SshKeyPair(Record, frozen=True):
    """A new key pair from this machine, in the order of `set_ssh_keys`: ``set_ssh_keys(box, *pair)``.

    ``private_key`` is never shown.
    """

    private_key: SecretText
    public_key: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.private_key, self.public_key))


class SshKey(Record, frozen=True, kw_only=True):  # the Clojure SDK has another order of fields
    """A stored key pair. ``private_key`` is the platform's masked form. It is never shown."""

    id: str
    public_key: str
    private_key: MaskedText = ""
    created_at: datetime | None = None


class TailscaleAuthKey(Record, frozen=True):
    """A stored Tailscale key. ``auth_key`` is the platform's masked form. It is never shown."""

    id: str
    auth_key: MaskedText = ""
    created_at: datetime | None = None


class Backup(Record, frozen=True):
    """A backup of a directory. It is deleted after ``expires_at``."""

    id: str
    directory: str
    description: str | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
