"""Compiled modules that all processes of a run share: each is compiled once, and not by each process."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests import places


def share(config: pytest.Config) -> None:
    """Keep compiled modules in the cache of pytest where none may be written beside the sources."""
    cache = getattr(config, "cache", None)
    if sys.dont_write_bytecode and cache is not None:
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(cache.mkdir("bytecode"))


@contextmanager
def first_alone(config: pytest.Config) -> Generator[None]:
    """Let one of several processes import the tests before the others, which then need not compile them."""
    cache = getattr(config, "cache", None)
    if cache is None or _compiled():
        yield
        return
    with (cache.mkdir("bytecode") / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _compiled() -> bool:
    # The tests of the last folder: where these are compiled, so are the others.
    return Path(cache_from_source(str(places.TESTS / "steps" / "test_within.py"))).parent.is_dir()
