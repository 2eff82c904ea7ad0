r"""Build the command that a provider must receive, so that it runs a shell line exactly.

Each provider passes a command to a shell in its own way. Cloudflare has one persistent bash, E2B an unquoted word. So
the raw line is never sent. It runs in a child shell with its own directory, process group and empty standard input. A
mark follows the output, because the platform drops the last newline of the output.

>>> from pocketenv_fp.providers import provider_of
>>> from pocketenv_fp.sandbox.commands.wire_form import Command, wire_form
>>> form = wire_form(Command("echo it's"), provider_of("cloudflare")).unwrap()
>>> print(form.partition("-c ")[2].partition(" bash ")[0])
$'echo it\'s'
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import FromEnv
from pocketenv_fp.errors import CommandTimeout, InvalidInput, PocketenvError
from pocketenv_fp.models import ExecResult
from pocketenv_fp.providers import Provider
from pocketenv_fp.sandbox.commands.quoting import quote
from pocketenv_fp.validation import unsendable, wrong_variable_name

__all__ = [
    "GRACE_SECONDS",
    "Command",
    "environment",
    "joined",
    "output",
    "service_form",
    "unsendable_part",
    "wire_form",
]

HOME = "/workspace"
GRACE_SECONDS = 5
"""Seconds between SIGTERM and SIGKILL for a command that reached its timeout."""
SHORTEST_SECONDS = 0.001
LARGEST_BODY = 102_400
LONGEST_KEPT = 4096

MARK = "\x1e"
_LATE = "\x1dlate"
_NO_BASH = "\x1dbash?"
_STDERR = f"{MARK}stderr{MARK}"
_CODE = rf"{MARK}(\d{{1,3}}){MARK}"


class Command(NamedTuple):
    """A command to run. ``timeout`` is in seconds. ``$1`` of the line is a file with the string ``script``."""

    line: str
    cwd: str | None = None
    env: Mapping[str, str] = {}
    stdin: bytes | None = None
    timeout: float | None = None
    script: str | None = None


def joined(command: str, args: Sequence[str]) -> str:
    """Append quoted arguments to a command."""
    if not args:
        return command
    import shlex

    return " ".join((command, *map(shlex.quote, args)))


def environment(variables: Mapping[str, str | FromEnv] | None) -> Result[dict[str, str], PocketenvError]:
    """Return names and values, and read each `from_env`. Failures: InvalidInput, without the value."""
    values: dict[str, str] = {}
    for name, value in (variables or {}).items():
        if wrong := wrong_variable_name("env", name):
            return Failure(wrong)
        read = value.read(f"env {name}") if isinstance(value, FromEnv) else Success(value)
        if isinstance(read, Failure):
            return read
        values[name] = read.unwrap()
    return Success(values)


def wire_form(command: Command, provider: Provider) -> Result[str, PocketenvError]:
    """Return the command to send. Failures: InvalidInput if it cannot be sent; the message has the maximal length."""
    if command.env or command.stdin is not None or command.script is not None or len(command.line) > LONGEST_KEPT:
        return _whole_form(command, provider)
    return _kept_form(command.line, command.cwd, command.timeout, provider)


# A step runs the same line many times. The values of an environment may be secret, so they are not kept.
@lru_cache(maxsize=128)
def _kept_form(line: str, cwd: str | None, timeout: float | None, provider: Provider) -> Result[str, PocketenvError]:
    return _whole_form(Command(line, cwd, timeout=timeout), provider)


def _whole_form(command: Command, provider: Provider) -> Result[str, PocketenvError]:
    if wrong := unsendable_part(command, provider):
        return Failure(wrong)
    plain = _form(command, provider)
    if _body_size(plain) <= LARGEST_BODY:
        return Success(plain)
    packed = _form(command, provider, pack=True)
    if _body_size(packed) <= LARGEST_BODY:
        return Success(packed)
    return Failure(_too_long(command, provider))


def service_form(line: str, cwd: str | None, env: Mapping[str, str], before: str = "") -> Result[str, PocketenvError]:
    """Return the command of a service. The line replaces the shell, so that the stop signal reaches it.

    ``before`` is shell text that runs in that shell first.
    """
    command = Command(line, cwd, env)
    if wrong := unsendable_part(command):
        return Failure(wrong)
    setting = "".join(f"{name}={_posix(value)} " for name, value in env.items())
    words = f"{f'env {setting}' if setting else ''}bash -c {_posix(guarded(line))}"
    return Success(f"({before}cd {_place(cwd, _posix)} && exec {words})")


def output(answer: ExecResult, command: Command, provider: Provider) -> Result[ExecResult, PocketenvError]:
    """Return the output of the command itself. Failures: CommandTimeout; InvalidInput for a timeout without bash.

    If the mark is missing, for instance after the sandbox was stopped, the complete output is returned.
    """
    stdout, stderr, exit_code = answer.stdout, answer.stderr, answer.exit_code
    if not provider.has_stderr:
        stdout, is_marked, printed = stdout.rpartition(_STDERR)
        stdout, stderr = (stdout, printed) if is_marked else (printed, stderr)
    elif provider.lost_exit_code:
        *_, code = (None, *re.finditer(_CODE, stdout))
        stdout, exit_code = (stdout[: code.start()], int(code[1])) if code else (stdout, exit_code)
    else:
        stdout = _before_mark(stdout)
    stderr = _before_mark(stderr)
    if command.timeout is not None and stderr.endswith(_LATE):
        return Failure(CommandTimeout(command.timeout, stdout, stderr.removesuffix(_LATE)))
    if command.timeout is not None and stderr.endswith(_NO_BASH):
        reason = "the sandbox has no bash, so the command was not run: install bash there, or leave out timeout="
        return Failure(InvalidInput("timeout", reason))
    return Success(ExecResult(stdout, stderr, exit_code))


def _before_mark(printed: str) -> str:
    # Some providers wait for background children: their output comes after the mark, and after the command.
    before, is_marked, after = printed.rpartition(MARK)
    return before if is_marked else after


# Checks before sending


def unsendable_part(command: Command, provider: Provider | None = None) -> InvalidInput | None:
    """Return the error of a command with a part that cannot be sent, or None."""
    texts = {"command": (command.line,), "cwd": (command.cwd or "",), "env": command.env.values()}
    for field, values in (texts | {"text": (command.script or "",)}).items():
        for value in values:
            if wrong := unsendable(field, value):
                way_out = ": upload it, and run it with exec" if field == "text" else ", which a command line cannot"
                return InvalidInput(field, f"{wrong.reason}{way_out}") if "\0" in value else wrong
    longest = provider and provider.exec_seconds
    if provider and longest is not None and command.timeout is not None and command.timeout > longest:
        reason = (
            f"the provider {provider.name} ends every request after {longest:g} s: run the command as a job, "
            "with exec(…, durable=True) or submit"
        )
        return InvalidInput("timeout", reason)
    return None


def _too_long(command: Command, provider: Provider) -> InvalidInput:
    sizes = {
        "text": len(command.script or ""),
        "command": len(command.line),
        "stdin": len(command.stdin or b""),
        "env": sum(map(len, command.env.values())),
    }
    field = max(sizes, key=lambda name: sizes[name])
    without = {
        "text": command._replace(script=""),
        "command": command._replace(line=""),
        "stdin": command._replace(stdin=b""),
        "env": command._replace(env={}),
    }
    room = max(0, LARGEST_BODY - _body_size(_form(without[field], provider, pack=True)) - 100)
    reason = (
        f"is too long for one request: {field} may have about {room:,} bytes here, "
        f"or {room * 3 // 4:,} if it has many quotes, newlines or non-ASCII characters"
    )
    return InvalidInput(field, f"{reason}. Upload a file, and use the file in the command")


def _body_size(command: str) -> int:
    return len(msgspec.json.encode({"command": command}))


# The program around a line


def _form(command: Command, provider: Provider, *, pack: bool = False) -> str:
    word = _ansi if provider.reader == "bash" else _posix
    big: Callable[[str], str] = partial(_packed, newline=word("\n")) if pack else word
    words = [big(guarded(command.line)), _place(command.cwd, word), *map(word, command.env.values())]
    if command.script is not None:
        words.append(quote(_base64(command.script.encode())) if pack else word(command.script))
    feed = "" if command.stdin is None else f"{_printing(command.stdin)} | "
    if provider.reader == "sh":
        places = [f'"${{{number}}}"' for number in range(1, len(words) + 1)]
        program = f"{_QUIET}; {_program(command, provider, places, pack=pack)}"
        form = f'{feed}"$(command -v bash || echo /bin/sh)" -c {quote(program)} bash {" ".join(words)}'
    elif provider.persistent:
        program = f"({_program(command, provider, words, pack=pack)})"
        # An earlier line's settings last in the persistent shell. `-e` would end it, `pipefail` would change the exit
        # code. bash's message about a killed child would quote the whole program, so its stderr is closed.
        form = f"set +e; {{ {f'(set +o pipefail; {feed}{program})' if feed else program}; }} 3>&2 2>/dev/null"
    else:
        program = _program(command, provider, words, pack=pack)
        form = f"{_QUIET}; {f'{feed}({program})' if feed else program}"
    return _QUOTING[provider.quoting](form)


def _program(command: Command, provider: Provider, words: Sequence[str], *, pack: bool) -> str:
    """Return the program that runs the line. Descriptor 3 is the real stderr. This shell's own messages are dropped."""
    line, directory, *rest = words
    values, script = rest[: len(command.env)], rest[len(command.env) :]
    shell = '"$BASH"' if provider.reader == "bash" else '"${BASH:-/bin/sh}"'
    runs = f"{_setting(command.env, values)}{shell} -c {line} bash"
    closed = f"2>&3 3>&-{'' if provider.has_stderr else ' 4<&-'}"
    if script:
        runs += ' "$pocketenv_script/script"'
    runs += f" {'</dev/null' if command.stdin is None else '<&5 5<&-'} {closed} &"
    keeping = [_KEEP_SCRIPT.format(text=text, decoded=" | base64 -d" if pack else "") for text in script]
    steps = [
        *([] if provider.has_stderr else [_KEEP_STDERR]),
        *([] if command.stdin is None else ["exec 5<&0"]),
        *(["pocketenv_script="] if script else []),
        *([] if provider.persistent or not is_at_home(command.cwd) else [MAKE_HOME]),
        " && ".join((f"cd {directory} 2>&3", *keeping, _waiting(command, provider, runs))),
        "e=$?",
        *(['rm -rf "$pocketenv_script"'] if script else []),
        *_ending(provider),
    ]
    return "; ".join(steps)


