"""Pipelines as shell scripts of curl commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import TypeVar

from returns.result import Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.explaining.explanation import API, FALLBACK, STORAGE, Explanation, Request, stand_ins
from pocketenv_fp.explaining.rehearsal import explain
from pocketenv_fp.runtime.rehearsal import IN_PIECES
from pocketenv_fp.sandbox.commands.quoting import quote
from pocketenv_fp.steps.operation import demand_step
from pocketenv_fp.steps.step import Step

__all__ = ["as_curl"]

A = TypeVar("A")
B = TypeVar("B")

HOSTS = {
    API: ("api", "${POCKETENV_API_URL:-https://api.pocketenv.io}"),
    STORAGE: ("storage", "${POCKETENV_STORAGE_URL:-https://sandbox.pocketenv.io}"),
}
LONGEST_WAIT = 1e9
# The name of an environment variable may begin with these words.
RANDOM_HEX, UUID = re.compile(r"RANDOM_HEX(_\d+)?"), re.compile(r"UUID(_\d+)?")
CURL = 'curl -fsS -H "Authorization: Bearer $POCKETENV_TOKEN"'
NO_COPY = "this provider cannot copy: curl cannot send or receive the archive. Run the step with pocketenv_fp"
END_OF_LINE = " -w '\\n'"

# No standard tool reads JSON. A system with this library has Python.
PICK = """\
# Print a value of a response by its keys, as in `pick secrets name=API_KEY id`.
pick() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    name, equals, wanted = key.partition("=")
    value = next(each for each in value if each[name] == wanted) if equals else value[key]
print(value)' "$@"
}"""
IN_JSON = """\
# Escape a string for a JSON string.
in_json() { printf %s "$1" | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read())[1:-1])'; }"""
IN_QUOTES = r"""# Escape a string for single quotes in a command in JSON.
in_quotes() {
    printf %s "$1" | python3 -c '
import json, sys
print(json.dumps(sys.stdin.read().replace("\x27", "\x27\\\x27\x27"))[1:-1])'
}"""
# The library writes octal numbers too: bash reads both.
IN_ANSI = r"""# Escape a string for $'...' in a command in JSON.
in_ansi() {
    printf %s "$1" | python3 -c '
import json, re, sys
escaped = re.sub(r"[\x00-\x1f\x7f\x27\\]", lambda sign: "\\%03o" % ord(sign[0]), sys.stdin.read())
print(json.dumps(escaped if len(sys.argv) == 1 else re.sub(r"[\\\"$`]", r"\\\g<0>", escaped))[1:-1])' ${2-}
}"""
IN_DOUBLE = """\
# The same for $'...' in double quotes.
in_double() { in_ansi "$1" double; }"""
SEALED = """\
# Seal a secret with this library, so that only the platform can read it.
sealed() { SECRET=$1 python3 -c 'import os; from pocketenv_fp.crypto import seal; print(seal(os.environ["SECRET"]).unwrap())'; }"""

OWN_DID = """\
# Print the DID in the token.
token_did() {
    TOKEN=$POCKETENV_TOKEN python3 -c '
import base64, json, os
claims = os.environ["TOKEN"].split(".")[1]
print(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["did"])'
}"""


