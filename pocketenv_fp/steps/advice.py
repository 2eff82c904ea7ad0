"""Words for forms that work in `returns` or elsewhere, and not with steps: each names the form to write."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.models import ExecResult, Job, Page, Sandbox

if TYPE_CHECKING:
    from pocketenv_fp.steps.operation import Curried

__all__ = ["a_kind", "for_arguments", "for_method", "for_no_step", "for_value", "for_words"]

# The containers of `returns` by the name of their class. Only a Result is a target.
_TARGETS = {
    "FutureResult": "target.bind(aio(step).future)",
    "IO": "target.map(step)",
    "IOFailure": "target.bind_result(step)",
    "IOSuccess": "target.bind_result(step)",
    "RequiresContextResult": "target.bind_result(step)",
    "Some": "target.value_or(None) | step",
    "_Nothing": "target.value_or(None) | step",
}
# Methods of a Result, of an older `returns` and of other libraries, by the form for a step.
_METHODS = {
    "and_then": "step | other, or step.bind(function)",
    "apply": "gather(step, other).map(function)",
    "bimap": "step.map(function).alt(other)",
    "bind_result": "step.bind(function)",
    "compose": "step | other",
    "exit_code": "step.map(lambda ran: ran.exit_code)",
    "failure": "step(target).failure()",
    "fix": "recover(step, function)",
    "flat_map": "step.bind(function)",
    "or_else": "or_else(step, other)",
    "pipe": "step | other",
    "recover": "recover(step, value)",
    "rescue": "step.lash(function)",
    "stderr": "step.map(lambda ran: ran.stderr)",
    "stdout": "step | stdout",
    "swap": "step(target).swap()",
    "tap": "step | tap(other)",
    "then": "step | other, or step.bind(function)",
    "unwrap": "step(target).unwrap()",
    "value_or": "recover(step, value), or step(target).value_or(value)",
}


def _for_container(target: object) -> str:
    kind = type(target)
    form = _TARGETS.get(kind.__name__) if kind.__module__.startswith("returns.") else None
    return "" if form is None else f": write {form}"


def a_kind(kind: type) -> str:
    """Return the name of a type with its article."""
    return f"{'an' if kind.__name__.startswith(('A', 'E', 'I', 'O')) else 'a'} {kind.__name__}"


def for_value(value: object, accepts: type[Any], name: str) -> str:
    """Return the form for a value that is no target of the operation ``name``, as the end of a message."""
    form = _for_container(value) or _for_kind(value, accepts, name)
    return form if not form or form.startswith(":") else f": {form}"


def _for_kind(value: object, accepts: type[Any], name: str) -> str:  # noqa: PLR0911  # a kind of value each
    if isinstance(value, Result):
        return "it is a Result in a Result. Write .bind where .map is"
    if isinstance(value, Awaitable):
        return "await it first"
    if isinstance(value, (list, Page)):
        return f"write fan_out({name}(…), targets) for many targets"
    if isinstance(value, tuple):
        return "a step such as gather or keep returns a tuple. Choose one value with .map(…)"
    if accepts is Sandbox and isinstance(value, str):
        return f"write get_sandbox | {name}(…) for a name, or tap(…) around the step before it to keep the sandbox"
    if accepts is Sandbox and isinstance(value, msgspec.Struct):
        return "write tap(…) around the step before it to keep the sandbox"
    if accepts is str and isinstance(value, Sandbox):
        return f"it is a sandbox already, leave {name} out"
    if accepts is Job and isinstance(value, Sandbox):
        return f"write submit(…) | {name}, or get_job(…) | {name}"
    if accepts is ExecResult and isinstance(value, Sandbox):
        return f"write exec(…) | {name}"
    return ""


def for_arguments(operation: Curried, args: tuple[Any, ...], reason: str) -> str:  # noqa: PLR0911  # a form each
    """Return the message for arguments without a target of the right type. Empty where ``reason`` says it all."""
    if not args:
        return ""
    first: object = args[0]
    name, kind = operation.__name__, a_kind(operation.accepts)
    got = type(first).__name__
    if form := _for_container(first):
        return f"{name} takes no {got}{form}"
    if hasattr(first, "run_before"):
        return f"{name} takes {kind} or a Result of one, not a step: write step | {name}"
    if isinstance(first, Awaitable):
        return f"{name} takes {kind} or a Result of one, not {got}: await it first"
    if operation.accepts is not str and any(_is_target(each, operation.accepts) for each in args[1:]):
        return f"{reason}. The {operation.accepts.__name__} is the first argument"
    if "too many positional" in reason and not isinstance(first, str):
        return f"{reason}. The first is {kind} or a Result of one, not {got}"
    return ""


def _is_target(value: object, accepts: type[Any]) -> bool:
    """Return whether a value is a target, or a Result that may be one."""
    if isinstance(value, Success):
        value = cast("Success[object]", value).unwrap()
    return isinstance(value, (accepts, Failure))


def for_words(operation: Curried, args: tuple[Any, ...]) -> str:
    """Return the form for a command as in subprocess, as the end of a message. Empty for other operations."""
    if "args" not in operation.arguments.names:
        return ""
    is_list = bool(args) and isinstance(args[0], (list, tuple))
    return f": write {operation.__name__}('ls', ['-l'])" if is_list or len(args) > 2 else ""


def for_no_step(value: object) -> str:
    """Return the form for a value in the place of a step, as the end of a message."""
    if isinstance(value, (list, tuple)):
        return ": write * before it for its steps"
    is_function = callable(value) and not isinstance(value, type)
    return ": write .map(…) after a step for a function" if is_function else ""


def for_method(name: str) -> str:
    """Return the form for a method that steps lack, as the end of a message. Empty for another name."""
    form = _METHODS.get(name)
    return "" if form is None else f": write {form}"
