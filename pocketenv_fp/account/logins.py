"""Log in, log out, and show the account of a login.

A login has two ways. In the browser, the platform sends the user to the server of the account, and its page then sends
the token to this machine. With an app password, the platform returns the token at once.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from contextlib import suppress

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.account import token_file
from pocketenv_fp.account.listener import PORT, Listener
from pocketenv_fp.config import LOCAL, TOKEN_FILE, Config, Settings, in_use, settings, using
from pocketenv_fp.errors import DecodeError, InvalidInput, LoginFailed, LoginTimeout, NotSupported, PocketenvError
from pocketenv_fp.http.tokens import request_headers
from pocketenv_fp.http.xrpc import refusal
from pocketenv_fp.models import Profile
from pocketenv_fp.pocketenv.actors import me
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.redaction import HiddenBytes, HiddenText
from pocketenv_fp.runtime.deadline import exceeded, remaining
from pocketenv_fp.validation import Name, Seconds, Text, is_one_word, is_private

__all__ = ["APP_PASSWORD", "login", "logout", "whoami"]

APP_PASSWORD = "POCKETENV_APP_PASSWORD"  # noqa: S105  # the name of a variable
OPERATION = "account.login"
_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# They would take over the terminal, and run no script.
_TEXT_BROWSERS = frozenset(["elinks", "links", "lynx", "w3m", "www-browser"])


@checked
def login(
    handle: Name,
    *,
    app_password: bool = False,
    browser: bool = True,
    timeout: Seconds = 300,
    config: Config | None = None,
) -> Result[Profile, PocketenvError]:
    """Log in, and store the token in ``~/.pocketenv/token.json``. Returns the Profile of the account.

    The address of the login is printed on standard error, and opened in a browser. The browser then sends the token to
    port 6997 of this machine. With ``app_password`` no browser is needed: the app password of the account is read from
    POCKETENV_APP_PASSWORD, or the terminal asks for it. It is never an argument: arguments are shown in lists of
    processes and in tracebacks.

    The token is stored if it belongs to ``handle``, with mode 0600. It is not used while POCKETENV_TOKEN is set.

    Failures: InvalidInput for what is not a handle; LoginFailed with a reason; LoginTimeout after ``timeout`` seconds;
    NotSupported for the embedded platform of ``POCKETENV_API_URL=local``, which needs no login; TransportError.

    Args:
        handle: Handle of an AT Protocol account, such as ``alice.bsky.social``. An ``@`` before it is ignored.
        app_password: True logs in with an app password, and without a browser. Default: False.
        browser: False opens no browser, and only prints the address. Default: True.
        timeout: Seconds to wait for the browser. Default: 300.
        config: Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import login
    >>> login("alice")
    <Failure: handle: is not a handle of an account, such as alice.bsky.social.>
    """
    name = handle.removeprefix("@").lower()
    if len(name) > 253 or not _HANDLE.fullmatch(name):
        return Failure(InvalidInput("handle", "is not a handle of an account, such as alice.bsky.social"))
    if _is_embedded():
        return Failure(
            NotSupported("login", instead="The embedded platform of POCKETENV_API_URL=local needs no login.")
        )
    current = _settings()
    if isinstance(current, Failure):
        return current
    try:
        token_file.prepare()
    except OSError as error:
        return Failure(_unwritable(error))
    platform = current.unwrap()
    token = _by_password(name, platform) if app_password else _by_browser(name, platform, timeout, browser=browser)
    return Failure(token) if isinstance(token, PocketenvError) else _stored(name, token)


@checked
def logout() -> Result[bool, PocketenvError]:
    """Remove the token file. Returns whether there was one.

    The token itself stays valid until it expires: the platform cannot revoke it. A token in POCKETENV_TOKEN stays in use.

    Failures: LoginFailed if the file cannot be removed.

    >>> from pocketenv_fp import logout
    >>> logout()
    <Success: False>
    """
    try:
        return Success(token_file.remove())
    except OSError as error:
        return Failure(LoginFailed(f"{TOKEN_FILE} cannot be removed: {error.strerror}"))


@checked
def whoami(*, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Return the Profile of the login in use. It is another name of `me`.

    Failures: NotLoggedIn without a token; ProfileNotFound if the platform returns an empty profile.

    Args:
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import whoami
    >>> whoami().map(lambda profile: profile.handle)
    <Success: you.localhost>
    """
    return me()


def _is_embedded() -> bool:
    address = next((config.api_url for config in in_use() if config.api_url), None)
    return (address or os.environ.get("POCKETENV_API_URL")) == LOCAL


