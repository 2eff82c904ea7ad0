"""`create`: read and check its arguments, then make the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, NameTaken, NotSupported, PocketenvError
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.cloning import cloner
from pocketenv_fp.pocketenv.credentials import sealed_credentials
from pocketenv_fp.pocketenv.first_values import FirstValues
from pocketenv_fp.pocketenv.new_sandbox import NewSandbox
from pocketenv_fp.pocketenv.options import creation
from pocketenv_fp.pocketenv.preferences import Topic
from pocketenv_fp.pocketenv.sandboxes import get_sandbox, is_yours
from pocketenv_fp.providers import provider_of
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.runtime import marks, own_sandboxes, rehearsal
from pocketenv_fp.validation import SandboxName, Text, VariableName, unsendable

__all__ = ["create", "create_sandbox"]

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PROVIDER = "cloudflare"


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
    name: ``is_yours`` says whether it is yours; RepositoryTaken; ServerError (502) for an unknown base or a failure of
    the provider; SessionLost if the platform's AT Protocol session is gone. Then the platform leaves a sandbox without
    an at-URI. This function finds and deletes it, or the error names it.

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
    <Failure: name: must not be empty.>
    """
    # Imported before the create is sent.
    clone = cloner(repo) if repo is not None and not reuse and own_sandboxes.are_wanted() else None
    shared = None if clone else repo
    all_topics = tuple(dict.fromkeys((*(topics or ()), *marks.current())))
    texts = [("name", name), ("base", base), ("provider", provider), ("repo", repo), ("description", description)]
    wrong = _unsendable([*texts, *(("topics", topic) for topic in topics or ())])
    if refusal := wrong or _unsupported(provider, env, secrets):
        return Failure(refusal)
    values = FirstValues()
    check = values.take(env or {}, secrets or {})
    credentials = check if isinstance(check, Failure) else sealed_credentials(provider, provider_credentials)
    if isinstance(credentials, Failure):
        return credentials
    wanted = Preferences(name=name, description=description, topics=all_topics or None, repo=shared)
    new = NewSandbox(wanted, values, clone, reuse=reuse)
    body = {"name": name, "base": base, "provider": provider, "repo": shared, "keepAlive": keep_alive}
    make = partial(new.run, {**body, **credentials.unwrap()}, None if shared is None else (shared, base))
    return _existing_or(name, make) if exist_ok else make()


create_sandbox = create


def _unsupported(
    provider: str, env: Mapping[str, str | FromEnv] | None, secrets: Mapping[str, str | FromEnv] | None
) -> NotSupported | None:
    name = "env" if env else "secrets" if secrets else None
    if name is None or provider_of(provider).variables:
        return None
    instead = f"Leave out {name}=, and pass it to each command with exec(…, env={{…}}). No start sets variables there."
    return NotSupported(f"create({name}=…)", provider, instead)


def _unsendable(texts: Iterable[tuple[str, str | None]]) -> InvalidInput | None:
    wrong = (unsendable(field, value or "") for field, value in texts)
    return next(filter(None, wrong), None)


def _existing_or(name: str, create: Callable[[], Result[Sandbox, PocketenvError]]) -> Result[Sandbox, PocketenvError]:
    """Return the caller's sandbox of that name, or create it. Another program may create it at the same time."""
    rehearsal.note(lambda: "if you have a sandbox of that name, it is the result, and the rest is not sent")
    existing = _existing(name)
    if existing is not None and not rehearsal.is_rehearsed():
        return existing
    created = create()
    error = created.swap().value_or(None)
    is_mine = isinstance(error, NameTaken) and error.is_yours
    return (_existing(name) or created) if is_mine else created


def _existing(name: str) -> Result[Sandbox, PocketenvError] | None:
    answer = get_sandbox(name)
    if isinstance(answer, Failure):
        return answer
    box = answer.unwrap()
    if box is None or box.name != name:
        return None
    if is_yours(box):
        return Success(box)
    message = f"the name {name} is taken"
    return Failure(NameTaken(message=message, operation="sandbox.getSandbox", is_yours=is_yours(box)))
