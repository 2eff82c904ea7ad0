"""The two forms of the published contract against each other, and the embedded platform against both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from pocketenv_fp.local.methods import METHODS
from pocketenv_fp.local.schema import Field, Shape
from tests.conformance import contract
from tests.conformance.contract import Schema

pytestmark = pytest.mark.contract

# Parts that only the lexicons have.
LOST_IN_OPENAPI = {
    "createSandbox": {"provider enum"},
    "exposePort": {"previewUrl type"},
    "exposeVscode": {"previewUrl type"},
    "getPreferences": {"$type", "required", "type"},
    "putPreferences": {"$type", "required", "type"},
}

# Observed differences from the declared inputs. All others are refused or ignored as declared.
TAKEN_OTHERWISE = {
    # `secrets` and `envs` are a 400 with any value.
    "createSandbox": {"secrets": "refused", "envs": "refused"},
    "pullDirectory": {"uuid": "required"},
}


def declared_in_openapi(name: str, side: str) -> Schema | None:
    (operation,) = contract.openapi()["paths"][f"/{name}"].values()
    content = (
        operation["responses"]["200"].get("content")
        if side == "given"
        else operation.get("requestBody", {}).get("content")
    )
    return None if content is None else contract.printed(content["application/json"]["schema"])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_lexicons_equal_openapi(name: str) -> None:
    """The lexicons and OpenAPI agree, apart from the listed losses."""
    lost = LOST_IN_OPENAPI.get(name.rpartition(".")[2], set[str]())
    found = set[str]()
    for side, ours in (("taken", contract.taken(name)), ("given", contract.given(name))):
        theirs = declared_in_openapi(name, side)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            differing = set(contract.facts(ours)) ^ set(contract.facts(theirs))
            found |= {line for line in differing if not any(f"{each} " in f"{line} " for each in lost)}
            assert bool(differing) <= bool(lost)
    assert not found


def test_openapi_parameters() -> None:
    """OpenAPI has the parameters of queries and of no procedure."""
    for name, declared in contract.methods().items():
        ((verb, operation),) = contract.openapi()["paths"][f"/{name}"].items()
        printed = {each["name"]: each for each in operation.get("parameters", [])}
        assert verb == {"query": "get", "procedure": "post"}[declared["type"]]
        if declared["type"] == "procedure":
            assert not printed, name
            continue
        ours = contract.parameters(name)
        theirs = {
            "type": "object",
            "required": sorted(key for key, each in printed.items() if each.get("required")),
            "properties": {key: contract.printed(each["schema"]) for key, each in printed.items()},
            "additionalProperties": False,
        }
        assert set(contract.facts(ours)) == set(contract.facts(theirs)), name


@pytest.mark.parametrize("name", sorted(METHODS))
def test_platform_published_requests(name: str) -> None:
    """The embedded platform takes every published request."""
    method, taken = METHODS[name], contract.taken(name)
    assert method.verb == {"query": "GET", "procedure": "POST"}[contract.methods()[name]["type"]]
    assert set(contract.facts(contract.parameters(name))) == set(contract.facts(shape(method.params)))
    assert (method.body is None) == (taken is None)
    if method.body is None or taken is None or not method.body:
        return
    otherwise = TAKEN_OTHERWISE.get(name.rpartition(".")[2], {})
    # Preferences of the other kinds pass unread.
    ours = set(tidy(contract.facts(shape(method.body)), otherwise))
    theirs = set(tidy(contract.facts(first_kinds(taken)), otherwise))
    assert ours == theirs


def tidy(lines: Iterator[str], otherwise: dict[str, str]) -> Iterator[str]:
    for line in lines:
        place, word, _ = line.split(" ", 2)
        refused = any(
            place.removesuffix("[]").partition("[")[0] == name for name, kind in otherwise.items() if kind == "refused"
        )
        needed = word == "required" and "required" in otherwise.values()
        if not refused and not needed:
            yield line


def first_kinds(schema: Any) -> Any:
    """Return the same schema with only the first kind wherever there are several."""
    if isinstance(schema, dict):
        if "anyOf" in schema:
            return first_kinds(cast("Schema", schema)["anyOf"][0])
        return {word: first_kinds(each) for word, each in cast("Schema", schema).items()}
    return schema


def shape(fields: Shape) -> Schema:
    return {
        "type": "object",
        "required": sorted(field.name for field in fields if field.required),
        "properties": {field.name: one(field) for field in fields},
        "additionalProperties": False,
    }


def one(field: Field) -> Schema:
    match field.kind:
        case "object":
            schema = shape(field.fields)
        case "union":
            inner = shape(field.fields[0].fields)
            tag = {"type": "string", "enum": list(field.fields[0].choices)}
            return {**inner, "properties": {"$type": tag, **inner["properties"]}, "required": ["$type"]}
        case "array":
            schema = {"type": "array", "items": one(field.fields[0])}
        case "dangling":
            return {}
        case "integer":
            schema = {"type": "integer", "minimum": field.least, "maximum": field.most}
        case kind:
            choices = list(field.choices) or None
            bounds = {"minLength": field.least, "maxLength": field.most}
            schema = {"type": kind, **bounds, "enum": choices, "format": field.form}
    schema = {word: each for word, each in schema.items() if each is not None}
    return {**schema, "type": [schema["type"], "null"]} if field.nullable else schema
