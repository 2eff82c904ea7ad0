"""A temporary directory in memory for a run of all tests: a disk takes most of the time in which a sandbox is made and removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # only a new directory of its own is used there
# The tests of large archives need some of this at the same time. A container has 64 MB as a rule.
LEAST_BYTES = 4 << 30
_FOLDER = pytest.StashKey[str]()


def use_memory(config: pytest.Config) -> None:
    """Make the temporary directory of this process and its children, unless the user names one."""
    if config.option.basetemp is not None or "TMPDIR" in os.environ or not _is_usable():
        return
    # A short name: the path of a socket has 107 bytes at most.
    config.stash[_FOLDER] = os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="pytest-", dir=MEMORY)
    # As the usual directory: some tests run a program of another user below it.
    Path(tempfile.tempdir).chmod(0o711)


def remove(config: pytest.Config) -> None:
    """Remove the directory, which only the process that made it does."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _is_usable() -> bool:
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < LEAST_BYTES:
        return False
    # Containers often allow no program there, and sandboxes have programs.
    return not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
