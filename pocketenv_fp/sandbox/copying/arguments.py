"""What callers pass to copies: paths of this machine, and what to leave out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.sandbox.copying.remote import place
from pocketenv_fp.validation import not_unicode, unsendable

if TYPE_CHECKING:
    from pocketenv_fp.archive.ignore import Ignore

__all__ = ["Places", "is_directory", "places"]


class Places(NamedTuple):
    """The two ends of a copy, and what to leave out."""

    remote: str
    local: Path
    rules: Ignore


def places(remote: str, local: str | PathLike[str], ignore: bool | Sequence[str]) -> Result[Places, PocketenvError]:  # noqa: FBT001  # as the caller gave it
    """Return the places of an upload or a download. Failures: InvalidInput for an argument that cannot be used."""
    path = place("remote", remote)
    if isinstance(path, Failure):
        return path
    here = _local_path(local)
    if isinstance(here, InvalidInput):
        return Failure(here)
    rules = _ignore_rules(ignore)
    if isinstance(rules, InvalidInput):
        return Failure(rules)
    return Success(Places(path.unwrap(), here, rules))


def _local_path(path: str | PathLike[str]) -> Path | InvalidInput:
    text = os.fspath(path)
    if "\0" in text:
        return InvalidInput("local", "holds a NUL character, and no path does")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        reason = f"cannot be written in the encoding of this machine's names, {encoding}"
        wrong = unsendable("local", text) if encoding == "utf-8" else None
        return wrong or InvalidInput("local", reason)
    whole = os.path.expanduser(text)  # noqa: PTH111  # pathlib's raises
    if whole.startswith("~"):
        return InvalidInput("local", "starts with ~ but is not a user's home directory: write ./~ for that name")
    return Path(whole)


def _ignore_rules(ignore: bool | Sequence[str]) -> Ignore | InvalidInput:  # noqa: FBT001  # as the caller gave it
    from pocketenv_fp.archive.ignore import Ignore

    if isinstance(ignore, bool):
        return Ignore.files() if ignore else Ignore.none()
    try:
        return Ignore.patterns(list(ignore))
    except UnicodeEncodeError:
        return not_unicode("ignore")


def is_directory(path: Path) -> bool:
    """Return whether there is a directory. A path that cannot be looked at counts as no directory."""
    return os.path.isdir(path)  # noqa: PTH112  # pathlib's raises
