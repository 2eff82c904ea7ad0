"""The inputs of the methods, and the platform's words for invalid ones.

A name that ends in `!` is required, as in the contract: `text("command!")`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import parse_qs

from pocketenv_fp.local.call import Refusal, invalid

Kind = Literal["string", "integer", "boolean", "array", "object", "union", "dangling"]

_URI = re.compile(r"[a-zA-Z][\w+.-]*:\S+")
_AT_IDENTIFIER = re.compile(
    r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]|([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
)
_FORMATS = {"uri": (_URI, "must be a uri"), "at-identifier": (_AT_IDENTIFIER, "must be a valid did or a handle")}


class Field(NamedTuple):
    """One property of a shape, or one kind of value."""

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = False
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    form: str | None = None
    fields: tuple["Field", ...] = ()


Shape = tuple[Field, ...]


def text(
    name: str,
    *,
    least: int | None = None,
    most: int | None = None,
    choices: tuple[str, ...] = (),
    form: str | None = None,
    nullable: bool = False,
) -> Field:
    """Declare a string, its length in UTF-8 bytes between `least` and `most`."""
    return _field(name, "string", least=least, most=most, choices=choices, form=form, nullable=nullable)


def integer(name: str, *, least: int | None = None, most: int | None = None) -> Field:
    """Declare a whole number. As in JavaScript, 3000.0 is one."""
    return _field(name, "integer", least=least, most=most)


def boolean(name: str) -> Field:
    """Declare true or false."""
    return _field(name, "boolean")


def array(name: str, item: Field, *, nullable: bool = False) -> Field:
    """Declare a list whose items are all like `item`."""
    return _field(name, "array", fields=(item,), nullable=nullable)


def nested(name: str, *fields: Field) -> Field:
    """Declare an object with these properties. Others are ignored."""
    return _field(name, "object", fields=fields)


def tagged(tag: str, *fields: Field) -> Field:
    """Declare a member of a union: the object whose `$type` is `tag`."""
    return _field("", "object", choices=(tag,), fields=fields)


def dangling(name: str, reference: str) -> Field:
    """Declare a property whose reference is undefined: any value of it is an error."""
    return _field(name, "dangling", form=reference)


def union(name: str, *members: Field) -> Field:
    """Declare an object that names its type in `$type`. An object of an unknown type passes unchecked."""
    return _field(name, "union", fields=members)


def check_body(shape: Shape, body: Any) -> dict[str, Any]:
    """Check the body and return it. Raises Refusal."""
    return _object("Input", Field("", "object", fields=shape), body)


def read_params(shape: Shape, query: bytes) -> dict[str, Any]:
    """Return the known parameters of a query string, in their own types. Raises Refusal."""
    params = parse_qs(query.decode("latin-1"), keep_blank_values=True, errors="replace") if query else {}
    values: dict[str, Any] = {}
    for field in shape:
        # A repeated parameter is one string with commas. An empty one counts as absent.
        raw = ",".join(params.get(field.name, ()))
        if not raw:
            if field.required:
                raise invalid(f'Error: Params must have the property "{field.name}"')
            continue
        try:
            values[field.name] = _value(field.name, field, _param(field, raw))
        except Refusal as refusal:
            raise invalid(f"Error: {refusal.message}") from None
    return values


def _param(field: Field, raw: str) -> Any:
    if field.kind == "integer":
        number = re.match(r"\s*[+-]?\d{1,300}", raw)
        return int(number[0]) if number else 0
    if field.kind == "boolean":
        return raw == "true"
    return raw


def _field(name: str, kind: Kind, **rules: Any) -> Field:
    return Field(name.rstrip("!"), kind, name.endswith("!"), **rules)


def _value(path: str, field: Field, value: Any) -> Any:
    if value is None and field.nullable:
        return None
    return _CHECKS[field.kind](path, field, value)


def _boolean(path: str, _field: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"{path} must be a boolean")
    return value


def _array(path: str, field: Field, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(f"{path} must be an array")
    items = cast(Sequence[Any], value)
    return [_value(f"{path}/{place}", field.fields[0], item) for place, item in enumerate(items)]


def _dangling(_path: str, field: Field, _value: Any) -> Any:
    raise invalid(f"Lexicon not found: lex:{field.form}")


def _string(path: str, field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"{path} must be a string")
    size = len(value.encode("utf-8", "surrogatepass"))
    if field.least is not None and size < field.least:
        raise invalid(f"{path} must not be shorter than {field.least} characters")
    if field.most is not None and size > field.most:
        raise invalid(f"{path} must not be longer than {field.most} characters")
    if field.choices and value not in field.choices:
        raise invalid(f"{path} must be one of ({'|'.join(field.choices)})")
    if field.form is not None:
        pattern, complaint = _FORMATS[field.form]
        if not pattern.fullmatch(value):
            raise invalid(f"{path} {complaint}")
    return value


def _integer(path: str, field: Field, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"{path} must be an integer")
    if field.least is not None and value < field.least:
        raise invalid(f"{path} can not be less than {field.least}")
    if field.most is not None and value > field.most:
        raise invalid(f"{path} can not be greater than {field.most}")
    return value


def _object(path: str, field: Field, value: Any) -> dict[str, Any]:
    # In JavaScript a list is an object, without any of these properties.
    if not isinstance(value, dict | list):
        raise invalid(f"{path} must be an object")
    properties = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    checked: dict[str, Any] = {}
    for part in field.fields:
        if part.name in properties:
            checked[part.name] = _value(f"{path}/{part.name}", part, properties[part.name])
        elif part.required:
            raise invalid(f'{path} must have the property "{part.name}"')
    return checked


def _union(path: str, field: Field, value: Any) -> dict[str, Any]:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    tag = fields.get("$type")
    if not isinstance(tag, str):
        raise invalid(f'{path} must be an object which includes the "$type" property')
    member = next((each for each in field.fields if tag in each.choices), None)
    return {**({} if member is None else _object(path, member, fields)), "$type": tag}


_CHECKS: dict[Kind, Callable[[str, Field, Any], Any]] = {
    "string": _string,
    "integer": _integer,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
    "union": _union,
    "dangling": _dangling,
}
