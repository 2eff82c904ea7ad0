"""The name of a sandbox, and its description, topics and repository."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.preferences import Topic
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import SandboxName, Text

__all__ = ["get_preferences", "rename", "update_settings"]


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
    return _settled(sandbox, Preferences(name=new_name))


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
    tuple_of_topics = None if topics is None else tuple(topics)
    wanted = Preferences(name=name, description=description, topics=tuple_of_topics, repo=repo)
    return _settled(sandbox, wanted)


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


def _settled(sandbox: Sandbox, wanted: Preferences) -> Result[Sandbox, PocketenvError]:
    def put(changes: Preferences) -> Result[None, PocketenvError]:
        return pocketenv.put_preferences(
            sandbox.id, name=changes.name, description=changes.description, topics=changes.topics, repo=changes.repo
        )

    def seen() -> Result[Sandbox, PocketenvError]:
        # A lookup works without a login, but only an owner can change settings.
        return look(sandbox, login=True)

    # If no field is set, the error needs no request. If all are set, no field must be read first.
    stays = wanted != Preferences() and None in {wanted.description, wanted.topics, wanted.repo}
    whole = seen().map(partial(_beside, wanted)) if stays else Success(wanted)
    done = whole.bind(put)
    return done if isinstance(done, Failure) else seen().bind(partial(_kept, sandbox, wanted))


def _beside(wanted: Preferences, before: Sandbox) -> Preferences:
    # The name is never lost. Sending the old name again might be refused as taken.
    kept = {field: getattr(before, field) or None for field in ("description", "topics", "repo")}
    changed = {field: value for field in wanted.__struct_fields__ if (value := getattr(wanted, field)) is not None}
    return Preferences(**(kept | changed))


def _kept(sandbox: Sandbox, wanted: Preferences, seen: Sandbox) -> Result[Sandbox, PocketenvError]:
    # putPreferences returns the same response for an unknown sandbox: only a lookup shows the difference.
    missed = [
        field
        for field in wanted.__struct_fields__
        if (value := getattr(wanted, field)) is not None and (getattr(seen, field) or None) != (value or None)
    ]
    if missed:
        message = f"{sandbox.name} does not have the {' and the '.join(missed)} that was sent: it may not be yours"
        return Failure(SandboxNotFound(message=message, operation="sandbox.putPreferences"))
    return Success(seen)
