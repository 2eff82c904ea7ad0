"""Cards: what they show, that nothing in them is ever markup or a script, and that no secret is."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success

from pocketenv_fp import (
    ApiError,
    ArchiveError,
    CommandFailed,
    CommandTimeout,
    DecodeError,
    EncryptionError,
    ExecResult,
    InvalidInput,
    NotLoggedIn,
    Page,
    PocketenvError,
    Port,
    Profile,
    Sandbox,
    SandboxNotFound,
    Secret,
    SshKeyPair,
    Status,
    TransportError,
    WaitTimeout,
    create,
    exec,
    fan_out,
    gather,
    identity,
    raise_for,
    set_secret,
    start,
    stdout,
    tap,
    trace,
)
from pocketenv_fp.errors import Place
from pocketenv_fp.jupyter import safe_html
from pocketenv_fp.jupyter.ansi import ansi_html
from pocketenv_fp.jupyter.cards import card, list_card
from pocketenv_fp.jupyter.markup import clipped, escaped, linked, shortened
from pocketenv_fp.models import CodeError, Display, Record
from pocketenv_fp.redaction import secret_names

SECRET = "sk-UniqueSecretOfTheCardsTest-91bd7e"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></div></td></table><iframe src=javascript:alert(1)>",
    "</style><b onclick=alert(1)>",
    "&lt;script&gt;&#60;b&#62;",
    "https://a.example/\"onclick='alert(1)'",
    "javascript:alert(1)",
    "\x1b[31m<b>\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07\x1b[0;31",
    '\x1b[38;5;1"onclick="alert(1)m<i>',
    "\0\x07\x7f\x9b31m<u>",
    "\u202egnp.exe\u2066",
    "half \ud83d a sign \udc80",
)
TAGS = {"a", "b", "div", "pre", "span", "style", "table", "tbody", "td", "th", "thead", "tr", *safe_html.TAGS}
ATTRIBUTES = {"aria-hidden", "class", "colspan", "href", "rel", "rowspan", "style", "target"}
CSS = re.compile(
    r"(color|background):#[0-9a-f]{6}|color:color-mix\(in srgb,#[0-9a-f]{6} 80%,currentColor\)|font-weight:bold"
    r"|font-style:italic|opacity:\.7|text-decoration:(underline|line-through|underline line-through)"
)


class Seen(HTMLParser):
    """What a browser makes of it: elements that are all closed, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in safe_html.VOID:
            self.open.append(tag)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.elements if tag == "a"]


def seen(html: str | None) -> Seen:
    """Look at a card as a browser does, and see that there is nothing in it but what cards are made of."""
    assert html is not None
    html.encode()  # half characters would not go through
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    looked = Seen(html)
    for tag, attributes in looked.elements:
        assert tag in TAGS
        assert attributes.keys() <= ATTRIBUTES
        assert all(CSS.fullmatch(part) for part in attributes["style"].split(";")) if "style" in attributes else True
        assert re.match("https?://", attributes.get("href", "https://"))
        assert re.fullmatch(r"[a-z -]*", attributes.get("class", ""))
    assert sum(tag == "style" for tag, _ in looked.elements) <= 1
    return looked


def kinds(kind: type[Record] = Record) -> Iterator[type[Record]]:
    for below in kind.__subclasses__():
        yield from kinds(below)
        if not below.__name__.startswith("_"):
            yield below


KINDS = sorted(set(kinds()), key=lambda kind: kind.__name__)
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def sample(wanted: Any, text: str) -> Any:
    """A value of a field's type, with ``text`` wherever text can be."""
    of_kind: dict[Any, Any] = {
        str: text,
        int: 3,
        Status: Status.RUNNING,
        dt.datetime: dt.datetime(2026, 4, 1, 12, 30, tzinfo=dt.UTC),
    }
    if get_origin(wanted) is dict:
        return {"text/html": text, "text/plain": text, "image/png": text, "image/jpeg": 3, text: [text]}
    for kind in get_args(wanted) or (wanted,):
        if kind is Display:
            return (filled(Display, text), Display({"text/plain": text}), Display({text: text}))
        if kind is CodeError:
            return filled(CodeError, text)
        if kind in of_kind:
            return of_kind[kind]
        if kind is Profile:
            return filled(Profile, text)
    return (text, text)


