"""`python -m pocketenv_fp`: log in and out, list your sandboxes, open a terminal in one, or run a small pipeline.

Each command prints its result on standard output and its error on standard error. The exit code is 0, 1 for a Failure, 2
for wrong arguments, 130 after Ctrl-C, or 141 after the reader of a pipe has ended.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    PocketenvError,
    Profile,
    __version__,
    console,
    ephemeral,
    exec,
    get_sandbox,
    iter_my_sandboxes,
    local,
    login,
    logout,
    start,
    stdout,
    using,
    whoami,
)

PIPELINE = ephemeral(start | exec("python3 -c", ["print(6 * 7)"], check=True) | stdout.map(int))

_EPILOG = """\
The platform and the login are those of the library: POCKETENV_API_URL, POCKETENV_TOKEN, and ~/.pocketenv/token.json.
POCKETENV_TOKEN comes before the file.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named command. Returns the exit code."""
    parser = _parser()
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        parser.exit(2, parser.format_help())
    options = parser.parse_args(words)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except OSError as error:
        return _not_written(error)
    return code


def demo() -> int:
    """Run `PIPELINE` in a sandbox of an embedded platform of its own. Returns the exit code."""
    try:
        platform = local.platform()
    except (ModuleNotFoundError, OSError) as error:
        sys.stderr.write(f"pocketenv: {error}\n")
        return 1
    # Every field, so that no variable of the caller's leads to another platform.
    config = Config(
        api_url=platform.url,
        storage_url=platform.storage_url,
        public_key=platform.public_key,
        token=platform.token,
    )
    with platform, using(config):
        sys.stdout.write(f"{PIPELINE}\n")
        result = PIPELINE("demo")
        sys.stdout.write(f"{result}\n")
    return 0 if isinstance(result, Success) else 1


def _demo(_: argparse.Namespace) -> int:
    return demo()


def _login(options: argparse.Namespace) -> int:
    result = login(options.handle, app_password=options.app_password, browser=options.browser, timeout=options.timeout)
    code = _printed(result.map(lambda profile: f"Logged in as {_named(profile)}."))
    if code == 0:
        _warn_of_variable()
    return code


def _logout(_: argparse.Namespace) -> int:
    code = _printed(logout().map(lambda was_there: "Logged out." if was_there else "There was no login."))
    _warn_of_variable()
    return code


def _whoami(_: argparse.Namespace) -> int:
    return _printed(whoami().map(_named))


def _ls(_: argparse.Namespace) -> int:
    for box in iter_my_sandboxes():
        code = _printed(box.map(lambda box: f"{box.name:32} {box.status.name:12} {box.provider or ''}".rstrip()))
        if code != 0:
            return code
    return 0


def _console(options: argparse.Namespace) -> int:
    try:
        result = console(get_sandbox(options.name))
    except ImportError as missing:
        sys.stderr.write(f"pocketenv: {missing}\n")
        return 1
    return _printed(result) if isinstance(result, Failure) else 0


def _named(profile: Profile) -> str:
    return f"{profile.handle} ({profile.did})"


def _printed(result: Result[str, PocketenvError]) -> int:
    if isinstance(result, Failure):
        sys.stderr.write(f"pocketenv: {result.failure()}\n")
        return 1
    sys.stdout.write(f"{result.unwrap()}\n")
    return 0


def _not_written(error: OSError) -> int:
    # At its end Python flushes standard output once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 141
    sys.stderr.write(f"pocketenv: cannot write the output: {error.strerror}.\n")
    return 1


def _warn_of_variable() -> None:
    if os.environ.get("POCKETENV_TOKEN"):
        sys.stderr.write("pocketenv: POCKETENV_TOKEN is set, and comes before the token file.\n")


def _parser() -> argparse.ArgumentParser:
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"  # noqa: PTH119  # one word
    parser = argparse.ArgumentParser(
        prog="python -m pocketenv_fp" if is_module else "pocketenv-fp",
        description="Pocketenv as typed pipelines: small commands for your account.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pocketenv_fp {__version__}", help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, description: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=description)
        command.set_defaults(command=run)
        return command

    into = add(
        "login",
        _login,
        "log in with the browser, or with an app password",
        "Log in to Pocketenv with an AT Protocol (Bluesky) account. "
        "The token is stored in ~/.pocketenv/token.json, readable by you only.",
    )
    into.add_argument("handle", metavar="HANDLE", help="handle of the account, such as alice.bsky.social")
    into.add_argument(
        "--app-password",
        action="store_true",
        help="use an app password of the account, and no browser: it is asked for, or read from POCKETENV_APP_PASSWORD",
    )
    into.add_argument(
        "--no-browser", dest="browser", action="store_false", help="open no browser, and only print the address"
    )
    into.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="S", help="seconds to wait for the browser (default: 300)"
    )
    add("logout", _logout, "remove the stored token", "Remove the stored token.")
    add("whoami", _whoami, "show the account in use", "Show the account in use.")
    add("ls", _ls, "list your sandboxes", "List your sandboxes, newest first.")
    inside = add(
        "console",
        _console,
        "open a terminal in a sandbox; Ctrl-] leaves",
        "Open a terminal in a sandbox that runs. Ctrl-] leaves. All other keys go to the sandbox.",
    )
    inside.add_argument("name", metavar="NAME", help="name or id of the sandbox")
    add(
        "demo",
        _demo,
        "run a pipeline on a platform inside this process; it needs no account",
        "Run a pipeline on a platform inside this process. It needs no account.",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
