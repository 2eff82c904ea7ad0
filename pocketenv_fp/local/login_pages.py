"""The two pages of the login: the consent of the user, and the end of a login from a command line."""

from pocketenv_fp.elements import markup

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 12vh auto; max-width: 26rem; padding: 0 1rem; }
h1 { font-size: 1.25rem; }
small, .note { color: GrayText; font-weight: normal; }
form { display: flex; gap: .5rem; margin: 1.5rem 0; }
button { border: 1px solid GrayText; border-radius: .4rem; font: inherit; padding: .4rem 1.2rem; }
button[value=allow] { background: #1d4ed8; border-color: #1d4ed8; color: #fff; }
"""
# With "no-referrer" a browser would send "Origin: null" with the form, as another web site does.
_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="same-origin">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>Pocketenv <small>on this machine</small></h1>
{main}
</body>
</html>
"""
_CONSENT = """<p>A program wants to log in as <strong>{handle}</strong>.</p>
<form method="post" action="/oauth/authorize">
<input type="hidden" name="request_uri" value="{request}">
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
<p class="note">This page stands in for the server of the account, such as Bluesky's. It asks for no password.</p>"""
_UNKNOWN = "<p>This login has ended, or it never began. Start it again.</p>"
# The page is the same for every login, and reads the address itself.
_SCRIPT = """<p id="status" role="status">Logging in …</p>
<noscript><p>This page needs JavaScript.</p></noscript>
<script>
const status = document.getElementById("status");
const query = new URLSearchParams(location.search);
async function finish() {
  const response = await fetch("/token", { headers: { "session-did": query.get("did") } });
  if (!response.ok) return "This login has ended already. Start it again.";
  const { token } = await response.json();
  if (query.get("cli") !== "1") return "You are logged in.";
  const sent = await fetch("http://localhost:6997/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  return sent.ok ? "You are logged in. You can close this page." : "The program did not accept the login.";
}
finish().then(
  (text) => { status.textContent = text; },
  () => { status.textContent = "The program that began this login does not wait for it any more."; },
);
</script>"""


def consent(handle: str, request: str) -> str:
    """Return the page that asks for the user's consent."""
    return _page("Log in", _CONSENT.format(handle=markup(handle), request=markup(request)))


def unknown() -> str:
    """Return the page for a login that is not under way."""
    return _page("No login", _UNKNOWN)


def _page(title: str, main: str) -> str:
    return _DOCUMENT.format(title=title, style=_STYLE, main=main)


PROJECTS = _page("Logged in", _SCRIPT)
"""The page to which the platform sends the browser after the login."""
