"""`GET /`: the state of this platform, for the user of this machine.

One page without other files, tokens or values. Another web site cannot read it: browsers keep pages of other origins
from it, and a foreign name that points to this machine is refused.
"""

import base64
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from pocketenv_fp.elements import Html, element, markup, table_row
from pocketenv_fp.local import hosts
from pocketenv_fp.local.call import World, now
from pocketenv_fp.local.request_log import Answered, Names
from pocketenv_fp.local.sandboxes import Sandbox

MOST_SANDBOXES = 200
MOST_REQUESTS = 50

_LINKS = ("http://", "https://", "vscode://")
_MEANINGS = {
    "bubblewrap": (
        "each sandbox sees files and processes of its own, and the system read-only."
        " That keeps accidents in; it is no security boundary for hostile code."
    ),
    "processes": (
        "sandboxes are plain processes, each with a folder and an environment of its own."
        " Nothing holds them there: they can read and write whatever you can."
    ),
}


class Service(NamedTuple):
    """A long-lived process of a sandbox."""

    name: str
    running: bool


class Row(NamedTuple):
    """A sandbox with its ports and services: `ports` as (number, preview URL)."""

    sandbox: Sandbox
    owner: str | None
    ports: list[tuple[int, str | None]]
    services: list[Service]


class View(NamedTuple):
    """The content of one page. `total` counts the sandboxes beyond `rows` too."""

    url: str
    public_key: str
    isolation: str
    total: int
    running: int
    rows: list[Row]
    requests: list[Answered]
    login_failed: bool = False


class Page:
    """The page of one platform."""

    def __init__(self, world: World, recent: Iterable[Answered], names: Names) -> None:
        self._world = world
        self._recent = recent
        self._names = names

    async def show(self, request: Request) -> Response:
        """Return the page; a 403 for a browser that uses another name than this machine's."""
        names = request.headers.getlist("host")
        if len(names) != 1 or not hosts.is_loopback(names[0].encode("latin-1")):
            return PlainTextResponse("This page answers to 127.0.0.1 and localhost only.\n", 403, HEADERS)
        return HTMLResponse(render(self._look(request)), headers=HEADERS)

    def _look(self, request: Request) -> View:
        store = self._world.store
        total = store.count("SELECT count(*) FROM sandboxes")
        running = store.count("SELECT count(*) FROM sandboxes WHERE stopped = 0 AND ready_at <= ?", now())
        handles = {user: str(handle) for user, handle in store.rows("SELECT id, handle FROM users")}
        newest = "ORDER BY created_at DESC, rowid DESC LIMIT ?"
        sandboxes = store.all(Sandbox, "sandboxes", newest, MOST_SANDBOXES)
        ports, services = self._ports(), self._services()
        rows = [Row(each, handles.get(each.owner or ""), ports[each.id], services[each.id]) for each in sandboxes]
        newest_first = list(self._recent)[: -MOST_REQUESTS - 1 : -1]
        requests = [answered._replace(sandbox=self._names.of(answered.sandbox)) for answered in newest_first]
        kind = self._world.kind.isolation
        url = f"http://127.0.0.1:{request.scope['server'][1]}"
        # The platform sends the browser to this address after a login that failed.
        failed = request.query_params.get("error") == "1"
        return View(url, self._world.vault.public_key, kind, total, running, rows, requests, failed)

    def _ports(self) -> defaultdict[str, list[tuple[int, str | None]]]:
        ports: defaultdict[str, list[tuple[int, str | None]]] = defaultdict(list)
        for sandbox, port, url in self._world.store.rows("SELECT sandbox, port, preview_url FROM ports ORDER BY port"):
            ports[sandbox].append((port, url))
        return ports

    def _services(self) -> defaultdict[str, list[Service]]:
        services: defaultdict[str, list[Service]] = defaultdict(list)
        for sandbox, service, name in self._world.store.rows("SELECT sandbox, id, name FROM services ORDER BY rowid"):
            machine = self._world.machines.get(sandbox)
            services[sandbox].append(Service(name, machine is not None and machine.runs(service)))
        return services


def render(view: View) -> str:
    """Return the page as HTML."""
    return _DOCUMENT.format(
        style=_STYLE,
        script=_SCRIPT,
        main="\n".join((_head(view), _sandboxes(view), _requests(view), _about(view))),
    )


def _head(view: View) -> Html:
    # A short title: the numbers of sandboxes, readable in a narrow tab.
    facts = (
        element("code", view.url),
        element("span", f"{view.total} {'sandbox' if view.total == 1 else 'sandboxes'}, {view.running} running"),
        element("span", f"isolation: {view.isolation}"),
        element("span", "the platform does not answer any more", id="lost", role="status"),
    )
    title = element("h1", "Pocketenv ", element("small", "on this machine"))
    failed = _note("The login was denied, or it had ended: the program is not logged in. Start it again.")
    return element("header", title, element("p", *facts), *((failed,) if view.login_failed else ()), id="head")


def _sandboxes(view: View) -> Html:
    titles = ("Sandbox", "Status", "Provider", "Ports", "Services", "Owner")
    if not view.rows:
        return _section(
            "sandboxes", "Sandboxes", _note("None yet. The first ", element("code", "create"), " makes one.")
        )
    rest = _note(f"The newest {len(view.rows)} of {view.total}.") if view.total > len(view.rows) else ""
    return _section("sandboxes", "Sandboxes", _table(titles, map(_sandbox, view.rows)), rest)


def _sandbox(row: Row) -> tuple[str, ...]:
    sandbox = row.sandbox
    return (
        markup(element("strong", sandbox.name), element("br"), element("code", sandbox.id)),
        _status(sandbox.status, sandbox.status.lower()),
        sandbox.provider,
        markup(*(_port(*port) for port in row.ports), between=" "),
        markup(*map(_service, row.services), between=" "),
        row.owner or "no owner",
    )


