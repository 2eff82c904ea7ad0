"""Name the command that installs an extra of this library.

The library may come from a clone, from the URL of a repository or from a wheel, and then no package index has it. pip
records the origin, and the command names it.
"""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["command_for", "install_command"]

NAME = "pocketenv-fp"


def install_command(extra: str) -> str:
    """Return the command that adds ``extra`` to the installed library.

    >>> from pocketenv_fp.extras import install_command
    >>> install_command("local").startswith("pip install ")
    True
    """
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path

    try:
        origin = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        # A clone that is on the path, and not installed.
        return command_for(extra, {"url": Path(__file__).parents[1].as_uri(), "dir_info": {"editable": True}})
    return command_for(extra, json.loads(origin) if origin else None)


def command_for(extra: str, origin: Any) -> str:
    """Return the command for an ``origin`` as pip records it, or None for a package index.

    >>> from pocketenv_fp.extras import command_for
    >>> command_for("local", {"url": "file:///home/me/my%20clone", "dir_info": {}})
    "pip install '/home/me/my clone[local]'"
    >>> command_for("keys", {"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "1a2b"}})
    "pip install 'pocketenv-fp[keys] @ git+https://example.org/x.git@1a2b'"
    >>> command_for("keys", {"url": "file:///tmp/pocketenv_fp-1.whl", "archive_info": {}})
    "pip install 'pocketenv-fp[keys] @ file:///tmp/pocketenv_fp-1.whl'"
    >>> command_for("keys", None)
    "pip install 'pocketenv-fp[keys]'"
    """
    match origin:
        case {"url": str(url), "dir_info": {"editable": True}}:
            return f"pip install -e {shlex.quote(f'{_path(url)}[{extra}]')}"
        case {"url": str(url), "dir_info": _}:
            return f"pip install {shlex.quote(f'{_path(url)}[{extra}]')}"
        case {"url": str(url), "vcs_info": {"vcs": str(tool), "commit_id": str(commit)}}:
            return f"pip install {shlex.quote(f'{NAME}[{extra}] @ {tool}+{url}@{commit}')}"
        case {"url": str(url)}:
            return f"pip install {shlex.quote(f'{NAME}[{extra}] @ {url}')}"
        case _:
            return f"pip install {shlex.quote(f'{NAME}[{extra}]')}"


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)
