"""The settings of a sandbox that its owner sets: name, description, topics and repository."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ApiError, InvalidInput, NameTaken, PocketenvError, SandboxNotFound, hides_its_cause
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.pocketenv.records import present
from pocketenv_fp.pocketenv.sandboxes import get_sandbox, is_yours
from pocketenv_fp.validation import Id, SandboxName, Text

__all__ = ["get_preferences", "put_preferences"]

DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"

Topic = Annotated[str, Meta(min_length=1, max_length=50)]


class _Preference(msgspec.Struct):
    kind: str = msgspec.field(name="$type")


def _preferences(body: bytes) -> Preferences | None:
    # Preferences of other kinds may contain secrets: only their kind is decoded.
    for each in decode(body, list[msgspec.Raw]):
        if decode(bytes(each), _Preference).kind == DETAILS:
            return decode(bytes(each), Preferences)
    return None


@checked
def get_preferences(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Preferences, PocketenvError]:
    """Return the Preferences of a sandbox, by id, name or at-URI. A field without a value contains None.

    The platform's list of preferences may lack these fields. Then they are read from the sandbox's record.
    Failures: InvalidInput; SandboxNotFound, or ApiError (404), for an unknown sandbox.

    Args:
        id: Id, name or at-URI of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.put_preferences(box.id, topics=["demo"])
    <Success: None>
    >>> pocketenv.get_preferences(box.id).map(lambda details: (details.topics, details.description))
    <Success: (('demo',), None)>
    """
    answer = send(query("sandbox.getPreferences", _preferences, {"id": id}))
    if isinstance(answer, Failure):
        return answer
    preferences = answer.unwrap()
    return Success(preferences) if preferences else get_sandbox(id).bind(_of_record)


def _of_record(sandbox: Sandbox | None) -> Result[Preferences, PocketenvError]:
    if sandbox is None:
        return Failure(SandboxNotFound(message="Sandbox not found", operation="sandbox.getPreferences"))
    fields = {field: getattr(sandbox, field) or None for field in Preferences.__struct_fields__}
    return Success(Preferences(**fields))


@checked
def put_preferences(
    sandbox_id: Id,
    *,
    name: SandboxName | None = None,
    description: str | None = None,
    topics: Sequence[Topic] | None = None,
    repo: str | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the name, description, topics or repository of a sandbox. Returns None.

    A field with None is not sent and keeps its value. **The platform returns the same response for a sandbox that
    does not exist or is not yours**, and changes nothing. `rename` and `update_settings` send the other fields too, and
    check the result.

    Failures: InvalidInput for an empty topic, for a name that is not valid (see `create`), or if no field is set;
    NameTaken if a sandbox or base image of any owner has the name; SessionLost.

    Args:
        sandbox_id: Id of the sandbox.
        name: The new name, without spaces, at most 255 characters. None: unchanged.
        description: The description. ``""`` deletes it. None: unchanged.
        topics: The topics, at most 50 characters each. ``()`` deletes them. None: unchanged.
        repo: URL of a git repository. ``""`` deletes it. None: unchanged.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> one, other = create("my-box").unwrap(), create("my-other-box").unwrap()
    >>> pocketenv.put_preferences(one.id, name="other-name", description="a box for trying things")
    <Success: None>
    >>> pocketenv.put_preferences(other.id, name="other-name")
    <Failure: sandbox.putPreferences: ... (500 NameTaken). Choose another name, ...>
    """
    fields = present({"name": name, "description": description, "topics": topics, "repo": repo})
    if not fields:
        return Failure(InvalidInput("preferences", "no field to change is set"))
    # In the contract, null deletes a value, and an absent key keeps it.
    details = {"$type": DETAILS, **{field: value or None for field, value in fields.items()}}
    body = {"sandboxId": sandbox_id, "preferences": [details]}
    answer = send(procedure("sandbox.putPreferences", nothing, body=body))
    return answer.lash(partial(_refused, sandbox_id, name))


def difference(wanted: Preferences, sandbox: Sandbox) -> str | None:
    """Return the names of the wanted settings that the sandbox does not have, or None.

    putPreferences returns the same response whether it changed something or not. Only a lookup shows the difference.
    """
    fields = [
        field
        for field, value in present(msgspec.structs.asdict(wanted)).items()
        if (getattr(sandbox, field) or None) != (value or None)
    ]
    return " and the ".join(fields) or None


def _refused(sandbox_id: str, name: str | None, error: PocketenvError) -> Result[None, PocketenvError]:
    if name is None or not isinstance(error, ApiError) or not hides_its_cause(error):
        return Failure(error)
    # The platform hides why. Only a look shows whether a sandbox or a base image has the name.
    holder = get_sandbox(name).value_or(None)
    if isinstance(holder, Sandbox) and holder.name == name and holder.id != sandbox_id:
        message = f"the name {name} is taken"
        return Failure(NameTaken(message=message, operation=error.operation, is_yours=is_yours(holder)))
    return Failure(error)
