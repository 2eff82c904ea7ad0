r"""The functions of the Clojure SDK with its own maps, to port a program step by step.

`pocketenv` and `sandbox` are its two namespaces, version 0.1.4. A function returns ``{"ok": …}`` or ``{"error": …}``,
never a ``Result``. A record is a dict with Clojure's keys, such as ``"exit-code"``. A status is ``"running"``. The last
argument may be a dict of options with Clojure's names. Times in it are milliseconds. Times in records are strings.

>>> from pocketenv_fp.clojure import pocketenv, sandbox
>>> box = sandbox.wait_until_running(sandbox.start(pocketenv.create_sandbox("my-box")), {"timeout-ms": 60000})
>>> sandbox.exec(box, "echo abc", ["|", "wc", "-c"])
{'ok': {'stdout': '4\n', 'stderr': '', 'exit-code': 0}}

`exec` joins its arguments unquoted, and a copy lands where Clojure puts it. Five things are those of this library. An
error passes through the next functions, where Clojure throws. A missing sandbox is ``{"ok": None}``. A copy returns
``{"ok": None}``, not the keyword alone. A status may be ``"initializing"``. An unknown option raises TypeError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv as account
from pocketenv_fp import sandbox as ops
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.errors.maps import to_map
from pocketenv_fp.models import ExecResult, Page, Sandbox
from pocketenv_fp.plain_types import built

__all__ = ["pocketenv", "sandbox"]

Map: TypeAlias = dict[str, Any]
Box: TypeAlias = Result[Sandbox, PocketenvError]
Call: TypeAlias = Callable[..., Result[Any, PocketenvError]]


def _function(name: str, call: Call, words: str, more: str) -> Callable[..., Map]:
    parameters, options = words.split(), [*more.split(), "token"]
    least = len([each for each in parameters if not each.endswith("?")])
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
            values[0] = _box(name, values[0])
        result = call(*values, **dict(_keyword(name, *each) for each in given.items() if each[1] is not None))
        return {"ok": _data(result.unwrap())} if isinstance(result, Success) else {**to_map(result)}

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Take {signature}, and return a map. Options: {', '.join(options)}."
    return function


def _box(name: str, value: Any) -> Box:
    if isinstance(value, Result):
        return cast("Result[Any, PocketenvError]", value).bind(partial(_box, name))
    if isinstance(value, Sandbox):
        return Success(value)
    fields = cast("Map", value).get("ok", value) if isinstance(value, Mapping) else value
    if fields is None:
        return Failure(SandboxNotFound(404, "SandboxNotFound", "the function before returned no sandbox", name))
    try:
        return Success(msgspec.convert(_record(fields), built(Sandbox)))
    except msgspec.ValidationError as error:
        raise TypeError(f"{name}: expected a map of a sandbox, or {{'ok': …}} with one: {error}") from None


def _keyword(name: str, option: str, value: Any) -> tuple[str, Any]:
    if not option.endswith("-ms"):
        return option.replace("-", "_"), value
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name}: {option}: expected milliseconds, got {type(value).__name__}")
    return option.removesuffix("-ms"), value / 1000


def _record(value: Any) -> Any:
    # As the platform sends a record: names in camelCase.
    if not isinstance(value, Mapping):
        return value
    fields = cast("Map", value).items()
    return {re.sub("-([a-z])", lambda found: found[1].upper(), key): _record(inner) for key, inner in fields}


def _data(value: Any) -> Any:
    # As Clojure has it: names in kebab-case, lists, statuses in small letters.
    if isinstance(value, msgspec.Struct):
        return _data(list(cast("Page[object]", value)) if isinstance(value, Page) else msgspec.to_builtins(value))
    if isinstance(value, list):
        return [_data(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    names = cast("Map", value).items()
    fields = {re.sub("[A-Z]", lambda found: f"-{found[0].lower()}", name): _data(each) for name, each in names}
    return fields | ({"status": fields["status"].lower()} if "status" in fields else {})


def _giving(value: Any, call: Call) -> Call:
    return lambda *args, **options: call(*args, **options).map(lambda _: value)


def _listed(call: Call) -> Call:
    def form(page: Page[Sandbox]) -> Map:
        return {"sandboxes": list(page), "total": page.total}

    return lambda *args, **options: call(*args, **options).map(form)


def _copy(call: Call, **always: Any) -> Call:
    # A copy lands in the target, under its own name. Only the contents of an uploaded directory land there directly.
    def copy(box: Box, *paths: str, **options: Any) -> Result[None, PocketenvError]:
        *other, source, target = paths
        if call is not ops.upload or not Path(source).is_dir():
            target = f"{target.rstrip('/')}/{PurePosixPath(source).name}"
        return call(box, *other, source, target, **always, **options).map(lambda _: None)

    return copy


def _exec(box: Box, cmd: str, args: Sequence[str] = (), **options: Any) -> Result[ExecResult, PocketenvError]:
    return ops.exec(box, " ".join([cmd, *args]), **options)


def _set_secret(box: Box, name: str, value: Any, **options: Any) -> Result[None, PocketenvError]:
    return box if isinstance(box, Failure) else account.add_secret(box.unwrap().id, name, value, **options)


def _delete_secret(box: Box, id: str, **options: Any) -> Result[None, PocketenvError]:
    return box if isinstance(box, Failure) else account.delete_secret(id, **options)


# What runs, its parameters, its options besides `token`.
_ACCOUNT: dict[str, tuple[Call, str, str]] = {
    "create_sandbox": (account.create_sandbox, "name", "base provider repo keep-alive"),
    "get_sandbox": (account.get_sandbox, "id", ""),
    "list_sandboxes": (_listed(account.list_sandboxes), "", "limit offset"),
    "list_sandboxes_by_actor": (_listed(account.list_sandboxes_by_actor), "did", "limit offset"),
    "me": (account.me, "", ""),
    "get_profile": (account.get_profile, "did", ""),
    "list_secrets": (account.list_secrets, "id", "limit offset"),
    "add_secret": (account.add_secret, "id name value", ""),
    "delete_secret": (account.delete_secret, "id", ""),
    "get_ssh_keys": (account.get_ssh_keys, "id", ""),
    "put_ssh_keys": (_giving({}, account.put_ssh_keys), "id private public", ""),
    "get_tailscale_auth_key": (account.get_tailscale_auth_key, "id", ""),
    "put_tailscale_auth_key": (_giving({}, account.put_tailscale_auth_key), "id key", ""),
}
_SANDBOX: dict[str, tuple[Call, str, str]] = {
    "start": (ops.start, "box", "repo keep-alive"),
    "stop": (ops.stop, "box", ""),
    "delete": (ops.delete, "box", ""),
    "wait_until_running": (ops.wait_until_running, "box", "timeout-ms interval-ms"),
    "exec": (_exec, "box cmd args?", ""),
    "expose": (ops.expose, "box port", "description"),
    "unexpose": (ops.unexpose, "box port", ""),
    "list_ports": (ops.list_ports, "box", ""),
    "vscode": (ops.vscode, "box", ""),
    "list_secrets": (ops.list_secrets, "box", "limit offset"),
    "set_secret": (_set_secret, "box name value", ""),
    "delete_secret": (_delete_secret, "box id", ""),
    "get_ssh_keys": (ops.get_ssh_keys, "box", ""),
    "set_ssh_keys": (_giving({}, ops.set_ssh_keys), "box private public", ""),
    "get_tailscale_auth_key": (ops.get_tailscale_auth_key, "box", ""),
    "set_tailscale_auth_key": (_giving({}, ops.set_tailscale_auth_key), "box key", ""),
    "upload": (_copy(ops.upload, ignore=False), "box local remote", ""),
    "download": (_copy(ops.download), "box remote local", ""),
    "copy_to": (_copy(ops.copy_to), "box other-id source target", ""),
    "create_backup": (ops.create_backup, "box directory", "description ttl"),
    "list_backups": (ops.list_backups, "box", ""),
    "restore_backup": (account.restore_backup, "backup-id", ""),
}
pocketenv = SimpleNamespace(**{name: _function(f"pocketenv.{name}", *row) for name, row in _ACCOUNT.items()})
sandbox = SimpleNamespace(**{name: _function(f"sandbox.{name}", *row) for name, row in _SANDBOX.items()})
