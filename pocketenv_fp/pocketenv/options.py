"""The options of `create`, and the operation that takes the name of a sandbox by keyword too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack, overload

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.steps.operation import StepOperation
from pocketenv_fp.steps.step import Step
from pocketenv_fp.validation import Text

__all__ = ["Creation", "Options", "creation"]

Name: TypeAlias = str | None | Result[str | None, PocketenvError]


class Options(TypedDict, total=False):
    """The options of `create`, without the name."""

    base: Text
    provider: Text
    repo: Text | None
    keep_alive: bool | None
    env: Mapping[str, str | FromEnv] | None
    secrets: Mapping[str, SecretText | FromEnv] | None
    description: Text | None
    topics: Sequence[str] | None
    provider_credentials: Mapping[str, SecretText | FromEnv] | None
    reuse: bool
    exist_ok: bool
    token: Text | None
    config: Config | None


class Creation(StepOperation[str, ..., Sandbox]):
    """The operation `create`: ``create("box")``, ``create(name="box")``, and the steps ``create`` and ``create(…)``."""

    @overload  # type: ignore[override]  # its base takes any arguments, and this takes the options only
    def __call__(self, target: Name, /) -> Result[Sandbox, PocketenvError]: ...
    @overload
    def __call__(self, target: Name, /, **options: Unpack[Options]) -> Result[Sandbox, PocketenvError]: ...
    @overload
    def __call__(self, /, *, name: str, **options: Unpack[Options]) -> Result[Sandbox, PocketenvError]: ...
    @overload
    def __call__(self, /, **options: Unpack[Options]) -> Step[str, Sandbox]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        is_named = not args and "name" in kwargs
        name = kwargs.pop("name") if is_named else None
        args = self.hide(args, kwargs)
        called = self._call(args, kwargs)
        return called(name) if is_named else called


def creation(function: Callable[..., Result[Sandbox, PocketenvError]]) -> Creation:
    """Decorator for `create`."""
    return Creation(function, str)