def _port(number: int, url: str | None) -> Html:
    # Only a URL that is known to be harmless becomes a link.
    if url is None or not url.startswith(_LINKS):
        return element("span", f"{number}")
    return element("a", f"{number}", href=url, target="_blank", rel="noopener noreferrer")


def _service(service: Service) -> Html:
    status = "running" if service.running else "stopped"
    return _status(f"{service.name} {status}", status)


def _status(text: str, status: str) -> Html:
    return element("span", text, class_=f"status {status}")


def _requests(view: View) -> Html:
    titles = ("Time", "Method", "Status", "Took", "Sandbox")
    table = _table(titles, map(_request, view.requests)) if view.requests else _note("None yet.")
    return _section("requests", "Recent requests", table)


def _request(answered: Answered) -> tuple[str, ...]:
    kind = "good" if 200 <= answered.status < 400 else "bad"
    return (
        time.strftime("%H:%M:%S", time.localtime(answered.at)),
        element("code", answered.title),
        element("span", str(answered.status or "no answer"), class_=kind),
        answered.milliseconds,
        answered.sandbox or "",
    )


def _about(view: View) -> Html:
    meaning = _MEANINGS.get(view.isolation, "")
    lines = (
        f"export POCKETENV_API_URL={view.url}\nexport POCKETENV_STORAGE_URL={view.url}\n"
        f"export POCKETENV_PUBLIC_KEY={view.public_key}\nexport POCKETENV_TOKEN=…"
    )
    return _section(
        "about",
        "To use it",
        element("pre", lines),
        _note(
            "The token is not shown here: ",
            element("code", "python -m pocketenv_fp.local"),
            " printed it where it was started, and in a program it is ",
            element("code", "platform.token"),
            ".",
        ),
        element("h2", "Isolation"),
        _note(element("strong", view.isolation), f": {meaning}"),
        element("h2", "Visibility"),
        _note(
            "This page shows the sandboxes of all users to every user of this machine. The API shows a user their own."
        ),
    )


def _section(name: str, title: str, *parts: str) -> Html:
    return element("section", element("h2", title), *parts, id=name)


def _note(*parts: str) -> Html:
    return element("p", *parts)


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    head = element("thead", table_row(titles, "th", scope="col"))
    body = element("tbody", "\n", markup(*map(table_row, rows), between="\n"), "\n")
    return element("div", element("table", head, body), class_="wide")


_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #5b6470; --line: #dfe3e8;
  --link: #0b62c4; --good: #17713c; --bad: #b3261e; --wait: #8a5a00; --tint: #eef1f4 }
@media (prefers-color-scheme: dark) {
  :root { --page: #101418; --card: #181d23; --text: #e4e8ec; --soft: #98a3ae; --line: #2b323a;
    --link: #7db7ff; --good: #6fd694; --bad: #ff9a90; --wait: #f0c060; --tint: #222931 }
}
* { box-sizing: border-box }
body { margin: 0; padding: 1.5rem clamp(1rem, 4vw, 3rem) 3rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif }
main { display: grid; gap: 1.25rem; max-width: 90rem; margin: 0 auto; align-items: start }
@media (min-width: 80rem) {
  main { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr) }
  header, #sandboxes { grid-column: 1 / -1 }
}
h1 { margin: 0; font-size: 1.5rem; line-height: 1.2 }
h1 small { font-size: 1rem; font-weight: normal; color: var(--soft) }
h2 { margin: 0 0 .6rem; font-size: 1rem }
h2:not(:first-child) { margin-top: 1.25rem }
header p { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .4rem 0 0; color: var(--soft) }
section { min-width: 0; padding: 1rem 1.25rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card) }
section p { margin: .4rem 0 0 }
.wide { overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th { padding: 0 .9rem .35rem 0; text-align: left; font-size: .8rem; font-weight: 600; color: var(--soft) }
td { padding: .4rem .9rem .4rem 0; border-top: 1px solid var(--line); vertical-align: top }
td a, td span { margin-right: .5rem }
#requests td { padding-block: .2rem }
#requests td, td:first-child { white-space: nowrap }
code, pre { font: .87em/1.5 ui-monospace, monospace }
td br + code { color: var(--soft) }
pre { margin: 0; padding: .7rem .9rem; overflow-x: auto; border-radius: .4rem; background: var(--tint) }
a { color: var(--link) }
.status { display: inline-block; padding: 0 .55rem; border-radius: 1rem; background: var(--tint); font-size: .8rem;
  font-weight: 600; color: var(--soft); white-space: nowrap }
.good, .running { color: var(--good) }
.bad { color: var(--bad) }
.initializing { color: var(--wait) }
@media (max-width: 40rem) {
  td br + code { display: inline-block; max-width: 14ch; overflow: hidden; text-overflow: ellipsis }
}
#lost { display: none; color: var(--bad); font-weight: 600 }
.lost #lost { display: inline }
"""

# Only changed parts are replaced: a selection and the position stay. A hidden page sends no request.
_SCRIPT = """
"use strict";
async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of next.querySelector("main").children) {
        const shown = document.getElementById(part.id);
        if (shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
      }
      document.documentElement.classList.remove("lost");
    } catch {
      document.documentElement.classList.add("lost");
    }
  }
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
"""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pocketenv on this machine</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{main}
</main>
<noscript><p>Reload the page to see what has changed.</p></noscript>
<script>{script}</script>
</body>
</html>
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Nothing runs, loads or frames this page but what is written above.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
