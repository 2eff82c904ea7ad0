"""The platform's published contract, read where it lies beside this repository and not copied.

Lexicons and openapi.json describe the same contract. Both are converted to JSON schemas of one form, so that they can be
compared with each other and with the bytes on the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]  # its types are a package of their own

from tests.places import LEXICONS, PLATFORM

Schema = dict[str, Any]

PREFIX = "io.pocketenv."


# References that are undefined as they are written, and their meaning.
MISPRINTS = {
    "io.pocketenv.port.defs#backupViewBasic": "io.pocketenv.sandbox.defs#backupViewBasic",
    "io.pocketenv.sandbox.defs#secrets": "io.pocketenv.secret.defs#secrets",
    "io.pocketenv.sandbox.defs#envs": "io.pocketenv.variable.defs#variables",
    "io.pocketenv.user.defs#userViewBasic": "io.pocketenv.actor.defs#profileViewDetailed",
    "io.pocketenv.variable.defs#envVar": "io.pocketenv.variable.defs#variable",
}
# These are undefined and have no meaning: their methods have no handler.
NOWHERE = {
    "io.pocketenv.sandbox.defs#tailscaleTokenView",
    "io.pocketenv.sandbox.defs#profileViewDetailed",
}

_KEPT = ("minimum", "maximum", "minLength", "maxLength", "enum", "format")
_FORMATS = {
    "datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "uri": re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S+"),
    "at-identifier": re.compile(r"did:[a-z]+:\S+|[a-zA-Z0-9.-]+\.[a-zA-Z]+"),
}


@cache
def lexicon(name: str) -> dict[str, Any]:
    """Return the definitions of one lexicon."""
    parts = name.removeprefix(PREFIX).split(".")
    loaded = json.loads((LEXICONS.joinpath(*parts[:-1]) / f"{parts[-1]}.json").read_text(encoding="utf-8"))
    return cast("dict[str, Any]", loaded["defs"])


@cache
def methods() -> dict[str, Any]:
    """Return the lexicons' declaration of every method, by NSID."""
    names = [f"{PREFIX}{file.parent.name}.{file.stem}" for file in sorted(LEXICONS.glob("*/*.json"))]
    declared = {name: lexicon(name).get("main", {}) for name in names}
    return {name: main for name, main in declared.items() if main.get("type") in {"query", "procedure"}}


def parameters(name: str) -> Schema:
    """Return the parameters of a method."""
    return schema(methods()[name].get("parameters", {"type": "params"}), name)


def taken(name: str) -> Schema | None:
    """Return the body of a method; None where it takes none."""
    declared = methods()[name].get("input")
    return None if declared is None else schema(declared["schema"], name)


def given(name: str) -> Schema | None:
    """Return the output of a method; None where it has none."""
    declared = methods()[name].get("output")
    return None if declared is None else schema(declared["schema"], name)


def schema(declared: Mapping[str, Any], home: str) -> Schema:
    """Return a lexicon's type as a JSON schema that allows only the declared keys."""
    match declared["type"]:
        case "ref":
            return _referred(declared["ref"], home)
        case "union":
            members = [(_absolute(each, home), _referred(each, home)) for each in declared["refs"]]
            return {"anyOf": [_tagged(name, member) for name, member in members]}
        case "object" | "params":
            properties = {name: schema(each, home) for name, each in declared.get("properties", {}).items()}
            for name in declared.get("nullable", ()):
                properties[name]["type"] = [properties[name]["type"], "null"]
            return _closed(properties, declared.get("required", ()))
        case "array":
            most = {"maxItems": declared["maxLength"]} if "maxLength" in declared else {}
            return {"type": "array", "items": schema(declared["items"], home), **most}
        case kind:
            return {"type": kind, **{name: declared[name] for name in _KEPT if name in declared}}


