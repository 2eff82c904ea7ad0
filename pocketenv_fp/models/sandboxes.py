"""A sandbox, its owner and its state."""

from __future__ import annotations

import enum
from datetime import datetime

from pocketenv_fp.models.record import Record

__all__ = ["Preferences", "Profile", "Sandbox", "Status"]


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


class Preferences(Record, frozen=True, kw_only=True):
    """The settings of a sandbox that its owner set. A field without a value contains None."""

    name: str | None = None
    description: str | None = None
    topics: tuple[str, ...] | None = None
    repo: str | None = None