def filled(kind: type[Record], text: str) -> Any:
    """A record with ``text`` in every field that can hold it."""
    return kind(**{field.name: sample(field.type, text) for field in msgspec.structs.fields(kind)})


def errors(text: str) -> list[PocketenvError]:
    """Every shape of an error, with ``text`` wherever text can be."""
    noted = ArchiveError(text, text)
    noted.add_note(text)
    return [
        ApiError(400, text, text, text),
        SandboxNotFound(message=text),
        TransportError("connect", text, text),
        DecodeError(text, text),
        InvalidInput(text, text),
        WaitTimeout(3, text),
        CommandFailed(3, text, text),
        CommandTimeout(3, text, text),
        EncryptionError(text),
        noted.at(Place(text, 1, text, 0.1)),
    ]


# What a card shows


def test_card_exec_result() -> None:
    """The card of a command shows stdout and stderr apart, and the exit code."""
    shown = card(Success(ExecResult("out\n", "err\n", 3)))
    assert re.search(r"Success.*exit 3.*stdout.*out.*stderr.*err", seen(shown).text, re.DOTALL)
    assert '<pre class="pe-out">out</pre>' in shown
    assert '<pre class="pe-out pe-err">err</pre>' in shown
    assert "stderr" not in seen(card(ExecResult("out", "", 0))).text
    assert "No output" in seen(card(ExecResult("", "", 0))).text


def test_card_exit_code_badge() -> None:
    """The badge of an exit code has a class for its tone, and the code as a word."""
    assert '<span class="pe-badge pe-good">exit 0</span>' in card(ExecResult("", "", 0))
    assert '<span class="pe-badge pe-bad">exit 1</span>' in card(Success(ExecResult("", "", 1)))


def test_card_failure() -> None:
    """The card of a Failure shows the error, its advice, its output, its place and its notes."""
    error = CommandFailed(2, "before", "no such file").at(Place("exec('make')", 2, "start() | exec('make')", 1.5))
    error.add_note("The sandbox b may still exist.")
    text = seen(card(Failure(error))).text
    for part in (
        "Failure CommandFailed exit 2",
        "the command ended with exit code 2",
        CommandFailed.advice,
        "before",
        "no such file",
        "in exec('make'), step 2 of start() | exec('make'), after 1.500 s",
        "The sandbox b may still exist.",
    ):
        assert part in text
    assert seen(card(error)).text.startswith("● CommandFailed exit 2")


@pytest.mark.parametrize("error", errors("told"), ids=lambda error: type(error).__name__)
def test_card_error_message(error: PocketenvError) -> None:
    """The card of an error holds its whole message."""
    text = seen(card(Failure(error))).text
    summary = error.summary()
    assert summary in text
    assert str(error).removeprefix(summary).lstrip(". ") in text


def test_card_raised_error_place() -> None:
    """The place of a raised error is on its card once, although a note repeats it."""
    # Refused before anything is sent.
    result = "box" | create(token="no header\n")
    with pytest.raises(PocketenvError) as raised:
        raise_for(result)
    assert raised.value.__notes__
    assert seen(card(raised.value)).text.count("in create(") == 1


def test_card_foreign_error() -> None:
    """The card of another library's exception shows its class and its repr."""
    text = seen(card(Failure(ValueError("<b>")))).text
    assert "Failure ValueError" in text
    assert "ValueError('<b>')" in text


def test_card_sandbox() -> None:
    """The card of a sandbox shows its name, its status and the fields that have a value."""
    box = Sandbox(
        id="3f",
        name="calm",
        status=Status.INITIALIZING,
        memory=4,
        topics=("a", "b"),
        repo="https://git.example/a/b",
        created_at=dt.datetime(2026, 4, 1, 12, 30, tzinfo=dt.UTC),
        owner=Profile(id="u", did="did:plc:a", handle="me.example"),
    )
    looked = seen(card(box))
    for part in ("Sandbox calm INITIALIZING", "memory4", "topicsa, b", "2026-04-01 12:30:00 UTC", "Profile me.example"):
        assert part in looked.text
    assert "vcpus" not in looked.text
    assert looked.links == ["https://git.example/a/b"]