def _closed(properties: Schema, required: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "required": sorted(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _absolute(reference: str, home: str) -> str:
    where, _, part = reference.partition("#")
    whole = f"{where or home}#{part or 'main'}"
    return MISPRINTS.get(whole, whole)


def _referred(reference: str, home: str) -> Schema:
    whole = _absolute(reference, home)
    if whole in NOWHERE:
        return {}
    where, _, part = whole.partition("#")
    return schema(lexicon(where)[part], where)


def _tagged(name: str, member: Schema) -> Schema:
    tagged = {"$type": {"type": "string", "enum": [name]}, **member["properties"]}
    return {**member, "properties": tagged, "required": sorted({"$type", *member["required"]})}


@cache
def openapi() -> dict[str, Any]:
    """The whole of openapi.json."""
    return cast("dict[str, Any]", json.loads((PLATFORM / "openapi.json").read_text(encoding="utf-8")))


def printed(node: Mapping[str, Any]) -> Schema:
    """Return a schema of openapi.json in the form of `schema`."""
    if "$ref" in node:
        name: str = node["$ref"].rpartition("/")[2]
        where, _, part = name.rpartition(".")
        meant = MISPRINTS.get(f"{where}#{part}", f"{where}#{part}")
        if meant in NOWHERE:
            return {}
        return printed(openapi()["components"]["schemas"][meant.replace("#", ".")])
    if "oneOf" in node:
        return {"anyOf": [printed(each) for each in node["oneOf"]]}
    match node["type"]:
        case "object":
            properties = {name: printed(each) for name, each in node.get("properties", {}).items()}
            return _closed(properties, node.get("required", ()))
        case "array":
            most = {"maxItems": node["maxItems"]} if "maxItems" in node else {}
            return {"type": "array", "items": printed(node["items"]), **most}
        case kind:
            kept = {name: node[name] for name in _KEPT if name in node}
            return {"type": kind, **kept} | ({"format": "datetime"} if kept.get("format") == "date-time" else {})


def facts(told: Schema, place: str = "") -> Iterator[str]:
    """Yield every statement of a schema as a line, so that two schemas can be compared."""
    for word, value in told.items():
        if word == "properties":
            for name, each in value.items():
                yield from facts(each, f"{place}.{name}" if place else name)
        elif word == "items":
            yield from facts(value, f"{place}[]")
        elif word == "anyOf":
            for number, each in enumerate(value):
                yield from facts(each, f"{place}({number})")
        else:
            yield f"{place} {word} {value}"


def _checker() -> Any:
    checker: Any = jsonschema.FormatChecker(formats=())
    for name, pattern in _FORMATS.items():
        checker.checks(name)(partial(_formed, pattern))
    return checker


def _formed(pattern: re.Pattern[str], value: object) -> bool:
    return not isinstance(value, str) or bool(pattern.fullmatch(value))


_CHECKER = _checker()


def misfits(value: object, against: Schema) -> set[str]:
    """Return the places where a value does not match a schema, each as `secrets[].createdAt: undeclared`."""
    cls: Any = jsonschema.Draft202012Validator
    return {line for error in cls(against, format_checker=_CHECKER).iter_errors(value) for line in _lines(error)}


def _lines(error: Any) -> Iterator[str]:
    place = _place(error.absolute_path)
    match error.validator:
        case "additionalProperties":
            for name in sorted(set(error.instance) - set(error.schema["properties"])):
                yield f"{place}.{name}: undeclared" if place else f"{name}: undeclared"
        case "type" if error.instance is None:
            yield f"{place}: null"
        case "type":
            yield f"{place}: not of type {error.validator_value}"
        case "format":
            yield f"{place}: no {error.validator_value}"
        case "required":
            absent = sorted(set(error.validator_value) - set(error.instance))
            yield f"{place}: without {', '.join(absent)}"
        case word:
            yield f"{place}: {word} {error.validator_value}"


def _place(path: Sequence[str | int]) -> str:
    told = ""
    for step in path:
        told += "[]" if isinstance(step, int) else f".{step}"
    return told.removeprefix(".")
