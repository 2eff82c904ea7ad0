"""The environment variables of a sandbox. They are stored unencrypted: use `set_secret` for secret values."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Failure, Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox, Variable
from pocketenv_fp.pocketenv import variables as pocketenv
from pocketenv_fp.sandbox.records import RecordKind
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Name, Offset, Text, VariableName

__all__ = ["delete_variable", "get_variable", "iter_variables", "list_variables", "set_variable"]

_VARIABLES = RecordKind[Variable]("variable", "name", pocketenv.iter_variables, pocketenv.delete_variable)


@step(Sandbox, safe=True, reads=Need.ID)
def list_variables(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Variable], PocketenvError]:
    """List the sandbox's environment variables, in no stable order. Returns a Page of Variable.

    Failures: InvalidInput for a limit below 1 or an offset below 0.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_variables
    >>> create("my-box") | list_variables
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_variables(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_variables(
    sandbox: Sandbox, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Variable, PocketenvError]]:
    """Iterate over all variables of the sandbox. Returns an iterator of Results, and requests pages when needed.

    It takes a Sandbox or a Result of one, and is not a step. A Failure as argument is the only item. If a page fails,
    its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox: The Sandbox, or a Result of one.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_variables, set_variable
    >>> box = create("my-box")
    >>> stored = [box | set_variable(name, "1") for name in ("A", "B", "C")]
    >>> sorted(variable.unwrap().name for variable in iter_variables(box, limit=2))
    ['A', 'B', 'C']
    """
    return pocketenv.iter_variables(sandbox.id, limit=limit)


@operation(Sandbox, safe=True, reads=Need.ID, record="variable")
def get_variable(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Variable, PocketenvError]:
    """Find a variable of the sandbox by id, or else by name. Returns a Variable.

    Failures: InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_variable, set_variable
    >>> box = create("my-box")
    >>> stored = box | set_variable("STAGE", "test")
    >>> (box | get_variable("STAGE")) == stored
    True
    """
    return _VARIABLES.of(sandbox).find(name_or_id)


@operation(Sandbox, reads=Need.ID, record="variable", looks_up_record=True)
def set_variable(
    sandbox: Sandbox,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Variable, PocketenvError]:
    """Add an environment variable, or change the value of an existing one. Returns its Variable.

    **Commands see it after the next start, and a stop before it would delete the files on Cloudflare**: `start` a
    running sandbox without a stop. `restart` with ``keep=`` carries a directory over. On other providers no start sets
    variables, so the result is Failure(NotSupported): pass them to each command with ``exec(…, env={…})``.

    The value is stored unencrypted, and is shown when the step is printed.

    On Cloudflare, the current container inserts four spaces after every newline of a value. Pass such a value with
    ``exec(…, env={…})``.

    Failures: InvalidInput; NotSupported; ServerError if the platform refuses it and no variable has this name.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the variable: letters, digits and _, not starting with a digit. Names that bash reserves are
            refused: UID, EUID, PPID, SHELLOPTS, BASHOPTS, BASH_VERSINFO, _.
        value: The value, or `from_env`. It is stored unencrypted.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exec, set_variable, start
    >>> box = create("my-box")
    >>> (box | set_variable("STAGE", "test")).map(lambda variable: variable.value)
    <Success: test>
    >>> (box | set_variable("STAGE", "production")).map(lambda variable: variable.value)
    <Success: production>
    >>> (box | start | exec("printenv STAGE")).map(lambda result: result.stdout.strip())
    <Success: production>
    """
    if refusal := unsupported(sandbox, "variables", "set_variable"):
        return Failure(refusal)
    return _VARIABLES.of(sandbox).set(
        name,
        add=lambda: pocketenv.add_variable(sandbox.id, name, value),
        update=lambda old: pocketenv.update_variable(old.id, name, value),
    )


@operation(Sandbox, reads=Need.ID, returns_target=True, record="variable")
def delete_variable(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete a variable of the sandbox, by id or else by name. Returns the Sandbox unchanged.

    Commands see it until the sandbox is stopped, because a start does not remove variables. Failures: InvalidInput;
    RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete_variable
    >>> (create("my-box") | delete_variable("STAGE")).failure().error
    'RecordNotFound'
    """
    return _VARIABLES.of(sandbox).delete(name_or_id)
