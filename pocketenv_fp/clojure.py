r"""The functions of the Clojure SDK with its own maps, to port a program step by step.

`pocketenv` and `sandbox` are its two namespaces, version 0.1.4. A function returns ``{"ok": …}`` or ``{"error": …}``,
never a ``Result``. A record is a dict with Clojure's keys, such as ``"exit-code"``. A status is ``"running"``. The last
argument may be a dict of options with Clojure's names. Times in it are milliseconds. Times in records are strings.

>>> from pocketenv_fp.clojure import pocketenv, sandbox
>>> box = sandbox.wait_until_running(sandbox.start(pocketenv.create_sandbox("my-box")), {"timeout-ms": 60000})
>>> sandbox.exec(box, "echo abc", ["|", "wc", "-c"])
{'ok': {'stdout': '4\n', 'stderr': '', 'exit-code': 0}}

`exec` joins its arguments unquoted, and a copy lands where Clojure puts it. Five things differ. An error passes through
the next functions, and Clojure throws. A missing sandbox is ``{"ok": None}``. A copy returns ``{"ok": None}``, not the
keyword alone. A status may be ``"initializing"``. An unknown option raises TypeError, and Clojure ignores it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv as account
from pocketenv_fp import sandbox as ops
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.errors.maps import from_map, to_map
from pocketenv_fp.models import ExecResult, Sandbox

__all__ = ["pocketenv", "sandbox"]

Map: TypeAlias = dict[str, Any]
Call: TypeAlias = Callable[..., Result[Any, PocketenvError]]


def _function(name: str, call: Call, words: str, more: str, answer: str) -> Callable[..., Map]:
    parameters, options, least = words.split(), [*more.split(), "token"], len(words.split()) - words.count("?")
    signature = f"({', '.join([*parameters, 'options?'])})"

    def function(*args: Any) -> Map:
        values = list(args)
        given: Map = dict(values.pop()) if len(values) > least and isinstance(values[-1], Mapping) else {}
        if not least <= len(values) <= len(parameters):
            raise TypeError(f"{name}: expected {signature}, got {len(args)} arguments")
        if unknown := [each for each in given if each not in options]:
            raise TypeError(f"{name}: unknown option {unknown[0]!r}: the options are {', '.join(options)}")
        if parameters[:1] == ["box"]:
            if isinstance(values[0], Mapping) and "error" in values[0]:
                return cast("Map", values[0])
            box = _box(name, values[0])
            if isinstance(box, Failure):
                return {**to_map(box)}
            values[0] = box.unwrap()
        result = call(*values, **dict(_keyword(name, *each) for each in given.items() if each[1] is not None))
        return {**to_map(result.map(_ANSWERS[answer]) if answer in _ANSWERS else result)}

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Take {signature}, and return {answer} in a map. Options: {', '.join(options)}."
    return function


def _box(name: str, value: Any) -> Result[Sandbox, PocketenvError]:
    if isinstance(value, Result):
        return cast("Result[Any, PocketenvError]", value).bind(partial(_box, name))
    box = cast("Map", value).get("ok", value) if isinstance(value, Mapping) else value
    if box is None:
        return Failure(SandboxNotFound(404, "SandboxNotFound", "the function before returned no sandbox", name))
    try:
        return Success(box) if isinstance(box, Sandbox) else from_map({"ok": box}, Sandbox)
    except ValueError as error:
        reason = str(error).removeprefix("from_map: ")
        raise TypeError(f"{name}: expected a map of a sandbox, or {{'ok': …}} with one: {reason}") from None


def _keyword(name: str, option: str, value: Any) -> tuple[str, Any]:
    if option.endswith("-ms") and not isinstance(value, (int, float)):
        raise TypeError(f"{name}: {option}: expected milliseconds, got {type(value).__name__}")
    return option.removesuffix("-ms").replace("-", "_"), value / 1000 if option.endswith("-ms") else value


def _exec(box: Sandbox, cmd: str, args: Sequence[Any] = (), **options: Any) -> Result[ExecResult, PocketenvError]:
    line, refused = (cmd, args) if isinstance(args, str) else (" ".join([cmd, *map(str, args)]), ())
    return ops.exec(box, line, refused, **options)


def _secret(call: Call, box: Sandbox, *args: Any, **options: Any) -> Result[None, PocketenvError]:
    # The id of a secret is enough to delete it.
    return call(*args, **options) if call is account.delete_secret else call(box.id, *args, **options)


def _copy(call: Call, box: Sandbox, *paths: str, **options: Any) -> Result[Any, PocketenvError]:
    # A copy lands in the target, under its own name. Only the contents of an uploaded directory land there directly.
    *other, source, target = paths
    if call is not ops.upload or not Path(source).is_dir():
        target = f"{target.rstrip('/')}/{PurePosixPath(source).name}"
    return call(box, *other, source, target, **options)


# What is in the map, where it is not the value itself.
_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "nil": lambda _: None,
    "{}": lambda _: {},
    "{:sandboxes :total}": lambda page: {"sandboxes": list(page), "total": page.total},
}
# The function that runs, its parameters, its options besides `token`, and what Clojure has below `:ok`.
_ACCOUNT: dict[str, tuple[Call, str, str, str]] = {
    "create_sandbox": (account.create_sandbox, "name", "base provider repo keep-alive", "Sandbox"),
    "get_sandbox": (account.get_sandbox, "id", "", "Sandbox"),
    "list_sandboxes": (account.list_sandboxes, "", "limit offset", "{:sandboxes :total}"),
    "list_sandboxes_by_actor": (account.list_sandboxes_by_actor, "did", "limit offset", "{:sandboxes :total}"),
    "me": (account.me, "", "", "Profile"),
    "get_profile": (account.get_profile, "did", "", "Profile"),
    "list_secrets": (account.list_secrets, "id", "limit offset", "[Secret]"),
    "add_secret": (account.add_secret, "id name value", "", "nil"),
    "delete_secret": (account.delete_secret, "id", "", "nil"),
    "get_ssh_keys": (account.get_ssh_keys, "id", "", "SshKey"),
    "put_ssh_keys": (account.put_ssh_keys, "id private public", "", "{}"),
    "get_tailscale_auth_key": (account.get_tailscale_auth_key, "id", "", "TailscaleAuthKey"),
    "put_tailscale_auth_key": (account.put_tailscale_auth_key, "id key", "", "{}"),
}
_SANDBOX: dict[str, tuple[Call, str, str, str]] = {
    "start": (ops.start, "box", "repo keep-alive", "Sandbox"),
    "stop": (ops.stop, "box", "", "Sandbox"),
    "delete": (ops.delete, "box", "", "Sandbox"),
    "wait_until_running": (ops.wait_until_running, "box", "timeout-ms interval-ms", "Sandbox"),
    "exec": (_exec, "box cmd args?", "", "ExecResult"),
    "expose": (ops.expose, "box port", "description", "url"),
    "unexpose": (ops.unexpose, "box port", "", "Sandbox"),
    "list_ports": (ops.list_ports, "box", "", "[Port]"),
    "vscode": (ops.vscode, "box", "", "url"),
    "list_secrets": (ops.list_secrets, "box", "limit offset", "[Secret]"),
    "set_secret": (partial(_secret, account.add_secret), "box name value", "", "nil"),
    "delete_secret": (partial(_secret, account.delete_secret), "box id", "", "nil"),
    "get_ssh_keys": (ops.get_ssh_keys, "box", "", "SshKey"),
    "set_ssh_keys": (ops.set_ssh_keys, "box private public", "", "{}"),
    "get_tailscale_auth_key": (ops.get_tailscale_auth_key, "box", "", "TailscaleAuthKey"),
    "set_tailscale_auth_key": (ops.set_tailscale_auth_key, "box key", "", "{}"),
    "upload": (partial(_copy, ops.upload, ignore=False), "box local remote", "", "nil"),
    "download": (partial(_copy, ops.download), "box remote local", "", "nil"),
    "copy_to": (partial(_copy, ops.copy_to), "box other-id source target", "", "nil"),
    "create_backup": (ops.create_backup, "box directory", "description ttl", "nil"),
    "list_backups": (ops.list_backups, "box", "", "[Backup]"),
    "restore_backup": (account.restore_backup, "backup-id", "", "nil"),
}
pocketenv = SimpleNamespace(**{name: _function(f"pocketenv.{name}", *row) for name, row in _ACCOUNT.items()})
sandbox = SimpleNamespace(**{name: _function(f"sandbox.{name}", *row) for name, row in _SANDBOX.items()})
