r"""Command lines that bring their directory, environment and time limit along.

The platform takes one shell line and nothing else, so all of that is done in the line, by a shell of its own: what the
platform runs lines with may live on afterwards, and is neither moved nor ended. The command sees its own standard
input, output and error; what the shells around it would say of its end goes nowhere.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.config import FromEnv
from pocketenv_fp.errors import CommandTimeout, InvalidInput, PocketenvError
from pocketenv_fp.models import ExecResult
from pocketenv_fp.shell import quote

__all__ = ["GRACE_SECONDS", "Limit", "environment", "joined", "script_line", "service_line", "shell_line"]

GRACE_SECONDS = 5
"""What a command has, when its time is over, between being asked to end and being ended."""
LONGEST_SECONDS = 1e9
SHORTEST_SECONDS = 0.001

# The platform's own shell, where that is bash: a command is bash's then, as it is without options.
SHELL = '"${BASH:-/bin/sh}" -c'

# `timeout` sends its signals to the process group that it leads, and waits for this shell, which sits in the group and
# outlives the first signal: the command may be gone while something that it started is not. It tells the command's
# exit code only if no signal came, on a pipe that nothing else holds.
_WAIT_FOR_THE_GROUP = r"""
pocketenv_late=
trap 'pocketenv_late=1' TERM
(exec "$@" >&4 2>&3 3>&- 4>&-)
pocketenv_code=$?
if [ -z "$pocketenv_late" ]; then
    printf %s "$pocketenv_code"
    exit 0
