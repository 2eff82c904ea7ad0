"""Every method of the platform: its verb, its parameters and body, its login, and its handler.

A method without a handler is known and not served. Its path answers like any other unknown page.
"""

from typing import Literal, NamedTuple

from pocketenv_fp.local import (
    actors,
    backups,
    catalogue,
    claims,
    commands,
    copies,
    files,
    integrations,
    keys,
    lifecycle,
    ports,
    sandboxes,
    secrets,
    services,
    volumes,
)
from pocketenv_fp.local.call import Handler
from pocketenv_fp.local.schema import Field, Shape, array, boolean, dangling, integer, nested, tagged, text, union

# The error name of the 401 for a caller without a login. None for a method that needs no login.
Login = Literal["AuthenticationRequired", "AuthenticationError"] | None
NEEDED: Login = "AuthenticationRequired"

# Names in the platform's lexicon that are not methods: a request for one finds no page.
RECORDS = frozenset(
    ["io.pocketenv.sandbox", "io.pocketenv.publicKey", "app.bsky.actor.profile", "com.atproto.repo.strongRef"]
)
_DEFS = "io.pocketenv.sandbox.defs"

PROVIDERS = ("daytona", "vercel", "cloudflare", "deno", "sprites", "modal", "e2b", "blaxel", "hopx", "runloop")
_SEALED_CREDENTIALS = (
    *("spriteToken", "denoDeployToken", "daytonaApiKey", "vercelApiToken", "modalTokenId", "modalTokenSecret"),
    *("e2bApiKey", "hopxApiKey", "runloopApiKey"),
)


class Method(NamedTuple):
    """One method. Without `body` a request must not have one."""

    nsid: str
    verb: Literal["GET", "POST"]
    params: Shape
    body: Shape | None
    login: Login
    handler: Handler | None


def query(name: str, *params: Field, login: Login = NEEDED, to: Handler | None = None) -> Method:
    """Declare a method that only reads."""
    return Method(f"io.pocketenv.{name}", "GET", params, None, login, to)


def procedure(
    name: str, *params: Field, body: Shape | None = None, login: Login = NEEDED, to: Handler | None = None
) -> Method:
    """Declare a method that changes something."""
    return Method(f"io.pocketenv.{name}", "POST", params, body, login, to)


def _credentials() -> Shape:
    boxes = [text(name) for name in _SEALED_CREDENTIALS]
    twins = [text(f"redacted{name[0].upper()}{name[1:]}") for name in _SEALED_CREDENTIALS]
    return (*boxes, *twins, text("daytonaOrganizationId"), text("vercelProjectId"), text("vercelTeamId"))


ID = text("id!")
PAGE = (integer("limit", least=1), integer("offset", least=0))
TOPICS = text("", most=50)
SECRET = nested("secret!", text("sandboxId"), text("name!"), text("value!"))
VARIABLE = nested("variable!", text("sandboxId"), text("name!"), text("value!"))
FILE = nested("file!", text("sandboxId"), text("path!"), text("content!"))
VOLUME = nested("volume!", text("sandboxId"), text("name!"), text("path"), boolean("readOnly"))
SERVICE = nested("service!", text("name!"), text("command!"), text("description"), array("ports", integer("")))
NEW_SANDBOX: Shape = (
    text("base!"),
    text("name", least=1),
    text("description"),
    text("provider", choices=PROVIDERS),
    array("topics", TOPICS),
    text("repo"),
    integer("vcpus", least=1),
    integer("memory", least=1),
    integer("disk", least=3),
    text("readme", form="uri"),
    boolean("keepAlive"),
    dangling("secrets", f"{_DEFS}#secrets"),
    dangling("envs", f"{_DEFS}#envs"),
    *_credentials(),
)
PREFERENCE = union(
    "",
    tagged(
        sandboxes.DETAILS,
        text("name", least=1),
        text("description", nullable=True),
        array("topics", TOPICS, nullable=True),
        text("repo", nullable=True),
        integer("vcpus", least=1),
        integer("memory", least=1),
        integer("disk", least=3),
        text("readme", form="uri"),
    ),
    tagged(f"{_DEFS}#secretPref", text("name", least=1), text("value")),
    tagged(f"{_DEFS}#variablePref", text("name", least=1), text("value")),
    tagged(f"{_DEFS}#filePref", text("name", least=1), text("content"), boolean("encrypt"), text("path")),
    tagged(f"{_DEFS}#volumePref", text("name", least=1), text("path"), boolean("readOnly")),
    tagged(f"{_DEFS}#sandboxProviderPref", text("name!", least=1), text("apiKey", least=1)),
)

