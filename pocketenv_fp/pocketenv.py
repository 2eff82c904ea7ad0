r"""The account: functions that take ids. This is the namespace ``pocketenv-io.pocketenv`` of the Clojure SDK.

Each gives a ``Result``: Success with what its docstring says, or Failure with an error of `pocketenv_fp.errors`.
Besides the failures that a docstring names, any call may give NotLoggedIn, Unauthorized, RateLimited, ServerError,
TransportError and DecodeError. All take ``token=`` and ``config=``, which win over every other source.

>>> from pocketenv_fp import pocketenv, sandbox
>>> sandbox.exec(sandbox.start(pocketenv.create_sandbox("my-box")), "echo", ["hello"])
<Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.arguments import Id, Limit, Name, Offset, Text, checked
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import is_masked, mask_ssh_private_key, mask_tailscale_auth_key, plain, seal
from pocketenv_fp.errors import InvalidInput, PocketenvError, ProfileNotFound
from pocketenv_fp.models import HIDDEN, Page, Profile, Sandbox, Secret, SshKey, TailscaleAuthKey
from pocketenv_fp.operation import step
from pocketenv_fp.xrpc import decode, nothing, procedure, query, send

__all__ = [
    "add_secret",
    "create",
    "create_sandbox",
    "delete_secret",
    "get_profile",
    "get_sandbox",
    "get_ssh_keys",
    "get_tailscale_auth_key",
    "list_sandboxes",
    "list_sandboxes_by_actor",
    "list_secrets",
    "me",
    "put_ssh_keys",
    "put_tailscale_auth_key",
]

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PROVIDER = "cloudflare"
TAILSCALE_PREFIX = "tskey-auth-"


def _sandbox(body: bytes) -> Sandbox:
    return decode(body, Sandbox)


class _Sandboxes(msgspec.Struct):
    sandboxes: tuple[Sandbox, ...]
    total: int


def _page(body: bytes) -> Page[Sandbox]:
    answer = decode(body, _Sandboxes)
    return Page(answer.sandboxes, answer.total)


class _Found(msgspec.Struct):
    sandbox: Sandbox | None = None


def found(body: bytes) -> Sandbox | None:
    """Read getSandbox's answer."""
    seen = decode(body, _Found).sandbox
    # A missing sandbox is `{}` or `{"sandbox": null}`. An object of other things is an answer to something else.
    if seen is None and not decode(body, dict[str, object]).keys() <= {"sandbox"}:
        raise msgspec.ValidationError("Object missing required field `sandbox`")
    return seen


