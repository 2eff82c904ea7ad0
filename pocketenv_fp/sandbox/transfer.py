"""A sandbox's side of copying: its archives in and out of storage, and the little that only a shell in it can do."""

from __future__ import annotations

import math
import os
import posixpath
from typing import Literal

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.deadline import limited, unlimited
from pocketenv_fp.errors import (
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    PathNotFound,
    PocketenvError,
    ServerError,
    TransportError,
)
from pocketenv_fp.interrupts import guarded, opened
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.sandbox.commands import ended_well, exec
from pocketenv_fp.shell import quote
from pocketenv_fp.xrpc import decode, nothing, procedure, send

__all__ = ["FILE", "STAGED", "End", "Kind", "may_have_run", "names_directory", "place", "temporary"]

Kind = Literal["directory", "file", "nothing", "other"]

HOME = "/workspace"
FILE = "file"
STAGED = ".pocketenv-copy-"
# For removing what was staged, where the time of `within` is over.
REMOVING = 30.0
NOTHING_CAME = 93
IN_THE_WAY = 94

# Where there are no boxes, the embedded platform keeps a sandbox's root in a folder, and this is its name.
_ROOT = "r=${POCKETENV_SANDBOX_DIR-}\n"
_KIND = """if [ -d "$p" ]; then echo directory
elif [ -f "$p" ]; then echo file
elif [ -e "$p" ]; then echo other
else echo nothing; fi"""
_REMOVE = 'chmod -R u+rwX "$s"; rm -rf "$s"'
# What nobody waits for any more may still be under way, and come when all was removed.
_REMOVE_LATE = f"""{_REMOVE}
(n=0; while [ $n -lt 60 ]; do sleep 1; n=$((n+1)); if [ -e "$s" ]; then {_REMOVE}; fi; done) > /dev/null 2>&1 < /dev/null &"""
_STAGE = f"""mkdir -m 700 "$s" && cp -p "$p" "$s/{FILE}" || {{ rm -rf "$s"; exit 1; }}"""
_TOP = f"""trap '{_REMOVE}' EXIT
t=
for e in "$s"/* "$s"/.[!.]* "$s"/..?*; do if [ -d "$e" ]; then t=$e; fi; done
[ -n "$t" ] || exit {NOTHING_CAME}
"""
# Top down, so that no link is followed to what lies below it.
_NO_LINKS = """find . -exec sh -c 'for e; do if [ -h "$0/$e" ]; then rm -f "$0/$e" || exit 1; fi; done' "$p" {} +"""
_PLACE_TREE = f"""{_TOP}if [ -d "$p" ]; then
  (cd "$t" && {_NO_LINKS}) || exit 1
  for e in "$t"/* "$t"/.[!.]* "$t"/..?*; do
    if [ -e "$e" ] || [ -h "$e" ]; then cp -af "$e" "$p/" || exit 1; fi
  done
elif [ -e "$p" ] || [ -h "$p" ]; then exit {IN_THE_WAY}
else mv "$t" "$p" || cp -a "$t" "$p"; fi"""
_PLACE_FILE = f"""{_TOP}if [ -d "$p" ]; then exit {IN_THE_WAY}; fi
mv -f "$t/{FILE}" "$p\""""


class _Packed(msgspec.Struct):
    uuid: str


def _uuid(body: bytes) -> str:
    return decode(body, _Packed).uuid


def place(field: str, path: str) -> Result[str, PocketenvError]:
    """Give a path of a sandbox in full. Failures: InvalidInput for what cannot be copied from or to."""
    if "\0" in path:
        return Failure(InvalidInput(field, "holds a NUL, and no path does"))
    if path.startswith("~"):
        return Failure(InvalidInput(field, "~ is not replaced: write the path from / on, or ./~ for that name"))
    try:
        path.encode()
    except UnicodeEncodeError:
        return Failure(InvalidInput(field, "is not valid Unicode: it holds half of a surrogate pair"))
    full = "/" + posixpath.normpath(posixpath.join(HOME, path)).lstrip("/")
    if full == "/":
        return Failure(InvalidInput(field, "is the root of the sandbox: name a directory in it"))
    return Success(full)


def names_directory(path: str) -> bool:
    """Tell whether the path by its end alone means a directory, whatever is there."""
    return posixpath.basename(path) in {"", ".", ".."}


def temporary(directory: str) -> str:
    """Give a path in ``directory`` that nothing has yet."""
    return posixpath.join(directory, f"{STAGED}{os.urandom(8).hex()}")