fi
pocketenv_read() {
    while read -r pocketenv_next; do pocketenv_stat=$pocketenv_next; done <"/proc/$1/stat"
}
pocketenv_is_left() {
    pocketenv_stat=
    pocketenv_read "$1"
    set -- "$1" ${pocketenv_stat##*) }
    [ "$1" != "$$" ] && [ "$1" != "$PPID" ] && [ "$4" = "$pocketenv_group" ] && [ "$2" != Z ]
}
pocketenv_some_are_left() {
    pocketenv_stat=
    pocketenv_read "$$"
    [ -n "$pocketenv_stat" ] || return 0
    set -- ${pocketenv_stat##*) }
    pocketenv_group=$3
    for pocketenv_entry in /proc/[0-9]*; do
        if pocketenv_is_left "${pocketenv_entry#/proc/}"; then return 0; fi
    done
    return 1
}
while pocketenv_some_are_left; do sleep 0.1 || sleep 1; done
exit 143
"""

# Others than GNU's do not end the group, or do not wait for it. Where one of those has the name, GNU's has another.
# A command that ends its group with SIGKILL ends `timeout` as well, which then tells what it tells of one that had to be
# ended. How long it was, in hundredths of a second, tells the two apart.
_LIMIT = rf"""
pocketenv_mark=$1 pocketenv_time=$2
shift 2
pocketenv_clock() {{
    pocketenv_now=
    read -r pocketenv_now pocketenv_rest </proc/uptime
    pocketenv_now=${{pocketenv_now%%.*}}${{pocketenv_now#*.}}
    case $pocketenv_now in 0*) pocketenv_now=0 ;; esac
}}
for pocketenv_timeout in timeout gnutimeout gtimeout; do
    case $("$pocketenv_timeout" --version 2>&1) in
    *"GNU coreutils"*) break ;;
    *) pocketenv_timeout= ;;
    esac
done
if [ -z "$pocketenv_timeout" ]; then
    printf %s:%s "$pocketenv_mark" absent >&2
    exit 127
fi
exec 3>&2 4>&1 2>/dev/null
pocketenv_clock
pocketenv_began=$pocketenv_now
pocketenv_end=$(exec "$pocketenv_timeout" -k {GRACE_SECONDS} "$pocketenv_time" /bin/sh -c {quote(_WAIT_FOR_THE_GROUP)} pocketenv "$@")
pocketenv_code=$?
if [ -n "$pocketenv_end" ]; then exit "$pocketenv_end"; fi
if [ "$pocketenv_code" = 137 ]; then
    pocketenv_clock
    pocketenv_whole=${{pocketenv_time%.*}}${{pocketenv_time#*.}}
    if [ -n "$pocketenv_now" ] && [ "$((pocketenv_now - pocketenv_began))" -lt "${{pocketenv_whole%?}}" ]; then
        exit 137
    fi
fi
case $pocketenv_code in
124 | 137) printf %s:%s "$pocketenv_mark" late >&3 ;;
esac
exit "$pocketenv_code"
"""

# A directory of its own, so that a script finds none of its neighbours when it imports something.
_SCRIPT = r"""
pocketenv_text=$1
shift
pocketenv_home=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/pocketenv.XXXXXXXXXX") || exit 126
trap 'rm -rf -- "$pocketenv_home"' EXIT
trap 'exit 143' HUP INT TERM
printf %s "$pocketenv_text" >"$pocketenv_home/script" || exit 126
exec 3>&2 2>/dev/null
(exec "$@" "$pocketenv_home/script" 2>&3 3>&-)
exit "$?"
"""


class Limit(NamedTuple):
    """A time limit, and the mark by which its end is told from anything that a command may do."""

    seconds: float
    mark: str

    @classmethod
    def of(cls, seconds: float | None) -> Limit | None:
        """Give a limit with a mark of its own, or None for no limit."""
        if seconds is None or seconds > LONGEST_SECONDS:
            return None
        return cls(seconds, f"pocketenv-{os.urandom(16).hex()}")

    def prefix(self) -> str:
        """Give the words that go before a command."""
        return f"/bin/sh -c {quote(_LIMIT)} pocketenv {self.mark} {max(self.seconds, SHORTEST_SECONDS):.3f} "

    def judge(self, ran: ExecResult) -> Result[ExecResult, PocketenvError]:
        """Tell what ended the command. The shell leaves a mark in its standard error only if its time was over."""
        if f"{self.mark}:absent" in ran.stderr:
            reason = (
                "the sandbox has no `timeout` of GNU coreutils, so the command was not run: "
                "install it there, or leave timeout= out"
            )
            return Failure(InvalidInput("timeout", reason))
        before, late, after = ran.stderr.rpartition(f"{self.mark}:late")
        return Failure(CommandTimeout(self.seconds, ran.stdout, before + after)) if late else Success(ran)


def joined(command: str, args: Sequence[str]) -> str:
    """Put quoted arguments behind a command."""
    return " ".join((command, *map(shlex.quote, args)))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment(given: Mapping[str, str | FromEnv] | None) -> Result[dict[str, str], PocketenvError]:
    """Give names and values, those of a `from_env` read now. Failures: InvalidInput, which shows no value."""
    found: dict[str, str] = {}
    for name, value in (given or {}).items():
        if not _NAME.fullmatch(name):
            return Failure(InvalidInput("env", "a name is made of letters, digits and _, and no digit comes first"))
        read = value.read(f"env {name}") if isinstance(value, FromEnv) else Success(value)
        if isinstance(read, Failure):
            return read
        found[name] = read.unwrap()
    return Success(found)


def shell_line(run: str, cwd: str | None, env: Mapping[str, str], limit: Limit | None) -> str:
    """Give the line that runs the line ``run`` with these, or ``run`` itself where there are none."""
    if cwd is None and not env and limit is None:
        return run
    return _set_apart(f"{_enter(cwd, ' 2>&3')}exec {_guarded(env, limit)}{SHELL} {quote(run)}")


def script_line(text: str, run: str, cwd: str | None, env: Mapping[str, str], limit: Limit | None) -> str:
    """Give the line that writes ``text`` to a file, runs the line ``run`` with its path as ``$1``, and removes it."""
    guarded = f"{_guarded(env, limit)}{SHELL} {quote(run)} pocketenv"
    return _set_apart(f"{_enter(cwd, ' 2>&3')}exec /bin/sh -c {quote(_SCRIPT)} pocketenv {quote(text)} {guarded}")


def service_line(run: str, cwd: str | None, env: Mapping[str, str]) -> str:
    """Give the line that becomes the line ``run``: a service is told to end by a signal, which must reach it."""
    return run if cwd is None and not env else f"({_enter(cwd)}exec {_guarded(env, None)}{SHELL} {quote(run)})"


def _set_apart(run: str) -> str:
    # In redirections of a whole ( … ), dash loses what is written.
    return f"(exec 3>&2 2>/dev/null; ({run} 2>&3 3>&-); exit $?)"


def _enter(cwd: str | None, aside: str = "") -> str:
    if cwd is None:
        return ""
    # `cd -` and CDPATH lead elsewhere.
    return f"cd -- {quote(cwd if cwd.startswith('/') else f'./{cwd}')}{aside} && "


def _guarded(env: Mapping[str, str], limit: Limit | None) -> str:
    setting = "".join(f"{name}={quote(value)} " for name, value in env.items())
    return f"{limit.prefix() if limit else ''}{f'env {setting}' if setting else ''}"
