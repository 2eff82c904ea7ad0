"""The platform's providers: how each runs a command, and the features of each.

A sandbox's record names its provider. The provider decides the wire form of a command, the way of a copy, and which
operations are refused.

>>> from pocketenv_fp.providers import provider_of
>>> provider_of("e2b").quoting, provider_of("e2b").exec_seconds
('word', 60.0)
>>> provider_of(None).name
'cloudflare'
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["CLOUDFLARE", "Provider", "provider_of"]

Quoting = Literal["none", "word", "double"]
"""The quoting that the platform puts around a command before a shell reads it.

``none``: nothing. ``word``: the command follows ``bash -c`` without quotes, so it must be one word.
``double``: the command is inside double quotes, where a shell expands ``$`` and backticks.
"""


class Provider(NamedTuple):
    """A provider of sandboxes. The defaults are those of the nine providers other than Cloudflare.

    ``reader`` is the shell that reads the command first. ``persistent``: all commands of a sandbox share one shell.
    ``exec_seconds`` is the longest duration of a command, None if no limit is known. ``lost_exit_code``: the platform
    returns an error for a non-zero exit code. ``has_stderr``: a response has the standard error. ``copies``: pushDirectory
    and pullDirectory work. ``keeps_files``: files survive a stop. ``running_on_create``: a new sandbox is running when
    create returns.
    """

    name: str
    reader: Literal["bash", "sh"] = "bash"
    quoting: Quoting = "none"
    persistent: bool = False
    exec_seconds: float | None = None
    lost_exit_code: bool = False
    has_stderr: bool = True
    copies: bool = True
    services: bool = False
    variables: bool = False
    vscode: bool = False
    backups: bool = False
    keeps_files: bool = False
    running_on_create: bool = False


CLOUDFLARE = "cloudflare"

_PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            CLOUDFLARE,
            persistent=True,
            exec_seconds=300.0,
            services=True,
            variables=True,
            vscode=True,
            backups=True,
            running_on_create=True,
        ),
        Provider("daytona", reader="sh", has_stderr=False, keeps_files=True),
        # If sh is dash, pullDirectory unpacks, does not copy, and returns 200.
        Provider("deno", reader="sh", copies=False),
        Provider("vercel", reader="sh", copies=False),
        Provider("sprites", keeps_files=True),
        Provider("modal"),
        Provider("e2b", quoting="word", exec_seconds=60.0, lost_exit_code=True, copies=False),
        Provider("blaxel", quoting="word", copies=False),
        Provider("hopx", exec_seconds=30.0, keeps_files=True),
        Provider("runloop", quoting="double", copies=False),
    )
}


def provider_of(name: str | None) -> Provider:
    """Return the facts about a provider.

    None means a record without a provider, and returns Cloudflare, the platform's default. An unknown provider counts
    as one with a POSIX shell that supports everything.
    """
    if name is None:
        return _PROVIDERS[CLOUDFLARE]
    return _PROVIDERS.get(name) or Provider(name, reader="sh", services=True, variables=True, vscode=True, backups=True)
