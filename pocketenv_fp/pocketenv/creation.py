"""Create a sandbox completely, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from msgspec import structs
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv, settings
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import (
    DecodeError,
    InvalidInput,
    NotSupported,
    PocketenvError,
    RepositoryTaken,
    SandboxNotFound,
    SessionLost,
)
from pocketenv_fp.http.paging import collected
from pocketenv_fp.http.xrpc import procedure, send, token_did
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, list_sandboxes_by_actor, me
from pocketenv_fp.pocketenv.cloning import Clone, cloner
from pocketenv_fp.pocketenv.credentials import sealed_credentials
from pocketenv_fp.pocketenv.existing import existing_or
from pocketenv_fp.pocketenv.options import creation
from pocketenv_fp.pocketenv.preferences import Topic, put_preferences
from pocketenv_fp.pocketenv.records import Unit, add_or_update, named, text
from pocketenv_fp.pocketenv.sandboxes import look, look_if_needed, remove, shown, started
from pocketenv_fp.pocketenv.secrets import add_secret, iter_secrets, update_secret
from pocketenv_fp.pocketenv.variables import add_variable, iter_variables, update_variable
from pocketenv_fp.providers import provider_of
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.runtime import marks, own_sandboxes
from pocketenv_fp.runtime.deadline import patient, unlimited
from pocketenv_fp.runtime.signals import guarded
from pocketenv_fp.runtime.turns import Turns
from pocketenv_fp.validation import SandboxName, Text, VariableName, unsendable

__all__ = ["create", "create_sandbox", "noting"]

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PROVIDER = "cloudflare"
CREATE = "sandbox.createSandbox"
# The platform's clock may be this many seconds behind this machine's.
CLOCKS_APART = 30.0

# When two threads create with one repo, the second must see the first one's sandbox as an older one.
_turns = Turns()


@creation
def create(
    name: SandboxName,
    *,
    base: Text = BASE,
    provider: Text = PROVIDER,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    env: Mapping[VariableName, str | FromEnv] | None = None,
    secrets: Mapping[VariableName, SecretText | FromEnv] | None = None,
    description: Text | None = None,
    topics: Sequence[Topic] | None = None,
    provider_credentials: Mapping[str, SecretText | FromEnv] | None = None,
    reuse: bool = False,
    exist_ok: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Create a sandbox; also called ``create_sandbox``. Returns the new Sandbox with its name.

    On Cloudflare the sandbox is RUNNING on return. On other providers it is INITIALIZING: use `wait_until_running`.
    The name is usable with `get_sandbox`. A size and a readme cannot be set: the platform ignores them.

    **Variables.** Commands see ``env`` and ``secrets`` after the next `start`, on Cloudflare only. With another
    provider they are Failure(NotSupported), and no request is sent: use ``exec(…, env={…})`` there. Secrets are sealed
    on this machine. A step masks plain values in ``secrets`` and ``provider_credentials`` when it is printed, and
    cannot be pickled with them. Use `from_env` to read a value when the step runs.

    **Credentials.** ``provider_credentials`` are for your own account at the provider. Known names: daytona_api_key,
    daytona_organization_id; vercel_api_token, vercel_project_id, vercel_team_id; deno_deploy_token; sprite_token;
    modal_token_id, modal_token_secret; e2b_api_key; hopx_api_key; runloop_api_key. They are sealed, except the ids of
    organization, project and team. Without the argument they are read from the variables of the provider's own tools:
    DAYTONA_API_KEY, DAYTONA_ORGANIZATION_ID, VERCEL_TOKEN, VERCEL_PROJECT_ID, VERCEL_TEAM_ID, DENO_DEPLOY_TOKEN,
    SPRITE_TOKEN or SPRITES_TOKEN, MODAL_TOKEN_ID, MODAL_TOKEN_SECRET, E2B_API_KEY, HOPX_API_KEY, RUNLOOP_API_KEY. Pass
    ``{}`` to send no credentials.

    **All or nothing.** If a later request fails, or the program is interrupted, the new sandbox is deleted. The result
    is the first Failure. If the sandbox cannot be deleted, a note on the error names it. The create request is sent
    once. After a TransportError with ``maybe_sent``, a DecodeError or a ServerError, a new sandbox with a random name
    may exist. Ctrl-C waits for the response. A second Ctrl-C does not wait, and may leave such a sandbox.

    **With a repo, the platform may return an older sandbox of yours** with the same repo and base, and start it. If it
    has another name, the result is Failure(RepositoryTaken). With ``reuse=True`` it is a Success. The older sandbox
    keeps its name, description and topics. ``env`` and ``secrets`` are set in it, and existing names get the new
    values. It is never deleted. Threads that create with one repo run one after the other. Two programs that do so at
    the same time may both get the sandbox. **Inside `managed`, `ephemeral` and `fan_out`**, a create with a repo and
    without ``reuse=True`` always makes a new sandbox: a start clones the repository, and the record has no repo.

    **In a notebook cell that runs twice**, use ``exist_ok=True``. If you have a sandbox of that name, it is the result,
    and nothing is sent to it. It may be stopped, and it does not get the other options. `managed` does not delete it.

    Failures: InvalidInput; NotSupported; EncryptionError; NameTaken if a sandbox or base image of any owner has the
    name: ``is_yours`` says whether it is yours; RepositoryTaken; ServerError (502) for an unknown base or a failure of the provider; SessionLost if the
    platform's AT Protocol session is gone. The platform leaves a sandbox then. It has no at-URI: it is found by that
    and deleted, or the error names it.

    Args:
        name: Name of the sandbox: no spaces, at most 255 characters, not in the form of an id or at-URI. Without it,
            the call returns a step.
        base: At-URI of a base image. Default: the image ``openclaw``.
        provider: Cloud to run on: cloudflare, daytona, vercel, deno, sprites, modal, e2b, hopx or runloop. The platform
            refuses blaxel (403), except for its own test accounts. Default: ``"cloudflare"``.
        repo: URL of a git repository to clone. The platform shows it to everyone, so it must not contain a password.
            Default: none.
        keep_alive: True to keep the sandbox running when idle. None: the platform's default.
        env: Environment variables: values, or `from_env`. Default: none.
        secrets: Secret environment variables: values, or `from_env`. Default: none.
        description: A description, visible to every user of the sandbox. Default: none.
        topics: Topics, at most 50 characters each, visible to every user of the sandbox. Default: none.
        provider_credentials: Credentials by name: values, or `from_env`. None: those in the environment.
        reuse: True to accept an older sandbox with the same repo and base. Default: False.
        exist_ok: True to return your sandbox of that name, if there is one. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exec, from_env, start
    >>> create("my-box", env={"STAGE": "test"}) | start | exec('echo "$STAGE"')
    <Success: ExecResult(stdout='test\n', stderr='', exit_code=0)>
    >>> create("my-box")
    <Failure: sandbox.putPreferences: the name my-box is taken (500 NameTaken). Choose another name, ...>
    >>> create(name="my-box", exist_ok=True).map(lambda box: box.name)
    <Success: my-box>
    >>> create(provider="daytona", secrets={"API_KEY": "sk-12345", "OTHER": from_env("MY_OTHER_KEY")})
    create(provider='daytona', secrets={'API_KEY': '***', 'OTHER': from_env('MY_OTHER_KEY')})
    >>> create("")
    <Failure: name: Expected `str` of length >= 1.>
    """
    clone = cloner() if repo is not None and not reuse and own_sandboxes.are_wanted() else None
    shared = None if clone else repo
    marked = tuple(dict.fromkeys((*(topics or ()), *marks.current())))
    wanted = Preferences(name=name, description=description, topics=marked or None, repo=shared)
    work = _Creation(wanted, reuse=reuse)
    if clone is not None and repo is not None:
        work.clones(clone, repo)
    texts = [("name", name), ("base", base), ("provider", provider), ("repo", repo), ("description", description)]
    body = {"name": name, "base": base, "provider": provider, "repo": shared, "keepAlive": keep_alive}
    wrong = _unsendable([*texts, *(("topics", topic) for topic in topics or ())])
    if refusal := wrong or _unsupported(provider, env, secrets):
        return Failure(refusal)
    taken = work.take(env or {}, secrets or {})
    credentials = taken if isinstance(taken, Failure) else sealed_credentials(provider, provider_credentials)
    if isinstance(credentials, Failure):
        return credentials
    made = partial(work.run, {**body, **credentials.unwrap()}, None if shared is None else (shared, base))
    return existing_or(name, made) if exist_ok else made()