def test_card_port_link() -> None:
    """The card of a port links to its address."""
    looked = seen(card(Port(8080, None, "https://8080.example/?a&b")))
    assert "Port 8080" in looked.text
    assert looked.links == ["https://8080.example/?a&b"]


def test_card_page() -> None:
    """A page is a table, with a column for each field that some record has."""
    page = Page((Sandbox(id="1", name="a", vcpus=2), Sandbox(id="2", name="b", status=Status.STOPPED)), 40)
    text = seen(card(Success(page))).text
    assert "Page of Sandbox 2 of 40" in text
    assert "vcpus" in text
    assert "provider" not in text
    assert "● STOPPED" in text
    assert seen(card(Page((), 0))).text == "● Page 0 of 0"
    assert "['x', 3]" in seen(card(Page(("x", 3), 2))).text


def test_card_page_many_rows() -> None:
    """A table shows 100 rows and counts the rest."""
    page = Page(tuple(Secret(str(n), f"name{n}") for n in range(130)), 500)
    shown = card(page)
    assert "… 30 more rows" in seen(shown).text
    assert "name99" in shown
    assert "name100" not in shown


def test_card_pipeline() -> None:
    """The text of a pipeline's card is its repr, so that it can be copied."""
    ci = create(provider="daytona") | start | exec("make", ["<all>"]) | stdout
    looked = seen(card(ci))
    assert looked.text == repr(ci)
    assert sum("pe-step" in attributes.get("class", "") for _, attributes in looked.elements) == 4
    assert seen(card(start)).text == "start()"
    assert seen(card(identity)).text == "identity"


def test_card_tuple() -> None:
    """Each item of a tuple has its own card."""
    text = seen(card(Success((Sandbox(id="1", name="calm"), "printed\n", [Port(80, None, "https://a.example")])))).text
    assert "a tuple of 3" in text
    assert "Sandbox calm" in text
    assert "printed" in text
    assert "List of Port 1" in text


def test_card_foreign_html() -> None:
    """The HTML of another library's value is used as it is."""

    class Table:
        def _repr_html_(self) -> str:
            return "<table><tr><td>mine</td></tr></table>"

    assert "<td>mine</td>" in card(Success(Table()))
    assert "&lt;class" in card(Success(Table))


class Broken:
    """A value of another library, whose repr and HTML raise."""

    def __repr__(self) -> str:
        raise ValueError("<broken>")

    def _repr_html_(self) -> str:
        raise ValueError("<broken>")


def test_card_broken_repr() -> None:
    """A value whose repr raises is replaced by a note, and the rest of the card is kept."""
    note = "‹Broken, whose repr raises ValueError›"
    for value in (Success(Broken()), Failure(Broken()), Success((Broken(), Port(80)))):
        assert note in seen(card(value)).text
    fleet = seen(list_card([Success(Broken()), Failure(Broken()), Success("fine")])).text
    assert fleet.count(note) == 2
    assert "'fine'" in fleet


def test_card_broken_html() -> None:
    """A value whose HTML raises is shown by its repr."""

    class Picture:
        def __repr__(self) -> str:
            return "a picture of old"

        def _repr_html_(self) -> str:
            raise ValueError("no picture")

    assert "a picture of old" in seen(card(Success(Picture()))).text


def test_card_text_and_data() -> None:
    """Strings are shown as printed, and other values are formatted over several lines."""
    assert "a\nb" in seen(card(Success("a\nb\n"))).text
    assert "{'a': 1}" in seen(card(Success({"a": 1}))).text
    assert "\n" in seen(card(Success({"long": list(range(60))}))).text


