"""Templates of command lines: in every place that is allowed, a value stays one argument; every other is refused."""

from __future__ import annotations

import enum
import shutil
import subprocess
import uuid
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

from pocketenv_fp import from_env, sh
from pocketenv_fp.sandbox.commands.quoting import quote
from pocketenv_fp.sandbox.commands.template import fill
from tests.examples import examples

# What a platform may run a line with: bash and, as `sh`, whatever there is.
SHELLS = sorted({found for name in ("bash", "sh", "dash") if (found := shutil.which(name))})
SHOW = "printf '%s\\0' "

SPECIAL = (
    *("", "-n", "--", "if", "2", "$(id)", "`id`", "'; id; '", '"; id; "', "\\", "\\'", "a\n", "\nEOF\nid\n", "~", "*"),
    *("x=1", "}", ")", "((", "{{x}}", "{value}", "a[$(id)]", "#", "!!", "$'\\n'", "\\\n", " ", "\t", "\r\n", "'", "''"),
)
NASTY = st.sampled_from(SPECIAL) | st.text(
    st.sampled_from("'\"`$\\(){}[]<>|&;#!~*?=%-+ \t\n\r\x01\x7fabE01é\U0001f600"), max_size=40
)


def printed(shell: str, line: str) -> list[str]:
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True, timeout=30, stdin=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@given(values=st.lists(NASTY, min_size=1, max_size=5))
@settings(max_examples=examples(80), deadline=None)
def test_fill_one_argument(shell: str, values: list[str]) -> None:
    """A value stays one argument, whatever its characters."""
    names = [f"v{i}" for i in range(len(values))]
    template = SHOW + " ".join(f"{{{name}}}" for name in names)
    assert printed(shell, fill(template, dict(zip(names, values, strict=True)))) == values
    assert printed(shell, fill(SHOW + "{all}", {"all": values})) == values
    assert printed(shell, SHOW + " ".join(map(quote, values))) == values


