"""The file with the login token: the form of Pocketenv's command line, and readable by its owner only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

from pocketenv_fp.config import TOKEN_FILE
from pocketenv_fp.redaction import HiddenText

__all__ = ["prepare", "remove", "write"]


def prepare() -> None:
    """Make the folder of the file. Raises OSError if no file can be made in it."""
    folder = _path().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=".token-", dir=folder)
    os.close(descriptor)
    Path(draft).unlink()


def write(token: HiddenText) -> None:
    """Replace the file as a whole, with mode 0600. Raises OSError; then the old file is unchanged."""
    path = _path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes files with mode 0600.
    descriptor, draft = tempfile.mkstemp(prefix=".token-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(HiddenText(json.dumps({"token": token}, indent=2)).encode())
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def remove() -> bool:
    """Remove the file. Returns whether there was one. Raises OSError."""
    try:
        _path().unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _path() -> Path:
    whole = os.path.expanduser(TOKEN_FILE)  # noqa: PTH111  # pathlib's raises RuntimeError
    if whole == TOKEN_FILE:
        raise OSError(errno.ENOENT, "this user has no home directory: set HOME, or use POCKETENV_TOKEN")
    # The file may be a symlink, for instance to a repository of settings. Keep the symlink.
    return Path(os.path.realpath(whole))
