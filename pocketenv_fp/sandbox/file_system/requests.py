"""Requests about one path of a sandbox, and the meaning of their answers."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import ArchiveError, DecodeError, InvalidInput, PathNotFound, PocketenvError
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.sandbox.copying.remote import HOME, End, succeeded
from pocketenv_fp.validation import unsendable

__all__ = ["Answer", "Location", "location"]

FIELD = "path"

_WRONG: Mapping[str, str] = {
    "directory": "is a directory in the sandbox",
    "file": "leads through a file in the sandbox, or is one, where a directory should be",
    "other": "is not a regular file in the sandbox, but a device, a pipe or a socket",
    "closed": "is not accessible in the sandbox: permission denied",
}
"""Words that a line prints if it did nothing, with the reason."""


class Answer(NamedTuple):
    """The words of a line's first line of output, and the rest of its output."""

    words: tuple[str, ...]
    rest: str


class Location(NamedTuple):
    """A path of a sandbox. ``operation`` is the function that was called."""

    end: End
    path: str
    operation: str

    def judged(self, result: ExecResult) -> Result[Answer, PocketenvError]:
        """Return the output of a line. Failures: CommandFailed, or the reason why the line did nothing."""
        success = succeeded(result)
        if isinstance(success, Failure):
            return success
        first, _, rest = result.stdout.partition("\n")
        match first:
            case "nothing":
                return Failure(self.not_found())
            case "incomplete":
                reason = "the content did not arrive in the sandbox: storage lost it, or the sandbox has no curl"
                return Failure(ArchiveError(reason))
            case _ if first in _WRONG:
                return Failure(InvalidInput(FIELD, _WRONG[first]))
            case _:
                return Success(Answer(tuple(first.split(" ")), rest))

    def not_found(self) -> PathNotFound:
        """Return the error of a path that does not exist."""
        from pocketenv_fp.archive.names import shown

        message = f"there is no {shown(self.path)}"
        return PathNotFound(message=message, operation=self.operation, path=self.path)

    def unclear(self) -> DecodeError:
        """Return the error of an output that no line prints."""
        return DecodeError("sandbox.exec", "the output of the shell does not describe the path")


def location(sandbox: Sandbox, path: str, operation: str) -> Result[Location, PocketenvError]:
    """Return the place of a path. It is resolved in the sandbox, as a command would. Failures: InvalidInput."""
    # A byte of a name that is not UTF-8 is half of a surrogate pair.
    if wrong := unsendable(FIELD, "".join(sign for sign in path if not "\udc80" <= sign <= "\udcff")):
        return Failure(wrong)
    if path.startswith("~"):
        reason = "starts with ~, which is not expanded: write an absolute path, or ./~ for that name"
        return Failure(InvalidInput(FIELD, reason))
    return Success(Location(End(sandbox, FIELD), f"/{posixpath.join(HOME, path).lstrip('/')}", operation))
