r"""Show values as cards: HTML for notebooks, without scripts or external resources.

>>> from pocketenv_fp import create, exec, start
>>> from pocketenv_fp.jupyter.cards import card
>>> shown = card(create("my-box") | start | exec("echo '<b>'"))
>>> "exit 0" in shown, "&lt;b&gt;" in shown
(True, True)

Values that a repr masks are masked here too. Long strings and lists are shortened, with the number of hidden items.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pprint import pformat
from typing import Any, TypeGuard, cast

from returns.result import Failure, Result

from pocketenv_fp.errors import (
    CodeFailed,
    CodeTimeout,
    CommandFailed,
    CommandTimeout,
    ContextLost,
    PocketenvError,
)
from pocketenv_fp.jupyter.ansi import ansi_html
from pocketenv_fp.jupyter.markup import clipped, escaped, linked, shortened
from pocketenv_fp.jupyter.safe_html import safe_html
from pocketenv_fp.jupyter.style import STYLE
from pocketenv_fp.models import CodeResult, Display, ExecResult, Page, Record, Sandbox, Status
from pocketenv_fp.redaction import shorten
from pocketenv_fp.steps.step import Step
from pocketenv_fp.steps.trace import Traced

__all__ = ["CARDS", "card", "list_card", "output_card"]

ROWS = 100
STEP_CHARACTERS = 2_000
LINE_CHARACTERS = 120
READABLE = 100_000

TONES = {Status.RUNNING: "good", Status.INITIALIZING: "busy", Status.STOPPED: "idle", Status.UNKNOWN: "idle"}
WITH_OUTPUT = (CodeFailed, CodeTimeout, CommandFailed, CommandTimeout, ContextLost)
TITLES = ("name", "port", "handle", "path", "directory")
# The columns that distinguish the items of a list. The card of one item shows the rest.
COLUMNS: Mapping[type, tuple[str, ...]] = {
    Sandbox: ("name", "status", "provider", "base_sandbox", "vcpus", "memory", "disk", "created_at"),
}


def card(value: object) -> str:
    """Return the card of any value: a special one for values of this library, otherwise its repr."""
    return _framed(_part(value))


def output_card(text: str) -> str:
    """Return the card of the output of a command that runs."""
    return _framed(_box(_pane("", text)))


def list_card(values: Sequence[object]) -> str | None:
    """Return one card for a list of Results, as from `fan_out`, or of records of one type. None for any other list.

    >>> from pocketenv_fp import Port
    >>> from pocketenv_fp.jupyter.cards import list_card
    >>> "https://a.example" in list_card([Port(80, None, "https://a.example"), Port(81)])
    True
    >>> list_card([1, 2])
    """
    if _is_results(values):
        return _framed(_fleet(values))
    return _framed(_records(values)) if _is_records(values) else None


def _fleet(results: Sequence[Result[Any, Any]]) -> str:
    failed = sum(isinstance(result, Failure) for result in results)
    title = _head("bad" if failed else "good", f"{len(results):,} results", f"{failed:,} failed" if failed else "")
    rows = ((str(number), *_in_row(result)) for number, result in enumerate(results))
    return _box(title, _list(("", "result", "value"), rows, len(results)))


def _framed(part: str) -> str:
    return f'<div class="pe-card">{STYLE}{part}</div>'


def _part(value: object) -> str:
    for kind in type(value).__mro__:
        if kind in CARDS:
            return CARDS[kind](value)
    if _is_list(value) and _is_records(value):
        return _records(value)
    return _box(_pane("", value if isinstance(value, str) else _readable(value)))


def _box(*parts: str) -> str:
    return f'<div class="pe-part">{"".join(parts)}</div>'


def _head(tone: str, title: str, note: str = "", badge: str = "") -> str:
    return f'<div class="pe-head">{_mark(tone, title)}{_quiet(note)}{badge}</div>'


def _mark(tone: str, word: str) -> str:
    return f"{_dot(tone)} <b>{escaped(word)}</b>"


def _sign(tone: str, word: str) -> str:
    return f'<span class="pe-cell">{_dot(tone)} {escaped(word)}</span>'


def _dot(tone: str) -> str:
    return f'<span class="pe-dot pe-{tone}" aria-hidden="true">●</span>'


def _quiet(text: str) -> str:
    return f' <span class="pe-quiet">{escaped(text)}</span>' if text else ""


def _exit(code: int) -> str:
    return f' <span class="pe-badge pe-{"bad" if code else "good"}">exit {code}</span>'


def _pane(label: str, text: str, *, error: bool = False) -> str:
    kind = "pe-out pe-err" if error else "pe-out"
    head, hidden, tail = clipped(text.removesuffix("\n"))
    parts = [f'<pre class="{kind}">{ansi_html(head)}</pre>']
    if hidden:
        parts += [f'<div class="pe-more">{hidden}</div>', f'<pre class="{kind}">{ansi_html(tail)}</pre>']
    return f'{f"""<div class="pe-label">{label}</div>""" if label else ""}{"".join(parts)}'


def _output(stdout: str, stderr: str) -> str:
    shown = [_pane("stdout", stdout)] if stdout else []
    shown += [_pane("stderr", stderr, error=True)] if stderr else []
    return "".join(shown) or '<div class="pe-more">No output.</div>'


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # other code: still show the rest of the card
        return f"‹{type(value).__name__}, whose repr raises {type(error).__name__}›"


def _readable(value: object) -> str:
    text = _safe_repr(value)
    if type(value) not in {dict, list, tuple, set} or not LINE_CHARACTERS < len(text) < READABLE:
        return text
    return pformat(value, width=LINE_CHARACTERS, sort_dicts=False)


def _result(result: Result[Any, Any]) -> str:
    if isinstance(result, Failure):
        error: object = result.failure()
        if isinstance(error, PocketenvError):
            return _error(error, "Failure")
        return _box(_head("bad", "Failure", type(error).__name__), _pane("", _readable(error)))
    value: object = result.unwrap()
    if isinstance(value, ExecResult | CodeResult):
        return _ran(value, "Success") if isinstance(value, ExecResult) else _code(value, "Success")
    if value is None:
        return _box(_head("good", "Success", "None"))
    if _is_tuple(value) and any(map(_has_card, value)):
        more = f'<div class="pe-more">… {len(value) - ROWS:,} more</div>' if len(value) > ROWS else ""
        return _box(_head("good", "Success", f"a tuple of {len(value)}")) + "".join(map(_part, value[:ROWS])) + more
    kind = "" if _has_card(value) else type(value).__name__
    return _box(_head("good", "Success", kind)) + (_picture(value) or _part(value))


def _picture(value: object) -> str | None:
    # A value of another library may have its own HTML, such as a pandas table.
    method = None if _has_card(value) else getattr(type(value), "_repr_html_", None)
    try:
        shown: object = method(value) if callable(method) else None
    except Exception:  # noqa: BLE001  # other code: fall back to its repr
        return None
    return f'<div class="pe-part pe-wide">{shown}</div>' if isinstance(shown, str) else None


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return type(value) is tuple


def _is_texts(value: object) -> TypeGuard[tuple[str, ...]]:
    return _is_tuple(value) and all(isinstance(each, str) for each in value)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return type(value) is list


def _is_results(values: Sequence[object]) -> TypeGuard[Sequence[Result[Any, Any]]]:
    return bool(values) and all(isinstance(value, Result) for value in values)


def _is_records(values: Sequence[object]) -> TypeGuard[Sequence[Record]]:
    return bool(values) and isinstance(values[0], Record) and all(type(value) is type(values[0]) for value in values)


def _has_card(value: object) -> bool:
    return any(kind in CARDS for kind in type(value).__mro__)


def _error(error: PocketenvError, title: str = "") -> str:
    name = type(error).__name__
    summary = error.summary()
    # The card of a command shows its place and its output below.
    is_command = isinstance(error, CommandFailed)
    advice = error.advice if is_command else str(error).removeprefix(summary).removeprefix(".").strip()
    badge = _exit(error.exit_code) if isinstance(error, CommandFailed) else ""
    return _box(
        _head("bad", title or name, name if title else "", badge),
        f'<div class="pe-text">{shortened(summary)}</div>',
        f'<div class="pe-text pe-quiet">{escaped(advice)}</div>' if advice else "",
        _output(error.stdout, error.stderr) if isinstance(error, WITH_OUTPUT) else "",
        _pane("error", error.traceback, error=True) if isinstance(error, CodeFailed) else "",
        *(f'<div class="pe-text pe-quiet">{shortened(note)}</div>' for note in _notes(error)),
    )


def _notes(error: PocketenvError) -> Iterator[str]:
    places = [f"in {place}" for place in error.where]
    yield from places
    # An error that was raised and caught has its places among its notes.
    yield from (str(note) for note in getattr(error, "__notes__", ()) if note not in places)


def _ran(result: ExecResult, title: str = "") -> str:
    # A command that ran is a Success, with any exit code.
    tone = "bad" if result.exit_code and not title else "good"
    head = _head(tone, title or "ExecResult", "ExecResult" if title else "", _exit(result.exit_code))
    return _box(head, _output(result.stdout, result.stderr))


def _code(result: CodeResult, title: str = "") -> str:
    # Code that raised an error is a Success, as is a command with any exit code.
    error = result.error
    tone = "bad" if error and not title else "good"
    badge = f' <span class="pe-badge pe-bad">{shortened(error.kind, LINE_CHARACTERS)}</span>' if error else ""
    head = _head(tone, title or "CodeResult", f"{'CodeResult ' if title else ''}[{result.number}]", badge)
    shown = [_output(result.stdout, result.stderr)] if result.stdout or result.stderr else []
    shown += map(_display, result.displays)
    # A value with a rich form is among the displays.
    if result.repr is not None and not (result.displays and _text(result.displays[-1]) == result.repr):
        shown.append(_pane("value", result.repr))
    if error:
        shown.append(_pane("error", error.traceback or f"{error.kind}: {error.message}", error=True))
    return _box(head, "".join(shown) or '<div class="pe-more">No output.</div>')


def _display(display: Display) -> str:
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):
        form: object = display.forms.get(kind)
        if isinstance(form, str):
            # Scripts of an image do not run in an <img>.
            data = form.encode() if kind == "image/svg+xml" else _decoded(form)
            if data is not None:
                source = f"data:{kind};base64,{b64encode(data).decode()}"
                return f'<div class="pe-wide"><img class="pe-image" alt="{escaped(kind)}" src="{source}"></div>'
    if html := display.html():
        return f'<div class="pe-wide pe-html">{safe_html(html)}</div>'
    return _pane("display", _text(display) or _readable(display.forms))


def _decoded(form: str) -> bytes | None:
    try:
        return b64decode("".join(form.split()), validate=True)
    except ValueError:
        return None


def _text(display: Display) -> str:
    form: object = display.forms.get("text/plain")
    return form if isinstance(form, str) else ""


def _shown_alone(display: Display) -> str:
    return _box(_head("idle", "Display", ", ".join(map(str, display.forms))), _display(display))


def _record(record: Record) -> str:
    fields = dict(record.__rich_repr__())
    title = shorten(str(fields.pop(_named(fields), "")), LINE_CHARACTERS)
    status = fields.pop("status", None)
    known = status if isinstance(status, Status) else None
    rows = "".join(f"<tr><th>{escaped(name)}</th><td>{_cell(value)}</td></tr>" for name, value in fields.items())
    return _box(
        _head(
            TONES[known] if known else "idle", f"{type(record).__name__} {title}".strip(), known.name if known else ""
        ),
        f'<div class="pe-wide"><table class="pe-table"><tbody>{rows}</tbody></table></div>' if rows else "",
    )


def _named(fields: Mapping[str, object]) -> str:
    return next((name for name in TITLES if name in fields), "")


def _cell(value: object) -> str:
    if isinstance(value, Record):
        fields = dict(value.__rich_repr__())
        return f"{type(value).__name__} {shortened(str(fields.get(_named(fields), '')))}"
    if isinstance(value, Status):
        return _sign(TONES[value], value.name)
    if isinstance(value, datetime):
        return escaped(f"{value:%Y-%m-%d %H:%M:%S %Z}".strip())
    if isinstance(value, str):
        return f'<span class="pe-code">{linked(value)}</span>'
    if _is_texts(value):
        return shortened(", ".join(value))
    return f'<span class="pe-code">{shortened(_safe_repr(value))}</span>'


def _page(page: Page[Any]) -> str:
    items = cast("tuple[object, ...]", page.items)
    count = f"{len(items):,} of {page.total:,}"
    if _is_records(items):
        return _records(items, "Page", count)
    return _box(_head("idle", "Page", count), _pane("", _readable(list(items))) if items else "")


def _records(records: Sequence[Record], many: str = "List", count: str = "") -> str:
    kind = type(records[0])
    shown = [dict(record.__rich_repr__()) for record in records[:ROWS]]
    known = [name for name in COLUMNS.get(kind, kind.__struct_fields__) if any(name in fields for fields in shown)]
    rows = (tuple(_cell(fields[name]) if name in fields else "" for name in known) for fields in shown)
    title = _head("idle", f"{many} of {kind.__name__}", count or f"{len(records):,}")
    return _box(title, _list(known, rows, len(records)))


def _list(names: Iterable[str], rows: Iterable[Sequence[str]], count: int) -> str:
    headings = "".join(f"<th>{escaped(name)}</th>" for name in names)
    shown = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for _, row in zip(range(ROWS), rows, strict=False)
    )
    more = f'<div class="pe-more">… {count - ROWS:,} more rows</div>' if count > ROWS else ""
    return (
        f'<div class="pe-wide"><table class="pe-table pe-list"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{shown}</tbody></table></div>{more}"
    )


def _in_row(result: Result[Any, Any]) -> tuple[str, str]:
    if isinstance(result, Failure):
        error: object = result.failure()
        text = error.summary() if isinstance(error, PocketenvError) else _safe_repr(error)
        return _sign("bad", "Failure"), f"<b>{escaped(type(error).__name__)}</b> {shortened(text, 2 * LINE_CHARACTERS)}"
    value: object = result.unwrap()
    if isinstance(value, ExecResult):
        line = _last_line(value.stderr if value.exit_code and value.stderr.strip() else value.stdout)
        return _sign("good", "Success"), f'{_exit(value.exit_code).strip()} <span class="pe-code">{line}</span>'
    if isinstance(value, Sandbox):
        return _sign(
            "good", "Success"
        ), f"Sandbox {escaped(shorten(value.name, LINE_CHARACTERS))} {_cell(value.status)}"
    return _sign("good", "Success"), f'<span class="pe-code">{shortened(_safe_repr(value), 2 * LINE_CHARACTERS)}</span>'


def _last_line(text: str) -> str:
    lines = text.strip("\n").rsplit("\n", 1)
    return f"{'… ' if len(lines) > 1 else ''}{ansi_html(shorten(lines[-1], LINE_CHARACTERS))}"


def _chain(step: Step[Any, Any]) -> str:
    steps = cast("tuple[Step[Any, Any], ...]", getattr(step, "_steps", ()))
    pills = (f'<span class="pe-code pe-step">{_source(str(each))}</span>' for each in steps)
    return _box(f'<div class="pe-chain">{" | ".join(pills) or "identity"}</div>')


def _source(source: str) -> str:
    name, bracket, rest = source.partition("(")
    return f"<b>{escaped(name)}</b>{shortened(bracket + rest, STEP_CHARACTERS)}"


def _traced(traced: Traced[Any]) -> str:
    return f'{_part(traced.result)}<div class="pe-part pe-text">{traced.trace.picture()}</div>'


CARDS: Mapping[type, Callable[[Any], str]] = {
    CodeResult: _code,
    Display: _shown_alone,
    ExecResult: _ran,
    Page: _page,
    PocketenvError: _error,
    Record: _record,
    Result: _result,
    Step: _chain,
    Traced: _traced,
}
"""The function for the inner part of a card, for each type that has one."""
