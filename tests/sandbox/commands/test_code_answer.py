"""The answer of a run of code, and what of its output goes to a follower."""

from __future__ import annotations

import pytest
from returns.result import Success

from pocketenv_fp import CodeResult, CodeTimeout, CommandFailed, ContextLost, ExecResult, NotSupported, Piece
from pocketenv_fp.sandbox.commands.code_answer import NO_PYTHON, CodeRequest, OutputFilter, code_result

MARK = "\x1ejob-é\x1e"
REQUEST = CodeRequest("main", MARK, 2.0)
ANSWER = '{"late":false,"answer":{"error":null,"displays":[],"number":1,"repr":"3","json":"3"}}\n'


def test_code_result_other_output() -> None:
    """The code may print the mark, and a process that it left may print after the answer."""
    read = code_result(REQUEST, ExecResult(f"a{MARK}b{MARK}{ANSWER}late\n", "e", 0))
    assert read == Success(CodeResult(stdout=f"a{MARK}b", stderr="e", repr="3", value=3, number=1))


def test_code_result_failures() -> None:
    """Each way to fail is its own error."""
    late = ANSWER.replace("false", "true")
    assert code_result(REQUEST, ExecResult(f"on{MARK}{late}", "e", 0)).failure() == CodeTimeout(
        2.0, "on", "e", is_lost=False
    )
    lost = '{"late":true,"answer":null}'
    assert code_result(REQUEST, ExecResult(f"{MARK}{lost}", "", 0)).failure() == CodeTimeout(2.0, is_lost=True)
    gone = '{"late":false,"answer":null}'
    assert code_result(REQUEST, ExecResult(f"on{MARK}{gone}", "e", 0)).failure() == ContextLost("main", "on", "e")
    assert isinstance(code_result(REQUEST, ExecResult("", "", NO_PYTHON)).failure(), NotSupported)
    assert code_result(REQUEST, ExecResult("on", "e", 1)).failure() == CommandFailed(1, "on", "e")
    old = code_result(REQUEST, ExecResult(f'{MARK}{{"old":"3.8.1"}}', "", 0)).failure()
    assert "has Python 3.8.1" in str(old)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_without_answer_pieces(size: int) -> None:
    """Whatever the pieces are, the follower gets the code's own output, and each end is that of its text."""
    own = "\x1eö\x1ejob\n"
    whole = f"{own}{MARK}{ANSWER}"
    heard: list[Piece] = []
    passing = OutputFilter(MARK, heard.append)
    for at in range(0, len(whole), size):
        passing.take(Piece("stdout", whole[at : at + size], len(whole[: at + size].encode())))
    passing.take(Piece("stderr", "err", 3))
    *before, last = heard
    assert last == Piece("stderr", "err", 3)
    assert "".join(piece.text for piece in before) == own
    ends = ["".join(piece.text for piece in before[: count + 1]) for count in range(len(before))]
    assert [piece.end for piece in before] == [len(text.encode()) for text in ends]
