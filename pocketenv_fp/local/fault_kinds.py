"""The faults: each is a value, and `works` is whether the work of the request is done. See `pocketenv_fp.local.faults`."""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

_JUNK = b"\x16\x03\x01 what is this? \xff\xfe\x00"


class _Value(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Base of all faults: they compare, hash, and print as their source."""


class _Instead(_Value, frozen=True, kw_only=True):
    """A fault that replaces the true answer, and by default the work."""

    after_work: bool = False

    @property
    def works(self) -> bool:
        """Whether the work of the request is done."""
        return self.after_work


class Slow(_Value, frozen=True):
    """The true answer, `seconds` later. **The work is done**, even for a client that no longer waits.

    The work is done at once, and only the answer is late. With `before_work` the request waits first, as in a queue. Then
    its work is done, also if the client has left.

        >>> Slow(0.5), Slow(2, before_work=True).works
        (Slow(seconds=0.5), True)
    """

    seconds: float
    before_work: bool = False
    works: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError("seconds: is below 0")


class Drop(_Instead, frozen=True):
    """The connection ends before a byte of the answer. **The work is not done**, with `after_work` **it is**.

    The client sees an early end of file (FIN), or with `reset` a broken connection (RST).

        >>> Drop().works, Drop(after_work=True).works
        (False, True)
    """

    reset: bool = False


class Cut(_Value, frozen=True, kw_only=True):
    """The true head with the full length, a part of the body, then the end of the connection. **The work is done.**

    `bytes`: how many bytes of the body are sent. Without it, `fraction` of the body is sent. The last byte is never sent.
    An answer without a body counts as `{}`. The connection ends in order (FIN), or with `reset` it breaks (RST). Then a
    long part may arrive shorter.
    """

    bytes: int | None = None
    fraction: float = 0.5
    reset: bool = False
    works: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bytes is not None and self.bytes < 0:
            raise ValueError("bytes: is below 0")
        if not 0 <= self.fraction < 1:
            raise ValueError("fraction: is not between 0 and 1")

    def kept(self, size: int) -> int:
        """Return how many bytes of a body of this size are sent."""
        return min(int(size * self.fraction) if self.bytes is None else self.bytes, size - 1)


class Truncated(_Value, frozen=True):
    """The first half of the true body, with its size in the head: a complete answer that is not JSON.

    **The work is done.** An answer without a body counts as `{}`.
    """

    works: ClassVar[bool] = True


class Refuse(_Instead, frozen=True):
    """An error in the platform's own words and shape. **The work is not done**, with `after_work` **it is**.

    `status`: 400 to 599. `error` and `message`: by default the platform's own for that status. `retry_after`: the value of
    the header of that name, also one that is not a number. None sends no header. The default is 30 for a 429, as the
    platform sends, and no header for others.

        >>> Refuse(503), Refuse(429, retry_after=1)
        (Refuse(status=503), Refuse(status=429, retry_after=1))
    """

    status: int
    retry_after: int | str | UnsetType | None = UNSET
    error: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError("status: is not between 400 and 599")
        # uvicorn would refuse the header and answer a 500 in its own words.
        if isinstance(self.retry_after, str) and not (self.retry_after.isascii() and self.retry_after.isprintable()):
            raise ValueError("retry_after: is not printable ASCII, so no header can have it")


class Html(_Instead, frozen=True):
    """A page of HTML, as a proxy sends it. **The work is not done**, with `after_work` **it is**.

    A gateway sends 502, 503 and 504. A captive portal sends 200.
    """

    status: int = 200

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599 or self.status in {204, 304}:
            raise ValueError("status: is not between 200 and 599, or an answer with it has no body")


class Garbage(_Instead, frozen=True):
    """200 and a body that is declared as JSON, but is not. **The work is not done**, with `after_work` **it is**."""

    body: bytes = _JUNK


class LostSession(_Value, frozen=True):
    """The user's AT Protocol session is gone: the platform cannot write the user's records until the next login.

    createSandbox, exposePort, addVolume, addSecret and putPreferences with a name answer 500 AgentCreationError, and
    getProfile answers `{}`. **Their work is not done, with one exception: createSandbox leaves a running sandbox.** It has
    a name of the platform's choice, and no at-uri. All other methods work as usual.
    The real platform takes 5 seconds for the error, and 20 for the empty profile. This one does not.

        >>> LostSession().works
        False
    """

    works: ClassVar[bool] = False


class DeadShell(_Value, frozen=True):
    """Another client has ended the sandbox's one shell: `sandbox.exec` is a 500. **The command is not run.**

    The shell has really ended: every later command and copy is a 500, and the status stays RUNNING. A start alone does not
    repair it. A stop and a start do, and delete the files. On other providers than Cloudflare only this answer is a 500.

        >>> DeadShell().works
        False
    """

    works: ClassVar[bool] = False


class BlockedShell(_Value, frozen=True):
    """The sandbox's one shell is blocked: this `sandbox.exec` and later ones get no answer. **The command is not run.**

    A stop of the sandbox ends it, with a 500 for each waiting request. So does the platform's time limit of a command
    (`exec_seconds`). On other providers than Cloudflare the answer is a 500 at once.

        >>> BlockedShell().works
        False
    """

    works: ClassVar[bool] = False


class NoStderr(_Value, frozen=True):
    """The true answer of `sandbox.exec` without the key `stderr`, as Daytona's is. **The work is done.**

    >>> NoStderr().works
    True
    """

    works: ClassVar[bool] = True


ShellFault = DeadShell | BlockedShell | NoStderr
Fault = Slow | Drop | Cut | Truncated | Refuse | Html | Garbage | LostSession | ShellFault
"""All faults."""
