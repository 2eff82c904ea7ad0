"""What callers pass: values of subclasses work everywhere, and a wrong type is a TypeError that names the argument."""

from __future__ import annotations

import contextlib
import enum
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Callable as AnyCallable
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar, cast, get_args, get_origin

import numpy as np
import pytest
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    Config,
    ExecResult,
    InvalidInput,
    Job,
    Sandbox,
    create,
    exec,
    explain,
    expose,
    follow,
    from_env,
    list_sandboxes,
    pocketenv,
    read_bytes,
    recover,
    rename,
    retrying,
    sandbox,
    send_input,
    set_file,
    set_secret,
    set_service,
    set_variable,
    set_volume,
    sh,
    spawn,
    start,
    submit,
    tracing,
    wait_until_running,
    within,
    write_file,
)
from pocketenv_fp.config import FromEnv
from pocketenv_fp.redaction import HiddenText, shown
from pocketenv_fp.steps.operation import Curried
from pocketenv_fp.steps.step import Step

BOX = Sandbox(id="3f", name="calm-otter")
NOWHERE = Config(api_url="http://127.0.0.1:9", token="t", retries=0)


class Str(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"

    def __format__(self, spec: str) -> str:
        return "another text"


class Int(int):
    pass


class Float(float):
    pass


class Strs(list[str]):
    pass


class Env(dict[str, str]):
    pass


class Word(str, enum.Enum):  # noqa: UP042  # StrEnum has another `__str__`
    ECHO = "echo"


KINDS: list[Callable[[str], str]] = [Str, np.str_, lambda text: str.__new__(Str, text)]


# Subclasses


def test_step_subclass_values() -> None:
    """Values of subclasses are stored as plain ones."""
    plain = exec("ls", ["-a", "x"], cwd="/tmp", env={"A": "b"}, timeout=5.0, check=True)
    args = Strs([Str("-a"), np.str_("x")])
    step = exec(Str("ls"), args, cwd=np.str_("/tmp"), env=Env({Str("A"): Str("b")}), timeout=Float(5), check=True)
    assert step == plain
    assert repr(step) == repr(plain)
    assert {type(each) for each in (*step._steps[0].args[1], *step._steps[0].kwargs["env"])} == {str}  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("kind", [Str, np.str_])
def test_request_str_subclass(kind: Callable[[str], str], environment: dict[str, str]) -> None:
    """A str of a subclass works in every request."""
    assert environment
    box = create(kind("named"), env={kind("A"): kind("x")}, topics=[kind("t")], provider=kind("cloudflare")) | start
    assert box.unwrap().name == "named"
    assert (box | exec(kind('printf %s "$A$B"'), env={kind("B"): kind("y")})).unwrap().stdout == "xy"
    assert exec(box, kind("printf %s"), [kind("a b")]).unwrap().stdout == "a b"
    done: list[Result[Any, Any]] = [
        set_secret(box, kind("K"), kind("v")),
        set_variable(box, kind("V"), kind("v")),
        set_file(box, kind("/workspace/f"), kind("text")),
        set_volume(box, kind("vol"), kind("/vol")),
        set_service(box, kind("svc"), kind("sleep 1"), ports=[Int(8080)]),
        spawn(box, kind("sleep 1"), name=kind("nap")),
        sandbox.update_settings(box, description=kind("d"), topics=(kind("t"),)),
        pocketenv.put_preferences(box.unwrap().id, description=kind("e")),
        rename(box, kind("renamed")),
        pocketenv_fp.get_sandbox(kind("renamed")),
    ]
    assert [result for result in done if isinstance(result, Failure)] == []


class Bytes(bytes):
    def __bytes__(self) -> bytes:
        return b"other bytes"


def test_request_bytes_subclass(environment: dict[str, str]) -> None:
    """Bytes of a subclass work in every request."""
    assert environment
    box = create("box") | start
    assert (box | exec("cat", stdin=Bytes(b"x"))).unwrap().stdout == "x"
    assert (box | submit("cat", stdin=Bytes(b"x")) | follow).unwrap().stdout == "x"
    assert (box | submit("cat", open_stdin=True) | send_input(Bytes(b"x"), close=True) | follow).unwrap().stdout == "x"
    assert (box | write_file("f", Bytes(b"x")) | read_bytes("f")).unwrap() == b"x"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_other_types(kind: Callable[[bytes], bytes]) -> None:
    """A bytearray or memoryview raises, and the error names the conversion."""
    calls: dict[str, Callable[[], object]] = {
        "exec: stdin": lambda: exec("cat", stdin=kind(b"x")),
        "submit: stdin": lambda: submit("cat", stdin=kind(b"x")),
        "send_input: data": lambda: send_input(kind(b"x")),
        "write_file: content": lambda: write_file("f", kind(b"x")),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"{name}: expected str.* bytes.*, got {kind.__name__}: write bytes\(…\)"):
            call()


def test_request_number_subclass(environment: dict[str, str]) -> None:
    """Numbers of subclasses work in every request."""
    assert environment
    box = create("box") | start
    done: list[Result[Any, Any]] = [
        box | expose(Int(8080)),
        box | expose(cast("int", np.int64(8081))),
        list_sandboxes(limit=Int(3), offset=Int(0)),
        box | exec("true", timeout=Float(5)),
        box | exec("true", timeout=np.float64(5)),
        box | wait_until_running(timeout=Float(5), interval=np.float64(0.1)),
        box | within(Float(60), exec("true")),
        box | retrying(start, Int(2), delay=Float(0)),
    ]
    assert [result for result in done if isinstance(result, Failure)] == []


@pytest.mark.parametrize("seconds", [Decimal("5.5"), Fraction(11, 2), np.float32(5.5), np.float64(5.5), Float(5.5)])
def test_seconds_real_numbers(seconds: Any) -> None:
    """Any real number is accepted as seconds."""
    assert exec("true", timeout=seconds) == exec("true", timeout=5.5)
    assert wait_until_running(timeout=seconds) == wait_until_running(timeout=5.5)
    assert within(seconds, start) == within(5.5, start)
    assert retrying(start, delay=seconds) == retrying(start, delay=5.5)
    assert repr(within(seconds, start)) == "within(5.5, start())"
    assert Config(read_timeout=seconds).read_timeout == 5.5
    assert type(Config(read_timeout=seconds).read_timeout) is float


@pytest.mark.parametrize("number", [Decimal(3), Fraction(3), 3.0, np.float64(3), True, "3", 3j])
def test_count_not_an_int(number: Any) -> None:
    """A count must be an int."""
    for call in (lambda: expose(number), lambda: list_sandboxes(limit=number), lambda: retrying(start, number)):
        with pytest.raises(TypeError, match=f": expected int, got {type(number).__name__}"):
            call()
    with pytest.raises(TypeError, match="retries: expected int, got"):
        Config(retries=number)


@pytest.mark.parametrize("seconds", [Fraction(10**400), 10**400])
def test_seconds_above_largest_float(seconds: Any) -> None:
    """Seconds above the largest float are refused."""
    try:
        result = BOX | exec("true", timeout=seconds)
    except TypeError as error:
        assert str(error).startswith("exec: timeout: ")  # noqa: PT017  # either way the argument is named
    else:
        assert isinstance(result.failure(), InvalidInput)


def test_enum_of_str(environment: dict[str, str]) -> None:
    """A member of a str enum counts as its value."""
    assert environment
    assert exec(Word.ECHO) == exec("echo")
    assert repr(sh("{word}", word=Word.ECHO)) == "exec(\"'echo'\")"
    with pytest.raises(TypeError, match=r"^exec: command: expected str, got Color$"):
        exec(enum.Enum("Color", "RED").RED)  # type: ignore[attr-defined,arg-type,unused-ignore]


@pytest.mark.parametrize("kind", [Str, np.str_])
def test_config_plain_values(kind: Callable[[str], str]) -> None:
    """A config stores plain values."""
    config = Config(api_url=kind("https://api.example"), token=kind("t"), retries=Int(2), read_timeout=Float(3))
    assert (type(config.api_url), type(config.token)) == (str, HiddenText)
    assert (type(config.retries), type(config.read_timeout)) == (int, float)
    assert type(from_env(kind("A")).name) is str


def test_secret_subclass_masked(environment: dict[str, str]) -> None:
    """A secret of a subclass of str is masked."""
    assert environment
    for step in (set_secret("A", Str("sk-1")), create(secrets=Env(A=Str("sk-1"))), exec("ls", token=np.str_("sk-1"))):
        assert "sk-1" not in repr(step)
        assert "'***'" in repr(step)
    failed = set_secret(BOX, Str("A"), Str("sk-1"), config=Config(api_url="http://127.0.0.1:9", token="t")).failure()
    assert "sk-1" not in "".join(map(repr, (failed, failed.where, failed.__cause__)))


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nsk-1\n-----END OPENSSH PRIVATE KEY-----\n"


class Holder:
    """A value whose repr shows what it holds."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Holder({self.text!r})"


@pytest.mark.parametrize(
    "value",
    [b"sk-1", bytearray(b"sk-1"), {"sk-1"}, ["sk-1", 3], {"A": "sk-1"}, Holder("sk-1"), Success("sk-1"), Str("sk-1")],
)
def test_secret_wrong_type_not_traced(value: Any) -> None:
    """A secret of a wrong type is in no trace."""
    with tracing() as seen:
        for call in (
            lambda: set_secret(BOX, "A", value, config=NOWHERE),
            lambda: set_file(BOX, "/a", value, config=NOWHERE),
            lambda: create("a", secrets={"A": value}, config=NOWHERE),
            lambda: start(BOX, token=value, config=NOWHERE),
        ):
            with contextlib.suppress(TypeError):
                call()
    assert len(seen.steps) == 4
    assert "sk-1" not in "".join((str(seen), repr(seen.steps), seen._repr_html_()))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "value", [KEY, KEY.encode(), {KEY}, Holder(KEY), Success(KEY), [(KEY,)], {"a": {"b": KEY}}, {KEY: 1}]
)
def test_private_key_in_any_value(value: Any) -> None:
    """A private key in any value is masked."""
    step = recover(start, value)
    assert "sk-1" not in repr(step)
    assert "***" in repr(step)


def test_mapping_with_secret_key() -> None:
    """A mapping with a secret as a key is masked entirely."""
    assert repr(exec("true", env={KEY: "value", "A": "b"})) == "exec('true', env='***')"
    assert repr(exec("true", env={"A": KEY, "B": "b"})) == "exec('true', env={'A': '***', 'B': 'b'})"
    assert shown({"sk 1": "v", "A": from_env("B")}, is_secret_by_name=True) == "{'***': '***', 'A': from_env('B')}"


def test_explain_provider_credentials() -> None:
    """The id of a provider's account is shown by its name, and its key is sealed."""
    ids = {"daytona_organization_id": "org-1", "daytona_api_key": "sk-1"}
    explanation = explain(create(provider="daytona", provider_credentials=ids), "a")
    bodies = "".join(str(request.body) for request in explanation.requests)
    assert "sk-1" not in str(explanation) + bodies
    assert '"daytonaOrganizationId": "‹daytona_organization_id›"' in bodies
    assert '"daytonaApiKey": "‹SEALED_DAYTONA_API_KEY›"' in bodies


# Wrong types

NEVER: list[object] = [object(), b"sk-1", {"sk-1"}, 3j, bytearray(b"sk-1"), range(3)]
OTHERS: Mapping[object, Sequence[object]] = {
    str: (3, ["sk-1"], {"sk-1": "sk-1"}, Decimal(3)),
    int: ("sk-1", 3.5, True, ["sk-1"], Decimal(3)),
    float: ("sk-1", True, ["sk-1"]),
    bool: ("sk-1", 3, np.bool_(True)),  # noqa: FBT003
    Config: ("sk-1", {"token": "sk-1"}, 3),
    Sequence: ("sk-1", {"sk-1": 1}, [object()], (b"sk-1",), iter(["sk-1"]), 3),
    Mapping: ("sk-1", ["sk-1"], {"A": object()}, {3: "sk-1"}, [("A", "sk-1")]),
    Step: (3, "sk-1", exec, Sandbox),
}


def members(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is typing.Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in {typing.Union, type(int | str)}:
        return tuple(kind for member in get_args(hint) for kind in members(member))
    return (get_origin(hint) or hint,)


def sample(hint: Any) -> Any:
    examples: dict[object, Any] = {
        str: "x1",  # is a name of everything
        int: 8080,
        float: 1.0,
        bool: True,
        Sandbox: BOX,
        Job: Job(BOX, "x1"),
        Config: Config(),
        Step: start,
        Sequence: (),
        Mapping: {"ok": 1},
        Iterable: (),
        FromEnv: from_env("A"),
        ExecResult: ExecResult("", "", 0),
        AnyCallable: bool,
    }
    return next((examples[kind] for kind in members(hint) if kind in examples), None)


def public() -> Iterator[tuple[str, Any]]:
    functions = {
        getattr(room, name): name
        for room in (pocketenv_fp, pocketenv, sandbox)
        for name in room.__all__
        if callable(getattr(room, name)) and not inspect.isclass(getattr(room, name))
    }
    yield from ((name, function) for function, name in functions.items() if name != "identity")


def parameters_of(function: Any) -> Iterable[inspect.Parameter]:
    return inspect.signature(getattr(function, "function", function)).parameters.values()


class Parameter(typing.NamedTuple):
    """A parameter of a public function, the types that it takes, and the arguments that a call needs."""

    function: Any
    name: str
    kinds: tuple[Any, ...]
    needed: dict[str, Any]

    def call(self, value: object) -> None:
        values = {**self.needed, self.name: value}
        kinds = {each.name: each.kind for each in parameters_of(self.function)}
        named = {
            name: given
            for name, given in values.items()
            if kinds.get(name) is inspect.Parameter.KEYWORD_ONLY or name not in self.needed
        }
        returned = self.function(*(given for name, given in values.items() if name not in named), **named)
        if hasattr(returned, "__enter__"):
            returned.__enter__()

    def wrong(self) -> Iterator[object]:
        others = next((OTHERS[kind] for kind in self.kinds if kind in OTHERS), ())
        # Of a result map only the shape is looked at, which is a ValueError.
        is_shape = self.function is pocketenv_fp.from_map
        values = (value for value in (*NEVER, *others) if not fits(value, self.kinds))
        return (value for value in values if not (is_shape and isinstance(value, dict)))


def checked_parameters() -> Iterator[Parameter]:
    for _, function in public():
        whole = getattr(function, "function", function)
        hints = typing.get_type_hints(whole, localns={"Executor": Any, "Trace": Any})
        is_combinator = type(function).__name__ == "_Combinator"
        parameters = [
            each
            for each in list(inspect.signature(whole).parameters.values())[is_combinator:]
            if each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
        ]
        needed = {each.name: sample(hints[each.name]) for each in parameters if each.default is each.empty}
        needed |= {"template": "true"} if function is sh else {}
        # A wrong target is an argument of a step to be: test_operation.py has it.
        is_curried = isinstance(function, Curried) and not is_combinator
        for parameter in parameters[is_curried:]:
            kinds = members(hints[parameter.name])
            if not any(kind in {Any, object, AnyCallable} or isinstance(kind, TypeVar) for kind in kinds):
                yield Parameter(function, parameter.name, kinds, needed)


def fits(value: object, kinds: tuple[Any, ...]) -> bool:
    types = tuple(kind for kind in kinds if isinstance(kind, type) and kind not in {Sequence, Mapping})
    is_number = float in kinds and isinstance(value, int)
    is_bool = isinstance(value, bool) and bool not in kinds
    return (isinstance(value, types) or is_number) and not is_bool


def checked_functions() -> dict[str, list[Parameter]]:
    functions = dict[str, list[Parameter]]()
    for each in checked_parameters():
        functions.setdefault(each.function.__name__, []).append(each)
    return functions


def complaint(parameter: Parameter, value: object) -> str | None:
    """What is wrong with the TypeError of a call with this value, if anything is."""
    try:
        parameter.call(value)
    except TypeError as error:
        message, cause = str(error), error.__cause__
    else:
        return "no TypeError"
    name = "exec" if parameter.function is sh else parameter.function.__name__
    is_named = any(
        words in message for words in (parameter.name, "takes a Sandbox", "expected a step", "needs arguments")
    )
    has_type = "expected" not in message or any(words in message for words in (type(value).__name__, "[", "a key of"))
    plain = message.replace(parameter.name, "")
    is_plain = not re.search(r"Expected|`(array|object|null|int|str)`|msgspec|unsupported|encod", plain)
    has_no_secret = "sk-1" not in message and cause is None
    is_right = message.startswith(name) and is_named and has_type and is_plain and has_no_secret
    return None if is_right else f"{message} (cause: {cause!r})"


FUNCTIONS = checked_functions()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_call_wrong_type(name: str) -> None:
    """A TypeError for a wrong type names the argument."""
    tried = [(each, value) for each in FUNCTIONS[name] for value in each.wrong()]
    assert tried
    wrong = [(each.name, value, found) for each, value in tried if (found := complaint(each, value)) is not None]
    assert wrong == []
