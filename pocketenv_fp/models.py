"""The platform's records: immutable, compared by value, decoded from JSON.

Types are strict: a number in quotes is a DecodeError. Unknown keys are ignored, so that a newer platform stays
readable. No record shows a key in its repr or in HTML.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload

import msgspec

from pocketenv_fp.redaction import HIDDEN, NOT_PICKLED, MaskedText, SecretText, secret_names, without_passwords

__all__ = [
    "Backup",
    "CodeError",
    "CodeResult",
    "DirectoryEntry",
    "Display",
    "ExecResult",
    "File",
    "Integration",
    "Job",
    "JobOutput",
    "Page",
    "Piece",
    "Port",
    "Preferences",
    "Profile",
    "Sandbox",
    "Secret",
    "Service",
    "ServiceLogs",
    "SshKey",
    "SshKeyPair",
    "Status",
    "TailscaleAuthKey",
    "TerminalToken",
    "Variable",
    "Volume",
]

T = TypeVar("T")


class Status(enum.Enum):
    """A sandbox's state. UNKNOWN means a new state of the platform, or a response without a state.

    >>> from pocketenv_fp import Status
    >>> Status("running"), Status("PAUSED")
    (Status.RUNNING, Status.UNKNOWN)
    """

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    INITIALIZING = "INITIALIZING"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> Status:
        return cls.__members__.get(value.upper(), cls.UNKNOWN) if isinstance(value, str) else cls.UNKNOWN

    def __repr__(self) -> str:
        return f"Status.{self.name}"


class Record(msgspec.Struct, frozen=True, rename="camel", repr_omit_defaults=True):
    """The base of all records: camelCase in JSON, a repr without empty fields and passwords, a table in notebooks."""

    def __repr__(self) -> str:
        return without_passwords(msgspec.Struct.__repr__(self._masked()))

    def __reduce__(self) -> Any:
        if secret_names(type(self), NOT_PICKLED):
            import pickle

            raise pickle.PicklingError(f"a {type(self).__name__} cannot be pickled: it contains a secret")
        return super().__reduce__()

    def html(self) -> str:
        """Return the record as an HTML table, escaped."""
        from html import escape

        shown = ((name, value if isinstance(value, str) else repr(value)) for name, value in self.__rich_repr__())
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>"
            f"<code>{escape(without_passwords(text))}</code></td></tr>"
            for name, text in shown
        )
        return f"<table><caption style='text-align:left'>{escape(type(self).__name__)}</caption>{rows}</table>"

    def _repr_html_(self) -> str:
        return self.html()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own method would show the fields that the repr hides.
        masked = self._masked()
        fields = ((name, getattr(masked, name)) for name in self.__struct_fields__)
        return [
            (name, without_passwords(value) if isinstance(value, str) else value)
            for name, value in fields
            if value is not None
        ]

    def _masked(self) -> Self:
        hidden = secret_names(type(self))
        return msgspec.structs.replace(self, **dict.fromkeys(hidden, HIDDEN)) if hidden else self


class Profile(Record, frozen=True, kw_only=True):
    """A person or team on the platform."""

    id: str
    did: str
    handle: str
    display_name: str | None = None
    avatar: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Sandbox(Record, frozen=True, kw_only=True):
    """A sandbox at the time of a response. It is not updated.

    Sizes (``memory``, ``disk``) are in GB. The response of a create has no status, so ``status`` is UNKNOWN until the
    next lookup.
    """

    id: str
    name: str
    provider: str | None = None
    base_sandbox: str | None = None
    display_name: str | None = None
    uri: str | None = None
    description: str | None = None
    topics: tuple[str, ...] | None = None
    logo: str | None = None
    readme: str | None = None
    repo: str | None = None
    vcpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    installs: int = 0
    status: Status = Status.UNKNOWN
    started_at: datetime | None = None
    created_at: datetime | None = None
    owner: Profile | None = None


class ExecResult(Record, frozen=True):
    """The output and the exit code of a command. A non-zero ``exit_code`` is not a Failure."""

    stdout: str
    stderr: str
    exit_code: int


class Job(Record, frozen=True):
    """A command that runs in the background of a sandbox, or has ended there. The value is kept, sent and pickled."""

    sandbox: Sandbox
    id: str

    def __repr__(self) -> str:
        return f"Job(sandbox={self.sandbox.name!r}, id={self.id!r})"


class JobOutput(Record, frozen=True):
    """The output of a job until now. A running job has no ``exit_code``."""

    stdout: str
    stderr: str
    exit_code: int | None = None


class Piece(Record, frozen=True):
    """A part of a command's output as it came, in whole characters.

    ``end`` is where the stream goes on: how many of its bytes came up to here. As a str it is its ``text``.
    """

    stream: Literal["stdout", "stderr"]
    text: str
    end: int

    def __str__(self) -> str:
        return self.text


class Display(Record, frozen=True):
    """What code showed: ``forms`` of one thing by their media types, with images in base64, as Jupyter has them."""

    forms: dict[str, Any]

    @property
    def png(self) -> bytes | None:
        """Return the PNG image, or None."""
        from base64 import b64decode

        form = self.forms.get("image/png")
        return b64decode(form) if isinstance(form, str) else None

    def html(self) -> str:
        """Return its HTML as it came from the sandbox. Empty where it has none."""
        form = self.forms.get("text/html")
        return form if isinstance(form, str) else ""

    def __repr__(self) -> str:
        return f"Display({', '.join(self.forms)})"

    def __hash__(self) -> int:
        return hash((Display, *self.forms))

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return dict(self.forms)


class CodeError(Record, frozen=True):
    """The exception that code raised: its class as ``kind``, its message, and the traceback as Python prints it."""

    kind: str
    message: str
    traceback: str


class CodeResult(Record, frozen=True, kw_only=True):
    """The result of code that ran in a sandbox. An ``error`` of the code is not a Failure.

    ``repr`` is the repr of the value of a last expression, None without one. ``value`` is that value, if it is JSON: a
    str, a number, a bool, a list, or a dict with str keys; otherwise None. ``number`` counts the runs of the context
    since it was started, from 1.
    """

    stdout: str = ""
    stderr: str = ""
    repr: str | None = None
    value: Any = None
    error: CodeError | None = None
    displays: tuple[Display, ...] = ()
    number: int = 1

    def __hash__(self) -> int:
        return hash((self.stdout, self.stderr, self.repr, self.error, self.displays, self.number))


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
    """A command that runs in the background until it is stopped. Each start of the sandbox starts it again."""

    id: str
    name: str
    command: str
    description: str | None = None
    status: Status = Status.UNKNOWN
    created_at: datetime | None = None


class ServiceLogs(Record, frozen=True):
    """What a service of `spawn` printed so far."""

    stdout: str
    stderr: str


class Preferences(Record, frozen=True, kw_only=True):
    """The settings of a sandbox that its owner set. A field without a value contains None."""

    name: str | None = None
    description: str | None = None
    topics: tuple[str, ...] | None = None
    repo: str | None = None


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


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list, in order, and the ``total`` number of items. It reads like a list.

    >>> from pocketenv_fp.models import Page
    >>> page = Page((1, 2), total=5)
    >>> list(page), len(page), page[0], page == [1, 2]
    ([1, 2], 2, 1, True)
    """

    items: tuple[T, ...]
    total: int

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, tuple)):
            return self.items == tuple(cast("Sequence[object]", other))
        if not isinstance(other, Page):
            return NotImplemented
        return (self.items, self.total) == (cast("Page[object]", other).items, other.total)

    def __hash__(self) -> int:
        return hash((self.items, self.total))

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def _repr_html_(self) -> str:
        from html import escape

        shown = "".join(
            item.html() if isinstance(item, Record) else f"<pre>{escape(repr(item))}</pre>" for item in self.items
        )
        return f"<p>{len(self.items)} of {self.total}</p>{shown}"


cast("Any", Sequence).register(Page)  # for `case [first, *rest]`