def may_have_run(error: PocketenvError) -> bool:
    """Tell whether what failed may have been done all the same, or in part."""
    match error:
        case TransportError(maybe_sent=True) | DeadlineExceeded(maybe_sent=True) | ServerError() | DecodeError():
            return True
        case _:
            return False


class End:
    """A sandbox as one end of a copy, and how to reach it."""

    def __init__(self, sandbox: Sandbox, token: str | None, config: Config | None) -> None:
        self.sandbox = sandbox
        self._token = token
        self._config = config

    def push(self, directory: str) -> Result[str, PocketenvError]:
        """Have a directory packed into storage. Gives the archive's uuid; that of none where there is no directory."""
        body = {"sandboxId": self.sandbox.id, "directoryPath": directory}
        asked = procedure("sandbox.pushDirectory", _uuid, body=body, read_timeout=math.inf)
        return send(asked, token=self._token, config=self._config)

    def pull(self, uuid: str, directory: str) -> Result[None, PocketenvError]:
        """Have an archive of storage unpacked into a directory. An unknown one is passed over in silence."""
        body = {"sandboxId": self.sandbox.id, "uuid": uuid, "directoryPath": directory}
        asked = procedure("sandbox.pullDirectory", nothing, body=body, read_timeout=math.inf)
        return send(asked, token=self._token, config=self._config)

    def kind(self, path: str) -> Result[Kind, PocketenvError]:
        """Give what there is at a path, links followed."""

        def read(ran: ExecResult) -> Result[Kind, PocketenvError]:
            match ran.stdout.strip():
                case "directory" | "file" | "nothing" | "other" as kind:
                    return Success(kind)
                case _:
                    return Failure(DecodeError("sandbox.exec", "the shell does not tell what is at the path"))

        return self._run(_KIND, p=path).bind(read)

    def push_file(self, file: str) -> Result[str, PocketenvError]:
        """Copy a file into a directory of its own and have that packed, which no file can be. Gives the archive's uuid."""
        directory, is_there, is_answered = temporary(HOME), True, False
        with guarded():
            try:
                with opened():
                    staged = self._run(_STAGE, p=file, s=directory)
                    is_answered = isinstance(staged, Success)
                    staged = staged.bind(ended_well)
                    if isinstance(staged, Failure):
                        is_there = may_have_run(staged.failure())
                    return staged.bind(lambda _: self.push(directory))
            finally:
                # Ctrl-C comes through here as well.
                if is_there:
                    self.remove(directory, is_under_way=not is_answered)

    def remove(self, directory: str, *, is_under_way: bool) -> None:
        """Remove what was staged, as well as it can be done: for a minute, where it may still be on its way there."""
        with unlimited(), limited(REMOVING):
            self._run(_REMOVE_LATE if is_under_way else _REMOVE, s=directory)

    def settle(self, staged: str, path: str, kind: Literal["directory", "file"]) -> Result[Sandbox, PocketenvError]:
        """Move what arrived below ``staged`` to ``path``, and remove the rest, whatever happens.

        Failures: PathNotFound where nothing arrived; InvalidInput for a file in the place of a directory, or a
        directory in that of a file; CommandFailed for what the shell could not do.
        """

        def judge(ran: ExecResult) -> Result[Sandbox, PocketenvError]:
            match ran.exit_code:
                case 93:  # NOTHING_CAME
                    return Failure(PathNotFound(message="nothing arrived from the other sandbox", operation="copy_to"))
                case 94:  # IN_THE_WAY
                    other = "file" if kind == "directory" else "directory"
                    return Failure(
                        InvalidInput("dst", f"is a {other} in the destination, and what is copied is a {kind}")
                    )
                case _:
                    return ended_well(ran).map(lambda _: self.sandbox)

        script = _PLACE_TREE if kind == "directory" else _PLACE_FILE
        ran = self._run(script, s=staged, p=path)
        if isinstance(ran.swap().value_or(None), DeadlineExceeded) and not may_have_run(ran.failure()):
            self.remove(staged, is_under_way=False)
        return ran.bind(judge)

    def _run(self, script: str, **paths: str) -> Result[ExecResult, PocketenvError]:
        named = "\n".join(f'{name}="$r"{quote(path)}' for name, path in paths.items())
        return exec(self.sandbox, f"{_ROOT}{named}\n{script}", token=self._token, config=self._config)