_QUIET = "exec 3>&2 2>/dev/null"
# Job control runs the command in its own process group. `kill 0` and a timeout then reach that group only.
_JOB = "{{ set -m; {runs} {waits}; }}"
_LIMIT = """\
p=$!; (sleep {seconds}; trap "" TERM; kill -- -$p; kill -CONT -- -$p; n=0; \
while kill -0 -- -$p && [ $n -lt {tenths} ]; do sleep .1; n=$((n+1)); done; kill -9 -- -$p; :) \
</dev/null >/dev/null 3>&- 5<&- & while wait $p; e=$?; kill -0 $p; do sleep .1; done; \
kill -- -$!; wait $! && printf "\\035late" >&3; (exit $e)"""
_KEEP_SCRIPT = """\
pocketenv_script=$(umask 077; mktemp -d "${{TMPDIR:-/tmp}}/pocketenv.XXXXXXXXXX" 2>&3) \
&& printf %s {text}{decoded} 2>&3 >"$pocketenv_script/script\""""
_KEEP_STDERR = """t=$(mktemp) || t=/dev/null; exec 3>"$t" 4<"$t"; [ ! -f "$t" ] || rm -f "$t\""""
MAKE_HOME = f"""[ -d {HOME} ] || mkdir -p {HOME} || sudo -n install -d -o "$(id -u)" {HOME}"""


