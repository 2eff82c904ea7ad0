"""The answer of a run of code: it comes after a mark, at the end of the job's stdout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import (
    CodeTimeout,
    CommandFailed,
    ContextLost,
    DecodeError,
    InvalidInput,
    NotSupported,
    PocketenvError,
)
from pocketenv_fp.models import CodeError, CodeResult, Display, ExecResult, Piece
from pocketenv_fp.plain_types import built
from pocketenv_fp.runtime.rehearsal import is_rehearsed

__all__ = ["NO_PYTHON", "CodeRequest", "OutputFilter", "code_result"]

NO_PYTHON = 121
INSTALL = "The sandbox has no python3 on its PATH: install it there, or create the sandbox from a base that has it."


class _Answer(msgspec.Struct):
    error: CodeError | None
    displays: tuple[dict[str, Any], ...]
    number: int
    repr: str | None = None
    json: str | None = None


class _Report(msgspec.Struct):
    """``old`` is the version of a Python that is too old. Without an ``answer`` the process of the context ended."""

    late: bool = False
    answer: _Answer | None = None
    old: str | None = None


class CodeRequest(NamedTuple):
    """A request: the context, the mark before the answer, and the time limit in seconds."""

    context: str
    mark: str
    timeout: float | None


def code_result(  # noqa: PLR0911  # a line for each way in which it ends
    request: CodeRequest, done: ExecResult
) -> Result[CodeResult, PocketenvError]:
    """Read the output of a run. Failures: CodeTimeout, ContextLost, NotSupported, CommandFailed, DecodeError."""
    stdout, is_marked, report = done.stdout.rpartition(request.mark)
    if not is_marked:
        if is_rehearsed():
            return Success(CodeResult())
        if done.exit_code == NO_PYTHON:
            return Failure(NotSupported("run_code", instead=INSTALL))
        return Failure(CommandFailed(done.exit_code, done.stdout, done.stderr))
    try:
        # A process that the code left may print after it.
        read = msgspec.json.decode(report.partition("\n")[0], type=built(_Report))
    except (msgspec.DecodeError, RecursionError):
        return Failure(DecodeError("sandbox.exec", "the program in the sandbox does not say how the code ended"))
    if read.old is not None:
        return Failure(InvalidInput("sandbox", f"has Python {read.old}, and run_code needs 3.9"))
    if read.late:
        return Failure(CodeTimeout(request.timeout or 0.0, stdout, done.stderr, is_lost=read.answer is None))
    if read.answer is None:
        return Failure(ContextLost(request.context, stdout, done.stderr))
    answer = read.answer
    result = CodeResult(
        stdout=stdout,
        stderr=done.stderr,
        repr=answer.repr,
        value=_value(answer.json),
        error=answer.error,
        displays=tuple(map(Display, answer.displays)),
        number=answer.number,
    )
    return Success(result)


def _value(json: str | None) -> Any:
    try:
        return None if json is None else msgspec.json.decode(json)
    except (msgspec.DecodeError, RecursionError):
        # Nested too deeply, or with a number of too many digits. Its repr is there.
        return None


class OutputFilter:
    """Pass on the pieces of the code's own output, without the mark and the answer."""

    def __init__(self, mark: str, on_piece: Callable[[Piece], object]) -> None:
        self._mark = mark
        self._on_piece = on_piece
        self._pending = ""
        self._is_over = False

    def take(self, piece: Piece) -> None:
        if piece.stream == "stderr":
            self._on_piece(piece)
            return
        if self._is_over:
            return
        text, is_marked, rest = f"{self._pending}{piece.text}".partition(self._mark)
        self._is_over = bool(is_marked)
        # The mark may come in two pieces.
        self._pending = "" if is_marked else _beginning(text, self._mark)
        own = text.removesuffix(self._pending)
        after = len(f"{self._pending}{is_marked}{rest}".encode())
        if own:
            self._on_piece(Piece("stdout", own, piece.end - after))


def _beginning(text: str, mark: str) -> str:
    """Return the end of a string that may be the start of the mark."""
    return next((mark[:size] for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), "")
