"""What commands, jobs, services and code print and return in a sandbox."""

from __future__ import annotations

from typing import Any, Literal

from pocketenv_fp.models.record import Record
from pocketenv_fp.models.sandboxes import Sandbox

__all__ = ["CodeError", "CodeResult", "Display", "ExecResult", "Job", "JobOutput", "Piece", "ServiceLogs"]


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


class ServiceLogs(Record, frozen=True):
    """What a service of `spawn` printed so far."""

    stdout: str
    stderr: str
