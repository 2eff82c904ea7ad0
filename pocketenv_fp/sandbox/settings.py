"""The name of a sandbox, and its description, topics and repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import asdict
from returns.result import Failure, Result

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.preferences import Topic, difference
from pocketenv_fp.pocketenv.records import present
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import SandboxName, Text

__all__ = ["get_preferences", "rename", "update_settings"]

# The name is never lost. Sending the old name again might be refused as taken.
KEPT = frozenset({"description", "topics", "repo"})


@operation(Sandbox, reads=Need.ID)
def rename(
    sandbox: Sandbox, new_name: SandboxName, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Rename the sandbox. Returns the Sandbox afterwards, with the new name.

    Its other settings stay: they are read first and sent again, as in `update_settings`. Failures: InvalidInput for a
    name that is not valid (see `create`); NameTaken if a sandbox or base image of any owner has the name;
    SandboxNotFound if the sandbox is gone or not yours; SessionLost.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        new_name: The new name, without spaces, at most 255 characters.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, rename
    >>> (create("my-box") | rename("my-better-box")).map(lambda box: box.name)
    <Success: my-better-box>
    >>> create("my-other-box") | rename("my-better-box")
    <Failure: sandbox.putPreferences: the name my-better-box is taken (500 NameTaken). Choose another name, ...>
    """
    return _changed(sandbox, Preferences(name=new_name))


@operation(Sandbox, reads=Need.ID)
def update_settings(
    sandbox: Sandbox,
    *,
    name: SandboxName | None = None,
    description: str | None = None,
    topics: Sequence[Topic] | None = None,
    repo: str | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Change the name, description, topics or repository of the sandbox. Returns the Sandbox afterwards.

    A field with None keeps its value. Such fields are read first and sent again, because the platform may delete
    them otherwise. So if two programs change different fields at the same time, one may undo the change of the other.

    Failures: InvalidInput for an empty topic, for a name that is not valid (see `create`), or if no field is set;
    NameTaken if a sandbox or base image of any owner has the name; SandboxNotFound if the sandbox is gone or not yours;
    SessionLost.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: The new name, without spaces, at most 255 characters. None: unchanged.
        description: The description. ``""`` deletes it. None: unchanged.
        topics: The topics, at most 50 characters each. ``()`` deletes them. None: unchanged.
        repo: URL of a git repository. ``""`` deletes it. None: unchanged.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, update_settings
    >>> box = create("my-box") | update_settings(description="a box for trying things", topics=["demo", "trial"])
    >>> box.map(lambda box: (box.description, box.topics))
    <Success: ('a box for trying things', ('demo', 'trial'))>
    >>> (box | update_settings(topics=())).map(lambda box: (box.description, box.topics))
    <Success: ('a box for trying things', None)>
    """
    whole = None if topics is None else tuple(topics)
    wanted = Preferences(name=name, description=description, topics=whole, repo=repo)
    return _changed(sandbox, wanted)


@step(Sandbox, safe=True, reads=Need.ID)
def get_preferences(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Preferences, PocketenvError]:
    """Return the Preferences of the sandbox. A field without a value contains None.

    The platform's list of preferences may lack these fields. Then they are read from the sandbox's record.
    Failures: SandboxNotFound if the sandbox is gone or not yours.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_preferences, update_settings
    >>> create("my-box") | update_settings(name="my-named-box", topics=["demo"]) | get_preferences
    <Success: Preferences(name='my-named-box', topics=('demo',))>
    """
    return pocketenv.get_preferences(sandbox.id)


def _changed(sandbox: Sandbox, wanted: Preferences) -> Result[Sandbox, PocketenvError]:
    fields = present(asdict(wanted))
    # If no field is set, the error needs no request. If all are set, no field must be read first.
    if fields and KEPT - fields.keys():
        # A lookup works without a login, but only an owner can change settings.
        before = look(sandbox, login=True)
        if isinstance(before, Failure):
            return before
        fields = {field: getattr(before.unwrap(), field) or None for field in KEPT} | fields
    answer = pocketenv.put_preferences(sandbox.id, **cast("Any", fields))
    current = answer if isinstance(answer, Failure) else look(sandbox, login=True)
    if isinstance(current, Failure):
        return current
    if missing := difference(wanted, current.unwrap()):
        message = f"{sandbox.name} does not have the {missing} that was sent: it may not be yours"
        return Failure(SandboxNotFound(message=message, operation="sandbox.putPreferences"))
    return current