create_sandbox = create

_made: ContextVar[list[Sandbox] | None] = ContextVar("made", default=None)


@contextmanager
def noting(made: list[Sandbox]) -> Generator[None, None, None]:
    """Append each sandbox that a `create` inside the block makes to ``made``, at once. Older sandboxes are not added."""
    before = _made.set(made)
    try:
        yield
    finally:
        _made.reset(before)


class _Setters(NamedTuple):
    """The functions for variables, or for secrets."""

    add: Callable[..., Unit]
    each: Callable[..., Iterator[Result[Any, PocketenvError]]]
    update: Callable[..., Unit]

    def set(self, sandbox_id: str, name: str, value: str, add: Callable[[], Unit]) -> Unit:
        return add_or_update(
            add, lambda: named(self.each(sandbox_id), name), lambda old: self.update(old.id, name, value)
        )


_VARIABLES = _Setters(add_variable, iter_variables, update_variable)
_SECRETS = _Setters(add_secret, iter_secrets, update_secret)


class _Creation:
    """One call of `create`, from its arguments to the finished Sandbox."""

    def __init__(self, wanted: Preferences, *, reuse: bool) -> None:
        self._wanted = wanted
        self._reuse = reuse
        self._last: Callable[[Sandbox], Result[Sandbox, PocketenvError]] = self._looked
        self._settings: list[tuple[_Setters, str, str]] = []
        self._is_shared = False
        self._there = frozenset[str]()
        self._made: Sandbox | None = None

    def clones(self, clone: Clone, repo: str) -> None:
        """Run ``clone`` as the last request, in place of a look at the sandbox."""
        self._last = lambda box: clone(box, repo)

    def take(self, env: Mapping[str, str | FromEnv], secrets: Mapping[str, str | FromEnv]) -> Unit:
        """Read and check the variables and secrets before the create. Failures: InvalidInput, EncryptionError."""
        both = next((name for name in secrets if name in env), None)
        if both is not None:
            return Failure(InvalidInput("secrets", f"{both} is in env too"))
        for field, kind, values in (("env", _VARIABLES, env), ("secrets", _SECRETS, secrets)):
            for name, value in values.items():
                read = self._read(f"{field}[{name!r}]", value, is_secret=kind is _SECRETS)
                if isinstance(read, Failure):
                    return read
                self._settings.append((kind, name, read.unwrap()))
        return Success(None)

    def run(self, body: Mapping[str, object], shared_by: tuple[str, str] | None) -> Result[Sandbox, PocketenvError]:
        """Create the sandbox and set it up. ``shared_by`` is repository and base, if an older sandbox may have them."""
        if shared_by is None:
            return self._whole_or_none(lambda: self._created(body))
        # Hold the turn until done: another thread's sandbox counts as existing only once its creation succeeded.
        with _turns.of(shared_by, CREATE) as late:
            return Failure(late) if late else self._whole_or_none(lambda: self._created_or_older(body))

    def _whole_or_none(self, created: Callable[[], Result[Sandbox, PocketenvError]]) -> Result[Sandbox, PocketenvError]:
        try:
            result = created().bind(self._furnished)
        except BaseException as stopped:
            self._undo(stopped)
            raise
        if isinstance(result, Failure):
            self._undo(result.failure())
        return result

    def _read(self, field: str, value: str | FromEnv, *, is_secret: bool) -> Result[str, PocketenvError]:
        if not isinstance(value, (str, FromEnv)):  # pyright: ignore[reportUnnecessaryIsInstance]  # a dict passes for one
            raise TypeError(f"create: {field}: expected str or from_env(…), got {type(value).__name__}")
        read = plain(value, field) if is_secret else text(value, field)
        if isinstance(read, Failure):
            return read
        if wrong := unsendable(field, read.unwrap()):
            return Failure(wrong)
        # Seal once as a check: a key or value that cannot be used is reported before the sandbox exists.
        sealed = seal(read.unwrap()) if is_secret else read
        return sealed if isinstance(sealed, Failure) else read

    def _created(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        # An interrupt or deadline before the response would leave a sandbox with an unknown id.
        began = time.time()
        with guarded(), patient():
            created = send(procedure("sandbox.createSandbox", self._noted, body=body))
            if isinstance(created, Success):
                return created
            # Look for the leftover sandbox inside `guarded`, so that an interrupt cannot come between.
            return Failure(self._without_left(created.failure(), str(body["provider"]), began))

    def _without_left(self, error: PocketenvError, provider: str, began: float) -> PocketenvError:
        """Delete the sandbox that the platform made before it found no session. Returns an error that names what is left."""
        if not isinstance(error, SessionLost):
            return error
        with unlimited():
            left = self._left(provider, began - CLOCKS_APART)
            # With several candidates, only their owner knows which program made which.
            is_gone = len(left) == 1 and isinstance(remove(left[0]), Success)
        if not left:
            error.add_note(
                "The platform may have created a sandbox with a random name and without an at-URI: "
                "look for it in your list."
            )
        return error if is_gone or not left else replace(error, left=", ".join(box.id for box in left))

    def _left(self, provider: str, since: float) -> list[Sandbox]:
        token = settings().map(lambda found: found.token or "")
        # `me` needs a session, so the owner's DID comes from the token.
        did = token_did(token.value_or(""))
        if did is None:
            return []
        newest = list_sandboxes_by_actor(did).map(lambda page: page.items).value_or(())
        return [
            box
            for box in newest
            if box.uri is None
            and box.provider == provider
            and box.created_at is not None
            and box.created_at.timestamp() >= since
        ]

    def _noted(self, body: bytes) -> Sandbox:
        # Recorded at once: an interrupt may come at any moment.
        box = shown(body)
        # The answer for an older sandbox contains its sizes. The answer for a new one does not.
        is_older = box.id in self._there or (self._is_shared and box.vcpus is not None)
        if not is_older:
            self._made = box
            if (noted := _made.get()) is not None:
                noted.append(box)
        return box

    def _created_or_older(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        self._is_shared = True
        # The response does not say whether the sandbox is new. Compare with the sandboxes from before.
        my = me()
        there = my if isinstance(my, Failure) else collected(iter_sandboxes_by_actor(my.unwrap().did))
        if isinstance(there, Failure):
            return there
        self._there = frozenset(box.id for box in there.unwrap())
        return self._created(body)

    def _furnished(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if self._made is None:
            return self._older(box)
        wanted = self._wanted
        # putPreferences may delete an absent repository, so it is sent again.
        named = put_preferences(
            box.id,
            name=wanted.name,
            description=wanted.description,
            topics=wanted.topics,
            repo=wanted.repo,
        )
        done = named if isinstance(named, Failure) else self._set_all(box.id)
        return done if isinstance(done, Failure) else self._last(box).bind(self._as_asked)

    def _older(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if box.name != self._wanted.name and not self._reuse:
            message = f"your sandbox {box.name} has this repository and base"
            return Failure(RepositoryTaken(message=message, operation=CREATE))
        done = self._set_all(box.id)
        return done if isinstance(done, Failure) else look(box)

    def _looked(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        # The rename of a new sandbox of one's own fails only with an error. So a pipeline may leave the lookup out.
        wanted = self._wanted
        known = structs.replace(
            started(box), name=wanted.name or box.name, description=wanted.description, topics=wanted.topics
        )
        return look_if_needed(known)

    def _set_all(self, sandbox_id: str) -> Unit:
        for kind, name, value in self._settings:
            add = partial(kind.add, sandbox_id, name, value)
            done = add() if self._made else kind.set(sandbox_id, name, value, add)
            if isinstance(done, Failure):
                return done
        return Success(None)

    def _as_asked(self, seen: Sandbox) -> Result[Sandbox, PocketenvError]:
        # putPreferences returns the same response whether it changed something or not.
        missed = [
            field
            for field in ("name", "description", "topics")
            if (value := getattr(self._wanted, field)) is not None and getattr(seen, field) != value
        ]
        if missed:
            reason = f"the sandbox does not have the {' and the '.join(missed)} that was set"
            return Failure(DecodeError("sandbox.getSandbox", reason))
        return Success(seen)

    def _undo(self, error: BaseException) -> None:
        if self._made is None:
            return
        with guarded(), unlimited():
            removed = remove(self._made)
            is_gone = isinstance(removed, Success) or _is_gone(removed) or _is_gone(look(self._made))
        if is_gone:
            if (noted := _made.get()) is not None:
                noted.remove(self._made)
            return
        error.add_note(
            f"The sandbox {self._made.id}, which this call created, may still exist. "
            f"Its deletion failed: {removed.failure()}"
        )


def _unsupported(
    provider: str, env: Mapping[str, str | FromEnv] | None, secrets: Mapping[str, str | FromEnv] | None
) -> NotSupported | None:
    name = "env" if env else "secrets" if secrets else None
    if name is None or provider_of(provider).variables:
        return None
    instead = f"Leave out {name}=, and pass it to each command with exec(…, env={{…}}). No start sets variables there."
    return NotSupported(f"create({name}=…)", provider, instead)


def _is_gone(result: Result[Any, PocketenvError]) -> bool:
    return isinstance(result.swap().value_or(None), SandboxNotFound)


def _unsendable(texts: Iterable[tuple[str, str | None]]) -> InvalidInput | None:
    wrong = (unsendable(field, value or "") for field, value in texts)
    return next(filter(None, wrong), None)
