"""Environment variables of a sandbox, by id. They are stored unencrypted: use secrets for secret values."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Variable
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import StoredRecords, text
from pocketenv_fp.validation import Id, Limit, Offset, Text, VariableName

__all__ = ["add_variable", "delete_variable", "get_variable", "iter_variables", "list_variables", "update_variable"]

_VARIABLES = StoredRecords("variable", Variable)


def _clear(name: str, value: str | FromEnv) -> Result[dict[str, str], PocketenvError]:
    """Return the fields of a variable. Its value is stored unencrypted."""
    return text(value, "value").map(lambda clear: {"name": name, "value": clear})


@checked
def list_variables(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Variable], PocketenvError]:
    """List a sandbox's environment variables, in no stable order. Returns a Page of Variable.

    Pass the id of the sandbox. For a name, the platform returns an empty list. Failures: InvalidInput.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_variable(box.id, "STAGE", "test")
    <Success: None>
    >>> pocketenv.list_variables(box.id).map(lambda page: [(each.name, each.value) for each in page])
    <Success: [('STAGE', 'test')]>
    """
    return _VARIABLES.page(sandbox_id, limit, offset)


@iterates
def iter_variables(
    sandbox_id: Id, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Variable, PocketenvError]]:
    """Iterate over all variables of a sandbox. Returns an iterator of Results, and requests pages when needed.

    If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_variable(box.id, name, "1") for name in ("A", "B", "C")]
    >>> sorted(variable.unwrap().name for variable in pocketenv.iter_variables(box.id, limit=2))
    ['A', 'B', 'C']
    """
    return _VARIABLES.each(partial(list_variables, sandbox_id), limit)


@checked
def get_variable(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Variable, PocketenvError]:
    """Look up the variable with this id. Returns a Variable. Failures: InvalidInput; RecordNotFound.

    Args:
        id: Id of the variable.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_variable("no-such-id")
    <Failure: variable.getVariable: there is no variable with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return _VARIABLES.get(id)


@checked
def add_variable(
    sandbox_id: Id,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add an environment variable. It is stored unencrypted. Returns None: the platform returns no id.

    On Cloudflare, commands see it after the next start. **On other providers no command sees it.** This function knows
    only the id, so it does not check the provider: `set_variable` does. The platform does not check the owner of the
    sandbox. Failures: InvalidInput; ServerError for a name that is taken.

    Args:
        sandbox_id: Id of the sandbox.
        name: Name of the variable. The rule is that of `set_variable`.
        value: The value, or `from_env`. It is stored unencrypted.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_variable(create("my-box").unwrap().id, "STAGE", "test")
    <Success: None>
    """
    return _clear(name, value).bind(partial(_VARIABLES.add, sandbox_id))


@checked
def update_variable(
    id: Id,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the name and the value of the variable with this id. Returns None.

    When commands see it: as for `add_variable`. Failures: the same, and ApiError (404) for an unknown id.

    Args:
        id: Id of the variable.
        name: New name of the variable.
        value: The value, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stage = (create("my-box") | sandbox.set_variable("STAGE", "test")).unwrap()
    >>> pocketenv.update_variable(stage.id, "STAGE", "production")
    <Success: None>
    >>> pocketenv.get_variable(stage.id).map(lambda variable: variable.value)
    <Success: production>
    """
    return _clear(name, value).bind(partial(_VARIABLES.update, id))


@checked
def delete_variable(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the variable with this id. Returns None. Failures: InvalidInput; ApiError (404) for an unknown id.

    Args:
        id: Id of the variable.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> (create("my-box") | sandbox.set_variable("OLD", "1")).bind(lambda old: pocketenv.delete_variable(old.id))
    <Success: None>
    """
    return _VARIABLES.delete(id)