def as_curl(step: Step[A, B], target: A | None | Result[A | None, PocketenvError] = None) -> str:
    r"""Write the requests of a step as a shell script of curl commands. Nothing is sent.

    Returns a str: the requests that `explain` lists, as a program. An id in a response is kept in a variable for later
    requests. The script needs a POSIX shell, curl and python3. It reads POCKETENV_TOKEN, and the addresses
    POCKETENV_API_URL and POCKETENV_STORAGE_URL, without a final ``/`` and not ``local``. An upload sends a whole
    directory and reads no ignore file. On a provider that cannot copy, an archive goes through commands in pieces, and
    the script is only an error message: it sends nothing. A response is printed if no later request needs it. A secret is not in the
    script: it is read from a variable of its name, and sealed with this library. A request that is sent only after a
    failure is a comment. The script stops at the first failed request, and undoes nothing.

    The output of a command is printed with the marks that this library removes, a U+001E each.

    curl gets the token as an argument, which other users of the machine may see. Raises TypeError as `explain` does.

    >>> from pocketenv_fp import as_curl, exec, start
    >>> print(as_curl(start | exec("make", ["test"])))
    #!/bin/sh
    # start() | exec('make', ['test'])
    set -eu
    : "${POCKETENV_TOKEN:?is the token}"
    : "${SANDBOX_ID:?is needed}"
    api=${POCKETENV_API_URL:-https://api.pocketenv.io}
    <BLANKLINE>
    # start()
    curl -fsS -H "Authorization: Bearer $POCKETENV_TOKEN" -X POST -w '\n' "$api/xrpc/io.pocketenv.sandbox.startSandbox?id=${SANDBOX_ID}" \
        -H 'Content-Type: application/json' \
        -d '{}'
    <BLANKLINE>
    # exec('make', ['test'])
    curl -fsS -H "Authorization: Bearer $POCKETENV_TOKEN" -X POST -w '\n' "$api/xrpc/io.pocketenv.sandbox.exec?id=${SANDBOX_ID}" \
        -H 'Content-Type: application/json' \
        -d '{"command": "set +e; { (cd /workspace ... -c $...make test... bash ...}'
    <BLANKLINE>
    """
    demand_step(step, "as_curl")
    return _Script(explain(step, target)).text()


