"""Words for forms that work in `returns` or elsewhere, and not with steps: each names the form to write."""

from __future__ import annotations

__all__ = ["for_method", "for_target"]

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
    "failure": "step(target).failure()",
    "fix": "recover(step, function)",
    "flat_map": "step.bind(function)",
    "or_else": "or_else(step, other)",
    "pipe": "step | other",
    "recover": "recover(step, value)",
    "rescue": "step.lash(function)",
    "swap": "step(target).swap()",
    "tap": "step | tap(other)",
    "then": "step | other, or step.bind(function)",
    "unwrap": "step(target).unwrap()",
    "value_or": "recover(step, value), or step(target).value_or(value)",
}


def for_target(target: object) -> str:
    """Return the form for a container that is no target, as the end of a message. Empty for another value."""
    kind = type(target)
    form = _TARGETS.get(kind.__name__) if kind.__module__.startswith("returns.") else None
    return "" if form is None else f": write {form}"


def for_method(name: str) -> str:
    """Return the form for a method that steps lack, as the end of a message. Empty for another name."""
    form = _METHODS.get(name)
    return "" if form is None else f": write {form}"