@step(str)
def create(
    name: Name,
    *,
    base: Text = BASE,
    provider: Text = PROVIDER,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Create a sandbox; also called ``create_sandbox``. Gives the Sandbox, with a status of UNKNOWN until it is asked.

    ``base`` is the at-URI of a base image, ``provider`` the cloud to run on (cloudflare, daytona, vercel, deno,
    sprites, modal, e2b, hopx, runloop), ``repo`` the URL of a git repository to clone, and ``keep_alive`` keeps the
    sandbox from being stopped when idle. The platform chooses the name itself at present: use the ``id`` or the
    ``name`` of what comes back. With a ``repo``, an existing sandbox of yours with the same repo and base comes back.

    Failures: InvalidInput for an empty name; ServerError (502) for an unknown base or a provider that failed. It is
    sent once: after a TransportError with ``maybe_sent`` there may be a new sandbox.

    >>> from pocketenv_fp import create, exec, start
    >>> create("my-box") | start | exec("echo", ["hello"])
    <Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
    >>> create(provider="daytona")
    create(provider='daytona')
    >>> create("")
    <Failure: name: Expected `str` of length >= 1.>
    """
    body = {"name": name, "base": base, "provider": provider, "repo": repo, "keepAlive": keep_alive}
    return send(procedure("sandbox.createSandbox", _sandbox, body=body), token=token, config=config)


create_sandbox = create


@step(str)
def get_sandbox(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox | None, PocketenvError]:
    """Look at the sandbox with this id, name or at-URI, anybody's. Gives the Sandbox, or None if there is none.

    A step that receives the None gives Failure(SandboxNotFound). Works without a login. Failures: InvalidInput.

    >>> from pocketenv_fp import exec, get_sandbox
    >>> get_sandbox("no-such-box")
    <Success: None>
    >>> get_sandbox("no-such-box") | exec("ls")
    <Failure: exec: no sandbox came from the step before (404 SandboxNotFound). ...>
    """
    return send(query("sandbox.getSandbox", found, {"id": id}, login=False), token=token, config=config)


@checked
def list_sandboxes(
    *, limit: Limit = 30, offset: Offset = 0, token: Text | None = None, config: Config | None = None
) -> Result[Page[Sandbox], PocketenvError]:
    """List the public catalogue of base images, never your own sandboxes. Gives a Page of Sandbox.

    Works without a login. Failures: InvalidInput for a limit below 1 or an offset below 0.

    >>> from pocketenv_fp import list_sandboxes
    >>> page = list_sandboxes(limit=1).unwrap()
    >>> [image.name for image in page], page.total >= 1
    (['openclaw'], True)
    """
    params = {"limit": limit, "offset": offset}
    return send(query("sandbox.getSandboxes", _page, params, login=False), token=token, config=config)


@checked
def list_sandboxes_by_actor(
    did: Id,
    *,
    limit: Limit = 30,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Sandbox], PocketenvError]:
    """List the sandboxes of an actor, by DID or handle, newest first. Gives a Page of Sandbox.

    Works without a login. Failures: InvalidInput.

    >>> from pocketenv_fp import create, list_sandboxes_by_actor, me
    >>> box = create("my-box").unwrap()
    >>> me().bind(lambda my: list_sandboxes_by_actor(my.did, limit=1)).map(lambda page: page[0].id == box.id)
    <Success: True>
    """
    params = {"did": did, "limit": limit, "offset": offset}
    return send(query("actor.getActorSandboxes", _page, params, login=False), token=token, config=config)


def _profile(body: bytes) -> Profile | None:
    return decode(body, Profile) if decode(body, dict[str, object]) else None


def _known(who: str) -> Callable[[Profile | None], Result[Profile, PocketenvError]]:
    def known(profile: Profile | None) -> Result[Profile, PocketenvError]:
        if profile is None:
            return Failure(
                ProfileNotFound(message=f"the platform has no profile for {who}", operation="actor.getProfile")
            )
        return Success(profile)

    return known


@checked
def me(*, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Give your own Profile.

    Failures: ProfileNotFound where the platform answers with nothing, as it does for an expired token.

    >>> from pocketenv_fp import me
    >>> me().map(lambda profile: profile.did.startswith("did:"))
    <Success: True>
    """
    return send(query("actor.getProfile", _profile), token=token, config=config).bind(_known("this token"))


@checked
def get_profile(did: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Give the Profile of an actor, by DID or handle. Works without a login.

    Failures: InvalidInput; ProfileNotFound where the platform answers with nothing.

    >>> from pocketenv_fp import get_profile
    >>> get_profile("nobody.example")
    <Failure: actor.getProfile: the platform has no profile for nobody.example (200 ProfileNotFound). ...>
    """
    asked = query("actor.getProfile", _profile, {"did": did}, login=False)
    return send(asked, token=token, config=config).bind(_known(did))


class _Secrets(msgspec.Struct):
    secrets: list[Secret]


def _secrets(body: bytes) -> list[Secret]:
    return decode(body, _Secrets).secrets


@checked
def list_secrets(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[list[Secret], PocketenvError]:
    """List a sandbox's secrets, in no stable order. Gives a list of Secret: names and ids, never values.

    It takes the id: for a name the platform lists nothing. Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_secret(box.id, "API_KEY", "sk-12345")
    <Success: None>
    >>> pocketenv.list_secrets(box.id).map(lambda secrets: [secret.name for secret in secrets])
    <Success: ['API_KEY']>
    """
    params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
    return send(query("secret.getSecrets", _secrets, params), token=token, config=config)


@checked
def add_secret(
    sandbox_id: Id,
    name: Name,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a secret, sealed before it leaves this machine. Gives None: the platform tells no id.

    It is in the environment of commands from the next start on. Failures: InvalidInput for an empty value or a public
    key that is none; EncryptionError; ServerError for a name that the sandbox has already.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_secret(create("my-box").unwrap().id, "API_KEY", "")
    <Failure: value: is empty.>
    """

    def add(sealed: str) -> Result[None, PocketenvError]:
        body = {"secret": {"sandboxId": sandbox_id, "name": name, "value": sealed}}
        return send(procedure("secret.addSecret", nothing, body=body), token=token, config=config)

    return plain(value, "value").bind(lambda text: seal(text, config=config)).bind(add)


@checked
def delete_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the secret with this id. Gives None. Failures: InvalidInput, ApiError.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> (create("my-box") | sandbox.set_secret("OLD", "1")).bind(lambda old: pocketenv.delete_secret(old.id))
    <Success: None>
    """
    return send(procedure("secret.deleteSecret", nothing, {"id": id}), token=token, config=config)


def _ssh_key(body: bytes) -> SshKey:
    key = decode(body, SshKey)
    # Other clients store some keys in clear. What this process does not hold, it cannot leak.
    return key if is_masked(key.private_key) else msgspec.structs.replace(key, private_key=HIDDEN)


@checked
def get_ssh_keys(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[SshKey, PocketenvError]:
    """Give a sandbox's SshKey: the public key, and the private one masked.

    Failures: InvalidInput; ApiError (404) where no key was stored.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.get_ssh_keys(create("my-box").unwrap().id).failure().status
    404
    """
    return send(query("sandbox.getSshKeys", _ssh_key, {"id": sandbox_id}), token=token, config=config)


_PRIVATE_KEY = r"(?s)\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\s.*-----END [A-Z0-9 ]*PRIVATE KEY-----\s*"
_PUBLIC_KEY = r"(?a)\s*[a-z][\w.@-]* [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?\s*"


def _private(text: str) -> Result[str, PocketenvError]:
    if re.fullmatch(_PRIVATE_KEY, text):
        return Success(text)
    return Failure(InvalidInput("private_key", "is not a private key: it starts with -----BEGIN … PRIVATE KEY-----"))


def _public(text: str) -> Result[str, PocketenvError]:
    if re.fullmatch(_PUBLIC_KEY, text):
        return Success(text)
    # A private key here would be stored in clear.
    return Failure(InvalidInput("public_key", "is not a public key: it is one line, such as ssh-ed25519 AAAA…"))


@checked
def put_ssh_keys(
    sandbox_id: Id,
    private_key: str | FromEnv,
    public_key: str,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Store a key pair, or replace the one that is there. Gives None. The private key is sealed before it is sent.

    What the platform shows of it later is the header, the footer and 15 characters of an OpenSSH key, nothing of any
    other. Failures: InvalidInput for a key that is none or is in the other's place, or a public key to seal with that
    is none; EncryptionError.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.put_ssh_keys("some-id", "ssh-ed25519 AAAA", "ssh-ed25519 AAAA")
    <Failure: private_key: is not a private key: it starts with -----BEGIN … PRIVATE KEY-----.>
    """

    def put(private: str) -> Result[None, PocketenvError]:
        body = {"id": sandbox_id, "publicKey": public_key, "redacted": mask_ssh_private_key(private)}
        return seal(private, config=config).bind(
            lambda sealed: send(
                procedure("sandbox.putSshKeys", nothing, body=body | {"privateKey": sealed}), token=token, config=config
            )
        )

    return _public(public_key).bind(lambda _: plain(private_key, "private_key")).bind(_private).bind(put)


def _tailscale(body: bytes) -> TailscaleAuthKey:
    key = decode(body, TailscaleAuthKey)
    return key if is_masked(key.auth_key) else msgspec.structs.replace(key, auth_key=HIDDEN)


@checked
def get_tailscale_auth_key(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[TailscaleAuthKey, PocketenvError]:
    """Give a sandbox's TailscaleAuthKey, masked. Failures: InvalidInput; ApiError (404) where none was stored.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.get_tailscale_auth_key(create("my-box").unwrap().id).failure().status
    404
    """
    return send(query("sandbox.getTailscaleAuthKey", _tailscale, {"id": sandbox_id}), token=token, config=config)


def _auth_key(text: str) -> Result[str, PocketenvError]:
    if text.startswith(TAILSCALE_PREFIX) and text[len(TAILSCALE_PREFIX) :].strip():
        return Success(text)
    return Failure(InvalidInput("auth_key", f"must start with {TAILSCALE_PREFIX}: an auth key, not an API key"))


@checked
def put_tailscale_auth_key(
    sandbox_id: Id,
    auth_key: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Store a Tailscale auth key, or replace the one that is there. Gives None. It is sealed before it is sent.

    Failures: InvalidInput for a key that does not start with ``tskey-auth-``; EncryptionError.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.put_tailscale_auth_key("some-id", "tskey-api-k123")
    <Failure: auth_key: must start with tskey-auth-: an auth key, not an API key.>
    """

    def put(key: str) -> Result[None, PocketenvError]:
        body = {"id": sandbox_id, "redacted": mask_tailscale_auth_key(key)}
        return seal(key, config=config).bind(
            lambda sealed: send(
                procedure("sandbox.putTailscaleAuthKey", nothing, body=body | {"authKey": sealed}),
                token=token,
                config=config,
            )
        )

    return plain(auth_key, "auth_key").bind(_auth_key).bind(put)
