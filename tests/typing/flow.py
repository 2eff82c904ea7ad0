"""``flow`` and ``bind`` of returns: mypy's plugin sees through them. To pyright ``flow`` gives Unknown, so only mypy is asked."""

from __future__ import annotations

from typing import assert_type

from returns.pipeline import flow
from returns.pointfree import bind
from returns.result import Result

from pocketenv_fp import ExecResult, PocketenvError, create, exec, start, wait_until_running

Ran = Result[ExecResult, PocketenvError]


def flows() -> None:
    assert_type(flow(create("x"), start, wait_until_running(timeout=3), exec("ls")), Ran)
    assert_type(flow(create("x"), bind(start), bind(exec("ls"))), Ran)