def test_list_card_results() -> None:
    """Each result of a fleet is a row, with the state and the last line."""
    looked = seen(
        list_card([
            Success(ExecResult("first\nlast line\n", "", 0)),
            Success(ExecResult("", "it broke\n", 2)),
            Success(Sandbox(id="1", name="calm", status=Status.RUNNING)),
            Success({"a": 1}),
            Failure(NotLoggedIn()),
            Failure(ValueError("other")),
        ])
    )  # fmt: skip
    for part in ("6 results", "2 failed", "exit 0 … last line", "exit 2 it broke", "calm", "NotLoggedIn", "{'a': 1}"):
        assert part in looked.text


def test_list_card_targets() -> None:
    """The rows of `fan_out` have the names of their targets, which may be long or HTML."""
    box = Sandbox(id="1", name="calm", status=Status.RUNNING)
    targets: list[Any] = ["<b>", box, Success(box), Failure(NotLoggedIn()), "x" * 500]
    looked = seen(list_card(fan_out(identity, targets, max_workers=1)))
    for part in ("targetresultvalue", "<b>● Success", "calm● Success", "not logged in", "xxx…● Success"):
        assert part in looked.text, part


@pytest.mark.parametrize("value", [[], [1, 2], [Success(1), 2], [Port(1), Secret("1", "a")], ["a"]])
def test_list_card_other_lists(value: list[object]) -> None:
    """A list that is neither of results nor of records has no card."""
    assert list_card(value) is None


def test_card_trace() -> None:
    """The picture of a trace is below its result."""
    shown = card(trace(start | exec("ls"))(Failure(NotLoggedIn())))
    assert re.search("Failure.*NotLoggedIn.*<svg.*0 steps", shown, re.DOTALL)


# Long texts


@given(st.integers(0, 3000), st.integers(0, 300), st.booleans())
def test_clipped_counts(lines: int, width: int, ends: bool) -> None:  # noqa: FBT001
    """The note counts the lines or characters that a clipped text leaves out."""
    text = "\n".join("x" * width for _ in range(lines)) + ("\n" if ends else "")
    head, hidden, tail = clipped(text)
    if not hidden:
        assert (head, tail) == (text, "")
        return
    left_out = text[len(head) : len(text) - len(tail)]
    assert text.startswith(head)
    assert text.endswith(tail)
    number = int(re.sub(r"\D", "", hidden))
    assert number == (left_out.count("\n") if "lines" in hidden else len(left_out))


def test_card_long_line() -> None:
    """One line of a million characters is cut."""
    text = seen(card(ExecResult("x" * 1_000_000, "", 0))).text
    assert "… 800,000 more characters" in text
    assert len(text) < 210_000


def test_clipped_short_text() -> None:
    """A text of up to 1000 lines is shown whole."""
    printed = "".join(f"{n}\n" for n in range(1000))
    assert clipped(printed) == (printed, "", "")
    head, hidden, tail = clipped(f"{printed}one more\nand one more\n")
    assert (head[-4:], hidden, tail[:4]) == ("199\n", "… 2 more lines", "202\n")
    assert shortened("abc", 3) == "abc"


# Escaping


@pytest.mark.parametrize("text", HOSTILE)
@EACH_KIND
def test_card_record_hostile_text(kind: type[Record], text: str) -> None:
    """No field of a record becomes markup, in any card that shows the record."""
    record = filled(kind, text)
    for shown in (
        card(record),
        card(Success(record)),
        card(Page((record, record), 2)),
        list_card([record]),
        list_card([Success(record)]),
        card(Success((record, text, {text: text}))),
    ):
        seen(shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_card_value_hostile_text(text: str) -> None:
    """No string in an error, a step or an output becomes markup."""
    values: list[object] = [
        *errors(text),
        ExecResult(text, text, 1),
        tap(exec(text, [text], env={"A": text})) | exec(text),
        ValueError(text),
        text,
        [text],
    ]
    for value in values:
        seen(card(value))
        seen(card(Success(value)))
        seen(card(Failure(value)))
        seen(list_card([Success(value), Failure(value)]))


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<table border=1 onclick=x><tr><th rowspan=2>a<td colspan='x'>b", '<tr><th rowspan="2">a<td>b</td></th></tr>'),
        ("a<script>x</script>b<style>c</style>d", "abd"),
        ("<img src=x onerror=y>t<a href='javascript:x'>u</a>", "tu"),
        ("<svg><script>x</script></svg>after<br/>", "after<br>"),
        ("</div></td>&lt;b&gt;<!-- x --><?php y ?><b>c", "&lt;b&gt;<b>c</b>"),
    ],
)
def test_safe_html_keeps_tables_and_text(html: str, kept: str) -> None:
    assert safe_html.safe_html(html).removeprefix('<table class="pe-table pe-list">').removesuffix("</table>") == kept


