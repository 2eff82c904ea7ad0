"""A sandbox's environment variables. They are stored in clear: what is secret is for `set_secret`."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Result

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox, Variable
from pocketenv_fp.sandbox.records import Kind
from pocketenv_fp.sandbox.support import supported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Name, Offset, Text, VariableName

__all__ = ["delete_variable", "get_variable", "iter_variables", "list_variables", "set_variable"]

_VARIABLES = Kind[Variable]("variable", "name", pocketenv.iter_variables, pocketenv.delete_variable)


@step(Sandbox, safe=True)
def list_variables(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Variable], PocketenvError]:
    """List the sandbox's environment variables, in no stable order. Gives a Page of Variable.

    >>> from pocketenv_fp import create, list_variables
    >>> create("my-box") | list_variables
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_variables(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_variables(
    sandbox: Sandbox, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Variable, PocketenvError]]:
    """Give an iterator of all the sandbox's variables, each a Success, asked for ``limit`` at a time when needed.

    It takes a Sandbox or a Result of one, whose Failure is then the one item; it is no step. A page that fails is the
    last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, iter_variables, set_variable
    >>> box = create("my-box")
    >>> stored = [box | set_variable(name, "1") for name in ("A", "B", "C")]
    >>> sorted(variable.unwrap().name for variable in iter_variables(box, limit=2))
    ['A', 'B', 'C']
    """
    return pocketenv.iter_variables(sandbox.id, limit=limit)


@operation(Sandbox, safe=True)
def get_variable(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Variable, PocketenvError]:
    """Give the sandbox's Variable with this id, or else with this name.

    Failures: InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, get_variable, set_variable
    >>> box = create("my-box")
    >>> stored = box | set_variable("STAGE", "test")
    >>> (box | get_variable("STAGE")) == stored
    True
    """
    return _VARIABLES.of(sandbox).find(name_or_id)


@operation(Sandbox)
def set_variable(
    sandbox: Sandbox,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Variable, PocketenvError]:
    """Add an environment variable, or change the value of the one with this name. Returns its Variable.

    Commands have it from the next `start` on, on Cloudflare only. A start of a running sandbox is enough; a stop would
    discard the sandbox's files. On the nine other providers no start sets variables, so this is NotSupported there:
    hand them to each command, with ``exec(…, env={…})``.

    ``name`` has letters, digits and _, and no digit comes first; the names that bash keeps for itself (UID, EUID, PPID,
    SHELLOPTS, BASHOPTS, BASH_VERSINFO, _) are refused. The rule is the same for ``env=`` and for secrets. ``value`` is a
    text, or `from_env` of a variable of this machine that is read when the step runs. It is stored in clear and shown.
    On Cloudflare, the platform's present container puts four spaces behind every line break in a value: hand such a
    value to commands with ``exec(…, env={…})``.

    Failures: InvalidInput; NotSupported; ServerError where the platform refuses it and the sandbox has no variable of
    this name.

    >>> from pocketenv_fp import create, exec, set_variable, start
    >>> box = create("my-box")
    >>> (box | set_variable("STAGE", "test")).map(lambda variable: variable.value)
    <Success: test>
    >>> (box | set_variable("STAGE", "production")).map(lambda variable: variable.value)
    <Success: production>
    >>> (box | start | exec("printenv STAGE")).map(lambda result: result.stdout.strip())
    <Success: production>
    """
    return supported(sandbox, "variables", "set_variable").bind(
        lambda _: _VARIABLES.of(sandbox).set(
            name,
            add=lambda: pocketenv.add_variable(sandbox.id, name, value),
            update=lambda old: pocketenv.update_variable(old.id, name, value),
        )
    )


@operation(Sandbox)
def delete_variable(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the sandbox's variable with this id, or else with this name. Gives the Sandbox as it was given.

    Commands keep it until the sandbox is stopped: a start sets what is stored, and takes nothing away. Failures:
    InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, delete_variable
    >>> (create("my-box") | delete_variable("STAGE")).failure().error
    'RecordNotFound'
    """
    return _VARIABLES.of(sandbox).delete(name_or_id)
