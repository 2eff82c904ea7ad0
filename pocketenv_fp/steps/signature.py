"""Signatures that help() and notebooks show readably: annotations without quotes, one parameter a line.

>>> from inspect import signature
>>> from pocketenv_fp.steps.signature import readable
>>> def wait(box: Sandbox, *, timeout: float = 60) -> Status: ...
>>> print(signature(wait))
(box: 'Sandbox', *, timeout: 'float' = 60) -> 'Status'
>>> print(readable(signature(wait)))
(box: Sandbox, *, timeout: float = 60) -> Status
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

__all__ = ["readable"]

LINE = 80


def readable(signature: inspect.Signature) -> inspect.Signature:
    """Return an equal signature that prints more readably."""
    parameters = [
        parameter.replace(annotation=_unquoted(parameter.annotation)) for parameter in signature.parameters.values()
    ]
    return _Signature(parameters, return_annotation=_unquoted(signature.return_annotation))


class _Annotation(str):
    """An annotation that is stored as a string. inspect prints its repr, so the repr has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)


def _unquoted(annotation: object) -> object:
    return _Annotation(annotation) if isinstance(annotation, str) else annotation


class _Signature(inspect.Signature):
    """A signature that prints one parameter a line if it is long. pydoc of Python 3.11 prints a single line."""

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= LINE:
            return text
        rows = "".join(f"    {row},\n" for row in _rows(list(self.parameters.values())))
        returned = self.return_annotation
        end = "" if returned is inspect.Signature.empty else f" -> {inspect.formatannotation(returned)}"
        return f"(\n{rows}){end}"


def _rows(parameters: list[inspect.Parameter]) -> Iterator[str]:
    kinds = [parameter.kind for parameter in parameters]
    for number, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and not {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        }.intersection(kinds[:number]):
            yield "*"
        yield str(parameter)
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.POSITIONAL_ONLY not in kinds[number + 1 :]:
            yield "/"
