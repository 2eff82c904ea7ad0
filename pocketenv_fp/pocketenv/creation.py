"""Creating a sandbox that is what was asked for, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

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
    hides_its_cause,
)
from pocketenv_fp.http.xrpc import procedure, send, token_did
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, list_sandboxes_by_actor, me
from pocketenv_fp.pocketenv.credentials import sealed_credentials
from pocketenv_fp.pocketenv.preferences import Topic, put_preferences
from pocketenv_fp.pocketenv.records import text
from pocketenv_fp.pocketenv.sandboxes import look, remove, shown
from pocketenv_fp.pocketenv.secrets import add_secret, iter_secrets, update_secret
from pocketenv_fp.pocketenv.variables import add_variable, iter_variables, update_variable
from pocketenv_fp.providers import provider_of
from pocketenv_fp.runtime import own_sandboxes
from pocketenv_fp.runtime.deadline import patient, unlimited
from pocketenv_fp.runtime.signals import guarded
from pocketenv_fp.runtime.turns import Turns
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import SandboxName, Text, VariableName

__all__ = ["Clone", "clone_by", "create", "create_sandbox", "noting"]

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PROVIDER = "cloudflare"
CREATE = "sandbox.createSandbox"
# How far the platform's clock may be behind this machine's, in seconds.
CLOCKS_APART = 30.0

# Of two threads that create with one repo, the second must see that the first one's sandbox was there before.
_turns = Turns()

Done = Result[None, PocketenvError]


@step(str, secret=("secrets", "provider_credentials"))
def create(
    name: SandboxName,
    *,
    base: Text = BASE,
    provider: Text = PROVIDER,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    env: Mapping[VariableName, str | FromEnv] | None = None,
    secrets: Mapping[VariableName, str | FromEnv] | None = None,
    description: Text | None = None,
    topics: Sequence[Topic] | None = None,
    provider_credentials: Mapping[str, str | FromEnv] | None = None,
    reuse: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Create a sandbox; also called ``create_sandbox``. Returns the Sandbox as it is then, with the name that was asked.

    ``name`` has no spaces and at most 255 characters, and is neither an at-URI nor in the form of an id: `get_sandbox`
    finds it by that name. ``base`` is the at-URI of a base image, ``provider`` the cloud to run on (cloudflare, daytona,
    vercel, deno, sprites, modal, e2b, hopx, runloop; the platform refuses blaxel with a 403, except for its own test
    accounts). On Cloudflare the sandbox runs on return; on the others it is INITIALIZING: `wait_until_running` first.

    ``repo`` is the URL of a git repository to clone. The platform shows it to everybody: put no password in it.
    ``keep_alive`` keeps the sandbox from being stopped when idle. ``env`` and ``secrets`` are environment variables, the
    secrets sealed before they leave this machine. Commands have them from the next `start` on, on Cloudflare only: for
    another provider either is a NotSupported before anything is sent, and ``exec(…, env={…})`` is the way there.
    ``description`` and ``topics`` are shown to everybody who sees the sandbox. Sizes and a readme cannot be asked for:
    the platform drops them.

    ``provider_credentials`` are for an account of your own at the provider: daytona_api_key, daytona_organization_id;
    vercel_api_token, vercel_project_id, vercel_team_id; deno_deploy_token; sprite_token; modal_token_id,
    modal_token_secret; e2b_api_key; hopx_api_key; runloop_api_key. They are sealed too, save the ids of organization,
    project and team. Where none are given, those of the chosen provider are taken from the variables in which its own
    tools look for them: DAYTONA_API_KEY, DAYTONA_ORGANIZATION_ID, VERCEL_TOKEN, VERCEL_PROJECT_ID, VERCEL_TEAM_ID,
    DENO_DEPLOY_TOKEN, SPRITE_TOKEN or SPRITES_TOKEN, MODAL_TOKEN_ID, MODAL_TOKEN_SECRET, E2B_API_KEY, HOPX_API_KEY,
    RUNLOOP_API_KEY. ``{}`` is none. Every value may be a text, or `from_env` of a variable to read when the step runs.
    A step with a text in ``secrets`` or ``provider_credentials`` shows it masked and refuses to be pickled.

    It is the sandbox that was asked for or none: where a later part fails, or the program is interrupted, the sandbox
    that this call made is deleted, and the Failure is the first one. If it cannot be deleted, a note on the error names
    it. The request that creates is sent once: after its TransportError with ``maybe_sent``, its DecodeError or its
    ServerError there may be a new sandbox under a name of the platform's choice. Ctrl-C waits for its answer; a second
    one does not, and may leave such a sandbox too.

    **With a repo, the platform returns a sandbox of yours with the same repo and base**, started, where there is one.
    Under another name that is Failure(RepositoryTaken), and with ``reuse=True`` a Success: it keeps its name, its
    description and its topics; ``env`` and ``secrets`` are set in it, an existing name to its new value; and it is never
    deleted. Threads that create with one repo do so one after the other; two programs that do so at the same moment may
    each take the sandbox for theirs. **Inside `managed`, `ephemeral` and `fan_out`** a create with a repo and without
    ``reuse=True`` makes a sandbox of its own: the repository is cloned by a start of it, and its record names none.

    Failures: InvalidInput for what cannot be right; NotSupported; EncryptionError; NameTaken for the name of another
    sandbox or of a base image, anybody's; RepositoryTaken; ServerError (502) for an unknown base or a provider that
    failed; SessionLost where the platform's AT Protocol session is gone. The platform leaves a sandbox then: it is
    found by its missing at-URI and deleted, or the error names it.

    >>> from pocketenv_fp import create, exec, from_env, start
    >>> create("my-box", env={"STAGE": "test"}) | start | exec('echo "$STAGE"')
    <Success: ExecResult(stdout='test\n', stderr='', exit_code=0)>
    >>> create("my-box")
    <Failure: sandbox.putPreferences: the name my-box is taken (500 NameTaken). Choose another name, ...>
    >>> create(provider="daytona", secrets={"API_KEY": "sk-12345", "OTHER": from_env("MY_OTHER_KEY")})
    create(provider='daytona', secrets={'API_KEY': '***', 'OTHER': from_env('MY_OTHER_KEY')})
    >>> create("")
    <Failure: name: Expected `str` of length >= 1.>
    """
    clone = _cloner.clone if repo is not None and not reuse and own_sandboxes.are_wanted() else None
    shared = None if clone else repo
    wanted = Preferences(name=name, description=description, topics=tuple(topics or ()) or None, repo=shared)
    creation = _Creation(wanted, reuse=reuse)
    if clone is not None and repo is not None:
        creation.clones(clone, repo)
    said = [("name", name), ("base", base), ("provider", provider), ("repo", repo), ("description", description)]
    body = {"name": name, "base": base, "provider": provider, "repo": shared, "keepAlive": keep_alive}
    return (
        _sendable([*said, *(("topics", topic) for topic in topics or ())])
        .bind(lambda _: _supported(provider, env, secrets))
        .bind(lambda _: creation.take(env or {}, secrets or {}))
        .bind(lambda _: sealed_credentials(provider, provider_credentials))
        .bind(lambda credentials: creation.run({**body, **credentials}, None if shared is None else (shared, base)))
    )