@given(st.text(st.characters(codec=None)) | st.text("<>/\"'=! -abtdscript&;#", max_size=200))
def test_safe_html_of_any_text(text: str) -> None:
    seen(safe_html.safe_html(text))


@given(st.text(st.characters(codec=None)))
def test_escaped_any_text(text: str) -> None:
    """Any string stays a string, and control characters are written out."""
    for shown in (escaped(text), linked(text), ansi_html(text), card(ExecResult(text, text, 0)), card(Failure(text))):
        seen(shown)
    assert Seen(escaped(text)).text == re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]",
        lambda found: (
            "␡" if found[0] == "\x7f" else chr(0x2400 + ord(found[0])) if found[0] < " " else f"\\u{ord(found[0]):04x}"
        ),
        text,
    )


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "ftp://a.example",
        "https://",
        "https://a.example b",
        "https://me:secret@a.example/",
        "https://trusted.example@evil.example/",
        "https://a.example\\@evil.example",
        "https://[::1",
        "https://a.example/\u202egnp",
        " https://a.example",
        "https://a.example\n",
        "https://a.example/" + "a" * 2000,
    ],
)
def test_linked_other_text(text: str) -> None:
    """Strings that are not web addresses become no link."""
    assert seen(linked(text)).links == []


@pytest.mark.parametrize("text", ["https://a.example", "HTTP://127.0.0.1:8080/a?b=c&d#e", "https://a.example/@scope/x"])
def test_linked_without_referrer(text: str) -> None:
    """A link opens its page without an opener and without a referrer."""
    looked = Seen(linked(text))
    assert looked.links == [text]
    assert looked.elements[0][1]["rel"] == "noopener noreferrer"


# Colours


def styles(text: str) -> list[str]:
    return [attributes["style"] for _, attributes in Seen(ansi_html(text)).elements]


@pytest.mark.parametrize(
    ("codes", "style"),
    [
        ("1", "font-weight:bold"),
        ("2", "opacity:.7"),
        ("3", "font-style:italic"),
        ("4", "text-decoration:underline"),
        ("4:0", None),
        ("4:3", "text-decoration:underline"),
        ("9;4", "text-decoration:underline line-through"),
        ("1;22", None),
        ("31;39", None),
        ("1;31;0", None),
        ("31;", None),
        ("38;5;208", "color:#ff8700;color:color-mix(in srgb,#ff8700 80%,currentColor)"),
        ("38:5:208", "color:#ff8700;color:color-mix(in srgb,#ff8700 80%,currentColor)"),
        ("38;2;1;2;3", "color:#010203;color:color-mix(in srgb,#010203 80%,currentColor)"),
        ("38:2:1:2:3", "color:#010203;color:color-mix(in srgb,#010203 80%,currentColor)"),
        ("38:2::1:2:3", "color:#010203;color:color-mix(in srgb,#010203 80%,currentColor)"),
        ("38;5;255;1", "color:#eeeeee;color:color-mix(in srgb,#eeeeee 80%,currentColor);font-weight:bold"),
        ("48;5;16", "background:#000000;color:#ffffff"),
        ("48;5;231", "background:#ffffff;color:#000000"),
        ("38;5;16;48;5;231", "background:#ffffff;color:#000000"),
        ("38;5;231;48;5;230", "background:#ffffd7;color:#000000"),  # white on white could not be read
        ("38;5;999", None),
        ("38;2;300;0;0", None),
        ("38", None),
        ("38;9", None),
        ("58;5;1", None),
        (f"31;39;{'9' * 5000}", None),
        (":::;;:", None),
    ],
)
def test_ansi_html_styles(codes: str, style: str | None) -> None:
    """An SGR sequence becomes a CSS style."""
    assert styles(f"\x1b[{codes}mtext") == ([style] if style else [])