def _settings() -> Result[Settings, PocketenvError]:
    # With a token from here, a broken token file does not stop the login that replaces it. A plain http:// URL is
    # refused as for a real token, because others could read the password.
    with using(Config(token="none")):  # noqa: S106  # it is not sent
        return settings()


# A token is never inside a Result here: its repr would show the token in a traceback.


def _by_password(handle: str, platform: Settings) -> HiddenText | PocketenvError:
    password = _app_password(handle)
    if isinstance(password, PocketenvError):
        return password
    body = HiddenBytes(msgspec.json.encode({"handle": handle, "password": str(password)}))
    answer = _asked(platform, body, "an unknown handle, or a wrong app password")
    if isinstance(answer, PocketenvError):
        return answer
    kind, colon, token = map(HiddenText, answer.partition(":"))
    is_token = (str(kind), str(colon)) == ("jwt", ":") and token
    return token if is_token else DecodeError(OPERATION, "it is not a token")


def _app_password(handle: str) -> HiddenText | PocketenvError:
    if value := HiddenText(os.environ.get(APP_PASSWORD, "")):
        return value
    from getpass import GetPassWarning, getpass

    try:
        # Without a terminal, getpass would show the password on the screen, with a warning.
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            value = HiddenText(getpass(f"App password of {handle}: "))
    except (GetPassWarning, EOFError, OSError, ValueError):
        return InvalidInput("app_password", f"there is no terminal to ask for it: set {APP_PASSWORD}")
    return value or InvalidInput("app_password", "is empty")


def _by_browser(handle: str, platform: Settings, timeout: float, *, browser: bool) -> HiddenText | PocketenvError:
    body = HiddenBytes(msgspec.json.encode({"handle": handle, "cli": True}))
    try:
        with Listener() as listener:
            answer = _asked(platform, body, "an unknown handle, or a server of the account that does not respond")
            if isinstance(answer, PocketenvError):
                return answer
            address = str(answer)
            # A browser would also open a file.
            if not is_private(address):
                return DecodeError(OPERATION, "it is not a web address")
            _show(address, browser=browser)
            token = listener.wait(min(timeout, max(remaining(), 0)))
    except OSError as error:
        return LoginFailed(f"port {PORT} of this machine cannot be used: {error.strerror}")
    return token or exceeded(OPERATION) or LoginTimeout(timeout)


def _asked(platform: Settings, body: HiddenBytes, causes: str) -> HiddenText | PocketenvError:
    """Return the platform's answer to ``POST /login``."""
    from pocketenv_fp.http.exchange import delivered
    from pocketenv_fp.http.transport import Request

    if late := exceeded(OPERATION):
        return late
    headers = {**request_headers(None), "Content-Length": str(len(body)), "Content-Type": "application/json"}
    request = Request("POST", "/login", headers, body)
    answer = delivered(request, platform, platform.read_timeout, OPERATION)
    if isinstance(answer, PocketenvError):
        return answer
    # These two have no JSON.
    if answer.status == 400 and answer.body == b"Invalid handle":
        return LoginFailed("the platform does not accept this handle")
    if answer.status == 500:
        return LoginFailed(f"the platform answered 500 and hides the reason. Common reasons: {causes}")
    return _word(answer.body) if answer.is_good else refusal(OPERATION, answer, None)


def _word(body: bytes) -> HiddenText | PocketenvError:
    text = HiddenText(body.decode("latin-1").strip())
    if text and is_one_word(text):
        return text
    return DecodeError(OPERATION, "it is not one word of printable ASCII characters")


def _show(address: str, *, browser: bool) -> None:
    sys.stderr.write(f"Log in with this address:\n{address}\n")
    sys.stderr.flush()
    if not browser:
        return
    import webbrowser

    with suppress(webbrowser.Error, OSError):
        if getattr(webbrowser.get(), "name", "") not in _TEXT_BROWSERS:
            webbrowser.open(address)


def _stored(handle: str, token: HiddenText) -> Result[Profile, PocketenvError]:
    with using(Config(token=token)):
        owner = me()
    if isinstance(owner, Failure):
        return owner
    # Any program or web page of this machine can send a token to the port.
    if owner.unwrap().handle.lower() != handle:
        return Failure(LoginFailed(f"the token belongs to {owner.unwrap().handle}, and not to {handle}"))
    try:
        token_file.write(token)
    except OSError as error:
        return Failure(_unwritable(error))
    return owner


def _unwritable(error: OSError) -> LoginFailed:
    return LoginFailed(f"{TOKEN_FILE} cannot be written: {error.strerror}")