def _waiting(command: Command, provider: Provider, runs: str) -> str:
    if command.timeout is None:
        return _JOB.format(runs=runs, waits="wait $!")
    seconds = f"{max(command.timeout, SHORTEST_SECONDS):.3f}".rstrip("0").rstrip(".")
    job = _JOB.format(runs=runs, waits=_LIMIT.format(seconds=seconds, tenths=GRACE_SECONDS * 10))
    # Without bash there are no process groups, so the command is not run.
    no_bash = 'if [ "$BASH" ]; then {}; else printf "\\035bash?" >&3; (exit 127); fi'
    return job if provider.reader == "bash" else no_bash.format(job)


def _ending(provider: Provider) -> Iterator[str]:
    if not provider.has_stderr:
        yield r'printf "\036stderr\036"; cat <&4; printf "\036"'
    elif provider.lost_exit_code:
        yield r'printf "\036%s\036" $e; printf "\036" >&3'
    else:
        yield r'printf "\036"; printf "\036" >&3'
    yield "exit 0" if provider.lost_exit_code else "exit $e"


# Variables with a meaning for the shell: an assignment in the shell would change the shell, or fail.
_OF_THE_SHELL = (
    r"BASH.*|[EU]?UID|PPID|SHELLOPTS|GROUPS|FUNCNAME|DIRSTACK|S?RANDOM|SECONDS|LINENO|EPOCH.*|OPT.*|COMP_.*|HIST.*"
    r"|LC_.*|LANG.*|PATH|POSIXLY_CORRECT|IFS|TMOUT|ENV|PIPESTATUS|MAPFILE|REPLY|TMPDIR"
)