def test_ansi_html_sixteen_colours() -> None:
    """The sixteen colours differ from each other, and so do their backgrounds."""
    numbers = [*range(30, 38), *range(90, 98)]
    assert len({styles(f"\x1b[{number}mx")[0] for number in numbers}) == 16
    assert len({styles(f"\x1b[{number + 10}mx")[0] for number in numbers}) == 16
    assert styles("\x1b[7;31mx") == styles("\x1b[41mx")
    assert "background" in styles("\x1b[7mx")[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Ja\x1b[1;1Hb\x1b[?25lc\x1b[>4;1md", "abcd"),
        ("\x1b]0;a title\x07b", "b"),
        ("\x1b]8;;https://a.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2;0\x1b\\a\x1b_x\x07b\x1b^y\x1b\\c", "abc"),
        ("\x1b(Ba\x1b=b\x1bMc\x1b#8d", "abcd"),
        ("\x1b]a title without an end\nthe next line", "\nthe next line"),
        ("a\x1b[31", "a"),
        ("a\x1b", "a"),
        ("a\x1b\x1b[1mb", "ab"),
    ],
)
def test_ansi_html_other_sequences(text: str, shown: str) -> None:
    """Sequences other than SGR are dropped."""
    assert Seen(ansi_html(text)).text == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" 10%\r 20%\r100%\ndone", "100%\ndone"),
        ("a\r\nb\r\r\nc", "a\nb\nc"),
        ("kept\r", "kept"),
        ("\x1b[31m10%\r\x1b[32m20%", "20%"),
        ("first\n 1\r 2", "first\n 2"),
    ],
)
def test_ansi_html_carriage_return(text: str, shown: str) -> None:
    """A carriage return replaces the line before it."""
    assert Seen(ansi_html(text)).text == shown


# Secrets


@EACH_KIND
def test_card_record_secrets(kind: type[Record]) -> None:
    """No card shows a secret field of a record."""
    hidden = secret_names(kind)
    record = filled(kind, "shown")
    secretive = msgspec.structs.replace(record, **dict.fromkeys(hidden, SECRET))
    shown = [
        card(secretive),
        card(Success(secretive)),
        card(Success((secretive, 1))),
        card(Success([secretive, 1])),
        card(Success({"a": secretive})),
        card(Failure(secretive)),
        card(Page((secretive,), 1)),
        card(Page((secretive, "x"), 1)),
        list_card([secretive]),
        list_card([Success(secretive), Failure(secretive)]),
    ]
    for each in shown:
        assert SECRET not in seen(each).text
    assert ("***" in card(secretive)) == bool(hidden)


def test_card_secret_kinds() -> None:
    """At least five kinds of record have secret fields."""
    assert sum(bool(secret_names(kind)) for kind in KINDS) >= 5
    assert SECRET not in card(Success(SshKeyPair(SECRET, "ssh-ed25519 AAAA")))


def test_card_step_secrets() -> None:
    """No card shows a secret argument of a step."""
    keeps = set_secret("A", SECRET)
    steps: list[Any] = [
        keeps,
        create(secrets={"A": SECRET}) | start,
        create(provider_credentials={"e2b_api_key": SECRET}),
        start(token=SECRET),
        tap(keeps),
        gather(start, tap(keeps) | start),
    ]
    for each in steps:
        for shown in (card(each), card(Success(each)), card(Success((each, 1))), list_card([Success(each)])):
            assert SECRET not in seen(shown).text
            assert "***" in seen(shown).text


def test_card_frame() -> None:
    """Cards of all kinds have the same short frame."""
    values = [Port(1), NotLoggedIn(), Success(1), Page((), 0), start, ExecResult("", "", 0), "text"]
    frames = {card(value).partition("</style>")[0] for value in values}
    assert [len(frame) < 5_000 for frame in frames] == [True]