# Around a field, and what becomes of a value there.
PLACES: dict[str, tuple[str, str]] = {
    "alone": ("printf '%s\\0' {x}", "{}"),
    "after an option": ("printf '%s\\0' --name={x}", "--name={}"),
    "between words": ("printf '%s\\0' a{x}b", "a{}b"),
    "twice": ("printf '%s\\0' {x}{x}", "{}{}"),
    "beside quotes": ("printf '%s\\0' 'it'{x}\"s\"", "it{}s"),
    "after an escaped quote": ("printf '%s\\0' \\'{x}\\\"", "'{}\""),
    "after an escaped backslash": ("printf '%s\\0' \\\\{x}", "\\{}"),
    "in a substitution": ("printf '%s\\0' \"$(printf '%s.' {x})\"", "{}."),
    "in a substitution of a substitution": ("printf '%s\\0' \"$(printf %s \"$(printf '%s.' {x})\")\"", "{}."),
    "after a substitution": ("printf '%s\\0' \"$(printf '(')\"{x}", "({}"),
    "in a subshell": ("( printf '%s\\0' {x} )", "{}"),
    "in a group": ("{{ printf '%s\\0' {x}; }}", "{}"),
    "after a comment": ("# it's\nprintf '%s\\0' {x}", "{}"),
    "after a # in a word": ("printf '%s\\0' a#{x}", "a#{}"),
    "before a comment": ("printf '%s\\0' {x} # it's", "{}"),
    "after a variable": ("v=w; printf '%s\\0' $v{x} ${{v}}{x}", ""),
    "after a case": ("case a in a) printf '%s\\0' {x};; esac", "{}"),
    "after a default": ("printf '%s\\0' ${{v:-w}}{x}", "w{}"),
    "after a pattern": ("printf '%s\\0' [!a-z]?{x}", "[!a-z]?{}"),
    "after an escaped dollar": ("printf '%s\\0' \\$'a'{x}", "$a{}"),
    "after parentheses in quotes": ("printf '%s\\0' \"((\"{x}", "(({}"),
    "after a continued line": ("printf '%s\\0' \\\n  {x}", "{}"),
    "an assignment": ("v={x}; printf '%s\\0' \"$v\"", "{}"),
    "a loop": ("for v in {x}; do printf '%s\\0' \"$v\"; done", "{}"),
    "a test": ("[ {x} = {x} ] && printf '%s\\0' {x}", "{}"),
    "a pipeline": ("printf '%s.' {x} | {{ cat; printf '\\0'; }}", "{}."),
    "before a here-document": ("printf '%s\\0' {x}; cat <<E\nE", "{}"),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", PLACES)
@given(value=NASTY)
@settings(max_examples=examples(25), deadline=None)
@example("'; exit 9; '")
@example("$(exit 9)\n`exit 9`")
def test_fill_each_place(shell: str, place: str, value: str) -> None:
    """In each valid place the shell does not interpret the value."""
    template, expected = PLACES[place]
    if place == "a test":
        assume(value not in {"!", "(", "-n"})  # words of `test` itself
    wanted = [f"w{value}", f"w{value}"] if place == "after a variable" else [expected.replace("{}", value)]
    assert printed(shell, fill(template, {"x": value})) == wanted


REFUSED: dict[str, str] = {
    "echo '{x}'": "inside single quotes",
    'echo "{x}"': "inside double quotes",
    'echo "a $b {x}"': "inside double quotes",
    'echo "\\{x}"': "inside double quotes",
    "echo $'{x}'": r"after \$'…'",
    'echo $"{x}"': r"after \$'…' or \$\"…\" quotes",
    "echo \\{x}": "after a backslash",
    "echo \\$'{x}'": "inside single quotes",
    "echo \\ #'\n{x}'": "after a # that may begin a comment",
    "echo `cat {x}`": "after a backtick",
    'echo "`date`" {x}': "after a backtick",
    "echo a # {x}": "in a comment",
    "#{x}": "in a comment",
    "true;#{x}": "in a comment",
    "(true)#\n{x}": "after a # that may begin a comment",
    "echo $(# {x}\n)": "in a comment",
    "cat <<E\n{x}\nE": "after a here-document",
    "cat <<-{x}": "after a here-document",
    "cat <<E\na\nE\necho {x}": "after a here-document",
    "echo $((1 + {x}))": "after arithmetic",
    "(({x}))": r"after \(\( that may begin arithmetic",
    "for ((i={x}; i<3; i++)); do :; done": r"after \(\( that may begin arithmetic",
    "echo $(( $(echo {x}) ))": "after arithmetic",
    "echo $((echo a); echo {x})": "after arithmetic",
    "echo $(( 1 << 2 )) {x}": "after arithmetic",
    "echo $((1+(2*3))){x}": "after arithmetic",
    "echo $[{x}]": r"after \$\[ \]",
    "echo ${{a:-{x}}}": r"after a \$\{…\}",
    'echo "${{a:-{x}}}"': r"after a \$\{…\}",
    "echo ${{a:-$(echo {x})}}": r"after a \$\{…\}",
    "echo ${{a%'}}'}}{x}": r"after a \$\{…\}",
    "echo ${x}": r"after a \$",
    'echo "${x}"': "inside double quotes",
    "[[ {x} -eq 1 ]]": r"after a \[",
    "[[ ( {x} -eq 1 ) ]]": r"after a \[",
    "a[{x}]=1": r"after a \[",
    "a[ {x} ]=1": r"after a \[",
    "a=({x})": "after an array",
    "a=(1 2>&1) {x}": "after an array",
    "echo $(case a in a) echo b;; esac) {x}": "after a case inside parentheses",
    '"$(case a in a) echo "{x}";; esac)"': "inside double quotes|after a case",
    "echo a\\\nb {x}": "after a line that is continued inside a word",
    "(\\\n({x}))": "after a line that is continued inside a word",
    "echo $'it\\'s' {x}": r"after \$'…'",
    "echo @(a|b) {x}": "after text that may be a bash pattern",
}


@pytest.mark.parametrize("template", REFUSED)
def test_sh_refuses_place(template: str) -> None:
    """A field where quoting does not work is refused with the reason."""
    with pytest.raises(TypeError, match=rf"^sh: \{{x\}} is ({REFUSED[template]})") as refused:
        sh(template, x="top-secret")
    assert "top-secret" not in str(refused.value)


PIECES = [
    *"'\"`\\$()#[]<=;& \n",
    "{{",
    "}}",
    "$(",
    "$((",
    "))",
    "${{",
    "$'",
    '$"',
    "((",
    "<<E\n",
    "\nE\n",
    "<<<",
    "\\\n",
]
WORDS = [
    " ",
    " ",
    "\n",
    "a",
    "echo ",
    "x=",
    "x[",
    "x=(",
    "[[ ",
    " ]]",
    "case a in a) ",
    " esac",
    "[ ",
    " ]",
    "$x",
    "$#",
    "1",
]
PAYLOADS = [
    *(
        "$(>{})",
        "`>{}`",
        "'; >{}; '",
        '"; >{}; "',
        "\n>{}\n",
        "a[$(>{})]",
        "); >{}; (",
        "}}; >{}; {{",
        "))\n>{}\n((",
        "]]\n>{}\n",
    ),
    *("'\n>{}\n'", "E\n>{}\n", "x'$(>{})'", "\\'; >{} #"),
]
ENDS = ["", "'", '"', "`", ")", "}", " ]]", "))", "\nE\n", "'\n", '"\n', ")\n", "; esac)"]


OFTEN_REFUSED = [HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(
    before=st.lists(st.sampled_from(PIECES + WORDS), max_size=10).map("".join),
    after=st.lists(st.sampled_from(PIECES + WORDS), max_size=5).map("".join),
    payload=st.sampled_from(PAYLOADS),
    end=st.sampled_from(ENDS),
)
@settings(max_examples=examples(400), deadline=None, suppress_health_check=OFTEN_REFUSED)
def test_fill_runs_no_value(tmp_path: Path, before: str, after: str, payload: str, end: str) -> None:
    """No accepted template runs a command from a value."""
    name = uuid.uuid4().hex
    try:
        line = fill(f"{before}{{value}}{after}", {"value": payload.replace("{}", name)}) + end
    except TypeError:
        reject()
    for shell in SHELLS:
        subprocess.run(
            [shell, "-c", line],
            cwd=tmp_path,
            env={"PATH": str(tmp_path / "nothing")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert not (tmp_path / name).exists(), (shell, line)


class Colour(str, enum.Enum):  # noqa: UP042  # its str() is not its value
    RED = "red"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, ["3"]),
        (-3, ["-3"]),
        (0.5, ["0.5"]),
        (1e300, ["1e+300"]),
        (PurePosixPath("/a b/c"), ["/a b/c"]),
        (PureWindowsPath(r"C:\a b"), [r"C:\a b"]),
        (Colour.RED, ["red"]),
        ([], []),
        ((), []),
        (["a b", 1, 0.5, PurePosixPath("c")], ["a b", "1", "0.5", "c"]),
        ([""], [""]),
        (range(3), ["0", "1", "2"]),
    ],
)
def test_fill_value_types(value: Any, words: list[str]) -> None:
    """Values are strings, numbers, paths, or sequences of these."""
    assert printed(SHELLS[0], fill("printf '%s\\0' first {x}", {"x": value})) == ["first", *words]


@pytest.mark.parametrize(
    "value",
    [None, True, b"a", bytearray(b"a"), memoryview(b"a"), {"a"}, {"a": 1}, object(), 1j, [["a"]], [None], [b"a"]],
)
def test_sh_value_type(value: Any) -> None:
    """A value of another type is refused at once and not shown."""
    with pytest.raises(
        TypeError, match=r"^sh: \{x\} takes a str, int, float, path, or a sequence of these, not "
    ) as no:
        sh("echo {x}", x=value)
    assert value is None or repr(value) not in str(no.value)


def test_sh_refuses_from_env() -> None:
    """A from_env value does not belong in a command line."""
    values: list[Any] = [from_env("MY_SECRET"), [from_env("MY_SECRET")]]
    for value in values:
        with pytest.raises(TypeError, match=r'\{x\} .*env=\{"NAME": from_env\(…\)\} and write "\$NAME"'):
            sh("echo {x}", x=value)


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("echo {a} {b}", {"a": 1}, r"\{b\} has no value: pass b=…"),
    ("echo {a}", {"a": 1, "b": 2}, r"there is no field \{b\} for b="),
    ("echo", {"a": 1}, r"there is no field \{a\}"),
    ("echo {env}", {}, r"\{env\} has the name of an option"),
    ("echo {token}", {"token": "top-secret"}, r"\{token\} has the name of an option"),
    ("echo {}", {}, "a brace without a"),
    ("find . -exec rm {} +", {}, r"write \{\{ or \}\}"),
    ("awk '{print $1}'", {}, "a brace without a"),
    ("echo {a.b}", {"a": 1}, "a brace without a"),
    ("echo {a[0]}", {"a": "b"}, "a brace without a"),
    ("echo {a!r}", {"a": 1}, "a brace without a"),
    ("echo {a:>3}", {"a": 1}, "a brace without a"),
    ("echo {0}", {}, "a brace without a"),
    ("echo }", {}, "a brace without a"),
    ("echo {", {}, "a brace without a"),
]


@pytest.mark.parametrize(("template", "values", "says"), MISTAKES)
def test_sh_invalid_template(template: str, values: dict[str, Any], says: str) -> None:
    """An invalid template raises a TypeError at once."""
    with pytest.raises(TypeError, match=f"^sh: .*{says}") as raised:
        sh(template, **values)
    assert "top-secret" not in str(raised.value)


def test_fill_braces() -> None:
    """Double braces stand for single ones."""
    assert fill("{{ echo ${{HOME}} {{a,b}} {x}; }}", {"x": "y"}) == "{ echo ${HOME} {a,b} 'y'; }"
    assert fill("{{{x}}}", {"x": "y"}) == "{'y'}"
