"""Where the real platform was seen to do something else than it declares, and where the embedded one differs from both.

Each deviation is named, one by one: the embedded platform follows what was observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

# In answers, what the published contract does not have. A place that is not here must be as declared.
DEVIATIONS: dict[str, set[str]] = {
    # A sandbox that was there is answered with what is stored.
    "createSandbox": {"id: undeclared", "uri: undeclared", "readme: null"},
    "claimSandbox": {"id: undeclared", "uri: undeclared", "description: null", "readme: null"},
    # They have no handler, and answer `{}`.
    "getIntegrations": {": not of type array"},
    # On the other providers exec hides a part, or shows more.
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
    # The port of VS Code is below the least that may be exposed.
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

# Declared to answer a view, seen to answer `{}` and nothing else.
BARE = {"startSandbox", "stopSandbox", "deleteSandbox", "putSshKeys", "putTailscaleAuthKey"}

# The keys of answers as they were seen: `|` after one that can be null, `?` after one that can be absent.
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
    # Whatever fails, a profile is `{}`.
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
# What storage says, with no message.
STORAGE_ERRORS = {
    (400, "No file uploaded"),
    (401, "Unauthorized"),
    (404, "File not found"),
}

# Who is not logged in: these answer all the same, these know only ownerless sandboxes, all others are a 401.
OPEN = {"getSandbox", "getSandboxes", "getActorSandboxes", "getProfile", "createIntegration", "getIntegrations"}
OWNERLESS = {"exec", "startSandbox", "stopSandbox", "exposeVscode", "claimSandbox"}

# A 500 that the contract has, where the login is good. A bad login is one on every method.
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

# Methods in the lexicons that nothing answers for, here as on the platform.
WITHOUT_HANDLER = {"getTailscaleToken", "putTailscaleToken", "updateSandboxSettings"}

# Where the embedded platform does something else than the real one on purpose.
ON_PURPOSE = {
    "createSandbox": "a base image is this machine; sizes, keepAlive and credentials have no effect; clones at once",
    "startSandbox": "a repository is cloned before the answer, for at most 20 s",
    "getTerminalToken": "no terminal service takes the token",
    "addVolume": "what would hide the machine from its own commands is not attached",
    "exposePort": "the preview URL is the port on 127.0.0.1",
    "exposeVscode": "a vscode:// URL for the VS Code of this machine",
    "restoreBackup": "exact: what came later goes",
    "putTailscaleAuthKey": "kept, joins no network",
}


def unlike(method: str, answer: object) -> set[str]:
    """Where an answer has other keys than were seen on the platform."""
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
