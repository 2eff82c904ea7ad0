"""What an owner says about a sandbox: its name, its description, its topics and its repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ApiError, InvalidInput, NameTaken, PocketenvError, SandboxNotFound, hides_its_cause
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.pocketenv.sandboxes import get_sandbox
from pocketenv_fp.validation import Id, SandboxName, Text

__all__ = ["Topic", "get_preferences", "put_preferences"]

DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"

Topic = Annotated[str, Meta(min_length=1, max_length=50)]


class _Preference(msgspec.Struct):
    kind: str = msgspec.field(name="$type")


def _preferences(body: bytes) -> Preferences | None:
    # Preferences of other kinds may hold secrets: no more of them is read than what kind they are.
    for each in decode(body, list[msgspec.Raw]):
        if decode(bytes(each), _Preference).kind == DETAILS:
            return decode(bytes(each), Preferences)
    return None


@checked
def get_preferences(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Preferences, PocketenvError]:
    """Return what was said about the sandbox with this id, name or at-URI, as Preferences; None is what was not said.

    The platform's list of preferences leaves these out, so they are read from the sandbox itself where it does.
    Failures: InvalidInput; SandboxNotFound, or ApiError (404), where you have no such sandbox.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.put_preferences(box.id, topics=["demo"])
    <Success: None>
    >>> pocketenv.get_preferences(box.id).map(lambda said: (said.topics, said.description))
    <Success: (('demo',), None)>
    """
    asked = send(query("sandbox.getPreferences", _preferences, {"id": id}))
    return asked.bind(lambda said: Success(said) if said else _of_the_sandbox(id))


def _of_the_sandbox(id: str) -> Result[Preferences, PocketenvError]:
    def said(seen: Sandbox | None) -> Result[Preferences, PocketenvError]:
        if seen is None:
            return Failure(SandboxNotFound(message="Sandbox not found", operation="sandbox.getPreferences"))
        return Success(
            Preferences(name=seen.name, description=seen.description, topics=seen.topics or None, repo=seen.repo)
        )

    return get_sandbox(id).bind(said)


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
    """Rename a sandbox, or say something else about it. Returns None.

    ``""`` takes the description or the repository away, and ``()`` the topics. What is None is not sent, and stays. It
    takes the id only. **The platform answers the same for a sandbox that is not there or not yours**, and changes
    nothing. `rename` and `update_settings` send along what is to stay, and look whether it was done.

    Failures: InvalidInput for an empty topic, for a name that `get_sandbox` could not find (see `create`), or where
    there is nothing to change; NameTaken for the name of another sandbox or of a base image, anybody's; SessionLost.

    >>> from pocketenv_fp import create, pocketenv
    >>> one, other = create("my-box").unwrap(), create("my-other-box").unwrap()
    >>> pocketenv.put_preferences(one.id, name="other-name", description="a box for trying things")
    <Success: None>
    >>> pocketenv.put_preferences(other.id, name="other-name")
    <Failure: sandbox.putPreferences: ... (500 NameTaken). Choose another name, ...>
    """
    said = _said(name=name, description=description, topics=topics, repo=repo)
    if not said:
        return Failure(InvalidInput("preferences", "nothing is given that is to change"))
    body = {"sandboxId": sandbox_id, "preferences": [{"$type": DETAILS, **said}]}
    put = send(procedure("sandbox.putPreferences", nothing, body=body))
    return put.lash(lambda error: _refused(error, sandbox_id, name))


def _said(**given: str | Sequence[str] | None) -> dict[str, object]:
    # The contract lets null stand for what is to be taken away, and what is absent for what is to stay.
    return {name: (value or None) for name, value in given.items() if value is not None}


def _refused(error: PocketenvError, sandbox_id: str, name: str | None) -> Result[None, PocketenvError]:
    if name is None or not isinstance(error, ApiError) or not hides_its_cause(error):
        return Failure(error)
    # The platform hides why. Only a look shows whether a sandbox or a base image has the name.
    looked = get_sandbox(name).value_or(None)
    if isinstance(looked, Sandbox) and looked.name == name and looked.id != sandbox_id:
        return Failure(NameTaken(message=f"the name {name} is taken", operation=error.operation))
    return Failure(error)