create_sandbox = create

_made: ContextVar[list[Sandbox] | None] = ContextVar("made", default=None)


@contextmanager
def noting(made: list[Sandbox]) -> Generator[None, None, None]:
    """Put every sandbox that a `create` inside makes into ``made`` as soon as it is there, and no older one."""
    before = _made.set(made)
    try:
        yield
    finally:
        _made.reset(before)


class Clone(Protocol):
    """What puts a repository into a sandbox that runs, or will. Returns the Sandbox as it is afterwards."""

    def __call__(self, sandbox: Sandbox, repo: str) -> Result[Sandbox, PocketenvError]: ...


class _Cloner:
    """Puts a repository into a sandbox. It needs operations on sandboxes, which are above this module: they set it."""

    clone: Clone | None = None


_cloner = _Cloner()


def clone_by(clone: Clone) -> None:
    """Set the function that puts a repository into a sandbox of its own."""
    _cloner.clone = clone


class _Kind(NamedTuple):
    """Variables, or secrets: the functions that keep them."""

    add: Callable[..., Done]
    each: Callable[..., Iterator[Result[Any, PocketenvError]]]
    update: Callable[..., Done]


_VARIABLES = _Kind(add_variable, iter_variables, update_variable)
_SECRETS = _Kind(add_secret, iter_secrets, update_secret)