class _Script:
    """Writes a script. A value of a response is kept if a later request uses it."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self._last_use = {
            name: number
            for number, request in enumerate(explanation.requests)
            for text in (request.path, request.body or "")
            for _, name in stand_ins(text)
        }
        self._kept: set[str] = set()
        self._made: dict[str, str] = {}
        self._needed: list[str] = []

    def text(self) -> str:
        if any(note.startswith(IN_PIECES) for part in self._explanation.parts for note in part.notes):
            lines = ("#!/bin/sh", _comment(self._explanation.source), f"echo {quote(NO_COPY)} >&2", "exit 1")
            return "\n".join(lines) + "\n"
        commands = "\n".join(self._commands())
        made = [f"{name}={text}" for name, text in self._made.items()]
        calls = "\n".join((*made, commands))
        functions = [text for function, text in FUNCTIONS.items() if function in calls]
        hosts = [f"{name}={url}" for name, url in HOSTS.values() if f"${name}/" in commands]
        needed = [f': "${{{name}:?is needed}}"' for name in self._needed]
        first = ["#!/bin/sh", _comment(self._explanation.source), "set -eu", ': "${POCKETENV_TOKEN:?is the token}"']
        # An input may have the name of a variable of the script: inputs are read first.
        return "\n".join((*first, *needed, *functions, *made, *hosts, commands)) + "\n"

    def _commands(self) -> Iterator[str]:
        numbers = count()
        for part in self._explanation.parts:
            yield ""
            yield _comment(part.source)
            yield from map(_comment, part.notes)
            for request in part.requests:
                lines = list(self._lines(request, next(numbers)))
                yield from map(_comment, lines) if FALLBACK in request.notes else lines

    def _lines(self, request: Request, number: int) -> Iterator[str]:
        used = (each for each in request.gives if self._last_use.get(each[0], -1) > number)
        kept = [(name, way) for name, *way in used if name not in self._kept]
        command = self._command(request, is_shown=not kept and request.seconds is None)
        if request.seconds is not None:
            yield from _repeated(command, request.seconds)
        elif kept:
            yield f"answer=$({command})"
        else:
            yield command
        if request.seconds is None:
            for name, way in kept:
                self._kept.add(name)
                yield f'{name}=$(printf %s "$answer" | pick {" ".join(map(self._word, way))})'

    def _command(self, request: Request, *, is_shown: bool) -> str:
        if request.host == STORAGE:
            return self._copy(request)
        verb = "" if request.verb == "GET" else f" -X {request.verb}"
        lines = [f"{CURL}{verb}{END_OF_LINE if is_shown else ''} {self._url(request)}"]
        if request.body is not None:
            lines += ["-H 'Content-Type: application/json'", f"-d {self._body(request.body)}"]
        return " \\\n    ".join(lines)

    def _copy(self, request: Request) -> str:
        place = request.local or "."
        local = quote(f"./{place}" if place.startswith("-") else place)
        if request.verb == "GET":
            return f"mkdir -p {local}\n{CURL} {self._url(request)} | tar -xzf - -C {local} --strip-components=1"
        form = "-F 'file=@-;filename=archive.tar.gz;type=application/gzip'"
        # A shell ignores the exit code of tar before a pipe. The sandbox unpacks twice.
        packed = f'packed=$(mktemp -d)\ntar -czf "$packed/0" -C {local} .'
        return f'{packed}\ntar -czf - -C "$packed" 0 | {CURL} {form} {self._url(request)}\nrm -rf "$packed"'

    def _url(self, request: Request) -> str:
        path = "".join(text + (self._value(name) if name else "") for text, name in stand_ins(request.path))
        return f'"${HOSTS[request.host][0]}{path}"'

    def _word(self, text: str) -> str:
        parts = stand_ins(text)
        return "".join(
            (quote(part) if part else "") + (f'"{self._value(name)}"' if name else "") for part, name in parts
        )

    def _body(self, body: str) -> str:
        # Single quotes protect the text. Each stand-in is a word between them.
        words: list[str] = []
        for text, name in stand_ins(body):
            words.append(quote(text) if text else "")
            if name is not None:
                own = self._value(name)
                if name in self._needed:
                    own = self._written(name, _function_for(text))
                words.append(f'"{own}"')
        return "".join(words)

    def _written(self, name: str, form: str) -> str:
        # An assignment: the shell stops if it fails. It does not stop at a failed argument.
        self._made.setdefault(f"{name}_{form}", f'$({form} "${name}")')
        return f"${{{name}_{form}}}"

    def _value(self, name: str) -> str:
        if name.startswith("SEALED_"):
            self._need(name.removeprefix("SEALED_"))
            self._made.setdefault(name, f'$(sealed "${name.removeprefix("SEALED_")}")')
        elif RANDOM_HEX.fullmatch(name):
            self._made.setdefault(name, "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')")
        elif UUID.fullmatch(name):
            self._made.setdefault(name, "$(python3 -c 'import uuid; print(uuid.uuid4())')")
        elif name == "TOKEN_DID":
            self._made.setdefault(name, "$(token_did)")
        elif name not in self._kept:
            self._need(name)
        return f"${{{name}}}"

    def _need(self, name: str) -> None:
        if name not in self._needed:
            self._needed.append(name)


FUNCTIONS = {
    "| pick ": PICK,
    "$(in_json ": IN_JSON,
    "$(in_quotes ": IN_QUOTES,
    "$(in_ansi ": IN_ANSI,
    "$(in_double ": f"{IN_ANSI}\n{IN_DOUBLE}",
    "$(sealed ": SEALED,
    "$(token_did)": OWN_DID,
}


def _function_for(before: str) -> str:
    """Return the function of the script that escapes a string after this part of a body."""
    if before.endswith(r"\\$'"):
        return "in_double"
    if before.endswith(("$'", r"""$'\"'\"'""")):
        return "in_ansi"
    return "in_quotes" if before.endswith("'") else "in_json"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in text.splitlines() or [""])


def _repeated(command: str, seconds: float) -> Iterator[str]:
    yield f"end=$(($(date +%s) + {min(seconds, LONGEST_WAIT):.0f}))"
    yield f'until [ "$({command} | pick sandbox status)" = RUNNING ]; do'
    yield '    [ "$(date +%s)" -lt "$end" ] || { echo "the sandbox does not run" >&2; exit 1; }'
    yield "    sleep 1"
    yield "done"
