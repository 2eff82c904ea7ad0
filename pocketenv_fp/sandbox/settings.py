"""What a sandbox is called, and what its owner says about it."""

from __future__ import annotations

from collections.abc import Sequence

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.preferences import Topic
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import SandboxName, Text

__all__ = ["get_preferences", "rename", "update_settings"]


@operation(Sandbox)
def rename(
    sandbox: Sandbox, new_name: SandboxName, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Rename the sandbox. Returns the Sandbox as it is afterwards, with that name.

    All else that was said about it stays; as in `update_settings`, it is looked at and sent along. Failures:
    InvalidInput for a name that `get_sandbox` could not find (see `create`); NameTaken for the name of another sandbox
    or of a base image, anybody's; SandboxNotFound where it is gone or not yours; SessionLost.

    >>> from pocketenv_fp import create, rename
    >>> (create("my-box") | rename("my-better-box")).map(lambda box: box.name)
    <Success: my-better-box>
    >>> create("my-other-box") | rename("my-better-box")
    <Failure: sandbox.putPreferences: the name my-better-box is taken (500 NameTaken). Choose another name, ...>
    """
    return _settled(sandbox, Preferences(name=new_name))


@operation(Sandbox)
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
    """Rename the sandbox, or say something else about it. Returns the Sandbox as it is afterwards.

    None leaves a thing as it is; ``""`` takes the description or the repository away, and ``()`` the topics. A topic
    has at most 50 bytes. ``repo`` is the URL of a git repository.

    What stays is looked at first and sent along, since nobody has seen whether the platform would keep it otherwise: of
    two programs that change different things at the same moment, one may put back what the other changed. Failures:
    InvalidInput for an empty topic, for a name that `get_sandbox` could not find, or where there is nothing to change;
    NameTaken for the name of another sandbox or of a base image, anybody's; SandboxNotFound where it is gone or not
    yours; SessionLost.

    >>> from pocketenv_fp import create, update_settings
    >>> box = create("my-box") | update_settings(description="a box for trying things", topics=["demo", "trial"])
    >>> box.map(lambda box: (box.description, box.topics))
    <Success: ('a box for trying things', ('demo', 'trial'))>
    >>> (box | update_settings(topics=())).map(lambda box: (box.description, box.topics))
    <Success: ('a box for trying things', None)>
    """
    given = None if topics is None else tuple(topics)
    wanted = Preferences(name=name, description=description, topics=given, repo=repo)
    return _settled(sandbox, wanted)


@step(Sandbox, safe=True)
def get_preferences(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Preferences, PocketenvError]:
    """Return what was said about the sandbox, as Preferences; None is what was not said.

    The platform's list of preferences leaves these out, so they are read from the sandbox itself where it does.
    Failures: SandboxNotFound, or ApiError (404), where the sandbox is gone or not yours.

    >>> from pocketenv_fp import create, get_preferences, update_settings
    >>> create("my-box") | update_settings(name="my-named-box", topics=["demo"]) | get_preferences
    <Success: Preferences(name='my-named-box', topics=('demo',))>
    """
    return pocketenv.get_preferences(sandbox.id)


def _settled(sandbox: Sandbox, wanted: Preferences) -> Result[Sandbox, PocketenvError]:
    def put(said: Preferences) -> Result[None, PocketenvError]:
        return pocketenv.put_preferences(
            sandbox.id, name=said.name, description=said.description, topics=said.topics, repo=said.repo
        )

    def seen() -> Result[Sandbox, PocketenvError]:
        # Anybody may look, but only an owner has something to change.
        return look(sandbox, login=True)

    # Where nothing is to change that is told without a look, and where nothing is to stay none is needed.
    stays = wanted != Preferences() and None in {wanted.description, wanted.topics, wanted.repo}
    whole = seen().map(lambda before: _beside(wanted, before)) if stays else Success(wanted)
    return whole.bind(put).bind(lambda _: seen()).bind(lambda after: _kept(sandbox, after, wanted))


def _beside(wanted: Preferences, before: Sandbox) -> Preferences:
    # A name cannot be lost, and to send the one that it has might be taken for a name that is taken.
    said = {field: getattr(before, field) or None for field in ("description", "topics", "repo")}
    asked = {field: value for field in wanted.__struct_fields__ if (value := getattr(wanted, field)) is not None}
    return Preferences(**(said | asked))


def _kept(sandbox: Sandbox, seen: Sandbox, wanted: Preferences) -> Result[Sandbox, PocketenvError]:
    # putPreferences answers alike whether it changed a sandbox or knows none: only a look tells.
    missed = [
        field
        for field in wanted.__struct_fields__
        if (value := getattr(wanted, field)) is not None and (getattr(seen, field) or None) != (value or None)
    ]
    if missed:
        told = f"{sandbox.name} has not the {' and the '.join(missed)} that was sent: it may not be yours"
        return Failure(SandboxNotFound(message=told, operation="sandbox.putPreferences"))
    return Success(seen)