class _Creation:
    """One call of `create`, from its arguments to a Sandbox that is as they say."""

    def __init__(self, wanted: Preferences, *, reuse: bool) -> None:
        self._wanted = wanted
        self._reuse = reuse
        self._last: Callable[[Sandbox], Result[Sandbox, PocketenvError]] = self._looked
        self._settings: list[tuple[_Kind, str, str]] = []
        self._is_shared = False
        self._there = frozenset[str]()
        self._made: Sandbox | None = None

    def clones(self, clone: Clone, repo: str) -> None:
        """Let ``clone`` be what happens last, in the place of a look."""
        self._last = lambda box: clone(box, repo)

    def take(self, env: Mapping[str, str | FromEnv], secrets: Mapping[str, str | FromEnv]) -> Done:
        """Read and check what is to be set later. Failures: InvalidInput, EncryptionError."""
        both = next((name for name in secrets if name in env), None)
        if both is not None:
            return Failure(InvalidInput("secrets", f"{both} is in env too"))
        for field, kind, values in (("env", _VARIABLES, env), ("secrets", _SECRETS, secrets)):
            for name, value in values.items():
                read = self._read(f"{field}[{name!r}]", value, is_secret=kind is _SECRETS)
                if not isinstance(read, Success):
                    return Failure(read.failure())
                self._settings.append((kind, name, read.unwrap()))
        return Success(None)

    def run(self, body: Mapping[str, object], shared_by: tuple[str, str] | None) -> Result[Sandbox, PocketenvError]:
        """Create and furnish; ``shared_by`` are the repository and the base where they may be of an older sandbox."""
        if shared_by is None:
            return self._whole_or_none(lambda: self._created(body))
        # Held to the end: what another thread has made is no older sandbox before it is sure to stay.
        with _turns.of(shared_by, CREATE) as late:
            return Failure(late) if late else self._whole_or_none(lambda: self._created_or_older(body))

    def _whole_or_none(self, created: Callable[[], Result[Sandbox, PocketenvError]]) -> Result[Sandbox, PocketenvError]:
        try:
            result = created().bind(self._furnished)
        except BaseException as stopped:
            self._undo(stopped)
            raise
        if not isinstance(result, Success):
            self._undo(result.failure())
        return result

    def _read(self, field: str, value: str | FromEnv, *, is_secret: bool) -> Result[str, PocketenvError]:
        if not isinstance(value, (str, FromEnv)):  # pyright: ignore[reportUnnecessaryIsInstance]  # a dict passes for one
            raise TypeError(f"create: {field}: expected str or from_env(…), got {type(value).__name__}")
        if not is_secret:
            return text(value, field).bind(lambda read: _sendable([(field, read)]).map(lambda _: read))
        # Sealed once for nothing: a key or a value that cannot be used is told before there is a sandbox.
        return plain(value, field).bind(
            lambda read: _sendable([(field, read)]).bind(lambda _: seal(read)).map(lambda _: read)
        )

    def _created(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        # An interrupt before the answer would leave a sandbox whose id nobody knows, and so would the end of the time.
        began = time.time()
        with guarded(), patient():
            created = send(procedure("sandbox.createSandbox", self._noted, body=body))
            # Found and deleted here, so that an interrupt does not come between.
            return created.lash(lambda error: Failure(self._without_left(error, str(body["provider"]), began)))

    def _without_left(self, error: PocketenvError, provider: str, began: float) -> PocketenvError:
        """Delete what the platform made before it found no session. Returns the error that says what is left."""
        if not isinstance(error, SessionLost):
            return error
        with unlimited():
            left = self._left(provider, began - CLOCKS_APART)
            # With more than one, only their owner knows which was made by which program.
            is_gone = len(left) == 1 and isinstance(remove(left[0]), Success)
        if not left:
            error.add_note(
                "The platform may have made a sandbox all the same, under a name of its choice and without an at-URI: "
                "look for it in your list."
            )
        return error if is_gone or not left else replace(error, sandbox=", ".join(box.id for box in left))

    def _left(self, provider: str, since: float) -> list[Sandbox]:
        token = settings().map(lambda found: found.token or "")
        # `me` does not answer without a session: only the token says who is asking.
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
        # Noted as soon as it is read: an interrupt may come at any moment.
        box = shown(body)
        # An older sandbox comes with its sizes, which nobody asked for.
        is_older = box.id in self._there or (self._is_shared and box.vcpus is not None)
        if not is_older:
            self._made = box
            if (noted := _made.get()) is not None:
                noted.append(box)
        return box

    def _created_or_older(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        self._is_shared = True
        # The answer does not tell an older sandbox from a new one: only what was there before does.
        return me().bind(lambda my: self._remember(my.did)).bind(lambda _: self._created(body))

    def _remember(self, did: str) -> Done:
        there: set[str] = set()
        for box in iter_sandboxes_by_actor(did):
            if not isinstance(box, Success):
                return Failure(box.failure())
            there.add(box.unwrap().id)
        self._there = frozenset(there)
        return Success(None)

    def _furnished(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if self._made is None:
            return self._older(box)
        wanted = self._wanted
        # The platform has the repository already. It is sent again, so that it is not taken for one that is to go.
        named = put_preferences(
            box.id,
            name=wanted.name,
            description=wanted.description,
            topics=wanted.topics,
            repo=wanted.repo,
        )
        set_all = named.bind(lambda _: self._set_all(box.id))
        return set_all.bind(lambda _: self._last(box)).bind(self._as_asked)

    def _older(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if box.name != self._wanted.name and not self._reuse:
            message = f"your sandbox {box.name} has this repository and base"
            return Failure(RepositoryTaken(message=message, operation=CREATE))
        return self._set_all(box.id).bind(lambda _: self._looked(box))

    def _looked(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        return look(box)

    def _set_all(self, sandbox_id: str) -> Done:
        for kind, name, value in self._settings:
            done = kind.add(sandbox_id, name, value)
            if self._made is None and not isinstance(done, Success):
                done = self._updated(done, kind, sandbox_id, name, value)
            if not isinstance(done, Success):
                return done
        return Success(None)

    def _updated(self, refused: Done, kind: _Kind, sandbox_id: str, name: str, value: str) -> Done:
        # A name that is taken is a 500 like any other: only the list tells.
        error = refused.failure()
        if not hides_its_cause(error):
            return refused
        for found in kind.each(sandbox_id):
            if isinstance(found, Success) and found.unwrap().name == name:
                return kind.update(found.unwrap().id, name, value)
        return refused

    def _as_asked(self, seen: Sandbox) -> Result[Sandbox, PocketenvError]:
        # putPreferences answers alike whether it changed anything or not.
        missed = [
            field
            for field in ("name", "description", "topics")
            if (value := getattr(self._wanted, field)) is not None and getattr(seen, field) != value
        ]
        if missed:
            reason = f"the sandbox was given a {' and a '.join(missed)} and has another"
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
            f"The sandbox {self._made.id}, which this call created, may still be there. "
            f"Deleting it failed: {removed.failure()}"
        )


def _supported(
    provider: str, env: Mapping[str, str | FromEnv] | None, secrets: Mapping[str, str | FromEnv] | None
) -> Done:
    given = "env" if env else "secrets" if secrets else None
    if given is None or provider_of(provider).variables:
        return Success(None)
    instead = f"Leave {given}= out, and hand it to each command with exec(…, env={{…}}): there, no start sets it."
    return Failure(NotSupported(f"create({given}=…)", provider, instead))


def _is_gone(result: Result[Any, PocketenvError]) -> bool:
    return isinstance(result.swap().value_or(None), SandboxNotFound)


def _sendable(texts: Iterable[tuple[str, str | None]]) -> Done:
    for field, value in texts:
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            return Failure(InvalidInput(field, "is not valid Unicode: it holds half of a surrogate pair"))
        if value is not None and "\0" in value:
            return Failure(InvalidInput(field, "holds a NUL character"))
    return Success(None)