_ALL = (
    query("actor.getProfile", text("did", form="at-identifier"), login=None, to=actors.get_profile),
    query(
        "actor.getActorSandboxes",
        text("did!", form="at-identifier"),
        *PAGE,
        boolean("isRunning"),
        login=None,
        to=sandboxes.get_actor_sandboxes,
    ),
    query("actor.getTerminalToken", to=actors.get_terminal_token),
    procedure("sandbox.createSandbox", body=NEW_SANDBOX, login="AuthenticationError", to=lifecycle.create_sandbox),
    query("sandbox.getSandbox", ID, login=None, to=sandboxes.get_sandbox),
    query("sandbox.getSandboxes", *PAGE, login=None, to=catalogue.get_sandboxes),
    procedure(
        "sandbox.startSandbox", ID, body=(text("repo"), boolean("keepAlive")), login=None, to=lifecycle.start_sandbox
    ),
    procedure("sandbox.stopSandbox", ID, login=None, to=lifecycle.stop_sandbox),
    procedure("sandbox.deleteSandbox", ID, to=lifecycle.delete_sandbox),
    procedure("sandbox.exec", ID, body=(text("command!"),), login=None, to=commands.run),
    procedure("sandbox.claimSandbox", ID, login=None, to=claims.claim),
    query("sandbox.getPreferences", ID, to=sandboxes.get_preferences),
    procedure(
        "sandbox.putPreferences",
        body=(text("sandboxId!"), array("preferences!", PREFERENCE)),
        to=sandboxes.put_preferences,
    ),
    procedure(
        "sandbox.exposePort", ID, body=(integer("port!", least=1025, most=65535), text("description")), to=ports.expose
    ),
    procedure("sandbox.unexposePort", ID, body=(integer("port!", least=1024, most=65535),), to=ports.unexpose),
    query("sandbox.getExposedPorts", ID, to=ports.get_exposed),
    procedure("sandbox.exposeVscode", ID, login=None, to=ports.expose_vscode),
    query("sandbox.getSshKeys", ID, to=keys.get_ssh_keys),
    procedure(
        "sandbox.putSshKeys",
        body=(text("id!"), text("privateKey!"), text("publicKey!"), text("redacted")),
        to=keys.put_ssh_keys,
    ),
    query("sandbox.getTailscaleAuthKey", ID, to=keys.get_tailscale_auth_key),
    procedure(
        "sandbox.putTailscaleAuthKey",
        body=(text("id!"), text("authKey!"), text("redacted")),
        to=keys.put_tailscale_auth_key,
    ),
    procedure(
        "sandbox.createBackup", ID, body=(text("directory!"), text("description"), integer("ttl")), to=backups.create
    ),
    query("sandbox.getBackups", ID, to=backups.get_all),
    procedure("sandbox.restoreBackup", body=(text("backupId!"),), to=backups.restore),
    procedure("secret.addSecret", body=(SECRET, text("redacted")), to=secrets.add_secret),
    procedure("secret.updateSecret", body=(text("id!"), SECRET, text("redacted")), to=secrets.update_secret),
    query("secret.getSecret", ID, to=secrets.SECRETS.get),
    query("secret.getSecrets", text("sandboxId"), *PAGE, to=secrets.SECRETS.get_all),
    procedure("secret.deleteSecret", ID, to=secrets.SECRETS.delete),
    procedure("variable.addVariable", body=(VARIABLE,), to=secrets.add_variable),
    procedure("variable.updateVariable", body=(text("id!"), VARIABLE), to=secrets.update_variable),
    query("variable.getVariable", ID, to=secrets.VARIABLES.get),
    query("variable.getVariables", text("sandboxId"), *PAGE, to=secrets.VARIABLES.get_all),
    procedure("variable.deleteVariable", ID, to=secrets.VARIABLES.delete),
    procedure("file.addFile", body=(FILE,), to=files.add),
    procedure("file.updateFile", body=(text("id!"), FILE), to=files.update),
    query("file.getFile", ID, to=files.FILES.get),
    query("file.getFiles", text("sandboxId"), *PAGE, to=files.FILES.get_all),
    procedure("file.deleteFile", ID, to=files.delete),
    procedure("volume.addVolume", body=(VOLUME,), to=volumes.add),
    procedure("volume.updateVolume", body=(text("id!"), VOLUME), to=volumes.update),
    query("volume.getVolume", ID, to=volumes.VOLUMES.get),
    query("volume.getVolumes", text("sandboxId"), *PAGE, to=volumes.VOLUMES.get_all),
    procedure("volume.deleteVolume", ID, to=volumes.delete),
    procedure("service.addService", text("sandboxId!"), body=(SERVICE,), to=services.add),
    procedure("service.updateService", text("serviceId!"), body=(SERVICE,), to=services.update),
    query("service.getServices", text("sandboxId!"), to=services.get_all),
    procedure("service.startService", text("serviceId!"), to=services.start),
    procedure("service.stopService", text("serviceId!"), to=services.stop),
    procedure("service.restartService", text("serviceId!"), to=services.restart),
    procedure("service.deleteService", text("serviceId!"), to=services.delete),
    procedure("sandbox.pullDirectory", body=(text("sandboxId!"), text("uuid"), text("directoryPath!")), to=copies.pull),
    procedure("sandbox.pushDirectory", body=(text("sandboxId!"), text("directoryPath!")), to=copies.push),
    procedure("sandbox.createIntegration", body=(text("id!"), text("name!")), login=None, to=integrations.answer),
    query("sandbox.getIntegrations", ID, login=None, to=integrations.answer),
    # The platform itself has these three in its lexicon and does not serve them.
    query("sandbox.getTailscaleToken", ID),
    procedure("sandbox.putTailscaleToken", body=(text("id!"), text("token!"))),
    procedure("sandbox.updateSandboxSettings", body=()),
)

METHODS = {method.nsid: method for method in _ALL}
