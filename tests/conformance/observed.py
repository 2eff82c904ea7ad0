"""The observed deviations of the real platform from its declarations, and those of the embedded one from both.

Each deviation is named, one by one. The embedded platform follows the observation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

# Parts of answers that the published contract does not have. Every other place must be as declared.
DEVIATIONS: dict[str, set[str]] = {
    # The answer for an existing sandbox has the stored fields.
    "createSandbox": {"id: undeclared", "uri: undeclared", "readme: null"},
    "claimSandbox": {"id: undeclared", "uri: undeclared", "description: null", "readme: null"},
    # They have no handler, and answer `{}`.
    "getIntegrations": {": not of type array"},
    # On the other providers exec leaves a part out, or adds keys.
    "exec": {
        *(f"{name}: undeclared" for name in ("success", "command", "duration", "timestamp", "sessionId")),
    },
    # Declared basic, answered in detail.
    "getSandbox": {
        "wrapped in `sandbox`",
        *(
            f"{name}: undeclared"
            for name in ("id", "uri", "displayName", "status", "startedAt", "baseSandbox", "owner")
        ),
        *(f"{name}: null" for name in ("description", "topics", "repo", "logo", "readme", "vcpus", "memory", "disk")),
    },
    "getSandboxes": {
        *(f"sandboxes[].{name}: undeclared" for name in ("id", "uri", "displayName")),
        *(f"sandboxes[].{name}: null" for name in ("description", "logo", "readme")),
    },
    "getActorSandboxes": {
        *(f"sandboxes[].{name}: undeclared" for name in ("id", "uri", "displayName")),
        *(f"sandboxes[].{name}: null" for name in ("description", "logo", "readme", "vcpus", "memory", "disk")),
    },
    # The port of VS Code is below the minimum of exposePort.
    "getExposedPorts": {"ports[].port: minimum 1025"},
    # A number, seen as an ISO date.
    "getBackups": {"backups[].expiresAt: not of type integer", "backups[].description: null"},
    "getServices": {"services[].description: null", "services[].status: undeclared"},
    "getSecrets": {"secrets[].createdAt: undeclared"},
    "getSecret": {"secret.createdAt: undeclared"},
    "getVariables": {"variables[].createdAt: undeclared", "variables[].updatedAt: undeclared"},
    "getVariable": {"variable.createdAt: undeclared", "variable.updatedAt: undeclared"},
}
WRAPPED = {"getSandbox": "sandbox"}

# Declared with a view, observed as `{}` and nothing else.
BARE = {"startSandbox", "stopSandbox", "deleteSandbox", "putSshKeys", "putTailscaleAuthKey"}

# The observed keys of answers: `|` after one that can be null, `?` after one that can be absent.
_SEEN = "id name provider displayName| description| baseSandbox status logo| readme| installs uri| vcpus| memory| disk| createdAt startedAt?"
_OWNER = "id did displayName| handle avatar| createdAt updatedAt"
_SECRET = "id name createdAt"
_VARIABLE = "id name value createdAt updatedAt"
_FILE = "id path createdAt updatedAt"
_VOLUME = "id name path createdAt updatedAt"
KEYS: dict[str, dict[str, str]] = {
    "createSandbox": {
        "": "id name provider createdAt uri description? topics? repo? vcpus? memory? disk? readme|?",
    },
    "claimSandbox": {"": "id name provider description| vcpus memory disk readme| createdAt uri"},
    "getSandbox": {"": "sandbox?", "sandbox": f"{_SEEN} topics| repo| owner?", "sandbox.owner": _OWNER},
    "getSandboxes": {
        "": "sandboxes total",
        "sandboxes[]": "id name displayName description| logo| readme| installs uri createdAt",
    },
    "getActorSandboxes": {"": "sandboxes total", "sandboxes[]": _SEEN},
    # Only Cloudflare has the last five, and Daytona has no stderr.
    "exec": {"": "stdout stderr? exitCode success? command? duration? timestamp? sessionId?"},
    "getPreferences": {},
    "exposePort": {"": "previewUrl|?"},
    "exposeVscode": {"": "previewUrl"},
    "getExposedPorts": {"": "ports", "ports[]": "port description? previewUrl?"},
    "getServices": {"": "services", "services[]": "id name description| command status createdAt"},
    "getSecrets": {"": "secrets total", "secrets[]": _SECRET},
    "getSecret": {"": "secret?", "secret": _SECRET},
    "getVariables": {"": "variables total", "variables[]": _VARIABLE},
    "getVariable": {"": "variable?", "variable": _VARIABLE},
    "getFiles": {"": "files total", "files[]": _FILE},
    "getFile": {"": "file?", "file": _FILE},
    "getVolumes": {"": "volumes total", "volumes[]": _VOLUME},
    "getVolume": {"": "volume?", "volume": _VOLUME},
    "getSshKeys": {"": "id privateKey publicKey createdAt"},
    "getTailscaleAuthKey": {"": "id authKey createdAt"},
    "getBackups": {"": "backups", "backups[]": "id directory description| expiresAt createdAt"},
    # For any failure a profile is `{}`.
    "getProfile": {"": "id did handle displayName? avatar createdAt updatedAt"},
    "getTerminalToken": {"": "token"},
    "pushDirectory": {"": "uuid"},
    # Declared, and without a handler.
    "createIntegration": {"": ""},
    "getIntegrations": {"": ""},
    **{name: {"": ""} for name in BARE},
}
MAY_BE_EMPTY = {"getProfile"}

# Every status with its name. Of these the published contract knows (400, "InvalidRequest") alone, and calls the 401
# AuthMissing.
ERRORS = {
    (400, "InvalidRequest"),
    (400, "SyntaxError"),
    # A compressed body that cannot be unpacked.
    (400, "Error"),
    (401, "AuthenticationRequired"),
    (401, "AuthenticationError"),
    (403, "SandboxProviderError"),
    (404, "SandboxNotFound"),
    (404, "XRPCNotSupported"),
    (413, "PayloadTooLargeError"),
    (415, "UnsupportedMediaTypeError"),
    (429, "Too many requests, please try again later."),
    (500, "InternalServerError"),
    (500, "AgentCreationError"),
    (501, "MethodNotImplemented"),
    (502, "SandboxProviderError"),
}
# The errors of the storage, without a message.
STORAGE_ERRORS = {
    (400, "No file uploaded"),
    (401, "Unauthorized"),
    (404, "File not found"),
}

# Without a login: these answer all the same, these know only ownerless sandboxes, all others are a 401.
OPEN = {"getSandbox", "getSandboxes", "getActorSandboxes", "getProfile", "createIntegration", "getIntegrations"}
OWNERLESS = {"exec", "startSandbox", "stopSandbox", "exposeVscode", "claimSandbox"}

# A 500 that the contract has, with a good login. A bad login is one on every method.
SERVER_ERRORS = {
    "addSecret": "a name that is taken, a sandbox that is unknown or not named by its id",
    "updateSecret": "a name that is taken",
    "addVariable": "a name that is taken, a sandbox that is unknown or not named by its id",
    "updateVariable": "a name that is taken",
    "addFile": "a path that is taken",
    "updateFile": "a path that is taken",
    "addVolume": "a path that is taken",
    "updateVolume": "a path that is taken",
    "addService": "a name that is taken",
    "updateService": "a name that is taken",
    "putPreferences": "a name that is taken, or nothing to set",
    "exposePort": "a port that is exposed already",
    "startSandbox": "a stored secret or key that is no sealed box",
    "exec": "a shell that has ended",
    "pullDirectory": "no uuid, or a shell that has ended",
}

# Methods in the lexicons without a handler, here as on the platform.
WITHOUT_HANDLER = {"getTailscaleToken", "putTailscaleToken", "updateSandboxSettings"}

# Intended differences of the embedded platform from the real one.
ON_PURPOSE = {
    "createSandbox": "a base image is this machine; sizes, keepAlive and credentials have no effect; clones at once",
    "startSandbox": "a repository is cloned before the answer, for at most 20 s",
    "addVolume": "what would hide the machine from its own commands is not attached",
    "exposePort": "the preview URL is the port on 127.0.0.1",
    "exposeVscode": "a vscode:// URL for the VS Code of this machine",
    "restoreBackup": "exact: what came later goes",
    "putTailscaleAuthKey": "kept, joins no network",
}


def unlike(method: str, answer: object) -> set[str]:
    """Return the places where an answer has other keys than observed on the platform."""
    if answer == {} and method in MAY_BE_EMPTY:
        return set()
    return set(_unlike(KEYS[method], answer, ""))


def _unlike(keys: dict[str, str], value: object, place: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _unlike(keys, each, f"{place}[]")
    elif isinstance(value, dict) and place in keys:
        held = cast("dict[str, Any]", value)
        told = keys[place].split()
        names = {name.rstrip("|?"): name[len(name.rstrip("|?")) :] for name in told}
        yield from (f"{place}.{name}: not seen on the platform" for name in held if name not in names)
        yield from (f"{place}.{name}: absent" for name, mark in names.items() if "?" not in mark and name not in held)
        for name, each in held.items():
            if each is None and "|" not in names.get(name, ""):
                yield f"{place}.{name}: null"
            yield from _unlike(keys, each, f"{place}.{name}" if place else name)
