"""What a pipeline would do, told before it does it: each step runs against a platform that is only imagined."""

from __future__ import annotations

from contextvars import Context
from typing import Any, TypeVar, cast

from returns.result import Result, Success

from pocketenv_fp.config import API_URL, PUBLIC_KEY, STORAGE_URL, Config, using
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.explaining.explanation import Explanation
from pocketenv_fp.explaining.rehearsal import Rehearsal, takes
from pocketenv_fp.http.xrpc import answered_by
from pocketenv_fp.observing import unobserved
from pocketenv_fp.steps.operation import Step, demand_step

__all__ = ["explain"]

A = TypeVar("A")
B = TypeVar("B")

_LOGIN = Config(api_url=API_URL, storage_url=STORAGE_URL, public_key=PUBLIC_KEY, token="masked")  # noqa: S106  # no token


def explain(step: Step[A, B], target: A | None | Result[A | None, PocketenvError] = None) -> Explanation:
    r"""Tell what a step would send, in order, with secrets masked; nothing is sent. Gives an Explanation.

    It prints as text, is a table in notebooks, and has the ``requests`` for programs. ``target`` is what the step would
    be run on, and may be left out: then it has a stand-in, as has all that only an answer can tell, such as
    ``‹SANDBOX_ID›``. `as_curl` gives the same as a script.

    It takes for granted that all goes well: a command ends with 0, and a name that is looked up is there. What depends
    on how it goes (`when`, `recover`, `or_else`, `retrying`) has a note that says so. No token, secret or environment
    variable is read, no file, and no function of yours is called; only the steps that you made yourself with
    `pocketenv_fp.steps.operation` are run, and their requests answered so. A Failure that is sure, as that of a wrong value,
    is told where it comes. Raises TypeError where calling the step would, and for a target that has no stand-in.

    >>> from pocketenv_fp import create, exec, explain, set_secret, start, tap
    >>> print(explain(create | tap(set_secret("API_KEY", "sk-12345")) | exec("make", ["test"]), "my-box"))
    create()
        POST /xrpc/io.pocketenv.sandbox.createSandbox
            {"name": "my-box", "base": "at://...", "provider": "cloudflare"}
        POST /xrpc/io.pocketenv.sandbox.putPreferences
            {"sandboxId": "‹SANDBOX_ID›", "preferences": [{"$type": "...", "name": "my-box"}]}
        GET /xrpc/io.pocketenv.sandbox.getSandbox?id=‹SANDBOX_ID›
    tap(set_secret('API_KEY', '***'))
        set_secret('API_KEY', '***')
            POST /xrpc/io.pocketenv.secret.addSecret
                {"secret": {"sandboxId": "‹SANDBOX_ID›", "name": "API_KEY", "value": "‹SEALED_API_KEY›"}}
            GET /xrpc/io.pocketenv.secret.getSecrets?sandboxId=‹SANDBOX_ID›&limit=100&offset=0
    exec('make', ['test'])
        POST /xrpc/io.pocketenv.sandbox.exec?id=‹SANDBOX_ID›
            {"command": "set +e; { (cd /workspace ... -c $'make test' bash ...}
    6 requests, each with Authorization: Bearer $POCKETENV_TOKEN; nothing was sent.
    >>> [request.verb for request in explain(start).requests]
    ['POST', 'GET']
    """
    demand_step(step, "explain")
    # A context of its own: no configuration, no watcher and no lease of the program's is concerned.
    return Context().run(_explained, step, target)


def _explained(step: Step[Any, Any], target: object) -> Explanation:
    rehearsal = Rehearsal(repr((target, step)))
    if target is None:
        target = rehearsal.stand_in_for(takes(step))
    with answered_by(rehearsal.answer), using(_LOGIN), unobserved():
        rehearsal.through(step, cast("Any", target) if isinstance(target, Result) else Success(target))
    return Explanation(repr(step), tuple(part.closed() for part in rehearsal.parts))