def _setting(env: Mapping[str, str], words: Sequence[str]) -> str:
    # `ps` shows the arguments of `env`, but not an assignment before a command.
    named = list(zip(env, words, strict=True))
    direct = [f"{name}={word} " for name, word in named if is_plain(name)]
    other = [f"{name}={word} " for name, word in named if not is_plain(name)]
    return "".join((*direct, *(["env ", *other] if other else [])))


def is_plain(name: str) -> bool:
    return re.fullmatch(_OF_THE_SHELL, name) is None


def directory_of(cwd: str | None) -> str:
    return posixpath.join(HOME, cwd) if cwd else HOME


def _place(cwd: str | None, word: Callable[[str], str]) -> str:
    directory = directory_of(cwd)
    return directory if re.fullmatch(r"[\w/.+-]+", directory, re.ASCII) else word(directory)


def is_at_home(cwd: str | None) -> bool:
    return f"{directory_of(cwd)}/".startswith(f"{HOME}/")


def guarded(line: str) -> str:
    # A shell takes such a line as one of its options.
    return f" {line}" if line.startswith(("-", "+")) else line


# Quoting


_CONTROL = re.compile(r"[\0-\x1f\x7f]")
# The backslash first: the others have one.
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _ansi(text: str) -> str:
    """Quote a word for bash, without raw control characters: the platform adds spaces after a raw newline."""
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    # Seldom is any other there, and the search takes most of the time.
    if not text.isprintable():
        text = _CONTROL.sub(lambda sign: rf"\{ord(sign[0]):03o}", text)
    return "$'" + text.replace("'", r"\'") + "'"


def _posix(text: str) -> str:
    """Quote a word for any POSIX shell, without raw control characters."""
    if not _CONTROL.search(text):
        return quote(text)
    kept = text.rstrip("\n")
    # $( ) drops trailing newlines. When a shell starts, IFS is space, tab, newline.
    newlines = "${IFS#??}" * (len(text) - len(kept))
    return f'"$(printf %b {_escaped(kept)}){newlines}"'


def _escaped(text: str) -> str:
    """Quote a string so that `printf %b` prints ``text``."""
    return quote(re.sub(r"[\0-\x1f\x7f\\]", lambda sign: _ESCAPES.get(sign[0]) or rf"\0{ord(sign[0]):03o}", text))


def _packed(text: str, newline: str) -> str:
    kept = text.rstrip("\n")
    # Without base64, the command must not look successful.
    return f'"$(printf %s {_base64(kept.encode())} | base64 -d || echo exit 127)"{newline * (len(text) - len(kept))}'


def _base64(data: bytes) -> str:
    from binascii import b2a_base64

    return b2a_base64(data, newline=False).decode()


def _printing(data: bytes) -> str:
    """Return the command that prints these bytes."""
    written = f"printf %b {_escaped_bytes(data)}"
    encoded = f"printf %s {_base64(data)} | base64 -d"
    return min(written, encoded, key=len)


def _escaped_bytes(data: bytes) -> str:
    try:
        return _escaped(data.decode())
    except UnicodeDecodeError:
        return quote("".join(f"\\0{byte:03o}" for byte in data))


_QUOTING: Mapping[str, Callable[[str], str]] = {
    "none": str,
    "word": lambda form: "'" + form.replace("'", "'\"'\"'") + "'",
    "double": lambda form: re.sub(r'[\\"$`]', r"\\\g<0>", form),
}
